// Teams: several people and keys with one budget; who is in them, and what each member may spend.
import { Alert, Button, Checkbox, Group, NativeSelect, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ask, get, queries } from "../api/client";
import type { Membership, TeamInfo, TeamListed, TeamPage, TeamPermissions, TeamShown } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { en } from "../i18n/en";
import { Asked, Empty, Failed, Page } from "../parts/basics";
import { Confirm, Form, Models } from "../parts/dialogs";
import { KeysOf } from "../parts/keys_of";
import { BudgetFields, changes, limitBody, limitFields, Limits, Rates, Spent, usePeriod } from "../parts/limits";
import { List, useListing } from "../parts/listing";
import { named, Pick, UserName } from "../parts/pick";
import { useRights } from "../parts/rights";
import { Actions, Name, State } from "../parts/rows";
import { Leaves, Sheet, useOpened } from "../parts/sheet";
import { Spend } from "../parts/spend";

const ROLES = ["user", "admin"] as const;
const changed = () => queries.invalidateQueries({ predicate: (query) => ["teams", "team", "keys", "organization"].includes(String(query.queryKey[0])) });
const called = (team: TeamShown) => team.team_alias || team.team_id;

type Doing = { what: "create" } | { what: "edit" | "delete"; team: TeamListed };

export default function TeamsPage() {
  const { t, number } = useWords();
  const rights = useRights();
  const [opened, open] = useOpened("team");
  const [doing, setDoing] = useState<Doing | null>(null);
  const teams = useListing<TeamPage>("teams", "/v2/team/list", { sort: { by: "created_at", order: "desc" } });
  const close = () => setDoing(null);
  const create = rights.makes_teams && <Button onClick={() => setDoing({ what: "create" })}>{t("teams.create")}</Button>;
  return (
    <Page title={t("nav.teams")} actions={create}>
      <List
        of={teams}
        label={t("teams.search")}
        total={(count) => t("teams.total", { count: number(count) })}
        empty={
          <Empty title={t("teams.empty")} hint={t("teams.emptyHint")}>
            {create}
          </Empty>
        }
        minWidth={900}
        heads={[
          { label: t("keys.name"), sort: "team_alias" },
          { label: t("keys.state") },
          { label: t("keys.spend"), sort: "spend" },
          { label: t("people.limitsAndModels") },
          { label: t("teams.members"), right: true },
          { label: t("nav.keys"), right: true },
          { label: t("keys.actions") },
        ]}
        rows={(data) => data.teams.map((team) => <Row key={team.team_id} team={team} open={() => open(team.team_id)} act={setDoing} />)}
      />
      {doing?.what === "create" && <Edit close={close} />}
      {doing?.what === "edit" && <Edit of={doing.team} close={close} />}
      {doing?.what === "delete" && (
        <Confirm
          title={t("keys.deleteTitle", { name: called(doing.team) })}
          hint={t("teams.deleteHint", { keys: number(doing.team.keys_count) })}
          submit={t("keys.delete")}
          run={async () => {
            await ask("POST", "/team/delete", { team_ids: [doing.team.team_id] });
            await changed();
          }}
          close={close}
        />
      )}
      {opened !== null && <TeamSheet id={opened} close={() => open(null)} />}
    </Page>
  );
}

function Row({ team, open, act }: { team: TeamListed; open: () => void; act: (doing: Doing) => void }) {
  const { t, number } = useWords();
  const rights = useRights();
  const block = useMutation({ mutationFn: () => ask("POST", team.blocked ? "/team/unblock" : "/team/block", { team_id: team.team_id }), onSuccess: changed });
  return (
    <Table.Tr>
      <Name name={called(team)} id={team.team_id} note={team.organization_alias} open={open} />
      <State of="teams" blocked={team.blocked} />
      <Table.Td miw="12rem">
        <Spent spend={team.spend} limit={team.max_budget} resets={team.budget_reset_at} of={called(team)} />
        {block.error && <Failed error={block.error} />}
      </Table.Td>
      <Table.Td>
        <Rates of={team} models={team.models} />
      </Table.Td>
      <Table.Td ta="right">{number(team.members_count)}</Table.Td>
      <Table.Td ta="right">{number(team.keys_count)}</Table.Td>
      <Actions
        name={called(team)}
        busy={block.isPending}
        actions={[
          { label: t("people.open"), run: open },
          rights.changes_all && { label: t("people.edit"), run: () => act({ what: "edit", team }) },
          rights.changes_all && { label: t(team.blocked ? "keys.unblock" : "keys.block"), run: () => block.mutate() },
          rights.changes_all && { label: t("keys.delete"), run: () => act({ what: "delete", team }) },
        ]}
      />
    </Table.Tr>
  );
}

