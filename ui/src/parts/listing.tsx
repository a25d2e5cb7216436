// A list that the gateway searches, sorts and cuts into pages: ten thousand rows are as quick as ten.
import { Button, Group, Pagination, Paper, Stack, Table, Text, TextInput, UnstyledButton } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { get } from "../api/client";
import { useWords } from "../i18n";
import { Asked, Empty } from "./basics";

const SEARCH_AFTER_MS = 250;
const REFRESH_MS = 15_000;

type Counted = { total: number; total_pages: number };
type Sort = { by: string; order: "asc" | "desc" };
type Value = string | number | boolean | null | undefined;

export type Listing<P extends Counted> = {
  query: UseQueryResult<P>;
  search: string;
  setSearch: (search: string) => void;
  page: number;
  setPage: (page: number) => void;
  sort: Sort;
  setSort: (sort: Sort) => void;
};

/** One list, under the name by which its question is forgotten when something in it changes. */
export function useListing<P extends Counted>(name: string, path: string, { sort: first, more = {}, size = 50 }: { sort: Sort; more?: Record<string, Value>; size?: number }): Listing<P> {
  const [search, setSearch] = useState("");
  const [page, setPage] = useState(1);
  const [sort, setSort] = useState(first);
  const [settled] = useDebouncedValue(search.trim(), SEARCH_AFTER_MS);
  const query = useQuery({
    queryKey: [name, "list", path, settled, page, sort, more, size],
    queryFn: ({ signal }) => get<P>(path, { ...more, search: settled, page, page_size: size, sort_by: sort.by, sort_order: sort.order }, signal),
    placeholderData: (before) => before,
    refetchInterval: REFRESH_MS,
  });
  const pages = query.data?.total_pages;
  // The last row of the last page may be gone.
  useEffect(() => {
    if (pages !== undefined && page > Math.max(1, pages)) setPage(Math.max(1, pages));
  }, [pages, page]);
  return {
    query,
    search,
    setSearch: (text) => {
      setSearch(text);
      setPage(1);
    },
    page,
    setPage,
    sort,
    setSort: (chosen) => {
      setSort(chosen);
      setPage(1);
    },
  };
}

export type Head = { label: string; sort?: string; right?: boolean };

/** The search field, the table and the way to other pages; `empty` stands there while nothing was made yet. */
export function List<P extends Counted>({
  of,
  heads,
  rows,
  total,
  label,
  empty,
  minWidth = 800,
  aside,
}: {
  of: Listing<P>;
  heads: Head[];
  rows: (data: P) => ReactNode;
  total: (count: number) => string;
  /** What is searched, for who hears the page instead of seeing it. */
  label: string;
  empty: ReactNode;
  minWidth?: number;
  aside?: ReactNode;
}) {
  const { t } = useWords();
  return (
    <Asked query={of.query}>
      {(data) =>
        data.total === 0 && of.search === "" ? (
          <>
            {aside}
            {empty}
          </>
        ) : (
          <Stack gap="sm">
            <Group gap="xs" align="end">
              <TextInput size="xs" w="18rem" label={label} value={of.search} onChange={(event) => of.setSearch(event.currentTarget.value)} />
              {aside}
            </Group>
            {data.total === 0 ? (
              <Empty title={t("people.nothing")} hint={t("people.nothingHint", { search: of.search })}>
                <Button size="xs" variant="default" onClick={() => of.setSearch("")}>
                  {t("people.clear")}
                </Button>
              </Empty>
            ) : (
              <>
                <Paper withBorder>
                  <Table.ScrollContainer minWidth={minWidth} tabIndex={0}>
                    <Table highlightOnHover verticalSpacing="xs">
                      <Table.Thead>
                        <Table.Tr>
                          {heads.map((head) => (
                            <Sorted key={head.label} head={head} sort={of.sort} take={of.setSort} />
                          ))}
                        </Table.Tr>
                      </Table.Thead>
                      <Table.Tbody>{rows(data)}</Table.Tbody>
                    </Table>
                  </Table.ScrollContainer>
                </Paper>
                <Group justify="space-between">
                  <Text size="sm" c="dimmed" role="status">
                    {total(data.total)}
                  </Text>
                  {data.total_pages > 1 && (
                    <Pagination
                      size="sm"
                      value={of.page}
                      onChange={of.setPage}
                      total={data.total_pages}
                      getControlProps={(control) => ({ "aria-label": t(`people.${control}`) })}
                      getItemProps={(page) => ({ "aria-label": t("people.page", { page }) })}
                    />
                  )}
                </Group>
              </>
            )}
          </Stack>
        )
      }
    </Asked>
  );
}

function Sorted({ head, sort, take }: { head: Head; sort: Sort; take: (sort: Sort) => void }) {
  if (!head.sort) return <Table.Th ta={head.right ? "right" : undefined}>{head.label}</Table.Th>;
  const by = head.sort;
  const own = sort.by === by;
  const descending = own && sort.order === "desc";
  return (
    <Table.Th ta={head.right ? "right" : undefined} aria-sort={own ? (descending ? "descending" : "ascending") : "none"}>
      <UnstyledButton fz="sm" fw={700} onClick={() => take({ by, order: own && sort.order === "desc" ? "asc" : own ? "desc" : by === "spend" || by === "created_at" ? "desc" : "asc" })}>
        {head.label}
        <span aria-hidden="true">{own ? (descending ? " ↓" : " ↑") : ""}</span>
      </UnstyledButton>
    </Table.Th>
  );
}
