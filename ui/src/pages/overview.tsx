// What was spent, by whom and on what, against the budgets.
import "@mantine/dates/styles.css";
import { Badge, Button, Group, NativeSelect, Paper, SimpleGrid, Stack, Table, Text, Title } from "@mantine/core";
import { DatePickerInput, DatesProvider } from "@mantine/dates";
import { useQuery } from "@tanstack/react-query";
import "dayjs/locale/es";
import "dayjs/locale/fr";
import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import { get } from "../api/client";
import type { BudgetLine, Overview, Shares, Sum } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { Asked, Bar, Empty, Page, saveAs } from "../parts/basics";
import { Chart, type Point } from "../parts/charts";

const PRESETS = [1, 7, 30, 90];
const REFRESH_MS = 30_000;

// Days are in UTC, as the gateway counts them.
const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);

export default function OverviewPage() {
  const { t, language } = useWords();
  const [range, setRange] = useState<[string, string]>([day(-29), day(0)]);
  const overview = useQuery({
    queryKey: ["overview", ...range],
    queryFn: ({ signal }) => get<Overview>("/ui/api/overview", { start: range[0], end: range[1] }, signal),
    refetchInterval: REFRESH_MS,
    placeholderData: (before) => before,
  });
  return (
    <Page
      title={t("nav.overview")}
      actions={
        <>
          {PRESETS.map((days) => (
            <Button key={days} size="xs" variant={range[0] === day(1 - days) && range[1] === day(0) ? "filled" : "default"} onClick={() => setRange([day(1 - days), day(0)])}>
              {days === 1 ? t("overview.oneDay") : t("overview.days", { count: days })}
            </Button>
          ))}
          <DatesProvider settings={{ locale: language, firstDayOfWeek: 1 }}>
            <Range value={range} take={setRange} />
          </DatesProvider>
        </>
      }
    >
      <Asked query={overview}>{(data) => <Shown data={data} range={range} />}</Asked>
    </Page>
  );
}

function Range({ value, take }: { value: [string, string]; take: (value: [string, string]) => void }) {
  const { t } = useWords();
  const [picked, setPicked] = useState<[string | null, string | null] | null>(null);
  return (
    <DatePickerInput
      type="range"
      size="xs"
      label={t("overview.range")}
      valueFormat="D MMM YYYY"
      allowSingleDateInRange
      maxDate={day(0)}
      value={picked ?? value}
      onChange={(chosen) => {
        const [first, last] = chosen;
        setPicked(first && last ? null : chosen);
        if (first && last) take([first, last]);
      }}
    />
  );
}