/** Makes a team, or changes one. */
function Edit({ of, close }: { of?: TeamShown & { organization_alias?: string | null }; close: () => void }) {
  const { t } = useWords();
  const start = { alias: of?.team_alias ?? "", organization: of?.organization_id ?? null, models: of?.models ?? [], memberBudget: "", memberDuration: "monthly" };
  const limits = limitFields(of, of ? "" : "monthly");
  const [fields, setFields] = useState({ ...start, ...limits });
  const set = (more: Partial<typeof fields>) => setFields((before) => ({ ...before, ...more }));
  const body = (from: typeof fields) => ({ ...limitBody(from), team_alias: from.alias || null, organization_id: from.organization, models: from.models });
  const save = async () => {
    const said = changes(of ? body({ ...start, ...limits }) : null, body(fields));
    const ofMembers = of || fields.memberBudget === "" ? {} : { team_member_budget: fields.memberBudget, team_member_budget_duration: fields.memberDuration || null };
    if (of) await ask("POST", "/team/update", { team_id: of.team_id, ...said });
    else await ask("POST", "/team/new", { ...said, ...ofMembers });
    await changed();
  };
  return (
    <Form title={of ? t("people.editOf", { name: called(of) }) : t("teams.create")} submit={of ? t("app.save") : t("teams.create")} save={save} close={close}>
      <TextInput label={t("keys.name")} value={fields.alias} onChange={(event) => set({ alias: event.currentTarget.value })} required data-autofocus />
      <Pick kind="organization" label={t("people.organization")} value={fields.organization} known={of?.organization_alias} choose={(organization) => set({ organization })} />
      <Limits fields={fields} set={set} />
      <Models chosen={fields.models} choose={(models) => set({ models })} />
      {!of && <BudgetFields label={t("teams.memberBudget")} hint={t("teams.memberBudgetHint")} budget={fields.memberBudget} duration={fields.memberDuration} set={(memberBudget, memberDuration) => set({ memberBudget, memberDuration })} />}
    </Form>
  );
}

function TeamSheet({ id, close }: { id: string; close: () => void }) {
  const { t } = useWords();
  const [changing, setChanging] = useState(false);
  const team = useQuery({ queryKey: ["team", id], queryFn: ({ signal }) => get<TeamInfo>("/team/info", { team_id: id }, signal) });
  return (
    <Sheet title={team.data ? called(team.data.team_info) : t("people.team")} close={close}>
      <Asked query={team}>
        {(data) => (
          <Stack>
            <Group justify="space-between" wrap="nowrap" align="start">
              <div className="grows">
                <Spent spend={data.team_info.spend} limit={data.team_info.max_budget} resets={data.team_info.budget_reset_at} of={called(data.team_info)} />
                <Rates of={data.team_info} models={data.team_info.models} silent />
              </div>
              {data.team_info.caller_edit_access.kind === "unrestricted" && (
                <Button size="xs" variant="default" onClick={() => setChanging(true)}>
                  {t("people.edit")}
                </Button>
              )}
            </Group>
            {changing && <Edit of={data.team_info} close={() => setChanging(false)} />}
            {data.team_info.blocked && (
              <Alert color="red" variant="outline">
                {t("teams.isBlocked")}
              </Alert>
            )}
            <Leaves
              leaves={[
                { name: "members", label: t("teams.members"), page: <Members team={data} /> },
                { name: "keys", label: t("nav.keys"), page: <KeysOf of={{ team_id: id }} /> },
                { name: "spend", label: t("keys.spend"), page: <Spend of={{ team_id: id }} /> },
                manages(data) && { name: "rules", label: t("teams.rules"), page: <Rules team={data} /> },
              ]}
            />
          </Stack>
        )}
      </Asked>
    </Sheet>
  );
}

const MEMBERS_AT_ONCE = 100;
const manages = (team: TeamInfo) => team.team_info.caller_edit_access.kind !== "none";

