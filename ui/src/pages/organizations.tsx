// Organisations: several teams with one budget, and administrators of their own.
import { Button, Group, NativeSelect, Select, Stack, Table, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { ask, get, pathWith, queries } from "../api/client";
import type { OrganizationInfo, OrganizationListed, OrganizationMember, OrganizationPage, TeamPage } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Empty, Failed, Page, Waiting } from "../parts/basics";
import { Confirm, Form, Models } from "../parts/dialogs";
import { changes, limitFields, Rates, Spent } from "../parts/limits";
import { List, useListing } from "../parts/listing";
import { named, UserName } from "../parts/pick";
import { useRights } from "../parts/rights";
import { useRoleName } from "../parts/roles";
import { Actions, Name } from "../parts/rows";
import { heldBody, HeldTo, useShared } from "../parts/shared_budget";
import { Leaves, Sheet, useOpened } from "../parts/sheet";
import { Spend } from "../parts/spend";

const ROLES = ["org_admin", "internal_user", "internal_user_viewer"] as const;
const changed = () => queries.invalidateQueries({ predicate: (query) => ["organizations", "organization", "budgets", "budget"].includes(String(query.queryKey[0])) });
const called = (one: { organization_alias: string; organization_id: string }) => one.organization_alias || one.organization_id;

type Doing = { what: "create" } | { what: "edit" | "delete"; organization: OrganizationListed };

export default function OrganizationsPage() {
  const { t, number } = useWords();
  const rights = useRights();
  const [opened, open] = useOpened("organization");
  const [doing, setDoing] = useState<Doing | null>(null);
  const organizations = useListing<OrganizationPage>("organizations", "/organization/list", { sort: { by: "created_at", order: "desc" } });
  const close = () => setDoing(null);
  const create = rights.changes_all && <Button onClick={() => setDoing({ what: "create" })}>{t("orgs.create")}</Button>;
  return (
    <Page title={t("nav.organizations")} actions={create}>
      <List
        of={organizations}
        label={t("orgs.search")}
        total={(count) => t("orgs.total", { count: number(count) })}
        empty={
          <Empty title={t("orgs.empty")} hint={t("orgs.emptyHint")}>
            {create}
          </Empty>
        }
        heads={[
          { label: t("keys.name"), sort: "organization_alias" },
          { label: t("keys.spend"), sort: "spend" },
          { label: t("people.limitsAndModels") },
          { label: t("nav.teams"), right: true },
          { label: t("teams.members"), right: true },
          { label: t("keys.actions") },
        ]}
        rows={(data) => data.organizations.map((one) => <Row key={one.organization_id} of={one} open={() => open(one.organization_id)} act={setDoing} />)}
      />
      {doing?.what === "create" && <Edit close={close} />}
      {doing?.what === "edit" && <EditOne of={doing.organization} close={close} />}
      {doing?.what === "delete" && (
        <Confirm
          title={t("keys.deleteTitle", { name: called(doing.organization) })}
          hint={t(doing.organization.teams_count > 0 ? "orgs.deleteFirst" : "orgs.deleteHint", { teams: number(doing.organization.teams_count) })}
          submit={t("keys.delete")}
          run={async () => {
            await ask("DELETE", "/organization/delete", { organization_ids: [doing.organization.organization_id] });
            await changed();
          }}
          close={close}
        />
      )}
      {opened !== null && <OrganizationSheet id={opened} close={() => open(null)} />}
    </Page>
  );
}

