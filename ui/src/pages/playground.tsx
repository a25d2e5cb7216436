// A conversation with one model or with two at once: what they say, how long it takes and what it costs.
import { ActionIcon, Button, Checkbox, Group, JsonInput, Modal, NumberInput, Paper, Select, SimpleGrid, Stack, Tabs, Text, Textarea } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { get, send } from "../api/client";
import type { Playing } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Empty, Failed, Page } from "../parts/basics";
import { Snippet } from "../parts/code";
import { Icon } from "../parts/icons";
import { take } from "../parts/replay";
import { python, quoted } from "../parts/snippets";
import { asked, parse, type Part, Said, type Turn } from "../parts/talk";
import { Turns } from "../parts/turns";

const IMAGE_PX_MAX = 1024;
const IMAGES_MAX = 2;

type ToolCall = { id: string; function: { name: string; arguments: string } };
type Message = { role: string; content: unknown; tool_calls?: ToolCall[]; tool_call_id?: string };
type Run = { parts: Part[]; first: number | null; total: number | null; usage: Said["usage"]; error: unknown; going: boolean };
type Settings = { system: string; temperature: string; max: string; tools: string };

export default function PlaygroundPage() {
  const { t } = useWords();
  const [team, setTeam] = useState("");
  const offered = useQuery({ queryKey: ["playing", team], queryFn: ({ signal }) => get<Playing>("/ui/api/playground", { team }, signal), placeholderData: keepPreviousData });
  return (
    <Page title={t("nav.playground")}>
      <Asked query={offered}>
        {({ models, teams }) => (
          <Stack>
            {teams.length > 0 && (
              <Select
                label={t("play.for")}
                description={t("play.forHint")}
                maw="24rem"
                data={[{ value: "", label: t("play.forMe") }, ...teams.map((one) => ({ value: one.team_id, label: one.team_alias ?? one.team_id }))]}
                value={team}
                onChange={(value) => setTeam(value ?? "")}
                allowDeselect={false}
                searchable
              />
            )}
            {models.length ? <Playground key={models.join("\n")} names={models} team={team} /> : <Empty title={t("play.noModels")} hint={t("models.emptyHint")} />}
          </Stack>
        )}
      </Asked>
    </Page>
  );
}

