// One case of one SDK for Node, told on standard output as one JSON line.
//
//   node sdks.mjs PACKAGES_DIR SDK CASE GATEWAY_URL KEY MODEL WORD
//
// SDK: openai | responses | anthropic | genai | ai-openai | ai-chat | ai-anthropic | ai-google
// CASE: chat | stream | tools | structured | picture | document | reasoning | error | cancel
// An error that an SDK throws is told as {"error": {name, status, message}}.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { deflateSync, crc32 } from "node:zlib";

const [packages, sdk, what, url, key, model, word] = process.argv.slice(2);
const resolve = createRequire(packages + "/").resolve;
const load = (name) => import(pathToFileURL(resolve(name)).href);

const PNG = png(32).toString("base64");
const PDF = Buffer.from("%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF").toString("base64");
const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const PLACE = {
  type: "object",
  properties: { city: { type: "string" }, people: { type: "integer" } },
  required: ["city", "people"],
  additionalProperties: false,
};
const CANCEL_AFTER = 3;
const found = (city) => `${city} found`;

function png(side) {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const size = Buffer.alloc(4), sum = Buffer.alloc(4);
    size.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([size, body, sum]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const line = Buffer.concat([Buffer.from([0]), Buffer.alloc(side * 3, 200)]);
  const lines = deflateSync(Buffer.concat(Array(side).fill(line)));
  const mark = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([mark, chunk("IHDR", head), chunk("IDAT", lines), chunk("IEND", Buffer.alloc(0))]);
}

async function openai() {
  const { default: OpenAI } = await load("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const said = [{ role: "user", content: word }];
  const ask = (more = {}, options = {}) => client.chat.completions.create({ model, messages: said, ...more }, options);
  const about = (reply) => ({
    text: reply.choices[0].message.content,
    finish: reply.choices[0].finish_reason,
    usage: [reply.usage.prompt_tokens, reply.usage.completion_tokens],
  });
  const tools = [{ type: "function", function: { name: "lookup", description: "Looks a city up.", parameters: CITY } }];
  const withPart = (part) => ask({ messages: [{ role: "user", content: [{ type: "text", text: word }, part] }] });
  return {
    chat: async () => about(await ask()),
    stream: async () => {
      let text = "", finish, usage;
      for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
        text += chunk.choices[0]?.delta?.content ?? "";
        finish ??= chunk.choices[0]?.finish_reason;
        if (chunk.usage) usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
      }
      return { text, finish, usage };
    },
    tools: async () => {
      const stream = client.chat.completions.stream({ model, messages: said, tools });
      const first = (await stream.finalChatCompletion()).choices[0].message;
      const results = first.tool_calls.map((call) => ({
        role: "tool",
        tool_call_id: call.id,
        content: found(JSON.parse(call.function.arguments).city),
      }));
      return { calls: first.tool_calls.length, ...about(await ask({ messages: [...said, first, ...results], tools })) };
    },
    structured: async () => {
      const response_format = { type: "json_schema", json_schema: { name: "place", schema: PLACE, strict: true } };
      const reply = await client.chat.completions.parse({ model, messages: said, response_format });
      return { parsed: reply.choices[0].message.parsed ?? JSON.parse(reply.choices[0].message.content) };
    },
    picture: async () => about(await withPart({ type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } })),
    document: async () =>
      about(await withPart({ type: "file", file: { filename: "a.pdf", file_data: `data:application/pdf;base64,${PDF}` } })),
    reasoning: async () => {
      const reply = await ask({ reasoning_effort: "low" });
      return { thought: reply.choices[0].message.reasoning_content, ...about(reply) };
    },
    error: () => ask(),
    cancel: async () => {
      const stream = await ask({ stream: true });
      let seen = 0;
      for await (const _ of stream) if (++seen === CANCEL_AFTER) break;
      return { seen };
    },
  };
}