function Shown({ data, range }: { data: Overview; range: [string, string] }) {
  const { t, money } = useWords();
  const [by, setBy] = useState<By | "">("");
  const shares = useQuery({
    queryKey: ["shares", by, ...range],
    queryFn: ({ signal }) => get<Shares>("/ui/api/shares", { by, start: range[0], end: range[1] }, signal),
    enabled: by !== "",
    placeholderData: (before) => before,
  });
  const download = () => {
    const head = ["kind", "name", "alias", "spend_usd", "calls", "failed", "input_tokens", "output_tokens"];
    const lines = (kind: string, sums: Sum[]) =>
      sums.map((one) => [kind, one.name, one.alias ?? "", one.spend ?? 0, one.calls ?? 0, one.failed ?? 0, one.input_tokens ?? 0, one.output_tokens ?? 0]);
    saveAs("tollway-spend.csv", [
      head,
      ...lines("day", data.days),
      ...lines("hour", data.hours),
      ...lines("model", data.models),
      ...lines("key", data.keys),
      ...lines("team", data.teams),
      ...lines("user", data.users),
      ...lines("provider", data.providers),
      ...lines("tag", data.tags),
      ...(by && shares.data ? lines(by, shares.data.sums) : []),
    ]);
  };
  const calls = data.days.reduce((sum, one) => sum + (one.calls ?? 0), 0);
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, xs: 2, lg: 4 }}>
        <Figure title={t("overview.today")} sum={data.today} />
        <Figure title={t("overview.week")} sum={data.week} />
        <Figure title={t("overview.month")} sum={data.month} />
        <Paper withBorder p="md">
          <Text size="sm" c="dimmed">
            {t("overview.gateway")}
          </Text>
          <Text size="xl" fw={700}>
            {data.limit === null ? money(data.spend) : t("overview.of", { spend: money(data.spend), limit: money(data.limit) })}
          </Text>
          {data.limit === null ? (
            <Text size="sm" c="dimmed">
              {t("overview.noLimit")}
            </Text>
          ) : (
            <Bar share={data.limit ? data.spend / data.limit : 1} label={t("overview.gateway")} />
          )}
        </Paper>
      </SimpleGrid>
      {calls === 0 ? (
        <Empty title={t("overview.empty")} hint={t("overview.emptyHint")}>
          <Button component={Link} href="/connect">
            {t("overview.connect")}
          </Button>
        </Empty>
      ) : (
        <>
          <Charts data={data} />
          <SimpleGrid cols={{ base: 1, lg: 2 }}>
            <Sums title={t("overview.byModel")} sums={data.models} />
            <Sums title={t("overview.byKey")} sums={data.keys} keys />
            {data.providers.length > 0 && <Sums title={t("overview.byProvider")} sums={data.providers} />}
            {data.teams.length > 0 && <Sums title={t("overview.byTeam")} sums={data.teams} />}
            {data.users.length > 0 && <Sums title={t("overview.byUser")} sums={data.users} />}
            {data.tags.length > 0 && <Sums title={t("overview.byTag")} sums={data.tags} />}
            <Sums
              title={by === "" ? t("overview.more") : t(BY[by])}
              sums={by === "" ? [] : (shares.data?.sums ?? [])}
              choose={
                <NativeSelect
                  size="xs"
                  aria-label={t("overview.more")}
                  data={[{ value: "", label: t("overview.choose") }, ...Object.entries(BY).map(([value, word]) => ({ value, label: t(word) }))]}
                  value={by}
                  onChange={(event) => setBy(event.currentTarget.value as By | "")}
                />
              }
            />
          </SimpleGrid>
          <Group>
            <Button variant="default" size="xs" onClick={download}>
              {t("app.download")}
            </Button>
          </Group>
        </>
      )}
      {data.budgets.length > 0 && <Budgets budgets={data.budgets} />}
    </Stack>
  );
}

// What there may be very many of is added up when somebody asks.
const BY = { end_user: "overview.byEndUser", organization_id: "overview.byOrganization", model: "overview.byDeployed" } as const satisfies Record<string, WordKey>;
type By = keyof typeof BY;

function Charts({ data }: { data: Overview }) {
  const { t, money, short, day, hour, duration } = useWords();
  const hourly = data.hours.length > 0;
  const points = (sums: Sum[], values: (one: Sum) => Record<string, number>): Point[] => sums.map((one) => ({ name: one.name, values: values(one) }));
  const over = hourly ? data.hours : data.days;
  const named = hourly ? hour : day;
  const times = data.times.map((one) => ({ name: one.name, values: { p50: one.p50, p95: one.p95, first50: one.first_byte_p50, first95: one.first_byte_p95 } }));
  const half = { label: t("overview.half"), color: "teal.6" };
  const most = { label: t("overview.most"), color: "orange.6" };
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }}>
      <Chart title={t(hourly ? "overview.spendHourly" : "overview.spend")} points={points(over, (one) => ({ spend: one.spend ?? 0 }))} series={[{ name: "spend", label: t("overview.cost"), color: "indigo.6" }]} format={money} named={named} />
      <Chart
        title={t(hourly ? "overview.callsHourly" : "overview.calls")}
        points={points(over, (one) => ({ answered: (one.calls ?? 0) - (one.failed ?? 0), failed: one.failed ?? 0 }))}
        series={[
          { name: "answered", label: t("overview.answered"), color: "teal.6" },
          { name: "failed", label: t("overview.failed"), color: "red.6" },
        ]}
        format={short}
        named={named}
      />
      <Chart
        title={t("overview.tokens")}
        points={points(data.days, (one) => ({ input: one.input_tokens ?? 0, output: one.output_tokens ?? 0 }))}
        series={[
          { name: "input", label: t("overview.input"), color: "blue.6" },
          { name: "output", label: t("overview.output"), color: "orange.6" },
        ]}
        format={short}
        named={day}
      />
      {data.times.length > 0 && (
        <Chart
          lines
          title={t("overview.times")}
          points={times}
          series={[
            { name: "p50", ...half },
            { name: "p95", ...most },
          ]}
          format={duration}
          named={day}
        />
      )}
      {times.some((one) => one.values.first50 !== null) && (
        <Chart
          lines
          title={t("overview.firstToken")}
          points={times}
          series={[
            { name: "first50", ...half },
            { name: "first95", ...most },
          ]}
          format={duration}
          named={day}
        />
      )}
    </SimpleGrid>
  );
}