function Playground({ names, team }: { names: string[]; team: string }) {
  const { t } = useWords();
  const [start] = useState(() => {
    const replay = take();
    const messages = (replay?.messages ?? []) as Message[];
    return { model: replay?.model && names.includes(replay.model) ? replay.model : names[0]!, messages, system: replay?.system ?? "", tools: replay?.tools };
  });
  const [chosen, setChosen] = useState([start.model]);
  const [history, setHistory] = useState<Message[][]>([start.messages]);
  const [runs, setRuns] = useState<(Run | null)[]>([null]);
  const [settings, setSettings] = useState<Settings>({ system: start.system, temperature: "", max: "", tools: start.tools ? JSON.stringify(start.tools, null, 2) : "" });
  const [words, setWords] = useState("");
  const [images, setImages] = useState<string[]>([]);
  const [code, setCode] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  // What a person says in a tool's place, by column and the id of the call.
  const [given, setGiven] = useState<Record<string, string>>({});
  const stop = useRef<AbortController | null>(null);
  const going = runs.some((run) => run?.going);
  const tools = settings.tools.trim() ? parse(settings.tools) : null;
  const toolsBad = settings.tools.trim() !== "" && !Array.isArray(tools);

  const body = (model: string, messages: Message[]) => ({
    model,
    messages: [...(settings.system ? [{ role: "system", content: settings.system }] : []), ...messages],
    ...(settings.temperature === "" ? {} : { temperature: Number(settings.temperature) }),
    ...(settings.max === "" ? {} : { max_tokens: Number(settings.max) }),
    ...(Array.isArray(tools) ? { tools } : {}),
  });
  const said = (): Message => ({
    role: "user",
    content: images.length ? [{ type: "text", text: words }, ...images.map((url) => ({ type: "image_url", image_url: { url } }))] : words,
  });
  const say = async () => {
    if (going || toolsBad || (!words.trim() && !images.length && !history[0]!.length)) return;
    const added = words.trim() || images.length ? [said()] : [];
    // A model that called tools hears what came of each, before anything else.
    const asking = chosen.map((_, at) => {
      const results = calledBy(history[at] ?? []).map((call): Message => ({ role: "tool", tool_call_id: call.id, content: given[`${at} ${call.id}`] ?? "" }));
      return [...(history[at] ?? []), ...results, ...added];
    });
    setHistory(asking);
    setGiven({});
    setWords("");
    setImages([]);
    stop.current = new AbortController();
    const { signal } = stop.current;
    await Promise.all(
      chosen.map(async (model, at) => {
        const show = (run: Run) => setRuns((before) => chosen.map((_, place) => (place === at ? run : (before[place] ?? null))));
        const answer = await run(body(model, asking[at]!), team, signal, show, t("play.stopped"));
        if (answer) setHistory((before) => before.map((messages, place) => (place === at ? [...messages, answer] : messages)));
      }),
    );
  };
  const choose = (at: number, model: string | null) => setChosen((before) => (model ? before.map((one, place) => (place === at ? model : one)) : before));
  const compare = () => {
    const two = chosen.length === 1;
    setChosen(two ? [chosen[0]!, names.find((name) => name !== chosen[0]) ?? chosen[0]!] : [chosen[0]!]);
    setHistory(two ? [history[0]!, history[0]!] : [history[0]!]);
    setRuns(two ? [runs[0] ?? null, null] : [runs[0] ?? null]);
  };
  const over = () => {
    stop.current?.abort();
    setHistory(chosen.map(() => []));
    setRuns(chosen.map(() => null));
    setGiven({});
  };
  const pick = async (file: File | null | undefined) => {
    if (!file) return;
    try {
      setImages([...images, await small(file)].slice(0, IMAGES_MAX));
      setFailed(null);
    } catch (error) {
      setFailed(error);
    }
  };
  return (
    <Stack>
      <Group justify="space-between">
        <Group>
          <Checkbox label={t("play.second")} checked={chosen.length === 2} onChange={compare} disabled={going} />
        </Group>
        <Group gap="xs">
          <Button size="xs" variant="default" onClick={over}>
            {t("play.clear")}
          </Button>
          <Button size="xs" variant="default" onClick={() => setCode(true)}>
            {t("play.code")}
          </Button>
        </Group>
      </Group>
      <SimpleGrid cols={{ base: 1, md: chosen.length }}>
        {chosen.map((model, at) => (
          <Column key={at} at={at} model={model} names={names} choose={(value) => choose(at, value)} messages={history[at] ?? []} run={runs[at] ?? null} given={(call) => given[`${at} ${call}`] ?? ""} give={(call, text) => setGiven({ ...given, [`${at} ${call}`]: text })} />
        ))}
      </SimpleGrid>
      {images.length > 0 && (
        <Group>
          {images.map((url, at) => (
            <Group key={at} gap={4}>
              <img src={url} alt={t("chat.image")} height={64} />
              <Button size="compact-xs" variant="default" onClick={() => setImages(images.filter((_, place) => place !== at))}>
                {t("play.removeImage")}
              </Button>
            </Group>
          ))}
        </Group>
      )}
      {failed !== null && <Failed error={failed} />}
      <Group align="end" wrap="nowrap">
        <Textarea
          flex={1}
          label={t("play.message")}
          autosize
          minRows={2}
          maxRows={10}
          value={words}
          onChange={(event) => setWords(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
              event.preventDefault();
              void say();
            }
          }}
        />
        <Picture pick={pick} />
        {going ? (
          <Button color="red" onClick={() => stop.current?.abort()}>
            {t("play.stop")}
          </Button>
        ) : (
          <Button onClick={() => void say()}>{t("play.send")}</Button>
        )}
      </Group>
      <Paper withBorder p="md" component="fieldset">
        <Text component="legend" size="sm" fw={600} px={4}>
          {t("play.settings")}
        </Text>
        <SimpleGrid cols={{ base: 1, md: 2 }}>
          <Stack gap="xs">
            <Textarea label={t("play.system")} autosize minRows={2} value={settings.system} onChange={(event) => setSettings({ ...settings, system: event.currentTarget.value })} />
            <Group grow>
              <NumberInput label={t("play.temperature")} min={0} max={2} step={0.1} value={settings.temperature} onChange={(value) => setSettings({ ...settings, temperature: String(value) })} />
              <NumberInput label={t("play.maxTokens")} min={1} allowDecimal={false} value={settings.max} onChange={(value) => setSettings({ ...settings, max: String(value) })} />
            </Group>
          </Stack>
          <JsonInput label={t("play.tools")} minRows={5} autosize maxRows={12} value={settings.tools} onChange={(tools) => setSettings({ ...settings, tools })} error={toolsBad && t("play.toolsBad")} />
        </SimpleGrid>
      </Paper>
      <Modal opened={code} onClose={() => setCode(false)} title={t("play.codeTitle")} size="lg" closeButtonProps={{ "aria-label": t("app.close") }}>
        <CodeOf body={body(chosen[0]!, [...(history[0] ?? []), ...(words.trim() ? [said()] : [])])} />
      </Modal>
    </Stack>
  );
}

function Picture({ pick }: { pick: (file: File | null | undefined) => Promise<void> }) {
  const { t } = useWords();
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <input
        ref={input}
        type="file"
        hidden
        aria-label={t("play.image")}
        accept="image/png,image/jpeg,image/webp,image/gif"
        onChange={(event) => {
          void pick(event.currentTarget.files?.[0]);
          event.currentTarget.value = "";
        }}
      />
      <ActionIcon variant="default" size="input-sm" aria-label={t("play.image")} onClick={() => input.current?.click()}>
        <Icon name="image" />
      </ActionIcon>
    </>
  );
}

