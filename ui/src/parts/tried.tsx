// What came of trying a model: what it said, how long it took and what it cost, or what the provider would not have.
import { Stack, Text } from "@mantine/core";
import type { ConnectionAnswer } from "../api/types";
import { useWords } from "../i18n";

export function Tried({ answer: { status, result } }: { answer: ConnectionAnswer }) {
  const { t, money, duration, number } = useWords();
  const took = duration(result.response_time_ms);
  if (status === "error") {
    return (
      <Text size="sm" className="bad said" role="status">
        {t("models.refused", { status: result.exception_status ?? "", ms: took })} {result.error}
      </Text>
    );
  }
  return (
    <Stack gap={0} role="status">
      <Text size="sm" className="good">
        {[
          t("models.answered", { ms: took }),
          result.response_cost === null || result.response_cost === undefined ? t("play.costUnknown") : money(result.response_cost),
          t("play.usage", { input: number(result.prompt_tokens ?? 0), output: number(result.completion_tokens ?? 0) }),
        ].join(" · ")}
      </Text>
      {result.answer && (
        <Text size="sm" className="said" lineClamp={4}>
          {result.answer}
        </Text>
      )}
    </Stack>
  );
}
