// What is in force and where each value came from, how the gateway is, and who changed what.
import { Alert, Anchor, Badge, Button, Code, Group, Pagination, Paper, Select, SimpleGrid, Stack, Switch, Table, Tabs, Text, TextInput, Title } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useSearchParams } from "wouter";
import { ask, get, queries } from "../api/client";
import type { AuditPage, AuditShown, EffectiveConfig, GatewayState, Setting } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { Asked, Bar, Empty, Failed, Page } from "../parts/basics";
import { Confirm } from "../parts/dialogs";
import { useRights } from "../parts/rights";

const AUDIT_ROWS = 25;
const STATE_MS = 10_000;
const SECTIONS = ["routing", "access", "sign_in", "money", "logs", "storage", "redis", "bounds", "params", "network"];
const TABS = ["configuration", "routing", "state", "audit"] as const;

export default function SettingsPage() {
  const { t } = useWords();
  const rights = useRights();
  const [params, setParams] = useSearchParams();
  const tabs = TABS.filter((name) => rights.changes_all || name === "state" || name === "audit");
  const tab = tabs.find((name) => name === params.get("tab")) ?? tabs[0]!;
  const effective = useQuery({ queryKey: ["effective"], queryFn: ({ signal }) => get<EffectiveConfig>("/config/effective", {}, signal), enabled: rights.changes_all && (tab === "configuration" || tab === "routing") });
  return (
    <Page title={t("nav.settings")}>
      <Tabs value={tab} onChange={(name) => name && setParams({ tab: name })} keepMounted={false}>
        <Tabs.List mb="md">
          {tabs.map((name) => (
            <Tabs.Tab key={name} value={name}>
              {t(`settings.${name}`)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="configuration">
          <Asked query={effective}>{(data) => <Configuration config={data} />}</Asked>
        </Tabs.Panel>
        <Tabs.Panel value="routing">
          <Asked query={effective}>{(data) => <Routing config={data} />}</Asked>
        </Tabs.Panel>
        <Tabs.Panel value="state">
          <State changes={rights.changes_all} />
        </Tabs.Panel>
        <Tabs.Panel value="audit">
          <Audit />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

// --- what is configured

const isSetting = (value: unknown): value is Setting => typeof value === "object" && value !== null && "source" in value && "value" in value;
const written = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
const from = (source: Setting["source"]): string => (typeof source === "string" ? source : Object.entries(source).map(([name, one]) => `${name}: ${one}`).join("; "));

type Rows = { title: string; rows: [string, Setting][] };

function Configuration({ config }: { config: EffectiveConfig }) {
  const { t } = useWords();
  const [wanted, setWanted] = useState("");
  const [all, setAll] = useState(false);
  const entries = (section: unknown): [string, Setting][] => Object.entries((section ?? {}) as Record<string, unknown>).filter((one): one is [string, Setting] => isSetting(one[1]));
  const model = (fields: Record<string, Setting>, place: number): Rows => ({ title: `${written(fields.model_name?.value ?? place)} → ${written(fields.provider_model?.value ?? "")}`, rows: entries(fields) });
  const sections: Rows[] = [
    ...SECTIONS.filter((name) => name in config).map((name) => ({ title: name, rows: entries(config[name]) })),
    { title: "environment", rows: entries(config.environment) },
    ...config.models.map(model),
    ...config.stored_models.map(model),
  ];
  const shown = sections
    .map(({ title, rows }) => ({ title, rows: rows.filter(([name, one]) => (all || one.source !== "default") && `${title} ${name} ${written(one.value)} ${from(one.source)}`.toLowerCase().includes(wanted.toLowerCase())) }))
    .filter(({ rows }) => rows.length > 0);
  return (
    <Stack>
      {config.warnings.map((warning) => (
        <Alert key={warning} variant="outline" color="orange" className="said">
          {warning}
        </Alert>
      ))}
      <Group align="end">
        <TextInput size="xs" label={t("models.search")} value={wanted} onChange={(event) => setWanted(event.currentTarget.value)} />
        <Switch label={t("settings.defaults")} checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />
        <Text size="sm" c="dimmed" className="said">
          {config.files.length > 0 ? t("settings.files", { files: config.files.join(", ") }) : t("settings.noFile")}
        </Text>
      </Group>
      {shown.length === 0 && <Empty title={t("settings.nothing")} hint={t("settings.nothingHint")} />}
      {shown.map(({ title, rows }, place) => (
        <Section key={`${title} ${place}`} title={title}>
          <Table.ScrollContainer minWidth={600} tabIndex={0}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th w="18rem">{t("settings.setting")}</Table.Th>
                  <Table.Th>{t("settings.value")}</Table.Th>
                  <Table.Th w="20rem">{t("settings.source")}</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {rows.map(([name, one]) => (
                  <Table.Tr key={name}>
                    <Table.Td className="mono said">{name}</Table.Td>
                    <Table.Td className="mono said">{written(one.value)}</Table.Td>
                    <Table.Td className="said">{from(one.source)}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        </Section>
      ))}
    </Stack>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Paper withBorder p="md" component="section" aria-label={title}>
      <Title order={2} size="h5" mb="xs" className="said">
        {title}
      </Title>
      {children}
    </Paper>
  );
}

// --- where calls go

type Fallbacks = Record<string, string[]>;

function Routing({ config }: { config: EffectiveConfig }) {
  const { t, number, duration } = useWords();
  const value = <T,>(name: string, otherwise: T): T => (config.routing[name]?.value as T | null | undefined) ?? otherwise;
  const models = [...config.models, ...config.stored_models].map((one) => ({ name: String(one.model_name?.value), to: String(one.provider_model?.value), weight: one.weight?.value as number | null, order: one.order?.value as number | null, rpm: one.rpm?.value as number | null }));
  const names = [...new Set(models.map((one) => one.name))];
  const general = value<Fallbacks>("fallbacks", {});
  const otherwise = value<string[]>("default_fallbacks", []);
  const kinds: [WordKey, Fallbacks][] = [
    ["settings.whenLong", value<Fallbacks>("context_window_fallbacks", {})],
    ["settings.whenRefused", value<Fallbacks>("content_policy_fallbacks", {})],
  ];
  const aliases = Object.entries(value<Record<string, { model: string; hidden: boolean }>>("aliases", {}));
  return (
    <Stack>
      <Section title={t("settings.attempts")}>
        <Stack gap={4}>
          <Text size="sm">{t("settings.retries", { count: value("retries", 0) })}</Text>
          <Text size="sm">
            {value("cooldowns", true) ? t("settings.cooldown", { fails: value("allowed_fails", 0), rest: duration(value("cooldown_s", 0) * 1000) }) : t("settings.noCooldown")}
          </Text>
          <Text size="sm">{t("settings.timeout", { total: duration(value("timeout_s", 0) * 1000) })}</Text>
        </Stack>
      </Section>
      <Section title={t("settings.paths")}>
        <Stack gap="sm">
          {names.map((name) => {
            const own = models.filter((one) => one.name === name);
            const next = general[name] ?? general["*"] ?? otherwise;
            const more = kinds.flatMap(([word, table]) => (table[name] ?? table["*"] ? [t(word, { names: (table[name] ?? table["*"])!.join(" → ") })] : []));
            return (
              <div key={name}>
                <Group gap="xs">
                  <Text size="sm" fw={600} className="said">
                    {name}
                  </Text>
                  {own.map((one, place) => (
                    <Badge key={place} variant="default" tt="none" fw={500}>
                      {one.to}
                      {own.length > 1 && ` · ${shareOf(one, own, number)}`}
                      {one.order !== null && one.order !== 1 && ` · ${t("models.order")} ${one.order}`}
                    </Badge>
                  ))}
                </Group>
                {next.filter((one) => one !== name).length > 0 && (
                  <Text size="sm" c="dimmed" className="said">
                    {t("settings.whenFails", { names: next.filter((one) => one !== name).join(" → ") })}
                  </Text>
                )}
                {more.map((line) => (
                  <Text key={line} size="sm" c="dimmed" className="said">
                    {line}
                  </Text>
                ))}
              </div>
            );
          })}
          {aliases.map(([name, alias]) => (
            <Text key={name} size="sm" className="said">
              {t("settings.alias", { name, model: alias.model })}
            </Text>
          ))}
        </Stack>
      </Section>
    </Stack>
  );
}

/** How much of a model's calls a deployment gets while all are well: by weight, else by its limit a minute. */
function shareOf(one: { weight: number | null; rpm: number | null; order: number | null }, all: { weight: number | null; rpm: number | null; order: number | null }[], number: (value: number) => string): string {
  const lowest = Math.min(...all.map((other) => other.order ?? 1));
  const weight = (other: { weight: number | null; rpm: number | null; order: number | null }) => ((other.order ?? 1) === lowest ? (other.weight ?? other.rpm ?? 1) : 0);
  const total = all.reduce((sum, other) => sum + weight(other), 0);
  return `${number(total ? Math.round((weight(one) / total) * 100) : 0)} %`;
}

// --- how the gateway is

function State({ changes }: { changes: boolean }) {
  const state = useQuery({ queryKey: ["state"], queryFn: ({ signal }) => get<GatewayState>("/tollway/state", {}, signal), refetchInterval: STATE_MS });
  return <Asked query={state}>{(data) => <Shown state={data} changes={changes} />}</Asked>;
}

function Shown({ state, changes }: { state: GatewayState; changes: boolean }) {
  const { t, number, ago, money, duration } = useWords();
  const { storage, journal } = state;
  const [freeing, setFreeing] = useState<GatewayState["leases"][number] | null>(null);
  const kept: Record<string, WordKey> = { bodies: "settings.bodies", responses: "settings.responses" };
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }}>
      <Section title={t("settings.gateway")}>
        <Facts
          facts={[
            ["Tollway", state.version],
            ["Python", state.python],
            [t("settings.system"), state.system],
            [t("settings.host"), state.host],
            [t("settings.workers"), number(state.workers)],
            [t("settings.started"), state.started_at && ago(state.started_at)],
            [t("settings.folder"), state.data_folder],
            [t("settings.prices"), t("settings.pricesOf", { day: state.catalog_as_of, count: number(state.catalog_models) })],
            [t("settings.exporters"), state.exporters.join(", ")],
          ]}
        />
        <Anchor size="sm" href="/ui/assets/licences.txt" target="_blank">
          {t("settings.licences")}
        </Anchor>
      </Section>
      <Section title={t("settings.storage")}>
        {storage.answers_ms === null ? <Failed error={storage.error} /> : null}
        <Facts
          facts={[
            [storage.kind, storage.where],
            [t("settings.answers"), storage.answers_ms === null ? t("settings.away") : duration(storage.answers_ms)],
            [t("settings.size"), storage.bytes === null ? null : bytes(storage.bytes, number)],
            [t("settings.schema"), storage.schema],
            [t("settings.shared"), storage.shared ? t("settings.sharedHosts") : t("settings.sharedNot")],
          ]}
        />
      </Section>
      <Section title={t("settings.journal")}>
        <Facts
          facts={[
            [t("settings.size"), t("settings.sizeOf", { size: bytes(journal.bytes, number), limit: bytes(journal.bytes_max, number) })],
            [t("settings.rowsWritten"), number(journal.rows_written)],
            [t("settings.rowsWaiting"), number(Math.max(0, journal.rows_written - journal.rows_stored))],
            [t("settings.rowsDropped"), journal.rows_dropped ? number(journal.rows_dropped) : null],
            [t("settings.damaged"), journal.damaged ? number(journal.damaged) : null],
          ]}
        />
        <Bar share={journal.bytes / journal.bytes_max} label={t("settings.journal")} />
      </Section>
      {state.kept.map((one) => (
        <Section key={one.name} title={kept[one.name] ? t(kept[one.name]!) : one.name}>
          <Facts
            facts={[
              [t("settings.size"), t("settings.sizeOf", { size: bytes(one.bytes, number), limit: bytes(one.bytes_max, number) })],
              [t("settings.keptFor"), t("overview.days", { count: one.days_max })],
            ]}
          />
          <Bar share={one.bytes / one.bytes_max} label={one.name} />
        </Section>
      ))}
      {state.leases.length > 0 && (
        <Section title={t("settings.leases")}>
          <Table>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t("settings.host")}</Table.Th>
                <Table.Th>{t("settings.worker")}</Table.Th>
                <Table.Th ta="right">{t("settings.outstanding")}</Table.Th>
                {changes && <Table.Th />}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {state.leases.map((one) => (
                <Table.Tr key={one.worker}>
                  <Table.Td className="said">{one.host || t("app.none")}</Table.Td>
                  <Table.Td className="mono said">{one.worker}</Table.Td>
                  <Table.Td ta="right">{money(one.outstanding)}</Table.Td>
                  {changes && (
                    <Table.Td ta="right">
                      <Button size="compact-xs" variant="default" onClick={() => setFreeing(one)}>
                        {t("settings.free")}
                      </Button>
                    </Table.Td>
                  )}
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Section>
      )}
      {freeing && (
        <Confirm
          title={t("settings.freeTitle", { host: freeing.host || freeing.worker })}
          hint={t("settings.freeHint")}
          submit={t("settings.free")}
          run={async () => {
            await ask("POST", "/tollway/leases/release", { worker: freeing.worker });
            await queries.invalidateQueries({ queryKey: ["state"] });
          }}
          close={() => setFreeing(null)}
        />
      )}
    </SimpleGrid>
  );
}

function Facts({ facts }: { facts: [string, string | null][] }) {
  return (
    <Table>
      <Table.Tbody>
        {facts
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th w="12rem">{name}</Table.Th>
              <Table.Td className="said">{value}</Table.Td>
            </Table.Tr>
          ))}
      </Table.Tbody>
    </Table>
  );
}

function bytes(count: number, number: (value: number) => string): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const at = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  const value = count / 1024 ** at;
  return `${number(value < 10 ? Math.round(value * 10) / 10 : Math.round(value))} ${units[at]}`;
}

// --- who changed what

const ACTIONS = ["created", "updated", "deleted", "blocked", "rotated", "reset", "released"];
const NOTHING = { changed_by: "", action: "", table_name: "", object_id: "", start_date: "", end_date: "" };

function Audit() {
  const { t, number } = useWords();
  const [filters, setFilters] = useState(NOTHING);
  const [page, setPage] = useState(1);
  const [settled] = useDebouncedValue(filters, 300);
  const moment = (local: string) => (local ? new Date(local).toISOString() : "");
  const audit = useQuery({
    queryKey: ["audit", settled, page],
    queryFn: ({ signal }) => get<AuditPage>("/audit", { ...settled, start_date: moment(settled.start_date), end_date: moment(settled.end_date), page, page_size: AUDIT_ROWS }, signal),
    placeholderData: (before) => before,
  });
  const set = (name: keyof typeof NOTHING) => (value: string) => {
    setFilters({ ...filters, [name]: value });
    setPage(1);
  };
  const field = (name: keyof typeof NOTHING, label: string, props = {}) => <TextInput size="xs" label={label} value={filters[name]} onChange={(event) => set(name)(event.currentTarget.value)} {...props} />;
  return (
    <Stack>
      <Group align="end" gap="xs">
        {field("changed_by", t("audit.who"))}
        <Select size="xs" label={t("audit.action")} data={ACTIONS.map((value) => ({ value, label: t(`audit.${value}` as WordKey) }))} value={filters.action || null} onChange={(value) => set("action")(value ?? "")} clearable />
        <Select size="xs" label={t("audit.kind")} data={Object.entries(TABLES).map(([value, word]) => ({ value, label: t(word) }))} value={filters.table_name || null} onChange={(value) => set("table_name")(value ?? "")} clearable />
        {field("object_id", t("audit.object"))}
        {field("start_date", t("logs.from"), { type: "datetime-local" })}
        {field("end_date", t("logs.until"), { type: "datetime-local" })}
        <Button
          size="xs"
          variant="default"
          onClick={() => {
            setFilters(NOTHING);
            setPage(1);
          }}
        >
          {t("logs.clear")}
        </Button>
      </Group>
      <Asked query={audit}>
        {(data) =>
          data.total === 0 ? (
            <Empty title={t("audit.empty")} hint={t("audit.emptyHint")} />
          ) : (
            <>
              <Stack gap="xs">
                {data.audit_logs.map((entry) => (
                  <Entry key={entry.id} of={entry} />
                ))}
              </Stack>
              <Group justify="space-between">
                <Text size="sm" c="dimmed">
                  {t("audit.total", { count: number(data.total) })}
                </Text>
                {data.total_pages > 1 && (
                  <Pagination
                    size="sm"
                    value={page}
                    onChange={setPage}
                    total={data.total_pages}
                    getItemProps={(to) => ({ "aria-label": t("people.page", { page: to }) })}
                    getControlProps={(control) => ({ "aria-label": t(`people.${control}` as WordKey) })}
                  />
                )}
              </Group>
            </>
          )
        }
      </Asked>
    </Stack>
  );
}

const TABLES: Record<string, WordKey> = {
  LiteLLM_VerificationToken: "overview.kind.key",
  LiteLLM_TeamTable: "overview.kind.team",
  LiteLLM_UserTable: "overview.kind.user",
  LiteLLM_OrganizationTable: "overview.kind.organization",
  LiteLLM_EndUserTable: "overview.kind.customer",
  LiteLLM_BudgetTable: "people.budget",
  LiteLLM_TagTable: "overview.kind.tag",
  LiteLLM_ProxyModelTable: "logs.model",
  LiteLLM_CredentialsTable: "models.credential",
};

function Entry({ of }: { of: AuditShown }) {
  const { t, moment } = useWords();
  const lines = differences(of.before_value, of.updated_values);
  const [open, setOpen] = useState(false);
  const word = ACTIONS.includes(of.action) ? t(`audit.${of.action}` as WordKey) : of.action;
  const kind = TABLES[of.table_name] ? t(TABLES[of.table_name]!) : of.table_name;
  return (
    <Paper withBorder p="xs" component="article" aria-label={`${word} ${kind} ${of.object_id}`}>
      <Group justify="space-between" wrap="nowrap" align="start">
        <Text size="sm" className="said">
          <b>{word}</b> {kind} <span className="mono">{of.object_id}</span>
          {of.changed_by && ` · ${of.changed_by}`}
        </Text>
        <Group gap="xs" wrap="nowrap">
          <Text size="xs" c="dimmed">
            {of.updated_at && moment(of.updated_at)}
          </Text>
          {lines.length > 0 && (
            <Button size="compact-xs" variant="default" aria-expanded={open} onClick={() => setOpen(!open)}>
              {t("audit.changes", { count: lines.length })}
            </Button>
          )}
        </Group>
      </Group>
      {open && (
        <Code block className="said" tabIndex={0}>
          {lines.map((line, place) => (
            <span key={place}>
              {line.before !== undefined && <span className="bad">{`- ${line.name}: ${line.before}\n`}</span>}
              {line.after !== undefined && <span className="good">{`+ ${line.name}: ${line.after}\n`}</span>}
            </span>
          ))}
        </Code>
      )}
    </Paper>
  );
}

// When and by whom: the entry itself says that.
const STAMPS = new Set(["created_us", "created_by", "updated_us", "updated_by", "created_at", "updated_at"]);

/** What differs, field by field: a value that stayed is left out. */
function differences(before: unknown, after: unknown): { name: string; before?: string; after?: string }[] {
  const was = flat(before);
  const is = flat(after);
  // An update may tell only what changed: what it does not name stayed.
  const partial = before !== null && before !== undefined && after !== null && after !== undefined;
  return [...new Set([...Object.keys(was), ...Object.keys(is)])]
    .sort()
    .filter((name) => !STAMPS.has(name) && was[name] !== is[name] && !(partial && !(name in is) && !Object.keys(is).some((other) => other.startsWith(`${name}.`) || name.startsWith(`${other}.`))))
    .map((name) => ({ name, before: was[name], after: is[name] }));
}

function flat(value: unknown, path = ""): Record<string, string> {
  if (value === null || value === undefined) return path ? { [path]: "null" } : {};
  if (typeof value !== "object" || Array.isArray(value)) return { [path || "value"]: JSON.stringify(value) };
  return Object.assign({}, ...Object.entries(value).map(([name, inner]) => flat(inner, path ? `${path}.${name}` : name))) as Record<string, string>;
}