/** The tools that were called last and that nobody answered yet. */
function calledBy(messages: Message[]): ToolCall[] {
  const last = messages.at(-1);
  return last?.role === "assistant" && Array.isArray(last.tool_calls) ? last.tool_calls : [];
}

type ColumnProps = { at: number; model: string; names: string[]; choose: (model: string | null) => void; messages: Message[]; run: Run | null; given: (call: string) => string; give: (call: string, text: string) => void };

function Column({ at, model, names, choose, messages, run, given, give }: ColumnProps) {
  const { t, money, number, duration } = useWords();
  const turns: Turn[] = asked({ messages })?.turns ?? [];
  if (run?.going) turns.push({ role: "assistant", parts: run.parts });
  const facts = run && [
    run.first !== null && t("play.firstToken", { ms: duration(run.first) }),
    run.total !== null && t("play.total", { ms: duration(run.total) }),
    run.usage && t("play.usage", { input: number(run.usage.input), output: number(run.usage.output) }),
    run.usage && (run.usage.cost === null ? t("play.costUnknown") : money(run.usage.cost)),
  ];
  return (
    <Paper withBorder p="md" mih="14rem" role="region" aria-label={`${t("play.model")} ${at + 1}`}>
      <Stack>
        <Select label={t("play.model")} data={names} value={model} onChange={choose} searchable allowDeselect={false} disabled={run?.going} />
        {turns.length ? (
          <div aria-live="polite" aria-busy={run?.going ?? false}>
            <Turns turns={turns} />
          </div>
        ) : (
          <Text c="dimmed" size="sm">
            {t("play.empty")}
          </Text>
        )}
        {!run?.going &&
          calledBy(messages).map((call) => (
            <Textarea key={call.id} label={t("play.answerTool", { name: call.function.name })} description={t("play.answerHint")} autosize minRows={1} maxRows={8} value={given(call.id)} onChange={(event) => give(call.id, event.currentTarget.value)} />
          ))}
        {run?.error !== null && run?.error !== undefined && <Failed error={run.error} />}
        {facts && (
          <Text size="xs" c="dimmed" data-testid={`facts-${at}`}>
            {facts.filter(Boolean).join(" · ")}
          </Text>
        )}
      </Stack>
    </Paper>
  );
}

function CodeOf({ body }: { body: object }) {
  const url = location.origin;
  const json = JSON.stringify(body, null, 2);
  const fields = Object.entries(body)
    .map(([name, value]) => `    ${name}=${python(value, 1)},`)
    .join("\n");
  const curl = `curl ${url}/v1/chat/completions \\\n  -H "Authorization: Bearer $TOLLWAY_KEY" \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(json)}`;
  const inPython = `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${url}/v1", api_key=os.environ["TOLLWAY_KEY"])\nanswer = client.chat.completions.create(\n${fields}\n)\nprint(answer.choices[0].message)`;
  const inNode = `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${url}/v1", apiKey: process.env.TOLLWAY_KEY });\nconst answer = await client.chat.completions.create(${json});\nconsole.log(answer.choices[0].message);`;
  return (
    <Tabs defaultValue="curl" keepMounted={false}>
      <Tabs.List>
        <Tabs.Tab value="curl">curl</Tabs.Tab>
        <Tabs.Tab value="python">Python</Tabs.Tab>
        <Tabs.Tab value="node">Node</Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="curl" pt="sm">
        <Snippet title="curl" code={curl} />
      </Tabs.Panel>
      <Tabs.Panel value="python" pt="sm">
        <Snippet title="Python" code={inPython} />
      </Tabs.Panel>
      <Tabs.Panel value="node" pt="sm">
        <Snippet title="Node" code={inNode} />
      </Tabs.Panel>
    </Tabs>
  );
}

/** Asks, shows what comes while it comes, and returns the answer as the message that the conversation goes on with. */
async function run(body: object, team: string, signal: AbortSignal, show: (run: Run) => void, stopped: string): Promise<Message | null> {
  const said = new Said();
  const begun = performance.now();
  const now: Run = { parts: [], first: null, total: null, usage: null, error: null, going: true };
  show({ ...now });
  try {
    const answer = await send("POST", "/ui/api/chat/completions", { ...body, stream: true }, signal, team ? { "x-litellm-team-id": team } : {});
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const event = parse(line.slice(5).trim());
        if (event !== null && typeof event === "object") said.take(event as Record<string, unknown>);
      }
      now.parts = said.parts();
      if (now.first === null && now.parts.length) now.first = performance.now() - begun;
      now.usage = said.usage;
      show({ ...now });
    }
    if (said.error) now.error = new Error(said.error);
  } catch (error) {
    now.error = signal.aborted ? new Error(stopped) : error;
  }
  now.total = performance.now() - begun;
  now.going = false;
  show({ ...now });
  return said.parts().length ? (said.message() as Message) : null;
}

/** A picture small enough to travel: at most so many pixels a side, as a data address. */
async function small(file: File): Promise<string> {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, IMAGE_PX_MAX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  canvas.getContext("2d")!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.85);
}
