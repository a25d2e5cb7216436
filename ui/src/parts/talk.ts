// What was said in a call, read out of its stored bodies: OpenAI's chat and Anthropic's messages, whole or streamed.
export type Part =
  | { kind: "text"; text: string }
  | { kind: "reasoning"; text: string }
  | { kind: "image"; url: string }
  | { kind: "tool"; name: string; input: string }
  | { kind: "other"; name: string };
export type Turn = { role: string; parts: Part[] };
export type Talk = { turns: Turn[]; tools: string[] };

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value, null, 2));

export function parse(body: string | null | undefined): unknown {
  if (!body) return null;
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return null;
  }
}

/** The conversation that a request holds, or null when it is none. */
export function asked(body: unknown): Talk | null {
  if (!isObject(body)) return null;
  const turns: Turn[] = [];
  if (body.system !== undefined) turns.push({ role: "system", parts: parts(body.system) });
  if (Array.isArray(body.messages)) {
    for (const message of body.messages) if (isObject(message)) turns.push(turn(message));
  } else if (typeof body.input === "string" || typeof body.prompt === "string") {
    turns.push({ role: "user", parts: [{ kind: "text", text: text(body.input ?? body.prompt) }] });
  } else if (Array.isArray(body.input)) {
    for (const item of body.input) {
      turns.push(isObject(item) ? turn(item) : { role: "user", parts: [{ kind: "text", text: text(item) }] });
    }
  } else {
    return null;
  }
  const tools = list(body.tools).map((tool) => (isObject(tool) ? text(isObject(tool.function) ? tool.function.name : (tool.name ?? tool.type)) : text(tool)));
  return { turns, tools };
}

/** What the model said, from a whole answer or from the events of a streamed one. */
export function answered(body: string | null | undefined): Turn[] | null {
  if (!body) return null;
  const whole = parse(body);
  if (isObject(whole)) return fromWhole(whole);
  const said = new Said();
  let events = 0;
  for (const line of body.split("\n")) {
    if (!line.startsWith("data:")) continue;
    const event = parse(line.slice(5).trim());
    if (isObject(event)) {
      events += 1;
      said.take(event);
    }
  }
  const parts = said.error ? [...said.parts(), { kind: "text" as const, text: said.error }] : said.parts();
  return events ? [{ role: "assistant", parts }] : null;
}

function fromWhole(whole: Json): Turn[] | null {
  if (Array.isArray(whole.choices)) {
    return whole.choices.filter(isObject).map((choice) => turn(isObject(choice.message) ? choice.message : choice));
  }
  if (Array.isArray(whole.content)) return [turn(whole)];
  if (Array.isArray(whole.output)) return whole.output.filter(isObject).map(turn);
  if (Array.isArray(whole.data)) {
    const images = whole.data.filter(isObject).filter((one) => typeof one.b64_json === "string" || typeof one.url === "string");
    if (images.length) {
      const shown = images.map((one): Part => ({ kind: "image", url: typeof one.b64_json === "string" ? `data:image/png;base64,${one.b64_json}` : text(one.url) }));
      return [{ role: "assistant", parts: shown }];
    }
  }
  return null;
}

function turn(message: Json): Turn {
  const found: Part[] = [];
  const reasoning = message.reasoning_content ?? message.reasoning;
  if (typeof reasoning === "string" && reasoning) found.push({ kind: "reasoning", text: reasoning });
  found.push(...parts(message.content));
  for (const call of list(message.tool_calls)) if (isObject(call)) found.push(toolCall(call));
  if (message.type === "function_call") found.push({ kind: "tool", name: text(message.name), input: text(message.arguments) });
  if (message.type === "function_call_output") found.push({ kind: "text", text: text(message.output) });
  return { role: typeof message.role === "string" ? message.role : message.type === "function_call_output" ? "tool" : "assistant", parts: found };
}

function toolCall(call: Json): Part {
  const called = isObject(call.function) ? call.function : call;
  return { kind: "tool", name: text(called.name), input: text(called.arguments ?? called.input) };
}

