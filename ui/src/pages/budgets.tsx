// Budgets that several share by naming them, each held to it by itself; and tags, which may have one.
import { Alert, Button, Stack, Table, Tabs, Text, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ask, get, queries } from "../api/client";
import type { BudgetPage, BudgetShown, TagPage, TagShown } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Empty, Page, Waiting } from "../parts/basics";
import { Confirm, Form } from "../parts/dialogs";
import { changes, limitBody, limitFields, Limits, Rates, Spent, usePeriod } from "../parts/limits";
import { List, useListing } from "../parts/listing";
import { useRights } from "../parts/rights";
import { Actions, Name } from "../parts/rows";
import { heldBody, HeldTo, useShared } from "../parts/shared_budget";
import { Sheet, useOpened } from "../parts/sheet";
import { Spend } from "../parts/spend";

const changed = () => queries.invalidateQueries({ predicate: (query) => ["budgets", "budget", "tags", "customers", "organizations"].includes(String(query.queryKey[0])) });

export default function BudgetsPage() {
  const { t } = useWords();
  const rights = useRights();
  const [tab, setTab] = useOpened("tab");
  const [creating, setCreating] = useState(false);
  const made = { creating, create: () => setCreating(true), created: () => setCreating(false) };
  return (
    <Page title={t("nav.budgets")} actions={rights.changes_all && <Button onClick={made.create}>{t(tab === "tags" ? "tags.create" : "budgets.create")}</Button>}>
      <Tabs value={tab ?? "budgets"} onChange={(next) => setTab(next === "budgets" ? null : next)} keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="budgets">{t("budgets.reusable")}</Tabs.Tab>
          <Tabs.Tab value="tags">{t("tags.title")}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="budgets">
          <Budgets {...made} />
        </Tabs.Panel>
        <Tabs.Panel value="tags">
          <Tags {...made} />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

type Making = { creating: boolean; create: () => void; created: () => void };
type DoingBudget = { what: "edit" | "delete"; budget: BudgetShown };

function Budgets({ creating, create: begin, created }: Making) {
  const { t, number, money } = useWords();
  const rights = useRights();
  const [opened, open] = useOpened("budget");
  const [doing, setDoing] = useState<DoingBudget | null>(null);
  const budgets = useListing<BudgetPage>("budgets", "/budget/list", { sort: { by: "created_at", order: "desc" } });
  const close = () => setDoing(null);
  const create = rights.changes_all && <Button onClick={begin}>{t("budgets.create")}</Button>;
  const period = usePeriod();
  return (
    <>
      <List
        of={budgets}
        label={t("budgets.search")}
        total={(count) => t("budgets.total", { count: number(count) })}
        empty={
          <Empty title={t("budgets.empty")} hint={t("budgets.emptyHint")}>
            {create}
          </Empty>
        }
        heads={[
          { label: t("keys.name"), sort: "budget_id" },
          { label: t("people.budget"), sort: "max_budget" },
          { label: t("keys.period") },
          { label: t("keys.limits") },
          { label: t("keys.actions") },
        ]}
        rows={(data) =>
          data.budgets.map((one) => (
            <Table.Tr key={one.budget_id}>
              <Name name={one.budget_id} open={() => open(one.budget_id)} />
              <Table.Td>{one.max_budget === null ? t("keys.noBudget") : money(one.max_budget)}</Table.Td>
              <Table.Td>{period(one.budget_duration)}</Table.Td>
              <Table.Td>
                <Rates of={one} />
              </Table.Td>
              <Actions
                name={one.budget_id}
                actions={[
                  { label: t("budgets.who"), run: () => open(one.budget_id) },
                  rights.changes_all && { label: t("people.edit"), run: () => setDoing({ what: "edit", budget: one }) },
                  rights.changes_all && { label: t("keys.delete"), run: () => setDoing({ what: "delete", budget: one }) },
                ]}
              />
            </Table.Tr>
          ))
        }
      />
      {creating && <EditBudget close={created} />}
      {doing?.what === "edit" && <EditBudget of={doing.budget} close={close} />}
      {doing?.what === "delete" && <DeleteBudget of={doing.budget} close={close} />}
      {opened !== null && (
        <Sheet title={opened} close={() => open(null)}>
          <HeldToBudget id={opened} />
        </Sheet>
      )}
    </>
  );
}

function EditBudget({ of, close }: { of?: BudgetShown; close: () => void }) {
  const { t } = useWords();
  const before = limitFields(of, of ? "" : "monthly");
  const [name, setName] = useState("");
  const [fields, setFields] = useState(before);
  const save = async () => {
    const said = changes(of ? limitBody(before) : null, limitBody(fields));
    if (of) await ask("POST", "/budget/update", { budget_id: of.budget_id, ...said });
    else await ask("POST", "/budget/new", { budget_id: name.trim(), ...said });
    await changed();
  };
  return (
    <Form title={of ? t("people.editOf", { name: of.budget_id }) : t("budgets.create")} submit={of ? t("app.save") : t("budgets.create")} save={save} close={close}>
      {of ? (
        <Text size="sm">{t("budgets.editHint")}</Text>
      ) : (
        <TextInput label={t("keys.name")} description={t("budgets.nameHint")} value={name} onChange={(event) => setName(event.currentTarget.value)} required data-autofocus />
      )}
      <Limits fields={fields} set={(more) => setFields((current) => ({ ...current, ...more }))} />
    </Form>
  );
}

const useWho = (id: string) =>
  useQuery({
    queryKey: ["budget", id, "who"],
    queryFn: async ({ signal }) => (await get<BudgetPage>("/budget/list", { budget_id: id, page: 1 }, signal)).budgets[0] ?? null,
  });

const counted = (one: BudgetShown) => (one.keys_count ?? 0) + (one.organization_count ?? 0) + (one.end_users_count ?? 0) + (one.tags_count ?? 0) + (one.team_membership_count ?? 0);

function DeleteBudget({ of, close }: { of: BudgetShown; close: () => void }) {
  const { t, number } = useWords();
  const who = useWho(of.budget_id);
  if (who.isPending) return <Waiting />;
  const count = who.data ? counted(who.data) : 0;
  return (
    <Confirm
      title={t("keys.deleteTitle", { name: of.budget_id })}
      hint={count === 0 ? t("budgets.deleteUnused") : t("budgets.deleteHint", { count: number(count) })}
      submit={t("keys.delete")}
      run={async () => {
        await ask("POST", "/budget/delete", { id: of.budget_id });
        await changed();
      }}
      close={close}
    />
  );
}

function HeldToBudget({ id }: { id: string }) {
  const { t, number, money } = useWords();
  const period = usePeriod();
  const who = useWho(id);
  return (
    <Asked query={who}>
      {(found) => {
        if (found === null) return <Alert variant="outline">{t("budgets.gone")}</Alert>;
        const groups: [string, number, string[]][] = [
          [t("nav.keys"), found.keys_count ?? 0, (found.keys ?? []).map((one) => one.key_alias ?? one.key_name)],
          [t("nav.organizations"), found.organization_count ?? 0, (found.organization ?? []).map((one) => one.organization_alias || one.organization_id)],
          [t("nav.customers"), found.end_users_count ?? 0, (found.end_users ?? []).map((one) => one.alias || one.user_id)],
          [t("tags.title"), found.tags_count ?? 0, (found.tags ?? []).map((one) => one.tag_name)],
          [t("teams.members"), found.team_membership_count ?? 0, (found.team_membership ?? []).map((one) => `${one.user_id} · ${one.team_alias || one.team_id}`)],
        ];
        return (
          <Stack>
            <div>
              <Text size="sm" fw={600}>
                {found.max_budget === null ? t("keys.noBudget") : `${money(found.max_budget)}, ${period(found.budget_duration)}`}
              </Text>
              <Rates of={found} silent />
            </div>
            {counted(found) === 0 && <Empty title={t("budgets.nobody")} hint={t("budgets.nobodyHint")} />}
            {groups
              .filter(([, count]) => count > 0)
              .map(([title, count, names]) => (
                <div key={title}>
                  <Title order={3} size="h6">
                    {title} ({number(count)})
                  </Title>
                  <ul className="names">
                    {names.map((name, place) => (
                      <li key={place} className="said">
                        {name}
                      </li>
                    ))}
                  </ul>
                  {count > names.length && <Text size="sm">{t("people.andMore", { count: number(count - names.length) })}</Text>}
                </div>
              ))}
          </Stack>
        );
      }}
    </Asked>
  );
}

type DoingTag = { what: "edit" | "delete"; tag: TagShown };

function Tags({ creating, create: begin, created }: Making) {
  const { t, number } = useWords();
  const rights = useRights();
  const [opened, open] = useOpened("tag");
  const [doing, setDoing] = useState<DoingTag | null>(null);
  const tags = useListing<TagPage>("tags", "/tag/list", { sort: { by: "spend", order: "desc" } });
  const close = () => setDoing(null);
  const create = rights.changes_all && <Button onClick={begin}>{t("tags.create")}</Button>;
  return (
    <>
      <List
        of={tags}
        label={t("tags.search")}
        total={(count) => t("tags.total", { count: number(count) })}
        empty={
          <Empty title={t("tags.empty")} hint={t("tags.emptyHint")}>
            {create}
          </Empty>
        }
        heads={[{ label: t("logs.tag"), sort: "name" }, { label: t("keys.spend"), sort: "spend" }, { label: t("keys.limits") }, { label: t("keys.actions") }]}
        rows={(data) =>
          data.tags.map((one) => {
            const budget = one.litellm_budget_table ?? null;
            return (
              <Table.Tr key={one.name}>
                <Name name={one.name} note={one.registered ? one.description : t("tags.fromCalls")} open={() => open(one.name)} />
                <Table.Td miw="12rem">
                  <Spent spend={one.spend ?? 0} limit={budget?.max_budget ?? null} resets={budget?.budget_reset_at} of={one.name} />
                </Table.Td>
                <Table.Td>
                  <Rates of={budget} />
                </Table.Td>
                <Actions
                  name={one.name}
                  actions={[
                    { label: t("people.open"), run: () => open(one.name) },
                    rights.changes_all && { label: t(one.registered ? "people.edit" : "people.setBudget"), run: () => setDoing({ what: "edit", tag: one }) },
                    rights.changes_all && one.registered === true && { label: t("keys.delete"), run: () => setDoing({ what: "delete", tag: one }) },
                  ]}
                />
              </Table.Tr>
            );
          })
        }
      />
      {creating && <EditTag close={created} />}
      {doing?.what === "edit" && <EditTagOne of={doing.tag} close={close} />}
      {doing?.what === "delete" && (
        <Confirm
          title={t("keys.deleteTitle", { name: doing.tag.name })}
          hint={t("tags.deleteHint")}
          submit={t("keys.delete")}
          run={async () => {
            await ask("POST", "/tag/delete", { name: doing.tag.name });
            await changed();
          }}
          close={close}
        />
      )}
      {opened !== null && (
        <Sheet title={opened} close={() => open(null)}>
          <Spend of={{ tag: opened }} />
        </Sheet>
      )}
    </>
  );
}

function EditTagOne({ of, close }: { of: TagShown; close: () => void }) {
  const shared = useShared(of.budget_id);
  return shared === undefined ? <Waiting /> : <EditTag of={of} shared={shared} close={close} />;
}

/** A tag that calls brought is made when something is said of it. */
function EditTag({ of, shared = null, close }: { of?: TagShown; shared?: string | null; close: () => void }) {
  const { t } = useWords();
  const known = of?.registered === true;
  const [name, setName] = useState(of?.name ?? "");
  const described = (known && of?.description) || "";
  const [description, setDescription] = useState(described);
  const held = { ...limitFields(shared === null ? of?.litellm_budget_table : null, known ? "" : "monthly"), budget_id: shared };
  const [fields, setFields] = useState(held);
  const save = async () => {
    const said = { ...heldBody(known ? held : null, fields), ...(description === described ? {} : { description: description || null }) };
    await ask("POST", known ? "/tag/update" : "/tag/new", { name: name.trim(), ...said });
    await changed();
  };
  return (
    <Form title={of ? t("people.editOf", { name: of.name }) : t("tags.create")} submit={known ? t("app.save") : t("tags.create")} save={save} close={close}>
      {!of && <TextInput label={t("keys.name")} description={t("tags.nameHint")} value={name} onChange={(event) => setName(event.currentTarget.value)} required data-autofocus />}
      <TextInput label={t("people.description")} value={description} onChange={(event) => setDescription(event.currentTarget.value)} />
      <HeldTo fields={fields} set={(more) => setFields((current) => ({ ...current, ...more }))} />
    </Form>
  );
}
