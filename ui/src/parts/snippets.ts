// What to write where, for each client that can be connected. `key` is a new key's text or the name of where to put one.
export type Snippet = { title: { kind: "file"; file: string } | { kind: "shell" } | { kind: "code"; name: string }; code: string };
export type Client = { id: string; name: string; needs: string; snippets: (at: { url: string; key: string; model: string }) => Snippet[] };

const js = (value: string) => JSON.stringify(value);

export const CLIENTS: Client[] = [
  {
    id: "openclaw",
    name: "OpenClaw",
    needs: "chat",
    snippets: ({ url, key }) => [
      { title: { kind: "shell" }, code: `export LITELLM_API_KEY="${key}"\nopenclaw onboard --auth-choice litellm-api-key --custom-base-url ${url}` },
    ],
  },
  {
    id: "claude-code",
    name: "Claude Code",
    needs: "messages",
    snippets: ({ url, key, model }) => [
      { title: { kind: "shell" }, code: `export ANTHROPIC_BASE_URL="${url}"\nexport ANTHROPIC_AUTH_TOKEN="${key}"\nclaude --model ${quoted(model)}` },
    ],
  },
  {
    id: "codex",
    name: "Codex",
    needs: "responses",
    snippets: ({ url, key, model }) => [
      {
        title: { kind: "file", file: "~/.codex/config.toml" },
        code: `model = ${js(model)}\nmodel_provider = "tollway"\n\n[model_providers.tollway]\nname = "Tollway"\nbase_url = "${url}/v1"\nenv_key = "TOLLWAY_KEY"\nwire_api = "responses"`,
      },
      { title: { kind: "shell" }, code: `export TOLLWAY_KEY="${key}"\ncodex` },
    ],
  },
  {
    id: "openai-python",
    name: "OpenAI SDK, Python",
    needs: "chat",
    snippets: ({ url, key, model }) => [
      {
        title: { kind: "code", name: "Python" },
        code: `from openai import OpenAI\n\nclient = OpenAI(base_url="${url}/v1", api_key="${key}")\nanswer = client.chat.completions.create(\n    model=${js(model)},\n    messages=[{"role": "user", "content": "Hello"}],\n)\nprint(answer.choices[0].message.content)`,
      },
    ],
  },
  {
    id: "openai-node",
    name: "OpenAI SDK, Node",
    needs: "chat",
    snippets: ({ url, key, model }) => [
      {
        title: { kind: "code", name: "Node" },
        code: `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${url}/v1", apiKey: "${key}" });\nconst answer = await client.chat.completions.create({\n  model: ${js(model)},\n  messages: [{ role: "user", content: "Hello" }],\n});\nconsole.log(answer.choices[0].message.content);`,
      },
    ],
  },
  {
    id: "anthropic-python",
    name: "Anthropic SDK, Python",
    needs: "messages",
    snippets: ({ url, key, model }) => [
      {
        title: { kind: "code", name: "Python" },
        code: `from anthropic import Anthropic\n\nclient = Anthropic(base_url="${url}", api_key="${key}")\nanswer = client.messages.create(\n    model=${js(model)},\n    max_tokens=1024,\n    messages=[{"role": "user", "content": "Hello"}],\n)\nprint(answer.content[0].text)`,
      },
    ],
  },
  {
    id: "anthropic-node",
    name: "Anthropic SDK, Node",
    needs: "messages",
    snippets: ({ url, key, model }) => [
      {
        title: { kind: "code", name: "Node" },
        code: `import Anthropic from "@anthropic-ai/sdk";\n\nconst client = new Anthropic({ baseURL: "${url}", apiKey: "${key}" });\nconst answer = await client.messages.create({\n  model: ${js(model)},\n  max_tokens: 1024,\n  messages: [{ role: "user", content: "Hello" }],\n});\nconsole.log(answer.content[0].text);`,
      },
    ],
  },
  {
    id: "curl",
    name: "curl",
    needs: "chat",
    snippets: ({ url, key, model }) => [
      {
        title: { kind: "shell" },
        code: `curl ${url}/v1/chat/completions \\\n  -H "Authorization: Bearer ${key}" \\\n  -H "Content-Type: application/json" \\\n  -d ${quoted(JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] }))}`,
      },
    ],
  },
];

/** In single quotes a shell obeys nothing but the quote itself. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** JSON as Python writes it. */
export function python(value: unknown, indent = 0): string {
  const pad = "    ".repeat(indent + 1);
  const end = "    ".repeat(indent);
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return value.length ? `[\n${value.map((one) => pad + python(one, indent + 1)).join(",\n")},\n${end}]` : "[]";
  if (typeof value === "object") {
    const entries = Object.entries(value as object);
    return entries.length ? `{\n${entries.map(([name, one]) => `${pad}${JSON.stringify(name)}: ${python(one, indent + 1)}`).join(",\n")},\n${end}}` : "{}";
  }
  return JSON.stringify(value);
}