function Figure({ title, sum }: { title: string; sum: Sum }) {
  const { t, money, short } = useWords();
  return (
    <Paper withBorder p="md">
      <Text size="sm" c="dimmed">
        {title}
      </Text>
      <Text size="xl" fw={700}>
        {money(sum.spend ?? 0)}
      </Text>
      <Text size="sm" c="dimmed">
        {t("overview.callsAndTokens", { calls: short(sum.calls ?? 0), tokens: short((sum.input_tokens ?? 0) + (sum.output_tokens ?? 0)) })}
        {(sum.failed ?? 0) > 0 && `, ${t("overview.errors", { failed: short(sum.failed ?? 0) })}`}
      </Text>
    </Paper>
  );
}

function Sums({ title, sums, keys = false, choose }: { title: string; sums: Sum[]; keys?: boolean; choose?: ReactNode }) {
  const { t, money, short } = useWords();
  const most = Math.max(...sums.map((one) => one.spend ?? 0), 0);
  const named = (one: Sum) => {
    if (one.name === "*") return t("overview.others");
    if (keys) return one.name === "" ? t("app.masterKey") : (one.alias ?? one.name.slice(0, 12));
    return one.alias ?? (one.name || t("app.none"));
  };
  return (
    <Paper withBorder p="md">
      <Group justify="space-between" mb="xs">
        <Title order={2} size="h5">
          {title}
        </Title>
        {choose}
      </Group>
      {sums.length > 0 && (
      <Table.ScrollContainer minWidth={480} tabIndex={0}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("overview.name")}</Table.Th>
            <Table.Th ta="right">{t("overview.cost")}</Table.Th>
            <Table.Th ta="right">{t("overview.count")}</Table.Th>
            <Table.Th ta="right">{t("overview.failed")}</Table.Th>
            <Table.Th ta="right">{t("logs.tokens")}</Table.Th>
            <Table.Th w="15%">{t("overview.share")}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {sums.map((one) => (
            <Table.Tr key={one.name}>
              <Table.Td className="said">{named(one)}</Table.Td>
              <Table.Td ta="right">{money(one.spend ?? 0)}</Table.Td>
              <Table.Td ta="right">{short(one.calls ?? 0)}</Table.Td>
              <Table.Td ta="right">{one.failed ? short(one.failed) : ""}</Table.Td>
              <Table.Td ta="right">
                {short(one.input_tokens ?? 0)} · {short(one.output_tokens ?? 0)}
              </Table.Td>
              <Table.Td>
                <Bar share={most ? (one.spend ?? 0) / most : 0} label={t("overview.share")} warns={false} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      </Table.ScrollContainer>
      )}
    </Paper>
  );
}

const KINDS: Record<string, WordKey> = { key: "overview.kind.key", team: "overview.kind.team", user: "overview.kind.user", organization: "overview.kind.organization", customer: "overview.kind.customer", tag: "overview.kind.tag" };

function Budgets({ budgets }: { budgets: BudgetLine[] }) {
  const { t, money, ago } = useWords();
  return (
    <Paper withBorder p="md">
      <Title order={2} size="h5" mb="xs">
        {t("overview.budgets")}
      </Title>
      <Stack gap="xs">
        {budgets.map((one) => (
          <div key={`${one.kind} ${one.key}`}>
            <Group justify="space-between">
              <Group gap="xs">
                <Badge variant="default" tt="none" fw={500}>
                  {KINDS[one.kind] ? t(KINDS[one.kind]!) : one.kind}
                </Badge>
                <Text size="sm" className="said">
                  {one.alias ?? one.name}
                </Text>
              </Group>
              <Text size="sm" c="dimmed">
                {t("overview.of", { spend: money(one.spend), limit: money(one.limit) })}
                {one.resets_at && `, ${t("keys.resets", { when: ago(one.resets_at) })}`}
              </Text>
            </Group>
            <Bar share={one.spend / one.limit} label={one.alias ?? one.name} />
          </div>
        ))}
      </Stack>
    </Paper>
  );
}
