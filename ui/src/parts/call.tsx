// Everything that is known of one call.
import { Alert, Button, Code, Drawer, Group, Stack, Table, Tabs, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useLocation } from "wouter";
import { get } from "../api/client";
import type { CallDetail } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { Asked, Copy } from "./basics";
import { leave } from "./replay";
import { useRights } from "./rights";
import { answered, asked, parse } from "./talk";
import { Turns } from "./turns";

export function CallDrawer({ id, close }: { id: string | null; close: () => void }) {
  const { t } = useWords();
  const detail = useQuery({
    queryKey: ["call", id],
    queryFn: ({ signal }) => get<CallDetail>(`/ui/api/logs/${encodeURIComponent(id!)}`, {}, signal),
    enabled: id !== null,
    retry: 2,
    staleTime: Infinity,
  });
  return (
    <Drawer
      opened={id !== null}
      onClose={close}
      position="right"
      size="xl"
      title={
        <Title order={2} size="h4" component="span">
          {t("call.title")}
        </Title>
      }
      closeButtonProps={{ "aria-label": t("app.close") }}
    >
      {id !== null && <Asked query={detail}>{(data) => <Shown detail={data} />}</Asked>}
    </Drawer>
  );
}

function Shown({ detail }: { detail: CallDetail }) {
  const { t } = useWords();
  const [, go] = useLocation();
  const { plays } = useRights();
  const request = parse(detail.request);
  const talk = asked(request);
  const said = answered(detail.response);
  const replay = () => {
    const body = request as { model?: string; messages?: unknown[]; tools?: unknown[]; system?: unknown };
    leave({ model: body.model, messages: body.messages, tools: body.tools, system: typeof body.system === "string" ? body.system : undefined });
    go("/playground");
  };
  return (
    <Stack>
      <Group>
        {detail.request !== null && <Copy value={curl(detail)} label={t("call.curl")} />}
        {plays && talk && Array.isArray((request as { messages?: unknown }).messages) && (
          <Button size="xs" variant="default" onClick={replay}>
            {t("call.replay")}
          </Button>
        )}
      </Group>
      <Tabs defaultValue="summary" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="summary">{t("call.summary")}</Tabs.Tab>
          <Tabs.Tab value="request">{t("call.request")}</Tabs.Tab>
          <Tabs.Tab value="response">{t("call.response")}</Tabs.Tab>
          <Tabs.Tab value="raw">{t("call.raw")}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="summary" pt="md">
          <Summary detail={detail} />
        </Tabs.Panel>
        <Tabs.Panel value="request" pt="md">
          <Bodies detail={detail} />
          {talk ? (
            <Stack>
              <Turns turns={talk.turns} />
              {talk.tools.length > 0 && (
                <Text size="sm" className="said">
                  <b>{t("chat.toolsOffered")}:</b> {talk.tools.join(", ")}
                </Text>
              )}
            </Stack>
          ) : (
            <Raw text={detail.request} />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="response" pt="md">
          <Bodies detail={detail} />
          {said ? <Turns turns={said} /> : <Raw text={detail.response} />}
        </Tabs.Panel>
        <Tabs.Panel value="raw" pt="md">
          <Bodies detail={detail} />
          <Stack>
            <Raw text={pretty(detail.request)} />
            <Raw text={pretty(detail.response)} />
          </Stack>
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function Bodies({ detail }: { detail: CallDetail }) {
  const { t } = useWords();
  const word: WordKey | null = detail.bodies === "gone" ? "call.gone" : detail.bodies === "not kept" ? "call.notKept" : detail.cut ? "call.cut" : null;
  return word && <Alert variant="outline" mb="md">{t(word)}</Alert>;
}

function Raw({ text }: { text: string | null }) {
  if (text === null || text === "") return null;
  return (
    <Code block className="said" tabIndex={0}>
      {text}
    </Code>
  );
}

function Summary({ detail }: { detail: CallDetail }) {
  const { t, money, number, duration, moment } = useWords();
  const { call } = detail;
  const rows: [string, string | null | undefined][] = [
    [t("logs.time"), moment(call.at_ms)],
    [t("logs.status"), String(call.status)],
    [t("logs.model"), call.model],
    [t("call.provider"), [call.provider, detail.provider_model, detail.api_base].filter(Boolean).join(" · ")],
    [t("call.deployment"), detail.deployment_id],
    [t("logs.key"), call.key === null ? t("app.masterKey") : (call.key_alias ?? call.key)],
    [t("call.endUser"), call.end_user],
    [t("logs.tag"), call.tags.join(", ")],
    [t("logs.duration"), duration(call.duration_ms)],
    [t("call.firstByte"), call.first_byte_ms === null ? null : duration(call.first_byte_ms)],
    [t("call.session"), detail.session_id],
    [t("call.agent"), detail.user_agent],
    [t("call.address"), detail.client_ip],
    [t("call.id"), call.id],
    [t("call.requestId"), detail.request_id === call.id ? null : detail.request_id],
    [t("call.metadata"), detail.metadata],
  ];
  const total = detail.costs.total ?? 0;
  const buckets = [...new Set([...Object.keys(detail.costs), ...Object.keys(detail.usage)])].filter((name) => name !== "total");
  const tokens: Record<string, number> = { ...detail.usage, cache_write: (detail.usage.cache_write_5m ?? 0) + (detail.usage.cache_write_1h ?? 0) };
  return (
    <Stack>
      {call.error && (
        <Alert color="red" variant="outline" title={call.error_type}>
          <Text size="sm" className="said">
            {call.error}
          </Text>
        </Alert>
      )}
      <Table>
        <Table.Tbody>
          {rows
            .filter(([, value]) => value)
            .map(([name, value]) => (
              <Table.Tr key={name}>
                <Table.Th w="11rem">{name}</Table.Th>
                <Table.Td className="said">{value}</Table.Td>
              </Table.Tr>
            ))}
        </Table.Tbody>
      </Table>
      <Title order={3} size="h5">
        {t("call.costs")}
      </Title>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("call.bucket")}</Table.Th>
            <Table.Th ta="right">{t("call.units")}</Table.Th>
            <Table.Th ta="right">{t("logs.cost")}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {buckets
            .filter((name) => !name.startsWith("cache_write_"))
            .map((name) => (
              <Table.Tr key={name}>
                <Table.Td>{`bucket.${name}` in BUCKETS ? t(`bucket.${name}` as WordKey) : name}</Table.Td>
                <Table.Td ta="right">{tokens[name] ? number(tokens[name]) : ""}</Table.Td>
                <Table.Td ta="right">{detail.costs[name] === undefined ? "" : money(detail.costs[name])}</Table.Td>
              </Table.Tr>
            ))}
          <Table.Tr>
            <Table.Th>{t("call.total")}</Table.Th>
            <Table.Th ta="right">{number(call.input_tokens + call.output_tokens)}</Table.Th>
            <Table.Th ta="right">{call.cost === null ? t("logs.unpriced") : money(total)}</Table.Th>
          </Table.Tr>
        </Table.Tbody>
      </Table>
      {detail.over_hold && <Text className="warn">{t("call.overHold")}</Text>}
      <Title order={3} size="h5">
        {t("call.decision")}
      </Title>
      <Text size="sm" className="said">
        {t("call.asked", { model: call.model || "?", served: call.model_group || "?" })}
        {", "}
        {t("call.retriesAndFallbacks", { retries: call.retries, fallbacks: call.fallbacks })}
      </Text>
      <Table>
        <Table.Tbody>
          {detail.held > 0 && <Row name={t("call.held")} value={money(detail.held)} />}
          {detail.usage_source && <Row name={t("call.usageSource")} value={detail.usage_source} />}
          {detail.price_version && <Row name={t("call.priceVersion")} value={detail.price_version} />}
        </Table.Tbody>
      </Table>
      {detail.attempts.length > 0 && (
        <>
          <Title order={3} size="h5">
            {t("call.attempts")}
          </Title>
          <Table>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t("call.deployment")}</Table.Th>
                <Table.Th>{t("logs.status")}</Table.Th>
                <Table.Th ta="right">{t("logs.duration")}</Table.Th>
                <Table.Th ta="right">{t("logs.cost")}</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {detail.attempts.map((attempt, place) => (
                <Table.Tr key={place}>
                  <Table.Td className="said">{`${attempt.provider} ${attempt.deployment_id}`}</Table.Td>
                  <Table.Td>{attempt.status || "–"}</Table.Td>
                  <Table.Td ta="right">{duration(attempt.duration_ms)}</Table.Td>
                  <Table.Td ta="right">{money(attempt.cost)}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </>
      )}
    </Stack>
  );
}

const BUCKETS = { "bucket.input": 1, "bucket.output": 1, "bucket.cache_read": 1, "bucket.cache_write": 1, "bucket.reasoning": 1, "bucket.tools": 1 };

function Row({ name, value }: { name: string; value: string }) {
  return (
    <Table.Tr>
      <Table.Th w="11rem">{name}</Table.Th>
      <Table.Td className="said">{value}</Table.Td>
    </Table.Tr>
  );
}

function pretty(body: string | null): string | null {
  const parsed = parse(body);
  return parsed === null ? body : JSON.stringify(parsed, null, 2);
}

/** In single quotes a shell obeys nothing but the quote itself. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl(detail: CallDetail): string {
  return `curl ${quoted(location.origin + detail.path)} \\\n  -H "Authorization: Bearer $TOLLWAY_KEY" \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(detail.request ?? "")}`;
}
