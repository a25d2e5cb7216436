// Chooses a team, user, organisation or budget among any number of them: the gateway searches.
import { Autocomplete, Select } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get } from "../api/client";
import type { BudgetPage, OrganizationPage, TeamPage, UserPage } from "../api/types";
import { useWords } from "../i18n";
import { useRights } from "./rights";

const SHOWN_MAX = 20;
const SEARCH_AFTER_MS = 250;

type Kind = "team" | "user" | "organization" | "budget";
type Option = { value: string; label: string };

const FIND: Record<Kind, (search: string, signal: AbortSignal) => Promise<Option[]>> = {
  team: async (search, signal) =>
    (await get<TeamPage>("/v2/team/list", { search, page: 1, page_size: SHOWN_MAX, sort_by: "team_alias" }, signal)).teams.map((one) => ({
      value: one.team_id,
      label: one.team_alias || one.team_id,
    })),
  user: async (search, signal) =>
    (await get<UserPage>("/user/list", { search, page: 1, page_size: SHOWN_MAX, sort_by: "user_email" }, signal)).users.map((one) => ({
      value: one.user_id,
      label: one.user_email || one.user_alias || one.user_id,
    })),
  organization: async (search, signal) =>
    (await get<OrganizationPage>("/organization/list", { search, page: 1, page_size: SHOWN_MAX, sort_by: "organization_alias" }, signal)).organizations.map((one) => ({
      value: one.organization_id,
      label: one.organization_alias || one.organization_id,
    })),
  budget: async (search, signal) =>
    (await get<BudgetPage>("/budget/list", { search, page: 1, page_size: SHOWN_MAX, sort_by: "budget_id" }, signal)).budgets.map((one) => ({ value: one.budget_id, label: one.budget_id })),
};

/** Two of the same name are told apart by their ids. */
function distinct(options: Option[]): Option[] {
  const counts = new Map<string, number>();
  for (const one of options) counts.set(one.label, (counts.get(one.label) ?? 0) + 1);
  return options.map((one) => (counts.get(one.label)! > 1 && one.label !== one.value ? { ...one, label: `${one.label} (${one.value})` } : one));
}

/** Asks nothing before it is opened. `known` is how the one that is chosen already is called. */
export function Pick({ kind, label, description, value, known, choose }: { kind: Kind; label: string; description?: string; value: string | null; known?: string | null; choose: (value: string | null) => void }) {
  const { t } = useWords();
  const [opened, setOpened] = useState(false);
  const [search, setSearch] = useState("");
  const [chosen, setChosen] = useState<Option | null>(value === null ? null : { value, label: known || value });
  const [settled] = useDebouncedValue(search === chosen?.label ? "" : search.trim(), SEARCH_AFTER_MS);
  const found = useQuery({
    queryKey: [kind, "pick", settled],
    queryFn: ({ signal }) => FIND[kind](settled, signal),
    enabled: opened,
    placeholderData: (before) => before,
  });
  const options = distinct(found.data ?? []);
  const current = value !== null && chosen?.value === value ? chosen : null;
  const offered = current && !options.some((one) => one.value === current.value) ? [current, ...options] : options;
  // Chosen by keyboard, too: the cross in the field is for the mouse alone.
  const data = current ? [{ value: "", label: t("people.noChoice") }, ...offered] : offered;
  return (
    <Select
      label={label}
      description={description}
      placeholder={t("people.noChoice")}
      data={data}
      value={value}
      onChange={(picked, option) => {
        setChosen(picked ? { value: picked, label: option?.label ?? picked } : null);
        choose(picked || null);
      }}
      searchable
      clearable
      onSearchChange={setSearch}
      onDropdownOpen={() => setOpened(true)}
      filter={({ options: all }) => all}
      nothingFoundMessage={found.isFetching ? t("app.loading") : found.error ? found.error.message : t("people.nothing")}
    />
  );
}

/** A user by id or e-mail: one of those that are known, or a new one. */
export function UserName({ label, description, value, set }: { label: string; description?: string; value: string; set: (value: string) => void }) {
  const { sees_all } = useRights();
  const [opened, setOpened] = useState(false);
  const [settled] = useDebouncedValue(value.trim(), SEARCH_AFTER_MS);
  const found = useQuery({
    queryKey: ["user", "names", settled],
    queryFn: async ({ signal }) => {
      const { users } = await get<UserPage>("/user/list", { search: settled, page: 1, page_size: SHOWN_MAX, sort_by: "user_email" }, signal);
      return [...new Set(users.map((one) => one.user_email || one.user_id))];
    },
    enabled: opened && sees_all,
    placeholderData: (before) => before,
  });
  return (
    <Autocomplete
      label={label}
      description={description}
      data={found.data ?? []}
      filter={({ options }) => options}
      value={value}
      onChange={set}
      onDropdownOpen={() => setOpened(true)}
      onFocus={() => setOpened(true)}
      required
      data-autofocus
    />
  );
}

/** How the gateway is told of a user that somebody named. */
export const named = (name: string) => (name.includes("@") ? { user_email: name.trim() } : { user_id: name.trim() });
