// What somebody is held to: the same fields for teams, users, organisations, budgets, customers and tags.
import { Group, NumberInput, Select, Stack, Text } from "@mantine/core";
import { useWords } from "../i18n";
import { Bar } from "./basics";

export type LimitFields = { max_budget: string; budget_duration: string; rpm_limit: string; tpm_limit: string; max_parallel_requests: string };
type Held = { max_budget: number | null; budget_duration: string | null; rpm_limit: number | null; tpm_limit: number | null; max_parallel_requests: number | null };

/** Dollars to their last nano-dollar, and never as 1e-9. */
export const exact = (dollars: number) => dollars.toFixed(9).replace(/\.?0+$/, "");
const written = (value: number | null | undefined) => (value === null || value === undefined ? "" : String(value));

export function limitFields(of: Held | null | undefined, duration = ""): LimitFields {
  return {
    max_budget: of && of.max_budget !== null ? exact(of.max_budget) : "",
    budget_duration: of?.budget_duration ?? duration,
    rpm_limit: written(of?.rpm_limit),
    tpm_limit: written(of?.tpm_limit),
    max_parallel_requests: written(of?.max_parallel_requests),
  };
}

export type Body = Record<string, unknown>;

/** As the gateway reads them. Money stays the text that was written: no binary fraction on the way. */
export function limitBody(fields: LimitFields): Body {
  const whole = (value: string) => (value === "" ? null : Number(value));
  return {
    max_budget: fields.max_budget === "" ? null : fields.max_budget,
    budget_duration: fields.max_budget === "" ? null : fields.budget_duration || null,
    rpm_limit: whole(fields.rpm_limit),
    tpm_limit: whole(fields.tpm_limit),
    max_parallel_requests: whole(fields.max_parallel_requests),
  };
}

/** The fields that say something else than before; of something new, those that say something. */
export function changes(before: Body | null, after: Body): Body {
  const same = (name: string, value: unknown) => (before === null ? value === null || value === "" || (Array.isArray(value) && value.length === 0) : JSON.stringify(before[name]) === JSON.stringify(value));
  return Object.fromEntries(Object.entries(after).filter(([name, value]) => !same(name, value)));
}

export function Limits({ fields, set, parallel = true }: { fields: LimitFields; set: (more: Partial<LimitFields>) => void; parallel?: boolean }) {
  const { t } = useWords();
  const number = (name: "rpm_limit" | "tpm_limit" | "max_parallel_requests", label: string) => (
    <NumberInput label={label} min={0} allowDecimal={false} value={fields[name]} onChange={(value) => set({ [name]: String(value) })} />
  );
  return (
    <>
      <BudgetFields budget={fields.max_budget} duration={fields.budget_duration} set={(budget, duration) => set({ max_budget: budget, budget_duration: duration })} />
      <Group grow>
        {number("rpm_limit", t("keys.rpm"))}
        {number("tpm_limit", t("keys.tpm"))}
      </Group>
      {parallel && number("max_parallel_requests", t("keys.parallel"))}
    </>
  );
}

const UNITS: Record<string, string> = { s: "second", m: "minute", h: "hour", d: "day", w: "week", mo: "month", y: "year" };

/** How often a budget starts anew, in words: `30d` is how the gateway writes it. */
export function usePeriod() {
  const { t, language } = useWords();
  return (duration: string | null) => {
    if (!duration) return t("keys.never");
    if (duration === "daily" || duration === "weekly" || duration === "monthly") return t(`keys.${duration}`);
    const [, count, unit] = /^(\d+)(s|m|h|d|w|mo|y)$/.exec(duration) ?? [];
    if (count === undefined || unit === undefined) return duration;
    return t("people.after", { time: new Intl.NumberFormat(language, { style: "unit", unit: UNITS[unit], unitDisplay: "long" }).format(Number(count)) });
  };
}

export function BudgetFields({ budget, duration, set, label, hint }: { budget: string; duration: string; set: (budget: string, duration: string) => void; label?: string; hint?: string }) {
  const { t } = useWords();
  const period = usePeriod();
  const periods = [
    { value: "", label: t("keys.never") },
    { value: "daily", label: t("keys.daily") },
    { value: "weekly", label: t("keys.weekly") },
    { value: "monthly", label: t("keys.monthly") },
  ];
  if (!periods.some((one) => one.value === duration)) periods.push({ value: duration, label: period(duration) });
  return (
    <Stack gap={4}>
      <Group grow align="end">
        <NumberInput label={label ?? t("keys.budget")} min={0} decimalScale={9} value={budget} onChange={(value) => set(String(value), duration)} />
        <Select label={t("keys.period")} data={periods} value={duration} onChange={(value) => set(budget, value ?? "")} allowDeselect={false} disabled={budget === ""} />
      </Group>
      {hint && (
        <Text size="xs" c="dimmed">
          {hint}
        </Text>
      )}
    </Stack>
  );
}

/** What was spent, of how much, and when that starts anew. */
export function Spent({ spend, limit, resets, of }: { spend: number; limit: number | null; resets?: string | null; of: string }) {
  const { t, money, ago } = useWords();
  return (
    <>
      <Text size="sm">{limit === null ? `${money(spend)}, ${t("keys.noBudget")}` : t("overview.of", { spend: money(spend), limit: money(limit) })}</Text>
      {limit !== null && <Bar share={limit ? spend / limit : 1} label={`${t("keys.spend")} ${of}`} />}
      {limit !== null && resets && (
        <Text size="xs" c="dimmed">
          {t("keys.resets", { when: ago(resets) })}
        </Text>
      )}
    </>
  );
}

/** The rates and models in one line. */
export function Rates({ of, models = [], silent = false }: { of: { rpm_limit: number | null; tpm_limit: number | null; max_parallel_requests: number | null } | null; models?: string[]; silent?: boolean }) {
  const { t, short } = useWords();
  const limits = [
    of && of.rpm_limit !== null && `${short(of.rpm_limit)} rpm`,
    of && of.tpm_limit !== null && `${short(of.tpm_limit)} tpm`,
    of && of.max_parallel_requests !== null && `${t("keys.parallel")}: ${of.max_parallel_requests}`,
    models.length > 0 && (models.length > 4 ? t("people.models", { names: models.slice(0, 3).join(", "), count: models.length - 3 }) : models.join(", ")),
  ].filter(Boolean);
  if (silent && limits.length === 0) return null;
  return (
    <Text size="sm" className="said">
      {limits.join(" · ") || t("app.none")}
    </Text>
  );
}
