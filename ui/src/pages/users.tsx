// Users: people with a role, who have keys, are in teams, and may have a budget of their own.
import { Button, Select, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { Link } from "wouter";
import { ask, get, pathWith, queries } from "../api/client";
import type { MadeUser, UserInfo, UserListed, UserPage } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Empty, Failed, Page } from "../parts/basics";
import { Confirm, Form, Models } from "../parts/dialogs";
import { Invite } from "../parts/invite";
import { KeysOf } from "../parts/keys_of";
import { changes, limitBody, limitFields, Limits, Rates, Spent } from "../parts/limits";
import { List, useListing } from "../parts/listing";
import { Pick } from "../parts/pick";
import { useRights } from "../parts/rights";
import { ROLES, useRoleHint, useRoleName } from "../parts/roles";
import { Actions, Name } from "../parts/rows";
import { Secret } from "../parts/secret";
import { Leaves, Sheet, useOpened } from "../parts/sheet";
import { Spend } from "../parts/spend";

const changed = () => queries.invalidateQueries({ predicate: (query) => ["users", "user", "teams", "team", "keys"].includes(String(query.queryKey[0])) });
const called = (user: Named) => user.user_email || user.user_alias || user.user_id;

type Named = { user_email: string | null; user_alias: string | null; user_id: string };
type Doing = { what: "create" } | { what: "edit" | "delete" | "block"; user: UserListed } | { what: "invite"; user: Named };

export default function UsersPage() {
  const { t, number } = useWords();
  const rights = useRights();
  const roleName = useRoleName();
  const [opened, open] = useOpened("user");
  const [role, setRole] = useState("");
  const [doing, setDoing] = useState<Doing | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const users = useListing<UserPage>("users", "/user/list", { sort: { by: "created_at", order: "desc" }, more: { role } });
  const close = () => setDoing(null);
  const invite = (user: Named) => setDoing({ what: "invite", user });
  const create = rights.changes_all && <Button onClick={() => setDoing({ what: "create" })}>{t("users.create")}</Button>;
  const filter = (
    <Select
      size="xs"
      label={t("people.role")}
      data={[{ value: "", label: t("logs.any") }, ...ROLES.map((value) => ({ value, label: roleName(value) }))]}
      value={role}
      onChange={(value) => {
        setRole(value ?? "");
        users.setPage(1);
      }}
      allowDeselect={false}
    />
  );
  return (
    <Page title={t("nav.users")} actions={create}>
      <List
        of={users}
        label={t("users.search")}
        total={(count) => t("users.total", { count: number(count) })}
        aside={(role !== "" || (users.query.data?.total ?? 0) > 0 || users.search !== "") && filter}
        empty={
          role === "" ? (
            <Empty title={t("users.empty")} hint={t("users.emptyHint")}>
              {create}
            </Empty>
          ) : (
            <Empty title={t("people.nothing")} hint={t("users.noneOfRole", { role: roleName(role) })} />
          )
        }
        minWidth={900}
        heads={[
          { label: t("people.user"), sort: "user_email" },
          { label: t("people.role"), sort: "user_role" },
          { label: t("keys.spend"), sort: "spend" },
          { label: t("people.limitsAndModels") },
          { label: t("nav.teams"), right: true },
          { label: t("nav.keys"), right: true },
          { label: t("keys.actions") },
        ]}
        rows={(data) => data.users.map((user) => <Row key={user.user_id} user={user} open={() => open(user.user_id)} act={setDoing} />)}
      />
      {doing?.what === "create" && <Edit close={close} made={setSecret} invite={invite} />}
      {doing?.what === "edit" && <Edit of={doing.user} close={close} made={setSecret} invite={invite} />}
      {doing?.what === "invite" && <Invite user={doing.user.user_id} name={called(doing.user)} close={close} />}
      {doing?.what === "block" && (
        <Confirm
          title={t("users.blockTitle", { name: called(doing.user) })}
          hint={t("users.blockHint")}
          submit={t("keys.block")}
          run={async () => {
            await ask("POST", "/user/update", { user_id: doing.user.user_id, blocked: true });
            await changed();
          }}
          close={close}
        />
      )}
      {doing?.what === "delete" && (
        <Confirm
          title={t("keys.deleteTitle", { name: called(doing.user) })}
          hint={t("users.deleteHint", { keys: number(doing.user.key_count), teams: number(doing.user.teams.length) })}
          submit={t("keys.delete")}
          run={async () => {
            await ask("POST", "/user/delete", { user_ids: [doing.user.user_id] });
            await changed();
          }}
          close={close}
        />
      )}
      {opened !== null && <UserSheet id={opened} close={() => open(null)} />}
      <Secret secret={secret} close={() => setSecret(null)} />
    </Page>
  );
}

