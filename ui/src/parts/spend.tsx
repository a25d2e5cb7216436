// What one team, user, organisation, customer or tag spent: by day, by model and by whom.
import { Button, Group, Stack, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get } from "../api/client";
import type { SpendShown, Sum } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Bar, Empty } from "./basics";
import { Chart } from "./charts";

const PRESETS = [7, 30, 90];
const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);

type Of = { team_id: string } | { user_id: string } | { organization_id: string } | { end_user: string } | { tag: string };

export function Spend({ of }: { of: Of }) {
  const { t, money, short, day: written } = useWords();
  const [days, setDays] = useState(30);
  const spend = useQuery({
    queryKey: ["spend", of, days],
    queryFn: ({ signal }) => get<SpendShown>("/ui/api/spend", { ...of, start: day(1 - days), end: day(0) }, signal),
    placeholderData: (before) => before,
  });
  return (
    <Stack>
      <Group gap="xs">
        {PRESETS.map((count) => (
          <Button key={count} size="xs" variant={days === count ? "filled" : "default"} aria-pressed={days === count} onClick={() => setDays(count)}>
            {t("overview.days", { count })}
          </Button>
        ))}
      </Group>
      <Asked query={spend}>
        {(data) => {
          const total = data.days.reduce((sum, one) => sum + (one.spend ?? 0), 0);
          const calls = data.days.reduce((sum, one) => sum + (one.calls ?? 0), 0);
          if (calls === 0) return <Empty title={t("overview.empty")} hint={t("people.noCalls")} />;
          return (
            <Stack>
              <Text>{t("people.spentIn", { spend: money(total), calls: short(calls), days })}</Text>
              <Chart
                title={t("overview.spend")}
                points={data.days.map((one) => ({ name: one.name, values: { spend: one.spend ?? 0 } }))}
                series={[{ name: "spend", label: t("overview.cost"), color: "indigo.6" }]}
                format={money}
                named={written}
              />
              <Stack>
                <Sums title={t("overview.byModel")} sums={data.models} none={t("app.none")} />
                {!("user_id" in of) && <Sums title={t("people.byMember")} sums={data.users} none={t("people.noUser")} />}
                {!("team_id" in of) && data.teams.some((one) => one.name !== "") && <Sums title={t("overview.byTeam")} sums={data.teams} none={t("people.noTeam")} />}
                <Sums title={t("overview.byKey")} sums={data.keys} none={t("app.masterKey")} hash />
              </Stack>
            </Stack>
          );
        }}
      </Asked>
    </Stack>
  );
}

function Sums({ title, sums, none, hash = false }: { title: string; sums: Sum[]; none: string; hash?: boolean }) {
  const { t, money, short } = useWords();
  const most = Math.max(...sums.map((one) => one.spend ?? 0), 0);
  const named = (one: Sum) => (one.name === "*" ? t("overview.others") : one.name === "" ? none : (one.alias ?? (hash ? one.name.slice(0, 12) : one.name)));
  return (
    <div>
      <Title order={3} size="h6" mb={4}>
        {title}
      </Title>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("overview.name")}</Table.Th>
            <Table.Th ta="right">{t("overview.cost")}</Table.Th>
            <Table.Th ta="right">{t("overview.count")}</Table.Th>
            <Table.Th w="20%">{t("overview.share")}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {sums.map((one) => (
            <Table.Tr key={one.name}>
              <Table.Td className="said">{named(one)}</Table.Td>
              <Table.Td ta="right">{money(one.spend ?? 0)}</Table.Td>
              <Table.Td ta="right">{short(one.calls ?? 0)}</Table.Td>
              <Table.Td>
                <Bar share={most ? (one.spend ?? 0) / most : 0} label={`${t("overview.share")} ${named(one)}`} warns={false} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
