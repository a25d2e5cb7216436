// Which deployments serve which model: what they cost and can, how they are doing, and new ones.
import { ActionIcon, Badge, Button, Group, Menu, Paper, Stack, Table, Text, TextInput, Tooltip } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { Link, useLocation } from "wouter";
import { ask, get } from "../api/client";
import type { ConnectionAnswer, DeploymentList, DeploymentShown, HealthAnswer, ModelList, ModelShown, Timing, Timings } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { Asked, Empty, Failed, Page } from "../parts/basics";
import { Confirm } from "../parts/dialogs";
import { Icon } from "../parts/icons";
import { modelsChanged } from "../parts/models";
import { leave } from "../parts/replay";
import { useRights } from "../parts/rights";
import { Tried } from "../parts/tried";

// What few people do is loaded when they do it.
const Edit = lazy(() => import("../parts/model_edit"));
const Credentials = lazy(() => import("../parts/credentials"));

const STATES_MS = 5_000;
const TIMINGS_MS = 60_000;
const ABILITIES = [
  "supports_vision",
  "supports_function_calling",
  "supports_reasoning",
  "supports_web_search",
  "supports_prompt_caching",
  "supports_pdf_input",
  "supports_audio_input",
  "supports_response_schema",
] as const;

type Doing = { what: "new" | "credentials" } | { what: "edit" | "delete"; of: Known };
/** A deployment as far as it is known: what it is, what it is doing, and how long it took. */
type Known = { id: string; name: string; shown?: ModelShown; state?: DeploymentShown; timing?: Timing };

export default function ModelsPage() {
  const { t } = useWords();
  const rights = useRights();
  const [wanted, setWanted] = useState("");
  const [doing, setDoing] = useState<Doing | null>(null);
  const models = useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get<ModelList>("/model/info", {}, signal) });
  const states = useQuery({
    queryKey: ["deployments"],
    queryFn: ({ signal }) => get<DeploymentList>("/tollway/deployments", {}, signal),
    enabled: rights.sees_all,
    refetchInterval: STATES_MS,
  });
  const timings = useQuery({
    queryKey: ["timings"],
    queryFn: ({ signal }) => get<Timings>("/tollway/deployments/timings", {}, signal),
    enabled: rights.sees_all,
    refetchInterval: TIMINGS_MS,
  });
  const health = useMutation({ mutationFn: () => get<HealthAnswer>("/health") });
  const heads: WordKey[] = ["logs.model", "models.deployment", "models.price", "models.context", "models.can", "models.health", ...(rights.changes_all ? (["keys.actions"] as const) : [])];
  return (
    <Page
      title={t("nav.models")}
      actions={
        <>
          <TextInput size="xs" aria-label={t("models.search")} placeholder={t("models.search")} value={wanted} onChange={(event) => setWanted(event.currentTarget.value)} />
          {rights.changes_all && (
            <>
              <Tooltip label={t("models.checkHint")}>
                <Button size="xs" variant="default" onClick={() => health.mutate()} loading={health.isPending}>
                  {t("models.check")}
                </Button>
              </Tooltip>
              <Button size="xs" variant="default" onClick={() => setDoing({ what: "credentials" })}>
                {t("models.credentials")}
              </Button>
              <Button size="xs" onClick={() => setDoing({ what: "new" })}>
                {t("models.add")}
              </Button>
            </>
          )}
        </>
      }
    >
      {health.error && <Failed error={health.error} />}
      {states.error && <Failed error={states.error} retry={() => void states.refetch()} />}
      <Asked query={models}>
        {({ data }) => {
          const known = together(data, states.data?.deployments, timings.data?.deployments);
          if (known.length === 0) return <Empty title={t("models.empty")} hint={t("models.emptyHint")} />;
          return (
            <Paper withBorder>
              <Table.ScrollContainer minWidth={1000} tabIndex={0}>
                <Table verticalSpacing="xs">
                  <Table.Thead>
                    <Table.Tr>
                      {heads.map((head) => (
                        <Table.Th key={head}>{t(head)}</Table.Th>
                      ))}
                    </Table.Tr>
                  </Table.Thead>
                  <Table.Tbody>
                    {known
                      .filter((one) => `${one.name} ${one.shown?.litellm_params.model ?? one.state?.model}`.toLowerCase().includes(wanted.toLowerCase()))
                      .map((one) => (
                        <Model key={`${one.name} ${one.id}`} of={one} health={health.data} act={setDoing} changes={rights.changes_all} />
                      ))}
                  </Table.Tbody>
                </Table>
              </Table.ScrollContainer>
            </Paper>
          );
        }}
      </Asked>
      <Seen states={states.data} timings={timings.data} />
      <Suspense fallback={null}>
        {doing?.what === "new" && <Edit close={() => setDoing(null)} />}
        {doing?.what === "edit" && <Edit id={doing.of.id} close={() => setDoing(null)} />}
        {doing?.what === "credentials" && <Credentials close={() => setDoing(null)} />}
      </Suspense>
      {doing?.what === "delete" && (
        <Confirm
          title={t("models.deleteTitle", { name: doing.of.name })}
          hint={t("models.deleteHint")}
          submit={t("keys.delete")}
          run={async () => {
            await ask("POST", "/model/delete", { id: doing.of.id });
            modelsChanged();
          }}
          close={() => setDoing(null)}
        />
      )}
    </Page>
  );
}