function Members({ team }: { team: TeamInfo }) {
  const { t, number } = useWords();
  const [wanted, setWanted] = useState("");
  const [shown, setShown] = useState(MEMBERS_AT_ONCE);
  const [doing, setDoing] = useState<{ what: "add" } | { what: "budget" | "remove"; member: Membership; name: string } | null>(null);
  const close = () => setDoing(null);
  const held = new Map(team.team_memberships.map((one) => [one.user_id, one]));
  const members = team.team_info.members_with_roles.filter((one) => [one.user_id, one.user_email, one.user_alias].some((name) => name?.toLowerCase().includes(wanted.trim().toLowerCase())));
  return (
    <Stack gap="sm">
      <Group justify="space-between" align="end">
        <TextInput size="xs" label={t("teams.findMember")} value={wanted} onChange={(event) => setWanted(event.currentTarget.value)} />
        {manages(team) && (
          <Button size="xs" onClick={() => setDoing({ what: "add" })}>
            {t("teams.addMember")}
          </Button>
        )}
      </Group>
      {members.length === 0 ? (
        <Empty title={t(wanted ? "people.nothing" : "teams.noMembers")} hint={t(wanted ? "people.nothingHint" : "teams.noMembersHint", { search: wanted })} />
      ) : (
        <Table.ScrollContainer minWidth={480} tabIndex={0}>
          <Table verticalSpacing="xs">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t("teams.member")}</Table.Th>
                <Table.Th>{t("people.role")}</Table.Th>
                <Table.Th>{t("teams.spentInTeam")}</Table.Th>
                <Table.Th>{t("keys.actions")}</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {members.slice(0, shown).map((one) => {
                const name = one.user_email || one.user_alias || one.user_id;
                const member = held.get(one.user_id);
                return (
                  <Table.Tr key={one.user_id}>
                    <Name name={name} id={one.user_id} />
                    <Table.Td>{manages(team) ? <Role team={team.team_id} user={one.user_id} role={one.role} name={name} /> : t(one.role === "admin" ? "teams.admin" : "teams.user")}</Table.Td>
                    <Table.Td>
                      {member && <Spent spend={member.spend} limit={member.litellm_budget_table?.max_budget ?? null} resets={member.litellm_budget_table?.budget_reset_at} of={name} />}
                      {member?.budget_source === "team_default" && (
                        <Text size="xs" c="dimmed">
                          {t("teams.fromTeam")}
                        </Text>
                      )}
                    </Table.Td>
                    <Actions
                      name={name}
                      actions={[
                        manages(team) && member !== undefined && { label: t("teams.setBudget"), run: () => setDoing({ what: "budget", member, name }) },
                        manages(team) && member !== undefined && { label: t("teams.remove"), run: () => setDoing({ what: "remove", member, name }) },
                      ]}
                    />
                  </Table.Tr>
                );
              })}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
      {members.length > shown && (
        <Button size="xs" variant="default" onClick={() => setShown(shown + MEMBERS_AT_ONCE)}>
          {t("people.more", { count: number(members.length - shown) })}
        </Button>
      )}
      {doing?.what === "add" && <AddMember team={team} close={close} />}
      {doing?.what === "budget" && <MemberBudget of={doing.member} name={doing.name} close={close} />}
      {doing?.what === "remove" && (
        <Confirm
          title={t("teams.removeTitle", { name: doing.name })}
          hint={t("teams.removeHint")}
          submit={t("teams.remove")}
          run={async () => {
            await ask("POST", "/team/member_delete", { team_id: team.team_id, user_id: doing.member.user_id });
            await changed();
          }}
          close={close}
        />
      )}
    </Stack>
  );
}

function Role({ team, user, role, name }: { team: string; user: string; role: string; name: string }) {
  const { t } = useWords();
  const [chosen, setChosen] = useState(role);
  const change = useMutation({
    mutationFn: (next: string) => ask("POST", "/team/member_update", { team_id: team, user_id: user, role: next }),
    onSuccess: changed,
    onError: () => setChosen(role),
  });
  return (
    <>
      <NativeSelect
        size="xs"
        aria-label={t("teams.roleOf", { name })}
        data={ROLES.map((value) => ({ value, label: t(`teams.${value}`) }))}
        value={chosen}
        onChange={(event) => {
          setChosen(event.currentTarget.value);
          change.mutate(event.currentTarget.value);
        }}
      />
      {change.error && <Failed error={change.error} />}
    </>
  );
}

function AddMember({ team, close }: { team: TeamInfo; close: () => void }) {
  const { t } = useWords();
  const [fields, setFields] = useState({ name: "", role: "user", budget: "", duration: "monthly" });
  const set = (more: Partial<typeof fields>) => setFields((before) => ({ ...before, ...more }));
  const save = async () => {
    const held = fields.budget === "" ? {} : { max_budget_in_team: fields.budget, budget_duration: fields.duration || null };
    await ask("POST", "/team/member_add", { team_id: team.team_id, member: { ...named(fields.name), role: fields.role }, ...held });
    await changed();
  };
  return (
    <Form title={t("teams.addMember")} submit={t("teams.addMember")} save={save} close={close}>
      <UserName label={t("people.userName")} description={t("people.userNameHint")} value={fields.name} set={(name) => set({ name })} />
      <Select label={t("people.role")} data={ROLES.map((value) => ({ value, label: t(`teams.${value}`) }))} value={fields.role} onChange={(role) => set({ role: role ?? "user" })} allowDeselect={false} />
      <BudgetFields label={t("teams.budgetInTeam")} hint={t("teams.budgetInTeamHint")} budget={fields.budget} duration={fields.duration} set={(budget, duration) => set({ budget, duration })} />
    </Form>
  );
}

function MemberBudget({ of, name, close }: { of: Membership; name: string; close: () => void }) {
  const { t } = useWords();
  const before = limitFields(of.litellm_budget_table, of.litellm_budget_table ? "" : "monthly");
  const [fields, setFields] = useState(before);
  const save = async () => {
    const { max_budget, max_parallel_requests: _, ...others } = changes(limitBody(before), limitBody(fields));
    await ask("POST", "/team/member_update", { team_id: of.team_id, user_id: of.user_id, ...others, ...(max_budget === undefined ? {} : { max_budget_in_team: max_budget }) });
    await changed();
  };
  return (
    <Form title={t("teams.budgetOf", { name })} save={save} close={close}>
      <Limits fields={fields} set={(more) => setFields({ ...fields, ...more })} parallel={false} />
    </Form>
  );
}

/** What plain members may do with the team's keys, and the budget of who has none of its own. */
function Rules({ team }: { team: TeamInfo }) {
  const { t } = useWords();
  const [saved, setSaved] = useState(false);
  const [chosen, setChosen] = useState<string[] | null>(null);
  const permissions = useQuery({
    queryKey: ["team", team.team_id, "permissions"],
    queryFn: ({ signal }) => get<TeamPermissions>("/team/permissions_list", { team_id: team.team_id }, signal),
  });
  const save = useMutation({
    mutationFn: (wanted: string[]) => ask("POST", "/team/permissions_update", { team_id: team.team_id, team_member_permissions: wanted }),
    onError: () => setChosen(null),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["team", team.team_id] });
      setSaved(true);
    },
  });
  return (
    <Stack>
      <MemberDefault team={team} />
      <Asked query={permissions}>
        {(data) => (
          <Checkbox.Group
            label={t("teams.permissions")}
            description={t("teams.permissionsHint")}
            value={chosen ?? data.team_member_permissions}
            onChange={(wanted) => {
              setSaved(false);
              setChosen(wanted);
              save.mutate(wanted);
            }}
          >
            <Stack gap="xs" mt="xs">
              {data.all_available_permissions.map((one) => (
                <Checkbox key={one} value={one} label={`may.${one}` in en ? t(`may.${one}` as WordKey) : one} description={<span className="mono">{one}</span>} />
              ))}
            </Stack>
          </Checkbox.Group>
        )}
      </Asked>
      {save.error && <Failed error={save.error} />}
      <Text size="sm" className="good" role="status">
        {saved ? t("people.saved") : ""}
      </Text>
    </Stack>
  );
}