function Row({ user, open, act }: { user: UserListed; open: () => void; act: (doing: Doing) => void }) {
  const { t, number } = useWords();
  const rights = useRights();
  const roleName = useRoleName();
  const unblock = useMutation({ mutationFn: () => ask("POST", "/user/update", { user_id: user.user_id, blocked: false }), onSuccess: changed });
  return (
    <Table.Tr>
      <Name name={called(user)} id={user.user_id} note={user.user_email ? user.user_alias : null} open={open} />
      <Table.Td>
        {roleName(user.user_role)}
        {user.blocked && (
          <Text size="sm" className="bad">
            {t("users.blocked")}
          </Text>
        )}
        {unblock.error && <Failed error={unblock.error} />}
      </Table.Td>
      <Table.Td miw="12rem">
        <Spent spend={user.spend} limit={user.max_budget} resets={user.budget_reset_at} of={called(user)} />
      </Table.Td>
      <Table.Td>
        <Rates of={user} models={user.models} />
      </Table.Td>
      <Table.Td ta="right">{number(user.teams.length)}</Table.Td>
      <Table.Td ta="right">{number(user.key_count)}</Table.Td>
      <Actions
        name={called(user)}
        busy={unblock.isPending}
        actions={[
          { label: t("people.open"), run: open },
          rights.changes_all && { label: t("people.edit"), run: () => act({ what: "edit", user }) },
          rights.changes_all && !user.blocked && { label: t("users.invite"), run: () => act({ what: "invite", user }) },
          rights.changes_all && (user.blocked ? { label: t("keys.unblock"), run: () => unblock.mutate() } : { label: t("keys.block"), run: () => act({ what: "block", user }) }),
          rights.changes_all && { label: t("keys.delete"), run: () => act({ what: "delete", user }) },
        ]}
      />
    </Table.Tr>
  );
}

/** Makes a user, with a first key where that is wanted, or changes one. */
function Edit({ of, close, made, invite }: { of?: UserListed; close: () => void; made: (key: string) => void; invite: (user: Named) => void }) {
  const { t } = useWords();
  const roleName = useRoleName();
  const start = { email: of?.user_email ?? "", alias: of?.user_alias ?? "", role: of ? (of.user_role ?? "") : "internal_user", models: of?.models ?? [] };
  const limits = limitFields(of, of ? "" : "monthly");
  const [fields, setFields] = useState({ ...start, ...limits });
  const [id, setId] = useState("");
  const [team, setTeam] = useState<string | null>(null);
  const [withKey, setWithKey] = useState(false);
  const [invited, setInvited] = useState(false);
  // Who was made and is to be invited, once the form goes.
  const next = useRef<Named | null>(null);
  const about = useRoleHint();
  const set = (more: Partial<typeof fields>) => setFields((before) => ({ ...before, ...more }));
  const body = (from: typeof fields) => ({ ...limitBody(from), user_email: from.email.trim() || null, user_alias: from.alias || null, user_role: from.role || null, models: from.models });
  const roles = [...ROLES, ...(of?.user_role && !ROLES.some((one) => one === of.user_role) ? [of.user_role] : [])];
  const save = async () => {
    const said = changes(of ? body({ ...start, ...limits }) : null, body(fields));
    if (of) {
      await ask("POST", "/user/update", { user_id: of.user_id, ...said });
    } else {
      const answer = await ask<MadeUser>("POST", "/user/new", {
        ...said,
        auto_create_key: withKey,
        ...(id.trim() ? { user_id: id.trim() } : {}),
        ...(team === null ? {} : { teams: [team] }),
      });
      if (answer.key) made(answer.key);
      if (invited) next.current = { user_id: answer.user_id, user_email: fields.email.trim() || null, user_alias: fields.alias || null };
    }
    await changed();
  };
  return (
    <Form title={of ? t("people.editOf", { name: called(of) }) : t("users.create")} submit={of ? t("app.save") : t("users.create")} save={save} close={() => (next.current ? invite(next.current) : close())}>
      <TextInput label={t("users.email")} type="email" value={fields.email} onChange={(event) => set({ email: event.currentTarget.value })} data-autofocus />
      <TextInput label={t("keys.name")} value={fields.alias} onChange={(event) => set({ alias: event.currentTarget.value })} />
      {!of && <TextInput label={t("users.id")} description={t("users.idHint")} value={id} onChange={(event) => setId(event.currentTarget.value)} />}
      <Select
        label={t("people.role")}
        description={about(fields.role)}
        data={[...(of && of.user_role === null ? [{ value: "", label: roleName(null) }] : []), ...roles.map((value) => ({ value, label: roleName(value) }))]}
        value={fields.role}
        onChange={(role) => set({ role: role ?? "" })}
        allowDeselect={false}
      />
      {!of && <Pick kind="team" label={t("people.team")} value={team} choose={setTeam} />}
      <Limits fields={fields} set={set} />
      <Models chosen={fields.models} choose={(models) => set({ models })} />
      {!of && <Switch label={t("users.toInvite")} description={t("users.toInviteHint")} checked={invited} onChange={(event) => setInvited(event.currentTarget.checked)} />}
      {!of && <Switch label={t("users.withKey")} description={t("users.withKeyHint")} checked={withKey} onChange={(event) => setWithKey(event.currentTarget.checked)} />}
    </Form>
  );
}