function Row({ of, open, act }: { of: OrganizationListed; open: () => void; act: (doing: Doing) => void }) {
  const { t, number } = useWords();
  const rights = useRights();
  const budget = of.litellm_budget_table;
  return (
    <Table.Tr>
      <Name name={called(of)} id={of.organization_id} open={open} />
      <Table.Td miw="12rem">
        <Spent spend={of.spend} limit={budget?.max_budget ?? null} resets={budget?.budget_reset_at} of={called(of)} />
      </Table.Td>
      <Table.Td>
        <Rates of={budget} models={of.models} />
      </Table.Td>
      <Table.Td ta="right">{number(of.teams_count)}</Table.Td>
      <Table.Td ta="right">{number(of.members_count)}</Table.Td>
      <Actions
        name={called(of)}
        actions={[
          { label: t("people.open"), run: open },
          rights.changes_all && { label: t("people.edit"), run: () => act({ what: "edit", organization: of }) },
          rights.changes_all && { label: t("keys.delete"), run: () => act({ what: "delete", organization: of }) },
        ]}
      />
    </Table.Tr>
  );
}

function EditOne({ of, close }: { of: OrganizationListed; close: () => void }) {
  const shared = useShared(of.budget_id);
  return shared === undefined ? <Waiting /> : <Edit of={of} shared={shared} close={close} />;
}

function Edit({ of, shared = null, close }: { of?: OrganizationListed; shared?: string | null; close: () => void }) {
  const { t } = useWords();
  const start = { alias: of?.organization_alias ?? "", models: of?.models ?? [] };
  const held = { ...limitFields(shared === null ? of?.litellm_budget_table : null, of ? "" : "monthly"), budget_id: shared };
  const [fields, setFields] = useState({ ...start, ...held });
  const set = (more: Partial<typeof fields>) => setFields((before) => ({ ...before, ...more }));
  const body = (from: typeof start) => ({ organization_alias: from.alias, models: from.models });
  const save = async () => {
    const said = { ...changes(of ? body(start) : null, body(fields)), ...heldBody(of ? held : null, fields) };
    if (of) await ask("PATCH", "/organization/update", { organization_id: of.organization_id, ...said });
    else await ask("POST", "/organization/new", said);
    await changed();
  };
  return (
    <Form title={of ? t("people.editOf", { name: called(of) }) : t("orgs.create")} submit={of ? t("app.save") : t("orgs.create")} save={save} close={close}>
      <TextInput label={t("keys.name")} value={fields.alias} onChange={(event) => set({ alias: event.currentTarget.value })} required data-autofocus />
      <HeldTo fields={fields} set={set} />
      <Models chosen={fields.models} choose={(models) => set({ models })} />
    </Form>
  );
}

function OrganizationSheet({ id, close }: { id: string; close: () => void }) {
  const { t } = useWords();
  const organization = useQuery({ queryKey: ["organization", id], queryFn: ({ signal }) => get<OrganizationInfo>("/organization/info", { organization_id: id }, signal) });
  return (
    <Sheet title={organization.data ? called(organization.data) : t("people.organization")} close={close}>
      <Asked query={organization}>
        {(data) => (
          <Stack>
            <div>
              <Spent spend={data.spend} limit={data.litellm_budget_table?.max_budget ?? null} resets={data.litellm_budget_table?.budget_reset_at} of={called(data)} />
              <Rates of={data.litellm_budget_table} models={data.models} silent />
            </div>
            <Leaves
              leaves={[
                { name: "teams", label: t("nav.teams"), page: <Teams id={id} /> },
                { name: "members", label: t("teams.members"), page: <Members of={data} /> },
                { name: "spend", label: t("keys.spend"), page: <Spend of={{ organization_id: id }} /> },
              ]}
            />
          </Stack>
        )}
      </Asked>
    </Sheet>
  );
}

