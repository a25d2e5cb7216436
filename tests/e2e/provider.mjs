// A provider that answers by script, on the OpenAI and Anthropic wires: @copilotkit/aimock with the scripts below.
//
//   node provider.mjs PACKAGES_DIR JOURNAL_FILE
//
// Prints one line {"port": N} when it listens, and ends when its standard input closes.
// The word that a test puts into the user's message chooses the script: E2E-TEXT, E2E-EXEC, ... ; what follows the word after a
// second dash (E2E-FLAKY-7) only makes it unique, so that "the first time" can be told from the second.
// Every request is appended to JOURNAL_FILE as one JSON line with the bytes as they came; when a client leaves before its answer is whole,
// a second line says so.
import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, journal] = process.argv.slice(2);
const resolve = createRequire(packages + "/").resolve;
const { LLMock } = await import(pathToFileURL(resolve("@copilotkit/aimock")).href);

const WORD = /E2E-([A-Z]+[0-9]*)(?:-[A-Za-z0-9]+)*/g;
const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const TOKENS = { prompt_tokens: 1200, completion_tokens: 34, input_tokens: 1200, output_tokens: 34 };
const seen = new Map(); // whole word -> how many chat requests carried it last
const pictures = new Map(); // whole word -> pictures in the last request that carried it last; aimock shows scripts none of Anthropic's
const files = new Map(); // the same for documents
let summaries = 0;

function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (typeof part.text === "string" ? part.text : "")).join("\n");
}

/** The last scripted word of the conversation, what it was spelled like whole, and the messages after it. */
function scriptOf(request) {
  const messages = request.messages ?? [];
  for (let at = messages.length - 1; at >= 0; at--) {
    if (messages[at].role !== "user") continue;
    const found = [...textOf(messages[at].content).matchAll(WORD)].at(-1);
    if (found) return { name: found[1], whole: found[0], after: messages.slice(at + 1), message: messages[at] };
  }
  return { name: "TEXT", whole: "E2E-TEXT", after: messages, message: { content: "" } };
}

const isSummary = (request) => (request.messages ?? []).some((m) => m.role === "system" && /summarization assistant/i.test(textOf(m.content)));
const toolNames = (request) => (request.tools ?? []).map((tool) => tool.function?.name ?? tool.name);
const picturesIn = (body) =>
  body.messages.flatMap((m) => (Array.isArray(m.content) ? m.content : [])).filter((p) => ["image_url", "image"].includes(p.type)).length;
const filesIn = (body) =>
  body.messages.flatMap((m) => (Array.isArray(m.content) ? m.content : [])).filter((p) => ["file", "document"].includes(p.type)).length;
const resultsOf = (after) => after.filter((m) => m.role === "tool").map((m) => textOf(m.content).trim());
const times = (whole) => seen.get(whole) ?? 0;
const text = (content, more = {}) => ({ content, usage: TOKENS, ...more });
const error = (status, message, type, more = {}) => ({ status, error: { message, type, ...more } });

function call(request, index, command) {
  const names = toolNames(request);
  if (names.includes("exec")) return { id: `call_e2e_${index}`, name: "exec", arguments: JSON.stringify({ command }) };
  return { id: `call_e2e_${index}`, name: names[0] ?? "lookup", arguments: JSON.stringify({ city: ["Paris", "Oslo"][index - 1] }) };
}

