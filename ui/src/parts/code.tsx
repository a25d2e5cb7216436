import { Code, Group, Stack, Text } from "@mantine/core";
import { Copy } from "./basics";

export function Snippet({ title, code }: { title: string; code: string }) {
  return (
    <Stack gap={4}>
      <Group justify="space-between">
        <Text size="sm" fw={600}>
          {title}
        </Text>
        <Copy value={code} />
      </Group>
      <Code block tabIndex={0} role="region" aria-label={title}>
        {code}
      </Code>
    </Stack>
  );
}