function UserSheet({ id, close }: { id: string; close: () => void }) {
  const { t } = useWords();
  const roleName = useRoleName();
  const user = useQuery({ queryKey: ["user", id], queryFn: ({ signal }) => get<UserInfo>("/user/info", { user_id: id }, signal) });
  const info = user.data?.user_info;
  return (
    <Sheet title={info ? called(info) : t("people.user")} close={close}>
      <Asked query={user}>
        {(data) => (
          <Stack>
            {data.user_info ? (
              <div>
                <Text size="sm" c="dimmed">
                  {roleName(data.user_info.user_role)}
                </Text>
                <Spent spend={data.user_info.spend} limit={data.user_info.max_budget} resets={data.user_info.budget_reset_at} of={called(data.user_info)} />
              </div>
            ) : (
              <Text size="sm">{t("users.unknown")}</Text>
            )}
            <Leaves
              leaves={[
                { name: "teams", label: t("nav.teams"), page: <TeamsOf user={data} /> },
                { name: "keys", label: t("nav.keys"), page: <KeysOf of={{ user_id: id }} /> },
                { name: "spend", label: t("keys.spend"), page: <Spend of={{ user_id: id }} /> },
              ]}
            />
          </Stack>
        )}
      </Asked>
    </Sheet>
  );
}

function TeamsOf({ user }: { user: UserInfo }) {
  const { t } = useWords();
  if (user.teams.length === 0) return <Empty title={t("users.noTeams")} hint={t("users.noTeamsHint")} />;
  return (
    <Table verticalSpacing="xs">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>{t("people.team")}</Table.Th>
          <Table.Th>{t("people.role")}</Table.Th>
          <Table.Th>{t("teams.budgetOfTeam")}</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {user.teams.map((team) => {
          const name = team.team_alias || team.team_id;
          const role = team.members_with_roles.find((one) => one.user_id === user.user_id)?.role;
          return (
            <Table.Tr key={team.team_id}>
              <Table.Td>
                <Button size="compact-sm" variant="default" component={Link} href={pathWith("/teams", { team: team.team_id })}>
                  {name}
                </Button>
              </Table.Td>
              <Table.Td>{role === "admin" ? t("teams.admin") : t("teams.user")}</Table.Td>
              <Table.Td miw="10rem">
                <Spent spend={team.spend} limit={team.max_budget} resets={team.budget_reset_at} of={name} />
              </Table.Td>
            </Table.Tr>
          );
        })}
      </Table.Tbody>
    </Table>
  );
}