function together(models: ModelShown[], states: DeploymentShown[] | undefined, timings: Timing[] | undefined): Known[] {
  const timing = new Map(timings?.map((one) => [one.model_id, one]));
  const state = new Map(states?.map((one) => [`${one.model_name} ${one.model_id}`, one]));
  const known: Known[] = models.map((shown) => ({
    id: shown.model_info.id,
    name: shown.model_name,
    shown,
    state: state.get(`${shown.model_name} ${shown.model_info.id}`),
    timing: timing.get(shown.model_info.id),
  }));
  // Patterns are no models: only the gateway's own list has them.
  const patterns = states?.filter((one) => one.pattern).map((one) => ({ id: one.model_id, name: one.model_name, state: one }));
  return [...known, ...(patterns ?? [])];
}

/** Whose word the states are, and of how many calls the times are told. */
function Seen({ states, timings }: { states: DeploymentList | undefined; timings: Timings | undefined }) {
  const { t, number, ago } = useWords();
  if (!states) return null;
  return (
    <Text size="xs" c="dimmed">
      {t(states.workers > 1 ? "models.seenWorkers" : "models.seenOne", { count: states.workers })}
      {states.shared && ` ${t("models.seenHosts")}`}
      {timings?.since && ` ${t("models.seenCalls", { count: number(timings.calls), since: ago(timings.since) })}`}
    </Text>
  );
}

