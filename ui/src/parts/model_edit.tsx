// Adds a deployment, or changes one that was added here. Either can be tried before it is saved.
import { Autocomplete, Button, Group, JsonInput, Modal, NumberInput, PasswordInput, Select, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useMemo, useState } from "react";
import { ask, get } from "../api/client";
import type { ConnectionAnswer, FieldOffered, OfferedList, ProviderList, ProviderOffered, StoredModelShown } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Failed } from "./basics";
import { useCredentials } from "./credentials";
import { useReturnFocus } from "./focus";
import { modelsChanged } from "./models";
import { parse } from "./talk";
import { Tried } from "./tried";

const SUGGESTIONS_MAX = 100;
const MASKED = "*****";
const LIMITS = ["rpm", "tpm", "max_parallel_requests", "weight", "order", "timeout"] as const;
const PRICES = ["input_cost_per_token", "output_cost_per_token"] as const;
const MODES = ["chat", "responses", "completion", "embedding", "image_generation", "audio_speech", "audio_transcription", "moderation", "rerank"];

type Params = Record<string, unknown>;
type Draft = { provider: string; model: string; name: string; mode: string; credential: string; fields: Record<string, string>; limits: Record<string, string>; prices: Record<string, string>; more: string };

export default function Edit({ id, close }: { id?: string; close: () => void }) {
  const { t } = useWords();
  useReturnFocus();
  const providers = useQuery({ queryKey: ["providers"], queryFn: ({ signal }) => get<ProviderList>("/tollway/providers", {}, signal), staleTime: Infinity });
  const stored = useQuery({
    queryKey: ["models", "stored", id],
    queryFn: ({ signal }) => get<StoredModelShown>(`/tollway/deployments/${encodeURIComponent(id!)}`, {}, signal),
    enabled: id !== undefined,
    staleTime: 0,
    gcTime: 0,
  });
  return (
    <Modal opened onClose={close} size="xl" title={t(id === undefined ? "models.add" : "models.edit")} closeButtonProps={{ "aria-label": t("app.close") }}>
      <Asked query={providers}>
        {(data) => (id === undefined ? <Form providers={data.providers} close={close} /> : <Asked query={stored}>{(before) => <Form providers={data.providers} before={before} close={close} />}</Asked>)}
      </Asked>
    </Modal>
  );
}