export function parts(content: unknown): Part[] {
  if (typeof content === "string") return content ? [{ kind: "text", text: content }] : [];
  return list(content).flatMap((part): Part[] => {
    if (typeof part === "string") return [{ kind: "text", text: part }];
    if (!isObject(part)) return [];
    switch (part.type) {
      case "text":
      case "input_text":
      case "output_text":
        return [{ kind: "text", text: text(part.text) }];
      case "thinking":
        return [{ kind: "reasoning", text: text(part.thinking) }];
      case "image_url":
      case "input_image":
        return [{ kind: "image", url: text(isObject(part.image_url) ? part.image_url.url : part.image_url) }];
      case "image": {
        const source = isObject(part.source) ? part.source : {};
        const url = source.type === "base64" ? `data:${text(source.media_type)};base64,${text(source.data)}` : text(source.url);
        return [{ kind: "image", url }];
      }
      case "tool_use":
        return [{ kind: "tool", name: text(part.name), input: text(part.input) }];
      case "tool_result":
        return parts(part.content);
      default:
        return [{ kind: "other", name: text(part.type) }];
    }
  });
}

const TOOLS_MAX = 256;

/** Puts a streamed answer together, event by event. */
export class Said {
  text = "";
  reasoning = "";
  usage: { input: number; output: number; cost: number | null } | null = null;
  error = "";
  private tools: { id: string; name: string; input: string }[] = [];

  take(event: Json) {
    if (isObject(event.error)) this.error = text(event.error.message);
    for (const choice of list(event.choices)) {
      if (isObject(choice) && isObject(choice.delta)) this.delta(choice.delta);
    }
    if (isObject(event.usage)) this.count(event.usage);
    if (event.type === "content_block_start" && isObject(event.content_block) && event.content_block.type === "tool_use") {
      this.tools.push({ id: text(event.content_block.id), name: text(event.content_block.name), input: "" });
    }
    if (event.type === "content_block_delta" && isObject(event.delta)) {
      this.text += typeof event.delta.text === "string" ? event.delta.text : "";
      this.reasoning += typeof event.delta.thinking === "string" ? event.delta.thinking : "";
      const last = this.tools.at(-1);
      if (last && typeof event.delta.partial_json === "string") last.input += event.delta.partial_json;
    }
    if (event.type === "response.output_text.delta") this.text += text(event.delta);
    if (event.type === "response.reasoning_summary_text.delta") this.reasoning += text(event.delta);
  }

  parts(): Part[] {
    const found: Part[] = [];
    if (this.reasoning) found.push({ kind: "reasoning", text: this.reasoning });
    if (this.text) found.push({ kind: "text", text: this.text });
    found.push(...this.tools.map(({ name, input }): Part => ({ kind: "tool", name, input })));
    return found;
  }

  /** The answer as a message of OpenAI's chat, to go on from. */
  message(): { role: string; content: string | null; reasoning_content?: string; tool_calls?: unknown[] } {
    const calls = this.tools.map(({ id, name, input }) => ({ id, type: "function", function: { name, arguments: input } }));
    return {
      role: "assistant",
      content: this.text || null,
      ...(this.reasoning ? { reasoning_content: this.reasoning } : {}),
      ...(calls.length ? { tool_calls: calls } : {}),
    };
  }

  private delta(delta: Json) {
    if (typeof delta.content === "string") this.text += delta.content;
    const reasoning = delta.reasoning_content ?? delta.reasoning;
    if (typeof reasoning === "string") this.reasoning += reasoning;
    for (const call of list(delta.tool_calls)) {
      if (!isObject(call)) continue;
      const at = typeof call.index === "number" ? call.index : this.tools.length;
      if (!(at >= 0 && at < TOOLS_MAX)) continue;
      const tool = (this.tools[at] ??= { id: text(call.id), name: "", input: "" });
      if (isObject(call.function)) {
        tool.name += text(call.function.name);
        tool.input += text(call.function.arguments);
      }
    }
  }

  private count(usage: Json) {
    this.usage = {
      input: Number(usage.prompt_tokens ?? usage.input_tokens ?? 0),
      output: Number(usage.completion_tokens ?? usage.output_tokens ?? 0),
      cost: typeof usage.cost === "number" ? usage.cost : (this.usage?.cost ?? null),
    };
  }
}
