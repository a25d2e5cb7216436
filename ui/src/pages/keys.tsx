// Virtual keys: made, limited, rotated, blocked.
import { ActionIcon, Button, Group, Menu, Modal, MultiSelect, NumberInput, Pagination, Paper, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { ask, get, queries } from "../api/client";
import type { KeyPage, KeyShown, MadeKey, ModelList } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { Asked, Bar, Empty, Failed, Page } from "../parts/basics";
import { useReturnFocus } from "../parts/focus";
import { Icon } from "../parts/icons";
import { Pick } from "../parts/pick";
import { useRights } from "../parts/rights";
import { Secret } from "../parts/secret";

const PAGE_SIZE = 50;
const changed = () => queries.invalidateQueries({ queryKey: ["keys"] });

/** Whose keys are shown and made, as the page's address says. */
const BELONGINGS = ["team_id", "user_id", "organization_id"] as const;
type Belongs = Partial<Record<(typeof BELONGINGS)[number], string>>;

type Doing = { what: "create" } | { what: "edit" | "rotate" | "delete"; key: KeyShown };

export default function KeysPage() {
  const { t } = useWords();
  const [page, setPage] = useState(1);
  const [params, setParams] = useSearchParams();
  const belongs: Belongs = Object.fromEntries(BELONGINGS.flatMap((name) => (params.get(name) ? [[name, params.get(name)]] : [])));
  const of = Object.values(belongs).join(", ");
  const [doing, setDoing] = useState<Doing | null>(params.has("create") ? { what: "create" } : null);
  const [secret, setSecret] = useState<string | null>(null);
  const keys = useQuery({
    queryKey: ["keys", page, belongs],
    queryFn: ({ signal }) => get<KeyPage>("/key/list", { ...belongs, return_full_object: true, page, size: PAGE_SIZE }, signal),
    placeholderData: (before) => before,
    refetchInterval: 15_000,
  });
  const made = (key: MadeKey) => {
    setDoing(null);
    setSecret(key.key);
    void changed();
  };
  const done = () => {
    setDoing(null);
    void changed();
  };
  const create = useRights().makes_keys && <Button onClick={() => setDoing({ what: "create" })}>{t("keys.create")}</Button>;
  return (
    <Page title={t("nav.keys")} actions={create}>
      {of && (
        <Group gap="xs">
          <Text size="sm" className="said">
            {t("keys.onlyOf", { name: of })}
          </Text>
          <Button
            size="compact-xs"
            variant="default"
            onClick={() => {
              setParams({});
              setPage(1);
            }}
          >
            {t("keys.showAll")}
          </Button>
        </Group>
      )}
      <Asked query={keys}>
        {(data) =>
          data.total_count === 0 ? (
            <Empty title={t("keys.empty")} hint={t("keys.emptyHint")}>
              {create}
            </Empty>
          ) : (
            <>
              <Keys keys={data.keys} act={setDoing} />
              <Group justify="space-between">
                <Text size="sm" c="dimmed">
                  {t("keys.total", { count: data.total_count })}
                </Text>
                {data.total_pages > 1 && <Pagination size="sm" value={page} onChange={setPage} total={data.total_pages} />}
              </Group>
            </>
          )
        }
      </Asked>
      {doing?.what === "create" && <Edit belongs={belongs} close={() => setDoing(null)} made={made} done={done} />}
      {doing?.what === "edit" && <Edit of={doing.key} close={() => setDoing(null)} made={made} done={done} />}
      {doing?.what === "rotate" && <Rotate of={doing.key} close={() => setDoing(null)} made={made} />}
      {doing?.what === "delete" && <Delete of={doing.key} close={() => setDoing(null)} done={done} />}
      <Secret secret={secret} close={() => setSecret(null)} />
    </Page>
  );
}

function Keys({ keys, act }: { keys: KeyShown[]; act: (doing: Doing) => void }) {
  const { t } = useWords();
  const heads: WordKey[] = ["keys.name", "keys.state", "keys.spend", "keys.limits", "keys.lastUsed", "keys.actions"];
  return (
    <Paper withBorder>
      <Table.ScrollContainer minWidth={800} tabIndex={0}>
        <Table highlightOnHover verticalSpacing="xs">
          <Table.Thead>
            <Table.Tr>
              {heads.map((head) => (
                <Table.Th key={head}>{t(head)}</Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {keys.map((key) => (
              <Key key={key.token} of={key} act={act} />
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Paper>
  );
}

function Key({ of, act }: { of: KeyShown; act: (doing: Doing) => void }) {
  const { t, money, short, ago } = useWords();
  const name = of.key_alias ?? t("keys.unnamed");
  const { makes_keys, changes_all } = useRights();
  const may_unblock = changes_all || of.team_id !== null; // of a team's key the gateway knows more than this page
  const block = useMutation({ mutationFn: () => ask("POST", of.blocked ? "/key/unblock" : "/key/block", { key: of.token }), onSuccess: changed });
  const expired = of.expires !== null && new Date(of.expires).getTime() < Date.now();
  const state = of.blocked ? "blocked" : expired ? "expired" : "active";
  const limits = [
    of.rpm_limit !== null && `${short(of.rpm_limit)} rpm`,
    of.tpm_limit !== null && `${short(of.tpm_limit)} tpm`,
    of.max_parallel_requests !== null && `${t("keys.parallel")}: ${of.max_parallel_requests}`,
    of.models.length > 0 && of.models.join(", "),
  ].filter(Boolean);
  return (
    <Table.Tr>
      <Table.Td>
        <Text size="sm" fw={600} className="said">
          {name}
        </Text>
        <Text size="xs" c="dimmed" className="mono">
          {of.key_name}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm" className={state === "active" ? "good" : "bad"}>
          {t(`keys.${state}`)}
        </Text>
        {block.error && <Failed error={block.error} />}
      </Table.Td>
      <Table.Td miw="12rem">
        <Text size="sm">
          {of.max_budget === null ? `${money(of.spend)}, ${t("keys.noBudget")}` : t("overview.of", { spend: money(of.spend), limit: money(of.max_budget) })}
        </Text>
        {of.max_budget !== null && <Bar share={of.max_budget ? of.spend / of.max_budget : 1} label={`${t("keys.spend")} ${name}`} />}
        <Text size="xs" c="dimmed">
          {of.budget_reset_at ? t("keys.resets", { when: ago(of.budget_reset_at) }) : t("keys.ever", { spend: money(of.total_spend) })}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm" className="said">
          {limits.join(" · ") || t("app.none")}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm">{of.last_active ? ago(of.last_active) : t("keys.neverUsed")}</Text>
      </Table.Td>
      <Table.Td>
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon variant="default" aria-label={t("keys.actionsOf", { name })} loading={block.isPending}>
              <Icon name="more" />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item component={Link} href={`/logs?key=${of.token}`}>
              {t("keys.calls")}
            </Menu.Item>
            {makes_keys && (
              <>
                <Menu.Item onClick={() => act({ what: "edit", key: of })}>{t("keys.edit")}</Menu.Item>
                <Menu.Item onClick={() => act({ what: "rotate", key: of })}>{t("keys.rotate")}</Menu.Item>
                {(!of.blocked || may_unblock) && (
                  <Menu.Item onClick={() => block.mutate()}>{of.blocked ? t("keys.unblock") : t("keys.block")}</Menu.Item>
                )}
                <Menu.Item onClick={() => act({ what: "delete", key: of })}>{t("keys.delete")}</Menu.Item>
              </>
            )}
          </Menu.Dropdown>
        </Menu>
      </Table.Td>
    </Table.Tr>
  );
}

type Fields = { key_alias: string; max_budget: string; budget_duration: string; rpm_limit: string; tpm_limit: string; max_parallel_requests: string; models: string[]; duration: string };

/** Makes a key, or changes the limits of one. */
function Edit({ of, belongs = {}, close, made, done }: { of?: KeyShown; belongs?: Belongs; close: () => void; made: (key: MadeKey) => void; done: () => void }) {
  const { t } = useWords();
  const written = (value: number | null | undefined) => (value === null || value === undefined ? "" : String(value));
  const [fields, setFields] = useState<Fields>({
    key_alias: of?.key_alias ?? "",
    max_budget: written(of?.max_budget),
    budget_duration: of?.budget_duration ?? (of ? "" : "monthly"),
    rpm_limit: written(of?.rpm_limit),
    tpm_limit: written(of?.tpm_limit),
    max_parallel_requests: written(of?.max_parallel_requests),
    models: of?.models ?? [],
    duration: "",
  });
  const set = (more: Partial<Fields>) => setFields({ ...fields, ...more });
  const rights = useRights();
  useReturnFocus();
  const [owner, setOwner] = useState<Record<"team_id" | "user_id" | "organization_id" | "budget_id", string | null>>({
    team_id: belongs.team_id ?? null,
    user_id: belongs.user_id ?? null,
    organization_id: belongs.organization_id ?? null,
    budget_id: null,
  });
  const models = useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get<ModelList>("/model/info", {}, signal) });
  const names = [...new Set([...(models.data?.data.map((one) => one.model_name) ?? []), ...fields.models])];
  const save = useMutation({
    mutationFn: async () => {
      // Money stays the text that was written: no binary fraction on the way.
      const whole = (value: string) => (value === "" ? null : Number(value));
      const body = {
        key_alias: fields.key_alias || null,
        max_budget: fields.max_budget === "" ? null : fields.max_budget,
        budget_duration: fields.max_budget === "" ? null : fields.budget_duration || null,
        rpm_limit: whole(fields.rpm_limit),
        tpm_limit: whole(fields.tpm_limit),
        max_parallel_requests: whole(fields.max_parallel_requests),
        models: fields.models,
      };
      if (of) {
        await ask("POST", "/key/update", { ...body, key: of.token });
        done();
      } else {
        const given = Object.fromEntries(Object.entries({ ...body, ...owner, duration: fields.duration || null }).filter(([, value]) => value !== null));
        made(await ask<MadeKey>("POST", "/key/generate", given));
      }
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  const number = (name: "max_budget" | "rpm_limit" | "tpm_limit" | "max_parallel_requests", label: string, more = {}) => (
    <NumberInput label={label} min={0} allowDecimal={name === "max_budget"} value={fields[name]} onChange={(value) => set({ [name]: String(value) })} {...more} />
  );
  const periods = [
    { value: "", label: t("keys.never") },
    { value: "daily", label: t("keys.daily") },
    { value: "weekly", label: t("keys.weekly") },
    { value: "monthly", label: t("keys.monthly") },
  ];
  if (!periods.some((one) => one.value === fields.budget_duration)) periods.push({ value: fields.budget_duration, label: fields.budget_duration });
  return (
    <Modal opened onClose={close} title={of ? t("keys.edit") : t("keys.create")} closeButtonProps={{ "aria-label": t("app.close") }}>
      <form onSubmit={submit}>
        <Stack>
          <TextInput label={t("keys.name")} description={t("keys.nameHint")} value={fields.key_alias} onChange={(event) => set({ key_alias: event.currentTarget.value })} data-autofocus />
          {!of && (
            <>
              <Pick kind="team" label={t("people.team")} value={owner.team_id} choose={(team_id) => setOwner({ ...owner, team_id })} />
              {rights.sees_all && <Pick kind="user" label={t("people.user")} value={owner.user_id} choose={(user_id) => setOwner({ ...owner, user_id })} />}
              {rights.changes_all && (
                <Group grow align="start">
                  <Pick kind="organization" label={t("people.organization")} value={owner.organization_id} choose={(organization_id) => setOwner({ ...owner, organization_id })} />
                  <Pick kind="budget" label={t("budgets.shared")} value={owner.budget_id} choose={(budget_id) => setOwner({ ...owner, budget_id })} />
                </Group>
              )}
            </>
          )}
          <Group grow>
            {number("max_budget", t("keys.budget"), { decimalScale: 9 })}
            <Select label={t("keys.period")} data={periods} value={fields.budget_duration} onChange={(value) => set({ budget_duration: value ?? "" })} allowDeselect={false} />
          </Group>
          <Group grow>
            {number("rpm_limit", t("keys.rpm"))}
            {number("tpm_limit", t("keys.tpm"))}
          </Group>
          {number("max_parallel_requests", t("keys.parallel"))}
          <MultiSelect label={t("keys.models")} description={t("keys.modelsHint")} data={names} value={fields.models} onChange={(chosen) => set({ models: chosen })} searchable />
          {!of && (
            <Select
              label={t("keys.expires")}
              data={[
                { value: "", label: t("keys.never") },
                { value: "1d", label: t("keys.day") },
                { value: "7d", label: t("keys.week") },
                { value: "30d", label: t("overview.days", { count: 30 }) },
                { value: "365d", label: t("overview.days", { count: 365 }) },
              ]}
              value={fields.duration}
              onChange={(value) => set({ duration: value ?? "" })}
              allowDeselect={false}
            />
          )}
          {save.error && <Failed error={save.error} />}
          <Group justify="end">
            <Button variant="default" onClick={close}>
              {t("app.cancel")}
            </Button>
            <Button type="submit" loading={save.isPending}>
              {of ? t("app.save") : t("keys.create")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Rotate({ of, close, made }: { of: KeyShown; close: () => void; made: (key: MadeKey) => void }) {
  const { t } = useWords();
  const [grace, setGrace] = useState("");
  useReturnFocus();
  const rotate = useMutation({
    mutationFn: () => ask<MadeKey>("POST", "/key/regenerate", { key: of.token, ...(grace ? { grace_period: grace } : {}) }),
    onSuccess: made,
  });
  return (
    <Modal opened onClose={close} title={t("keys.rotateTitle", { name: of.key_alias ?? of.key_name })} closeButtonProps={{ "aria-label": t("app.close") }}>
      <Stack>
        <Text size="sm">{t("keys.rotateHint")}</Text>
        <Select
          label={t("keys.grace")}
          data={[
            { value: "", label: t("keys.noGrace") },
            { value: "1h", label: t("keys.hour") },
            { value: "1d", label: t("keys.day") },
            { value: "7d", label: t("keys.week") },
          ]}
          value={grace}
          onChange={(value) => setGrace(value ?? "")}
          allowDeselect={false}
        />
        {rotate.error && <Failed error={rotate.error} />}
        <Group justify="end">
          <Button variant="default" onClick={close}>
            {t("app.cancel")}
          </Button>
          <Button onClick={() => rotate.mutate()} loading={rotate.isPending}>
            {t("keys.rotate")}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function Delete({ of, close, done }: { of: KeyShown; close: () => void; done: () => void }) {
  const { t } = useWords();
  useReturnFocus();
  const remove = useMutation({ mutationFn: () => ask("POST", "/key/delete", { keys: [of.token] }), onSuccess: done });
  return (
    <Modal opened onClose={close} title={t("keys.deleteTitle", { name: of.key_alias ?? of.key_name })} closeButtonProps={{ "aria-label": t("app.close") }}>
      <Stack>
        <Text size="sm">{t("keys.deleteHint")}</Text>
        {remove.error && <Failed error={remove.error} />}
        <Group justify="end">
          <Button variant="default" onClick={close}>
            {t("app.cancel")}
          </Button>
          <Button color="red" onClick={() => remove.mutate()} loading={remove.isPending}>
            {t("keys.delete")}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