function Form({ providers, before, close }: { providers: ProviderOffered[]; before?: StoredModelShown; close: () => void }) {
  const { t, money } = useWords();
  const [draft, setDraft] = useState(() => drafted(providers, before));
  const set = (more: Partial<Draft>) => setDraft((now) => ({ ...now, ...more }));
  const provider = providers.find((one) => one.name === draft.provider);
  const credentials = useCredentials();
  const offered = useQuery({
    queryKey: ["offered", draft.provider],
    queryFn: ({ signal }) => get<OfferedList>(`/tollway/providers/${encodeURIComponent(draft.provider)}/models`, {}, signal),
    enabled: provider !== undefined,
    staleTime: Infinity,
  });
  const known = offered.data?.models.find((one) => one.name === draft.model);
  const names = useMemo(() => {
    const wanted = draft.model.toLowerCase();
    return (offered.data?.models ?? []).map((one) => one.name).filter((name) => name.toLowerCase().includes(wanted)).slice(0, SUGGESTIONS_MAX);
  }, [offered.data, draft.model]);
  const more = draft.more.trim() ? parse(draft.more) : {};
  const moreBad = typeof more !== "object" || more === null || Array.isArray(more);
  const params = () => changes(asked(draft, provider, moreBad ? {} : (more as Params)), before);
  const info = () => (draft.mode ? { mode: draft.mode } : {});
  const attempt = useMutation({
    mutationFn: () => {
      const wanted = params();
      // Nothing changed: the stored one is tried as it is.
      return ask<ConnectionAnswer>("POST", "/health/test_connection", { litellm_params: wanted, model_info: { ...info(), ...(before ? { id: before.model_id } : {}) } });
    },
  });
  const save = useMutation({
    mutationFn: async () => {
      if (before) {
        await ask("PATCH", `/model/${encodeURIComponent(before.model_id)}/update`, { model_name: draft.name, litellm_params: params(), model_info: { mode: draft.mode || null } });
      } else {
        await ask("POST", "/model/new", { model_name: draft.name || draft.model, litellm_params: params(), model_info: info() });
      }
      modelsChanged();
    },
    onSuccess: close,
  });
  const ready = provider !== undefined && draft.model.trim() !== "" && !moreBad;
  const number = (kind: "limits" | "prices", name: string, label: string, props = {}) => (
    <NumberInput key={name} label={label} min={0} value={draft[kind][name] ?? ""} onChange={(value) => set({ [kind]: { ...draft[kind], [name]: String(value) } })} {...props} />
  );
  const labels = { rpm: t("keys.rpm"), tpm: t("keys.tpm"), max_parallel_requests: t("keys.parallel"), weight: t("models.weight"), order: t("models.order"), timeout: t("models.timeout") };
  return (
    <form
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        if (ready) save.mutate();
      }}
    >
      <Stack>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <Select
            label={t("call.provider")}
            required
            searchable
            data={providers.map((one) => ({ value: one.name, label: one.display === one.name ? one.name : `${one.display} (${one.name})` }))}
            value={draft.provider || null}
            onChange={(value) => set({ provider: value ?? "", fields: {}, model: "" })}
            nothingFoundMessage={t("models.noProvider")}
          />
          <Autocomplete
            label={t("models.providersModel")}
            description={known ? priceOf(known, money, t) : provider && t("models.known", { count: offered.data?.models.length ?? 0 })}
            required
            data={names}
            filter={({ options }) => options}
            value={draft.model}
            onChange={(model) => set({ model })}
            disabled={!provider}
          />
          <TextInput label={t("models.publicName")} description={t("models.publicNameHint")} placeholder={draft.model} value={draft.name} onChange={(event) => set({ name: event.currentTarget.value })} />
          <Select label={t("models.mode")} description={known?.mode && !draft.mode ? t("models.modeKnown", { mode: known.mode }) : t("models.modeHint")} data={MODES} value={draft.mode || null} onChange={(mode) => set({ mode: mode ?? "" })} clearable />
        </SimpleGrid>
        {provider && (
          <>
            {(credentials.data?.credentials.length ?? 0) > 0 && (
              <Select label={t("models.credential")} description={t("models.credentialHint")} data={credentials.data!.credentials.map((one) => one.credential_name)} value={draft.credential || null} onChange={(credential) => set({ credential: credential ?? "" })} clearable />
            )}
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              {provider.fields.map((field) => (
                <Field key={field.name} field={field} kept={before?.litellm_params[field.name] === MASKED} needed={field.required && !draft.credential && !before} value={draft.fields[field.name] ?? ""} change={(value) => set({ fields: { ...draft.fields, [field.name]: value } })} />
              ))}
            </SimpleGrid>
          </>
        )}
        <SimpleGrid cols={{ base: 2, sm: 3 }}>
          {PRICES.map((name) => number("prices", name, t(name === "input_cost_per_token" ? "models.priceIn" : "models.priceOut"), { prefix: "$", decimalScale: 9, placeholder: known?.[name] ? String(perMillion(String(known[name]))) : undefined }))}
          {LIMITS.map((name) => number("limits", name, labels[name]))}
        </SimpleGrid>
        <JsonInput label={t("models.moreParams")} description={t("models.moreParamsHint")} autosize minRows={2} maxRows={8} value={draft.more} onChange={(more) => set({ more })} error={moreBad && t("models.moreBad")} />
        {attempt.data && <Tried answer={attempt.data} />}
        {attempt.error && <Failed error={attempt.error} />}
        {save.error && <Failed error={save.error} />}
        <Group justify="space-between">
          <Group gap="xs">
            <Button variant="default" onClick={() => attempt.mutate()} loading={attempt.isPending} disabled={!ready}>
              {t("models.test")}
            </Button>
            <Text size="xs" c="dimmed">
              {t("models.testHint")}
            </Text>
          </Group>
          <Group gap="xs">
            <Button variant="default" onClick={close}>
              {t("app.cancel")}
            </Button>
            <Button type="submit" loading={save.isPending} disabled={!ready}>
              {t("app.save")}
            </Button>
          </Group>
        </Group>
      </Stack>
    </form>
  );
}

function Field({ field, kept, needed, value, change }: { field: FieldOffered; kept: boolean; needed: boolean; value: string; change: (value: string) => void }) {
  const { t } = useWords();
  const label = field.name === "api_key" ? t("models.apiKey") : field.name === "api_base" ? t("models.apiBase") : field.name;
  const hint = field.set_by ? t("models.setBy", { name: field.set_by }) : kept ? t("models.kept") : undefined;
  const props = { label, description: hint, required: needed && !kept, value, onChange: (event: { currentTarget: { value: string } }) => change(event.currentTarget.value) };
  return field.secret ? <PasswordInput autoComplete="off" {...props} /> : <TextInput {...props} />;
}

