// Held to a budget that several share, or to limits of its own: organisations, customers and tags are either.
import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { get } from "../api/client";
import type { BudgetPage } from "../api/types";
import { useWords } from "../i18n";
import { type Body, changes, limitBody, type LimitFields, Limits } from "./limits";
import { Pick } from "./pick";

/** The id of the shared budget behind `budget_id`; null where that budget is its holder's own. Undefined while that is asked. */
export function useShared(budget_id: string | null | undefined): string | null | undefined {
  const found = useQuery({
    queryKey: ["budget", budget_id, "shared"],
    queryFn: async ({ signal }) => (await get<BudgetPage>("/budget/list", { budget_id, page: 1 }, signal)).total > 0,
    enabled: Boolean(budget_id),
  });
  if (!budget_id) return null;
  if (found.error) return null;
  return found.data === undefined ? undefined : found.data ? budget_id : null;
}

export type Held = LimitFields & { budget_id: string | null };

/** What to ask for. Of a shared budget only its name is said: a limit beside it would make a budget of one's own. */
export function heldBody(before: Held | null, after: Held): Body {
  const shared = before?.budget_id ?? null;
  if (after.budget_id !== null) return after.budget_id === shared ? {} : { budget_id: after.budget_id };
  const left = shared === null ? {} : { budget_id: null };
  return { ...left, ...changes(before === null || shared !== null ? null : limitBody(before), limitBody(after)) };
}

export function HeldTo({ fields, set, known }: { fields: Held; set: (more: Partial<Held>) => void; known?: string | null }) {
  const { t } = useWords();
  return (
    <>
      <Pick kind="budget" label={t("budgets.shared")} description={t("budgets.sharedHint")} value={fields.budget_id} known={known} choose={(budget_id) => set({ budget_id })} />
      {fields.budget_id === null ? <Limits fields={fields} set={set} /> : <Text size="sm">{t("budgets.ofShared")}</Text>}
    </>
  );
}