async function responses() {
  const { default: OpenAI } = await load("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const ask = (more = {}) => client.responses.create({ model, input: word, ...more });
  const about = (reply) => ({
    text: reply.output_text,
    finish: reply.status,
    usage: [reply.usage.input_tokens, reply.usage.output_tokens],
  });
  const tools = [{ type: "function", name: "lookup", description: "Looks a city up.", parameters: CITY, strict: true }];
  const withPart = (part) => ask({ input: [{ role: "user", content: [{ type: "input_text", text: word }, part] }] });
  return {
    chat: async () => about(await ask()),
    stream: async () => {
      const stream = client.responses.stream({ model, input: word });
      let text = "", last = -1, ordered = true;
      for await (const event of stream) {
        ordered &&= event.sequence_number === last + 1;
        last = event.sequence_number;
        if (event.type === "response.output_text.delta") text += event.delta;
      }
      return { ordered, same: text === (await stream.finalResponse()).output_text, ...about(await stream.finalResponse()) };
    },
    tools: async () => {
      const first = await client.responses.stream({ model, input: word, tools }).finalResponse();
      const calls = first.output.filter((item) => item.type === "function_call");
      const results = calls.map((call) => ({
        type: "function_call_output",
        call_id: call.call_id,
        output: found(JSON.parse(call.arguments).city),
      }));
      const input = [{ role: "user", content: word }, ...first.output, ...results];
      return { calls: calls.length, ...about(await ask({ input, tools })) };
    },
    structured: async () => {
      const text = { format: { type: "json_schema", name: "place", schema: PLACE, strict: true } };
      return { parsed: JSON.parse((await ask({ text })).output_text) };
    },
    picture: async () => about(await withPart({ type: "input_image", image_url: `data:image/png;base64,${PNG}` })),
    document: async () =>
      about(await withPart({ type: "input_file", filename: "a.pdf", file_data: `data:application/pdf;base64,${PDF}` })),
    reasoning: async () => {
      const reply = await ask({ reasoning: { effort: "low", summary: "auto" } });
      const thought = reply.output.find((item) => item.type === "reasoning");
      return { thought: [...(thought?.content ?? []), ...(thought?.summary ?? [])].map((part) => part.text).join(""), ...about(reply) };
    },
    error: () => ask(),
    cancel: async () => {
      let seen = 0;
      for await (const _ of await ask({ stream: true })) if (++seen === CANCEL_AFTER) break;
      return { seen };
    },
  };
}

async function anthropic() {
  const { default: Anthropic } = await load("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const said = [{ role: "user", content: word }];
  const asked = (more) => ({ model, max_tokens: 1000, messages: said, ...more });
  const ask = (more = {}) => client.messages.create(asked(more));
  const about = (reply) => ({
    text: reply.content.filter((block) => block.type === "text").map((block) => block.text).join(""),
    finish: reply.stop_reason,
    usage: [reply.usage.input_tokens, reply.usage.output_tokens],
  });
  const tools = [{ name: "lookup", description: "Looks a city up.", input_schema: CITY }];
  const withPart = (part) => ask({ messages: [{ role: "user", content: [part, { type: "text", text: word }] }] });
  return {
    chat: async () => about(await ask()),
    stream: async () => {
      let text = "";
      const stream = client.messages.stream(asked()).on("text", (delta) => (text += delta));
      const final = about(await stream.finalMessage());
      return { same: text === final.text, ...final };
    },
    tools: async () => {
      const first = await client.messages.stream(asked({ tools })).finalMessage();
      const calls = first.content.filter((block) => block.type === "tool_use");
      const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: found(call.input.city) }));
      const messages = [...said, { role: "assistant", content: first.content }, { role: "user", content: results }];
      return { calls: calls.length, ...about(await ask({ messages, tools })) };
    },
    structured: async () => {
      const reply = await ask({ output_config: { format: { type: "json_schema", schema: PLACE } } });
      return { parsed: JSON.parse(about(reply).text) };
    },
    picture: async () => about(await withPart({ type: "image", source: { type: "base64", media_type: "image/png", data: PNG } })),
    document: async () =>
      about(await withPart({ type: "document", source: { type: "base64", media_type: "application/pdf", data: PDF } })),
    reasoning: async () => {
      const reply = await ask({ max_tokens: 4000, thinking: { type: "enabled", budget_tokens: 1024 } });
      return { thought: reply.content.find((block) => block.type === "thinking")?.thinking, ...about(reply) };
    },
    error: () => ask(),
    cancel: async () => {
      let seen = 0;
      for await (const _ of await ask({ stream: true })) if (++seen === CANCEL_AFTER) break;
      return { seen };
    },
  };
}