const SCRIPTS = {
  TEXT: (request) => text(`E2E-TEXT-OK from ${request.model}`),
  SLOW: () => text("word ".repeat(400) + "E2E-SLOW-OK", { usage: { ...TOKENS, completion_tokens: 402, output_tokens: 402 } }),
  EXEC: (request, { after }) =>
    resultsOf(after).length
      ? text(`E2E-EXEC-OK ${resultsOf(after).join(" ")}`)
      : { content: "Let me run that.", toolCalls: [call(request, 1, "echo e2e-exec-$((6*7))")], usage: TOKENS },
  PARALLEL: (request, { after }) =>
    resultsOf(after).length
      ? text(`E2E-PARALLEL-OK ${resultsOf(after).join(" and ")}`)
      : { toolCalls: [call(request, 1, "echo left-$((40+1))"), call(request, 2, "echo right-$((40+2))")], usage: TOKENS },
  // Reads in.txt of the folder that the message names, then writes out.txt and counts words at once, in Claude Code's tools.
  FILES: (request, { after, message }) => {
    const folder = /in the folder (\S+)/.exec(textOf(message.content))[1];
    const results = resultsOf(after);
    const step = (index, name, input) => ({ id: `call_e2e_${index}`, name, arguments: JSON.stringify(input) });
    if (results.length === 0) return { content: "Let me look.", toolCalls: [step(1, "Read", { file_path: `${folder}/in.txt` })], usage: TOKENS };
    if (results.length > 1) return text(`E2E-FILES-OK ${results.at(-1)}`);
    const seen = /six times (\w+)/.exec(results[0])?.[1];
    const write = step(2, "Write", { file_path: `${folder}/out.txt`, content: `six times ${seen} is 42\n` });
    return { toolCalls: [write, step(3, "Bash", { command: `wc -w < ${folder}/in.txt`, description: "Counts words" })], usage: TOKENS };
  },
  STRUCT: () => text('{"city":"Paris","people":2100000}'),
  FILE: (request, { whole }) => text(`E2E-FILE-OK saw ${files.get(whole)}`),
  PICTURE: (request, { whole }) => text(`E2E-PICTURE-OK saw ${pictures.get(whole)}`),
  THINK: () => text("E2E-THINK-OK the answer is 42.", { reasoning: "E2E-REASONING six times seven is forty two." }),
  FLAKY: (request, { whole }) => (times(whole) <= 1 ? error(500, "the server had an error", "server_error") : text("E2E-FLAKY-OK")),
  FAIL500: () => error(500, "the server had an error", "server_error"),
  FAIL529: () => error(529, "Overloaded", "overloaded_error"),
  FAIL429: () => error(429, "Rate limit reached for requests", "rate_limit_error", { code: "rate_limit_exceeded" }),
  FAIL401: () => error(401, "Incorrect API key provided", "authentication_error", { code: "invalid_api_key" }),
  FAIL402: () => error(402, "Your credit balance is too low", "billing_error"),
  FAIL400: () => error(400, "Invalid value for 'temperature'", "invalid_request_error", { param: "temperature" }),
  OVERFLOW: (request, { whole }) => {
    if (isSummary(request)) return text("## Goal\nE2E-SUMMARY of what was said.");
    if (!overflowed.has(whole)) overflowed.set(whole, summaries);
    if (summaries > overflowed.get(whole)) return text("E2E-OVERFLOW-OK after compaction");
    return error(400, "prompt is too long: 250000 tokens > 200000 maximum", "invalid_request_error", { code: "context_length_exceeded" });
  },
  CUT: (request, { whole }) => (times(whole) <= 1 ? text("this answer breaks off ".repeat(10)) : text("E2E-CUT-OK")),
};
const overflowed = new Map(); // whole word -> how many summaries had been asked for when it first overflowed

function answer(request) {
  if (isSummary(request)) return text("## Goal\nE2E-SUMMARY of what was said.");
  const broken = /broken-(\d+)/.exec(request.model); // a model that always fails, whatever is said to it
  if (broken) return SCRIPTS[`FAIL${broken[1]}`]();
  const script = scriptOf(request);
  return (SCRIPTS[script.name] ?? SCRIPTS.TEXT)(request, script);
}

const cutNow = (request) => !isSummary(request) && scriptOf(request).name === "CUT" && times(scriptOf(request).whole) <= 1;
const speech = { audio: Buffer.from("E2E-SPEECH-BYTES").toString("base64"), format: "mp3" };

const mock = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "warn", chunkSize: 12, journalMaxEntries: 1, strict: true });
mock.on({ endpoint: "chat", predicate: cutNow }, answer, { truncateAfterChunks: 5, latency: 20 });
mock.on({ endpoint: "chat", predicate: (request) => scriptOf(request).name === "SLOW" }, answer, { latency: 25 });
mock.on({ endpoint: "chat" }, answer);
mock.on({ endpoint: "embedding" }, { embedding: [0.25, -0.5, 0.75, 1.0] });
mock.on({ endpoint: "image" }, { images: [{ b64Json: PIXEL }] });
mock.on({ endpoint: "speech" }, speech);
mock.on({ endpoint: "transcription" }, { transcription: { text: "E2E-HEARD the spoken words" } });
await mock.start();

let count = 0;
mock.serverInstance.server.prependListener("request", (request, response) => {
  const chunks = [];
  const n = ++count;
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const raw = Buffer.concat(chunks);
    const plain = raw.toString("utf8");
    note({ n, at: Date.now(), method: request.method, path: request.url, headers: request.headers, body: plain });
    if (request.method === "POST" && plain.startsWith("{")) remember(JSON.parse(plain));
  });
  response.on("close", () => response.writableFinished || note({ n, left_at: Date.now() }));
});

function remember(body) {
  if (!Array.isArray(body.messages)) return;
  if (/summarization assistant/i.test(textOf(body.system) + body.messages.map((m) => (m.role === "system" ? textOf(m.content) : "")).join(""))) summaries++;
  const { whole } = scriptOf(body);
  seen.set(whole, times(whole) + 1);
  pictures.set(whole, picturesIn(body));
  files.set(whole, filesIn(body));
}

function note(line) {
  appendFileSync(journal, JSON.stringify(line) + "\n");
}

process.stdin.on("end", () => process.exit(0)).resume();
console.log(JSON.stringify({ port: mock.port }));
