// A conversation as it is shown: everything in it is text, and no picture is loaded from anywhere.
import { Code, Group, Spoiler, Stack, Text } from "@mantine/core";
import { useWords, type WordKey } from "../i18n";
import type { Part, Turn } from "./talk";

const ROLES: Record<string, WordKey> = { system: "chat.system", developer: "chat.system", user: "chat.user", assistant: "chat.assistant", model: "chat.assistant", tool: "chat.tool" };
const PICTURE = /^data:image\/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=\s]+$/;

export function Turns({ turns }: { turns: Turn[] }) {
  const { t } = useWords();
  return (
    <Stack gap="sm">
      {turns.map((turn, place) => (
        <div key={place} className="turn" data-role={turn.role}>
          <Text size="xs" fw={700} c="dimmed">
            {ROLES[turn.role] ? t(ROLES[turn.role]!) : turn.role}
          </Text>
          {turn.parts.map((part, at) => (
            <Shown key={at} part={part} />
          ))}
        </div>
      ))}
    </Stack>
  );
}

function Shown({ part }: { part: Part }) {
  const { t } = useWords();
  switch (part.kind) {
    case "text":
      return (
        <Text size="sm" className="said">
          {part.text}
        </Text>
      );
    case "reasoning":
      return (
        <Spoiler maxHeight={120} showLabel="…" hideLabel="−">
          <Text size="xs" c="dimmed" fw={600}>
            {t("chat.reasoning")}
          </Text>
          <Text size="sm" c="dimmed" fs="italic" className="said">
            {part.text}
          </Text>
        </Spoiler>
      );
    case "image":
      return PICTURE.test(part.url) ? (
        <img src={part.url} alt={t("chat.image")} />
      ) : (
        <Text size="sm" c="dimmed" className="said">
          {t("chat.imageElsewhere", { url: part.url.slice(0, 300) })}
        </Text>
      );
    case "tool":
      return (
        <Group gap={4} align="start">
          <Text size="sm" fw={600}>
            {t("chat.toolCall", { name: part.name })}
          </Text>
          <Code block className="said" tabIndex={0}>
            {part.input}
          </Code>
        </Group>
      );
    case "other":
      return (
        <Text size="sm" c="dimmed">
          {t("chat.part", { kind: part.name })}
        </Text>
      );
  }
}