function Model({ of, health, act, changes }: { of: Known; health: HealthAnswer | undefined; act: (doing: Doing) => void; changes: boolean }) {
  const { t, money, short } = useWords();
  const { shown, state } = of;
  const info = shown?.model_info;
  const price = (perToken: number | null | undefined) => money((perToken ?? 0) * 1e6);
  const priced = typeof info?.input_cost_per_token === "number" || typeof info?.output_cost_per_token === "number";
  const rpm = shown?.litellm_params.rpm ?? state?.rpm;
  const tpm = shown?.litellm_params.tpm ?? state?.tpm;
  const limits = [
    info?.max_input_tokens && t("models.tokensIn", { count: short(info.max_input_tokens) }),
    info?.max_output_tokens && t("models.tokensOut", { count: short(info.max_output_tokens) }),
    rpm && `${short(rpm)} rpm`,
    tpm && `${short(tpm)} tpm`,
  ].filter(Boolean);
  const routing = [
    state && state.weight !== 1 && `${t("models.weight")} ${short(state.weight)}`,
    state && state.order !== 1 && `${t("models.order")} ${state.order}`,
    state && state.fallbacks.length > 0 && t("models.fallsBack", { names: state.fallbacks.join(", ") }),
  ].filter(Boolean);
  const attempt = useMutation({ mutationFn: () => ask<ConnectionAnswer>("POST", "/health/test_connection", { model_info: { id: of.id } }) });
  const release = useMutation({ mutationFn: () => ask("POST", "/tollway/deployments/release", { model_id: of.id }), onSuccess: modelsChanged });
  return (
    <Table.Tr>
      <Table.Td>
        <Text size="sm" fw={600} className="said">
          {of.name}
        </Text>
        {routing.length > 0 && (
          <Text size="xs" c="dimmed" className="said">
            {routing.join(" · ")}
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        <Text size="sm" className="said">
          {shown?.litellm_params.model ?? state?.model}
        </Text>
        <Text size="xs" c="dimmed" className="said">
          {[info?.litellm_provider ?? state?.provider, shown?.litellm_params.api_base ?? state?.api_base].filter(Boolean).join(" · ")}
        </Text>
        <Text size="xs" c="dimmed" className="said">
          {(info?.db_model ?? state?.db_model) ? t("models.fromApi") : state?.place.split(/[\\/]/).at(-1)}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm">{!shown ? "" : priced ? t("models.inOut", { input: price(info?.input_cost_per_token), output: price(info?.output_cost_per_token) }) : t("models.unpriced")}</Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm">{limits.join(" · ") || t("app.none")}</Text>
      </Table.Td>
      <Table.Td>
        <Group gap={4}>
          {info?.mode && info.mode !== "chat" && <Badge variant="default">{info.mode}</Badge>}
          {ABILITIES.filter((can) => info?.[can]).map((can) => (
            <Badge key={can} variant="default" tt="none" fw={500}>
              {t(`can.${can}`)}
            </Badge>
          ))}
        </Group>
      </Table.Td>
      <Table.Td maw="20rem">
        <Health of={of} health={health} />
        {attempt.isPending && (
          <Text size="xs" c="dimmed" role="status">
            {t("models.trying")}
          </Text>
        )}
        {attempt.data && <Tried answer={attempt.data} />}
        {(attempt.error ?? release.error) && <Failed error={attempt.error ?? release.error} />}
      </Table.Td>
      {changes && (
        <Table.Td>
          <Actions of={of} act={act} attempt={() => attempt.mutate()} release={() => release.mutate()} />
        </Table.Td>
      )}
    </Table.Tr>
  );
}

function Actions({ of, act, attempt, release }: { of: Known; act: (doing: Doing) => void; attempt: () => void; release: () => void }) {
  const { t } = useWords();
  const [, go] = useLocation();
  const chat = of.shown && (of.shown.model_info.mode ?? "chat") === "chat";
  const stored = of.shown?.model_info.db_model ?? of.state?.db_model;
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="default" aria-label={t("keys.actionsOf", { name: of.name })}>
          <Icon name="more" />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {of.shown && <Menu.Item onClick={attempt}>{t("models.test")}</Menu.Item>}
        {of.state?.state === "resting" && <Menu.Item onClick={release}>{t("models.release")}</Menu.Item>}
        {chat && (
          <Menu.Item
            onClick={() => {
              leave({ model: of.name });
              go("/playground");
            }}
          >
            {t("models.try")}
          </Menu.Item>
        )}
        <Menu.Item component={Link} href={`/logs?model=${encodeURIComponent(of.name)}`}>
          {t("keys.calls")}
        </Menu.Item>
        {stored ? (
          <>
            <Menu.Item onClick={() => act({ what: "edit", of })}>{t("models.edit")}</Menu.Item>
            <Menu.Item onClick={() => act({ what: "delete", of })}>{t("keys.delete")}</Menu.Item>
          </>
        ) : (
          <Menu.Item disabled>{t("models.inFile", { place: of.state?.place ?? "" })}</Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}

/** Whether calls go there, since when not and why, how long they take, and what was found when somebody asked. */
function Health({ of, health }: { of: Known; health: HealthAnswer | undefined }) {
  const { t, ago, number, duration, clock } = useWords();
  const { state, timing } = of;
  const sick = health?.unhealthy_endpoints.find((one) => one.model_id === of.id);
  const well = health?.healthy_endpoints.some((one) => one.model_id === of.id);
  const resting = state?.workers.filter((one) => one.resting_until) ?? [];
  const error = newestError(of);
  return (
    <Stack gap={2}>
      {state?.state === "missing" && (
        <Text size="sm" className="bad said">
          {state.missing}
        </Text>
      )}
      {state?.state === "blocked" && <Text size="sm" className="warn">{t("keys.blocked")}</Text>}
      {resting.map((one) => (
        <Text key={one.worker} size="sm" className="warn said">
          {state!.workers.length > 1 ? t("models.restsIn", { worker: one.worker + 1, until: clock(Date.parse(one.resting_until!)) }) : t("models.rests", { until: clock(Date.parse(one.resting_until!)) })}
        </Text>
      ))}
      {state?.state === "ready" && !sick && <Text size="sm" className={well ? "good" : undefined}>{t(well ? "models.healthy" : "models.ready")}</Text>}
      {!state && well && <Text size="sm" className="good">{t("models.healthy")}</Text>}
      {sick && (
        <Text size="sm" className="bad said">
          {sick.exception_status}: {sick.error?.slice(0, 300)}
        </Text>
      )}
      {timing && (
        <Text size="xs" c="dimmed">
          {[
            timing.p50_ms !== null && timing.p95_ms !== null && t("models.times", { half: duration(timing.p50_ms), most: duration(timing.p95_ms) }),
            timing.first_byte_p50_ms !== null && t("play.firstToken", { ms: duration(timing.first_byte_p50_ms) }),
            t("models.failedOf", { failed: number(timing.failed), calls: number(timing.calls) }),
          ]
            .filter(Boolean)
            .join(" · ")}
        </Text>
      )}
      {error && (
        <Text size="xs" c="dimmed" className="said" lineClamp={3}>
          {t("models.lastError", { error: error.text })}
          {error.at && ` (${ago(error.at)})`}
        </Text>
      )}
    </Stack>
  );
}

function newestError({ state, timing }: Known): { text: string; at: string | null } | null {
  const worker = state?.workers.find((one) => one.last_error && one.resting_until) ?? state?.workers.find((one) => one.last_error);
  if (worker?.resting_until) return { text: worker.last_error, at: null };
  if (timing?.last_error) return { text: timing.last_error, at: timing.last_error_at };
  return worker ? { text: worker.last_error, at: null } : null;
}