type Known = OfferedList["models"][number];

function priceOf(known: Known, money: (dollars: number) => string, t: ReturnType<typeof useWords>["t"]): string {
  const { input_cost_per_token: input, output_cost_per_token: output } = known;
  if (input === null && output === null) return t("models.unpriced");
  return `${t("models.price")}: ${t("models.inOut", { input: money((input ?? 0) * 1e6), output: money((output ?? 0) * 1e6) })}`;
}

/** What the form begins with: nothing, or the settings of the model that is changed, without what is secret. */
function drafted(providers: ProviderOffered[], before?: StoredModelShown): Draft {
  const draft: Draft = { provider: "", model: "", name: before?.model_name ?? "", mode: String(before?.model_info.mode ?? ""), credential: "", fields: {}, limits: {}, prices: {}, more: "" };
  if (!before) return draft;
  const params: Params = { ...before.litellm_params };
  const text = (value: unknown) => (value === undefined || value === null || value === MASKED ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
  const take = (name: string) => {
    const value = text(params[name]);
    delete params[name];
    return value;
  };
  const written = take("model");
  draft.provider = take("custom_llm_provider") || providers.find((one) => written.startsWith(`${one.name}/`))?.name || "";
  draft.model = written.startsWith(`${draft.provider}/`) ? written.slice(draft.provider.length + 1) : written;
  draft.credential = take("litellm_credential_name");
  for (const field of providers.find((one) => one.name === draft.provider)?.fields ?? []) draft.fields[field.name] = take(field.name);
  for (const name of LIMITS) draft.limits[name] = take(name);
  for (const name of PRICES) draft.prices[name] = perMillion(take(name));
  const shown = Object.fromEntries(Object.entries(params).filter(([, value]) => value !== MASKED));
  draft.more = Object.keys(shown).length ? JSON.stringify(shown, null, 2) : "";
  return draft;
}

/** `litellm_params` as the form has them; what is empty is null. */
function asked(draft: Draft, provider: ProviderOffered | undefined, more: Params): Params {
  const number = (value: string | undefined) => (value ? Number(value) : null);
  return {
    ...more,
    model: `${provider?.name ?? ""}/${draft.model.trim()}`,
    litellm_credential_name: draft.credential || null,
    ...Object.fromEntries((provider?.fields ?? []).map((field) => [field.name, draft.fields[field.name] || null])),
    ...Object.fromEntries(LIMITS.map((name) => [name, number(draft.limits[name])])),
    ...Object.fromEntries(PRICES.map((name) => [name, draft.prices[name] ? perToken(draft.prices[name]) : null])),
  };
}

/** What differs from before: null takes a setting away, and what is kept secret stays unless it is written anew. */
function changes(wanted: Params, before: StoredModelShown | undefined): Params {
  if (!before) return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== null));
  const gone = Object.fromEntries(Object.entries(before.litellm_params).filter(([name, value]) => !(name in wanted) && value !== MASKED).map(([name]) => [name, null]));
  const changed = Object.entries(wanted).filter(([name, value]) => {
    const was = before.litellm_params[name];
    if (was === MASKED && value === null) return false;
    return JSON.stringify(was ?? null) !== JSON.stringify(value) && !(was !== undefined && value !== null && Number(was) === Number(value));
  });
  return { ...gone, ...Object.fromEntries(changed) };
}

/** Decimals moved by six places as text: money passes through no binary fraction. */
export function perToken(perMillionTokens: string): string {
  const [whole = "0", part = ""] = plain(perMillionTokens).split(".");
  const digits = whole.padStart(7, "0");
  return `${digits.slice(0, -6)}.${digits.slice(-6)}${part}`;
}

export function perMillion(perOneToken: string): string {
  if (!perOneToken) return "";
  const [whole = "0", part = ""] = plain(perOneToken).split(".");
  const moved = `${whole}${part.padEnd(6, "0").slice(0, 6)}`.replace(/^0+(?=\d)/, "");
  const rest = part.slice(6).replace(/0+$/, "");
  return rest ? `${moved}.${rest}` : moved;
}

/** Without an exponent: 2.5e-7 is 0.00000025. */
function plain(value: string): string {
  const found = /^(\d+)(?:\.(\d+))?e-(\d+)$/i.exec(value);
  if (!found) return value;
  const digits = `${found[1]}${found[2] ?? ""}`;
  const places = Number(found[3]) + (found[2]?.length ?? 0);
  const padded = digits.padStart(places + 1, "0");
  return `${padded.slice(0, -places)}.${padded.slice(-places)}`;
}
