// The keys of one team, user or organisation, a page at a time.
import { Button, Group, Pagination, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { get, pathWith } from "../api/client";
import type { KeyPage } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Empty } from "./basics";
import { Spent } from "./limits";

const PAGE_SIZE = 20;
type Of = { team_id: string } | { user_id: string } | { organization_id: string };

export function KeysOf({ of }: { of: Of }) {
  const { t, ago } = useWords();
  const [page, setPage] = useState(1);
  const keys = useQuery({
    queryKey: ["keys", "of", of, page],
    queryFn: ({ signal }) => get<KeyPage>("/key/list", { ...of, return_full_object: true, page, size: PAGE_SIZE }, signal),
    placeholderData: (before) => before,
  });
  const make = (
    <Button size="xs" variant="default" component={Link} href={pathWith("/keys", { ...of, create: 1 })}>
      {t("keys.create")}
    </Button>
  );
  return (
    <Asked query={keys}>
      {(data) =>
        data.total_count === 0 ? (
          <Empty title={t("keys.empty")} hint={t("people.noKeys")}>
            {make}
          </Empty>
        ) : (
          <Stack gap="sm">
            <Table.ScrollContainer minWidth={420} tabIndex={0}>
              <Table verticalSpacing="xs">
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>{t("keys.name")}</Table.Th>
                    <Table.Th>{t("keys.state")}</Table.Th>
                    <Table.Th>{t("keys.spend")}</Table.Th>
                    <Table.Th>{t("keys.lastUsed")}</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {data.keys.map((key) => {
                    const name = key.key_alias ?? t("keys.unnamed");
                    const expired = key.expires !== null && new Date(key.expires).getTime() < Date.now();
                    const state = key.blocked ? "blocked" : expired ? "expired" : "active";
                    return (
                      <Table.Tr key={key.token}>
                        <Table.Td>
                          <Text size="sm" fw={600} className="said">
                            {name}
                          </Text>
                          <Text size="xs" c="dimmed" className="mono">
                            {key.key_name}
                          </Text>
                        </Table.Td>
                        <Table.Td>
                          <Text size="sm" className={state === "active" ? "good" : "bad"}>
                            {t(`keys.${state}`)}
                          </Text>
                        </Table.Td>
                        <Table.Td>
                          <Spent spend={key.spend} limit={key.max_budget} resets={key.budget_reset_at} of={name} />
                        </Table.Td>
                        <Table.Td>
                          <Text size="sm">{key.last_active ? ago(key.last_active) : t("keys.neverUsed")}</Text>
                        </Table.Td>
                      </Table.Tr>
                    );
                  })}
                </Table.Tbody>
              </Table>
            </Table.ScrollContainer>
            <Group justify="space-between">
              <Group gap="xs">
                {make}
                <Button size="xs" variant="default" component={Link} href={pathWith("/keys", of)}>
                  {t("people.allKeys")}
                </Button>
              </Group>
              {data.total_pages > 1 && <Pagination size="sm" value={page} onChange={setPage} total={data.total_pages} getItemProps={(one) => ({ "aria-label": t("people.page", { page: one }) })} getControlProps={(control) => ({ "aria-label": t(`people.${control}`) })} />}
            </Group>
          </Stack>
        )
      }
    </Asked>
  );
}