function MemberDefault({ team }: { team: TeamInfo }) {
  const { t, money } = useWords();
  const period = usePeriod();
  const table = team.team_info.team_member_budget_table;
  const before = limitFields(table, table ? "" : "monthly");
  const [fields, setFields] = useState(before);
  const [changing, setChanging] = useState(false);
  const save = async () => {
    const said = changes(limitBody(before), limitBody(fields));
    const asked = Object.fromEntries(
      Object.entries({ max_budget: "team_member_budget", budget_duration: "team_member_budget_duration", rpm_limit: "team_member_rpm_limit", tpm_limit: "team_member_tpm_limit" })
        .filter(([name]) => name in said)
        .map(([name, asked]) => [asked, said[name]]),
    );
    await ask("POST", "/team/update", { team_id: team.team_id, ...asked });
    await changed();
  };
  return (
    <Group justify="space-between">
      <div>
        <Text size="sm" fw={600}>
          {t("teams.memberBudget")}
        </Text>
        <Text size="sm">{table && table.max_budget !== null ? `${money(table.max_budget)}, ${period(table.budget_duration)}` : t("keys.noBudget")}</Text>
        <Rates of={table} silent />
      </div>
      <Button size="xs" variant="default" onClick={() => setChanging(true)}>
        {t("people.edit")}
      </Button>
      {changing && (
        <Form title={t("teams.memberBudget")} save={save} close={() => setChanging(false)}>
          <Text size="sm">{t("teams.memberBudgetHint")}</Text>
          <Limits fields={fields} set={(more) => setFields({ ...fields, ...more })} parallel={false} />
        </Form>
      )}
    </Group>
  );
}