function Teams({ id }: { id: string }) {
  const { t, number } = useWords();
  const teams = useListing<TeamPage>("teams", "/v2/team/list", { sort: { by: "team_alias", order: "asc" }, more: { organization_id: id }, size: 20 });
  return (
    <List
      of={teams}
      label={t("teams.search")}
      total={(count) => t("teams.total", { count: number(count) })}
      empty={
        <Empty title={t("orgs.noTeams")} hint={t("orgs.noTeamsHint")}>
          <Button size="xs" variant="default" component={Link} href="/teams">
            {t("nav.teams")}
          </Button>
        </Empty>
      }
      minWidth={420}
      heads={[{ label: t("people.team"), sort: "team_alias" }, { label: t("keys.spend"), sort: "spend" }, { label: t("teams.members"), right: true }]}
      rows={(data) =>
        data.teams.map((team) => {
          const name = team.team_alias || team.team_id;
          return (
            <Table.Tr key={team.team_id}>
              <Table.Td>
                <Button size="compact-sm" variant="default" component={Link} href={pathWith("/teams", { team: team.team_id })}>
                  {name}
                </Button>
              </Table.Td>
              <Table.Td miw="10rem">
                <Spent spend={team.spend} limit={team.max_budget} resets={team.budget_reset_at} of={name} />
              </Table.Td>
              <Table.Td ta="right">{number(team.members_count)}</Table.Td>
            </Table.Tr>
          );
        })
      }
    />
  );
}

function Members({ of }: { of: OrganizationInfo }) {
  const { t } = useWords();
  const rights = useRights();
  const roleName = useRoleName();
  const manages = rights.changes_all || of.members.some((one) => one.user_id === rights.user_id && one.user_role === "org_admin");
  const [doing, setDoing] = useState<"add" | OrganizationMember | null>(null);
  return (
    <Stack gap="sm">
      {manages && (
        <Group justify="end">
          <Button size="xs" onClick={() => setDoing("add")}>
            {t("teams.addMember")}
          </Button>
        </Group>
      )}
      {of.members.length === 0 ? (
        <Empty title={t("teams.noMembers")} hint={t("orgs.noMembersHint")} />
      ) : (
        <Table verticalSpacing="xs">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t("teams.member")}</Table.Th>
              <Table.Th>{t("people.role")}</Table.Th>
              <Table.Th>{t("keys.actions")}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {of.members.map((member) => (
              <Table.Tr key={member.user_id}>
                <Name name={member.user_id} />
                <Table.Td>{manages ? <Role of={member} /> : roleName(member.user_role)}</Table.Td>
                <Actions name={member.user_id} actions={[manages && { label: t("teams.remove"), run: () => setDoing(member) }]} />
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      {doing === "add" && <AddMember of={of} close={() => setDoing(null)} />}
      {doing !== null && doing !== "add" && (
        <Confirm
          title={t("teams.removeTitle", { name: doing.user_id })}
          hint={t("orgs.removeHint")}
          submit={t("teams.remove")}
          run={async () => {
            await ask("DELETE", "/organization/member_delete", { organization_id: of.organization_id, user_id: doing.user_id });
            await changed();
          }}
          close={() => setDoing(null)}
        />
      )}
    </Stack>
  );
}

function Role({ of }: { of: OrganizationMember }) {
  const { t } = useWords();
  const [chosen, setChosen] = useState(of.user_role);
  const change = useMutation({
    mutationFn: (role: string) => ask("PATCH", "/organization/member_update", { organization_id: of.organization_id, user_id: of.user_id, role }),
    onSuccess: changed,
    onError: () => setChosen(of.user_role),
  });
  return (
    <>
      <NativeSelect
        size="xs"
        aria-label={t("teams.roleOf", { name: of.user_id })}
        data={ROLES.map((value) => ({ value, label: t(`role.${value}`) }))}
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

function AddMember({ of, close }: { of: OrganizationInfo; close: () => void }) {
  const { t } = useWords();
  const [name, setName] = useState("");
  const [role, setRole] = useState<(typeof ROLES)[number]>("internal_user");
  const save = async () => {
    await ask("POST", "/organization/member_add", { organization_id: of.organization_id, member: { ...named(name), role } });
    await changed();
  };
  return (
    <Form title={t("teams.addMember")} submit={t("teams.addMember")} save={save} close={close}>
      <UserName label={t("people.userName")} description={t("people.userNameHint")} value={name} set={setName} />
      <Select label={t("people.role")} description={t(`role.about.${role}`)} data={ROLES.map((value) => ({ value, label: t(`role.${value}`) }))} value={role} onChange={(value) => setRole((value ?? "internal_user") as typeof role)} allowDeselect={false} />
    </Form>
  );
}