async function genai() {
  const { GoogleGenAI } = await load("@google/genai");
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  const ask = (more = {}) => client.models.generateContent({ model, contents: word, ...more });
  const about = (reply) => ({
    text: reply.text,
    finish: reply.candidates[0].finishReason,
    usage: [reply.usageMetadata.promptTokenCount, reply.usageMetadata.candidatesTokenCount],
  });
  const config = { tools: [{ functionDeclarations: [{ name: "lookup", description: "Looks a city up.", parametersJsonSchema: CITY }] }] };
  const withPart = (part) => ask({ contents: [{ role: "user", parts: [part, { text: word }] }] });
  return {
    chat: async () => about(await ask()),
    stream: async () => {
      let text = "", last;
      for await (const chunk of await client.models.generateContentStream({ model, contents: word })) {
        text += chunk.text ?? "";
        last = chunk;
      }
      return { ...about(last), text };
    },
    tools: async () => {
      const first = await ask({ config });
      const calls = first.functionCalls;
      const results = calls.map((call) => ({ functionResponse: { id: call.id, name: call.name, response: { output: found(call.args.city) } } }));
      const contents = [{ role: "user", parts: [{ text: word }] }, first.candidates[0].content, { role: "user", parts: results }];
      return { calls: calls.length, ...about(await ask({ contents, config })) };
    },
    structured: async () => {
      const reply = await ask({ config: { responseMimeType: "application/json", responseJsonSchema: PLACE } });
      return { parsed: JSON.parse(reply.text) };
    },
    picture: async () => about(await withPart({ inlineData: { mimeType: "image/png", data: PNG } })),
    document: async () => about(await withPart({ inlineData: { mimeType: "application/pdf", data: PDF } })),
    reasoning: async () => {
      const reply = await ask({ config: { thinkingConfig: { includeThoughts: true, thinkingBudget: 1024 } } });
      return { thought: reply.candidates[0].content.parts.find((part) => part.thought)?.text, ...about(reply) };
    },
    error: () => ask(),
    cancel: async () => {
      let seen = 0;
      for await (const _ of await client.models.generateContentStream({ model, contents: word })) if (++seen === CANCEL_AFTER) break;
      return { seen };
    },
  };
}

async function ai(spoken) {
  const { generateText, generateObject, streamText, jsonSchema, stepCountIs, tool } = await load("ai");
  const makers = {
    openai: async () => (await load("@ai-sdk/openai")).createOpenAI({ baseURL: `${url}/v1`, apiKey: key })(model),
    chat: async () => (await load("@ai-sdk/openai")).createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat(model),
    anthropic: async () => (await load("@ai-sdk/anthropic")).createAnthropic({ baseURL: `${url}/v1`, apiKey: key })(model),
    google: async () => (await load("@ai-sdk/google")).createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key })(model),
  };
  const asked = { model: await makers[spoken](), prompt: word, maxRetries: 0 };
  const about = (reply) => ({
    text: reply.text,
    finish: reply.finishReason,
    usage: [reply.usage.inputTokens, reply.usage.outputTokens],
  });
  const withPart = (part) =>
    generateText({ ...asked, prompt: undefined, messages: [{ role: "user", content: [{ type: "text", text: word }, part] }] });
  let calls = 0;
  const lookup = tool({ description: "Looks a city up.", inputSchema: jsonSchema(CITY), execute: ({ city }) => (calls++, found(city)) });
  return {
    chat: async () => about(await generateText(asked)),
    stream: async () => {
      const reply = streamText({ ...asked, onError: ({ error }) => { throw error; } });
      let text = "";
      for await (const piece of reply.textStream) text += piece;
      return { text, finish: await reply.finishReason, usage: [(await reply.usage).inputTokens, (await reply.usage).outputTokens] };
    },
    tools: async () => {
      const reply = await generateText({ ...asked, tools: { lookup }, stopWhen: stepCountIs(3) });
      return { ...about(reply), calls };
    },
    structured: async () => ({ parsed: (await generateObject({ ...asked, schema: jsonSchema(PLACE) })).object }),
    picture: async () => about(await withPart({ type: "image", image: Buffer.from(PNG, "base64"), mediaType: "image/png" })),
    document: async () => about(await withPart({ type: "file", data: Buffer.from(PDF, "base64"), mediaType: "application/pdf", filename: "a.pdf" })),
    reasoning: async () => {
      const reply = await generateText(asked);
      return { thought: reply.reasoningText, ...about(reply) };
    },
    error: () => generateText(asked),
    cancel: async () => {
      const leaving = new AbortController();
      const reply = streamText({ ...asked, abortSignal: leaving.signal, onError: () => {} });
      let seen = 0;
      try {
        for await (const _ of reply.textStream) if (++seen === CANCEL_AFTER) leaving.abort();
      } catch (error) {
        if (!leaving.signal.aborted) throw error;
      }
      return { seen };
    },
  };
}

const sdks = {
  openai,
  responses,
  anthropic,
  genai,
  "ai-openai": () => ai("openai"),
  "ai-chat": () => ai("chat"),
  "ai-anthropic": () => ai("anthropic"),
  "ai-google": () => ai("google"),
};
let told;
try {
  told = await (await sdks[sdk]())[what]();
} catch (error) {
  told = { error: { name: error.name, status: error.status ?? error.statusCode, message: error.message, code: error.code ?? null } };
}
console.log(JSON.stringify(told));
process.exit(0);
