// Finished calls: filtered, page by page, or as they end.
import { Button, Group, NumberInput, Select, Switch, Text, TextInput, UnstyledButton } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useInfiniteQuery } from "@tanstack/react-query";
import { createColumnHelper, flexRender, getCoreRowModel, useReactTable } from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useSearch, useSearchParams } from "wouter";
import { get, queries, SESSION } from "../api/client";
import type { CallLine, LogPage } from "../api/types";
import { useWords } from "../i18n";
import { Empty, Failed, Page, Waiting } from "../parts/basics";
import { CallDrawer } from "../parts/call";

const LIVE_ROWS_MAX = 2_000;
const ROW_PX = 36;
// What is rare is looked for answer by answer, as long as there is less than this, and so many times by itself.
const SEARCHED_FOR = 50;
const SEARCHES_MAX = 40;

const NAMES = ["status", "model", "key", "team", "user", "end_user", "tag", "cost_min", "text", "start", "end"] as const;
type Filters = Record<(typeof NAMES)[number], string>;
const NONE = Object.fromEntries(NAMES.map((name) => [name, ""])) as Filters;

/** A moment as the browser's own field writes it (here, without a zone) as the gateway reads it. */
const moment = (local: string) => (local ? new Date(local).toISOString() : "");

export default function LogsPage() {
  const { t } = useWords();
  const search = useSearch();
  const [filters, setFilters] = useState<Filters>(() => ({ ...NONE, ...Object.fromEntries([...new URLSearchParams(search)].filter(([name]) => name in NONE)) }));
  const [params, setParams] = useSearchParams();
  const [live, setLive] = useState(false);
  const [settled] = useDebouncedValue(filters, 300);
  const latest = useRef(setParams);
  latest.current = setParams;
  // One function for good: with another each time every row would be drawn anew, and the focus lost.
  const open = useCallback((id: string | null) => {
    latest.current((before) => {
      const next = new URLSearchParams(before);
      if (id === null) next.delete("call");
      else next.set("call", id);
      return next;
    });
  }, []);
  const log = useInfiniteQuery({
    queryKey: ["logs", settled],
    queryFn: ({ pageParam, signal }) =>
      get<LogPage>("/ui/api/logs", { ...settled, start: moment(settled.start), end: moment(settled.end), before: pageParam }, signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next,
    staleTime: 0,
  });
  const fresh = useLive(live);
  const stored = useMemo(() => log.data?.pages.flatMap((page) => page.calls) ?? [], [log.data]);
  const calls = useMemo(() => {
    const known = new Set(stored.map((call) => call.id));
    return [...fresh.calls.filter((call) => !known.has(call.id) && fits(call, settled)), ...stored];
  }, [fresh.calls, stored, settled]);
  const last = log.data?.pages.at(-1);
  const searching = last !== undefined && !last.whole && log.hasNextPage && stored.length < SEARCHED_FOR && (log.data?.pages.length ?? 0) < SEARCHES_MAX && !log.error;
  const { fetchNextPage, isFetchingNextPage } = log;
  useEffect(() => {
    if (searching && !isFetchingNextPage) void fetchNextPage();
  }, [searching, isFetchingNextPage, fetchNextPage]);
  return (
    <Page
      title={t("nav.logs")}
      actions={<Switch label={t("logs.live")} checked={live} onChange={(event) => setLive(event.currentTarget.checked)} />}
    >
      <Choose filters={filters} take={setFilters} />
      {live && (
        <Text size="sm" role="status" className={fresh.connected ? "good" : "warn"}>
          {t("logs.liveOn")}
          {fresh.missed > 0 && ` · ${t("logs.missed", { count: fresh.missed })}`}
        </Text>
      )}
      {log.error ? (
        <Failed error={log.error} retry={() => void log.refetch()} />
      ) : log.isPending ? (
        <Waiting />
      ) : calls.length === 0 && !log.hasNextPage ? (
        <Empty title={t("logs.empty")} hint={t("logs.emptyHint")} />
      ) : (
        <Calls calls={calls} open={open} />
      )}
      {last && log.hasNextPage && (
        <Group>
          <Button size="xs" variant="default" onClick={() => void log.fetchNextPage()} loading={log.isFetchingNextPage}>
            {last.whole ? t("logs.more") : t("logs.further")}
          </Button>
          {searching && (
            <Text size="sm" role="status">
              {t("logs.searching")}
            </Text>
          )}
          {!last.whole && last.searched_until_ms !== null && <SearchedUntil ms={last.searched_until_ms} />}
        </Group>
      )}
      <CallDrawer id={params.get("call")} close={() => open(null)} />
    </Page>
  );
}

function SearchedUntil({ ms }: { ms: number }) {
  const { t, moment } = useWords();
  return (
    <Text size="sm" c="dimmed">
      {t("logs.searchedUntil", { moment: moment(ms) })}
    </Text>
  );
}

function Choose({ filters, take }: { filters: Filters; take: (filters: Filters) => void }) {
  const { t } = useWords();
  const set = (name: keyof Filters) => (value: string) => take({ ...filters, [name]: value });
  const field = (name: keyof Filters, label: string, more = {}) => (
    <TextInput size="xs" label={label} value={filters[name]} onChange={(event) => set(name)(event.currentTarget.value)} {...more} />
  );
  return (
    <Group align="end" gap="xs">
      <Select
        size="xs"
        w="8rem"
        label={t("logs.status")}
        data={[
          { value: "", label: t("logs.any") },
          { value: "ok", label: t("logs.ok") },
          { value: "failed", label: t("logs.failed") },
          ...["400", "401", "403", "408", "422", "429", "500", "502", "503"].map((value) => ({ value, label: value })),
        ]}
        value={filters.status}
        onChange={(value) => set("status")(value ?? "")}
        allowDeselect={false}
      />
      {field("model", t("logs.model"), { w: "10rem" })}
      {field("key", t("logs.key"), { w: "10rem", placeholder: t("logs.keyHint") })}
      {field("team", t("logs.team"), { w: "8rem" })}
      {field("user", t("logs.user"), { w: "8rem" })}
      {field("end_user", t("logs.endUser"), { w: "8rem" })}
      {field("tag", t("logs.tag"), { w: "8rem" })}
      {field("text", t("logs.text"), { w: "10rem" })}
      <NumberInput size="xs" w="8rem" label={t("logs.costMin")} prefix="$" min={0} decimalScale={9} value={filters.cost_min} onChange={(value) => set("cost_min")(String(value))} />
      {field("start", t("logs.from"), { type: "datetime-local" })}
      {field("end", t("logs.until"), { type: "datetime-local" })}
      <Button size="xs" variant="default" onClick={() => take(NONE)} disabled={JSON.stringify(filters) === JSON.stringify(NONE)}>
        {t("logs.clear")}
      </Button>
    </Group>
  );
}

const column = createColumnHelper<CallLine>();

function Calls({ calls, open }: { calls: CallLine[]; open: (id: string) => void }) {
  const words = useWords();
  const { t, money, number, duration, clock } = words;
  const columns = useMemo(
    () => [
      column.accessor("at_ms", {
        header: t("logs.time"),
        cell: ({ getValue, row }) => (
          <UnstyledButton fz="sm" aria-label={t("logs.open", { time: clock(getValue()) })} onClick={() => open(row.original.id)}>
            {clock(getValue())}
          </UnstyledButton>
        ),
      }),
      column.accessor("status", {
        header: t("logs.status"),
        cell: ({ getValue }) => <b className={getValue() < 400 ? "good" : "bad"}>{getValue()}</b>,
      }),
      column.accessor((call) => (call.model_group && call.model_group !== call.model ? `${call.model} → ${call.model_group}` : call.model), { id: "model", header: t("logs.model") }),
      column.accessor((call) => (call.key === null ? t("app.masterKey") : (call.key_alias ?? call.key.slice(0, 12))), { id: "key", header: t("logs.key") }),
      column.accessor((call) => `${number(call.input_tokens)} · ${number(call.output_tokens)}`, { id: "tokens", header: t("logs.tokens"), meta: "number" }),
      column.accessor((call) => (call.cost === null ? t("logs.unpriced") : money(call.cost)), { id: "cost", header: t("logs.cost"), meta: "number" }),
      column.accessor((call) => duration(call.duration_ms), { id: "duration", header: t("logs.duration"), meta: "number" }),
      column.accessor("error", { header: t("logs.error") }),
    ],
    [words, open],
  );
  const table = useReactTable({ data: calls, columns, getCoreRowModel: getCoreRowModel(), getRowId: (call) => call.id });
  const rows = table.getRowModel().rows;
  const scroll = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroll.current, estimateSize: () => ROW_PX, overscan: 12 });
  const kind = (meta: unknown) => (meta === "number" ? "number" : undefined);
  return (
    <div className="log">
      <div className="log-scroll" ref={scroll} tabIndex={0} role="table" aria-label={t("nav.logs")} aria-rowcount={rows.length + 1}>
        <div role="rowgroup">
          {table.getHeaderGroups().map((group) => (
            <div key={group.id} role="row" aria-rowindex={1} className="log-row head">
              {group.headers.map((header) => (
                <div key={header.id} role="columnheader" className={kind(header.column.columnDef.meta)}>
                  {flexRender(header.column.columnDef.header, header.getContext())}
                </div>
              ))}
            </div>
          ))}
        </div>
        <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index]!;
            return (
              <div key={row.id} role="row" aria-rowindex={item.index + 2} className="log-row call" style={{ transform: `translateY(${item.start}px)` }} onClick={() => open(row.original.id)}>
                {row.getVisibleCells().map((cell) => (
                  <div key={cell.id} role="cell" className={kind(cell.column.columnDef.meta)}>
                    {flexRender(cell.column.columnDef.cell, cell.getContext())}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function fits(call: CallLine, filters: Filters): boolean {
  const { status, model, key, team, user, end_user, tag, cost_min, text } = filters;
  return (
    (!status || (status === "ok" ? call.status < 400 : status === "failed" ? call.status >= 400 : call.status === Number(status))) &&
    (!model || call.model_group === model) &&
    (!key || call.key === key) &&
    (!team || call.team_id === team) &&
    (!user || call.user_id === user) &&
    (!end_user || call.end_user === end_user) &&
    (!tag || call.tags.includes(tag)) &&
    (!cost_min || (call.cost ?? 0) >= Number(cost_min)) &&
    (!text || `${call.error_type}\n${call.error}`.toLowerCase().includes(text.toLowerCase())) &&
    (!filters.start || call.at_ms >= new Date(filters.start).getTime()) &&
    (!filters.end || call.at_ms < new Date(filters.end).getTime())
  );
}

/** Calls as they end, newest first, while `on`. The browser comes back by itself when a stream ends. */
function useLive(on: boolean): { calls: CallLine[]; missed: number; connected: boolean } {
  const [calls, setCalls] = useState<CallLine[]>([]);
  const [missed, setMissed] = useState(0);
  const [connected, setConnected] = useState(false);
  useEffect(() => {
    if (!on) return;
    const source = new EventSource("/ui/api/live");
    source.addEventListener("open", () => setConnected(true));
    source.addEventListener("error", () => {
      const back = source.readyState === EventSource.CONNECTING;
      setConnected(back);
      // Refused for good: most likely the session is over, and the sign-in page says so.
      if (!back) void queries.invalidateQueries({ queryKey: SESSION });
    });
    source.addEventListener("calls", (event) => {
      const told = JSON.parse((event as MessageEvent<string>).data) as { calls: CallLine[]; missed: number };
      setCalls((before) => [...told.calls.reverse(), ...before].slice(0, LIVE_ROWS_MAX));
      setMissed((before) => before + told.missed);
    });
    return () => {
      source.close();
      setConnected(false);
    };
  }, [on]);
  return { calls, missed, connected };
}
