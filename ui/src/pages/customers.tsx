// Customers, the end users of clients: whoever calls name, blocked and held to a budget where that is wanted.
import { Button, Select, Table, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { ask, queries } from "../api/client";
import type { CustomerPage, CustomerShown } from "../api/types";
import { useWords } from "../i18n";
import { Empty, Failed, Page, Waiting } from "../parts/basics";
import { Confirm, Form, Models } from "../parts/dialogs";
import { changes, limitFields, Rates, Spent } from "../parts/limits";
import { List, useListing } from "../parts/listing";
import { useRights } from "../parts/rights";
import { Actions, Name, State } from "../parts/rows";
import { heldBody, HeldTo, useShared } from "../parts/shared_budget";
import { Sheet, useOpened } from "../parts/sheet";
import { Spend } from "../parts/spend";

const changed = () => queries.invalidateQueries({ predicate: (query) => ["customers", "budget"].includes(String(query.queryKey[0])) });
const called = (one: CustomerShown) => one.alias || one.user_id;

type Doing = { what: "create" } | { what: "edit" | "delete"; customer: CustomerShown };

export default function CustomersPage() {
  const { t, number } = useWords();
  const rights = useRights();
  const [opened, open] = useOpened("customer");
  const [state, setState] = useState("");
  const [doing, setDoing] = useState<Doing | null>(null);
  const customers = useListing<CustomerPage>("customers", "/customer/list", { sort: { by: "spend", order: "desc" }, more: { blocked: state } });
  const close = () => setDoing(null);
  const create = rights.changes_all && <Button onClick={() => setDoing({ what: "create" })}>{t("customers.create")}</Button>;
  const filter = (
    <Select
      size="xs"
      label={t("keys.state")}
      data={[
        { value: "", label: t("logs.any") },
        { value: "false", label: t("customers.active") },
        { value: "true", label: t("customers.blocked") },
      ]}
      value={state}
      onChange={(value) => {
        setState(value ?? "");
        customers.setPage(1);
      }}
      allowDeselect={false}
    />
  );
  return (
    <Page title={t("nav.customers")} actions={create}>
      <List
        of={customers}
        label={t("customers.search")}
        total={(count) => t("customers.total", { count: number(count) })}
        aside={(state !== "" || (customers.query.data?.total ?? 0) > 0 || customers.search !== "") && filter}
        empty={
          state === "" ? (
            <Empty title={t("customers.empty")} hint={t("customers.emptyHint")}>
              {create}
            </Empty>
          ) : (
            <Empty title={t("people.nothing")} hint={t("customers.noneOfState")} />
          )
        }
        heads={[
          { label: t("customers.customer"), sort: "user_id" },
          { label: t("keys.state") },
          { label: t("keys.spend"), sort: "spend" },
          { label: t("people.limitsAndModels") },
          { label: t("keys.actions") },
        ]}
        rows={(data) => data.customers.map((one) => <Row key={one.user_id} of={one} open={() => open(one.user_id)} act={setDoing} />)}
      />
      {doing?.what === "create" && <Edit close={close} />}
      {doing?.what === "edit" && <EditOne of={doing.customer} close={close} />}
      {doing?.what === "delete" && (
        <Confirm
          title={t("keys.deleteTitle", { name: called(doing.customer) })}
          hint={t("customers.deleteHint")}
          submit={t("keys.delete")}
          run={async () => {
            await ask("POST", "/customer/delete", { user_ids: [doing.customer.user_id] });
            await changed();
          }}
          close={close}
        />
      )}
      {opened !== null && (
        <Sheet title={opened} close={() => open(null)}>
          <Spend of={{ end_user: opened }} />
        </Sheet>
      )}
    </Page>
  );
}

function Row({ of, open, act }: { of: CustomerShown; open: () => void; act: (doing: Doing) => void }) {
  const { t } = useWords();
  const rights = useRights();
  const block = useMutation({ mutationFn: () => ask("POST", of.blocked ? "/customer/unblock" : "/customer/block", { user_ids: [of.user_id] }), onSuccess: changed });
  const budget = of.litellm_budget_table;
  return (
    <Table.Tr>
      <Name name={called(of)} id={of.user_id} note={of.registered ? null : t("customers.fromCalls")} open={open} />
      <State of="customers" blocked={of.blocked} />
      <Table.Td miw="12rem">
        <Spent spend={of.spend} limit={budget?.max_budget ?? null} resets={budget?.budget_reset_at} of={called(of)} />
        {block.error && <Failed error={block.error} />}
      </Table.Td>
      <Table.Td>
        <Rates of={budget} models={of.models} />
      </Table.Td>
      <Actions
        name={called(of)}
        busy={block.isPending}
        actions={[
          { label: t("people.open"), run: open },
          rights.changes_all && { label: t(of.registered ? "people.edit" : "people.setBudget"), run: () => act({ what: "edit", customer: of }) },
          rights.changes_all && { label: t(of.blocked ? "keys.unblock" : "keys.block"), run: () => block.mutate() },
          rights.changes_all && of.registered === true && { label: t("keys.delete"), run: () => act({ what: "delete", customer: of }) },
        ]}
      />
    </Table.Tr>
  );
}

function EditOne({ of, close }: { of: CustomerShown; close: () => void }) {
  const shared = useShared(of.budget_id);
  return shared === undefined ? <Waiting /> : <Edit of={of} shared={shared} close={close} />;
}

/** Whoever was only named in calls is registered when something is said of him. */
function Edit({ of, shared = null, close }: { of?: CustomerShown; shared?: string | null; close: () => void }) {
  const { t } = useWords();
  const known = of?.registered === true;
  const [id, setId] = useState(of?.user_id ?? "");
  const start = { alias: of?.alias ?? "", models: of?.models ?? [] };
  const held = { ...limitFields(shared === null ? of?.litellm_budget_table : null, known ? "" : "monthly"), budget_id: shared };
  const [fields, setFields] = useState({ ...start, ...held });
  const set = (more: Partial<typeof fields>) => setFields((before) => ({ ...before, ...more }));
  const body = (from: typeof start) => ({ alias: from.alias || null, models: from.models });
  const save = async () => {
    const said = { ...changes(known ? body(start) : null, body(fields)), ...heldBody(known ? held : null, fields) };
    await ask("POST", known ? "/customer/update" : "/customer/new", { user_id: id.trim(), ...said });
    await changed();
  };
  return (
    <Form title={of ? t("people.editOf", { name: called(of) }) : t("customers.create")} submit={known ? t("app.save") : t("customers.create")} save={save} close={close}>
      {!of && <TextInput label={t("customers.id")} description={t("customers.idHint")} value={id} onChange={(event) => setId(event.currentTarget.value)} required data-autofocus />}
      <TextInput label={t("keys.name")} value={fields.alias} onChange={(event) => set({ alias: event.currentTarget.value })} />
      <HeldTo fields={fields} set={set} />
      <Models chosen={fields.models} choose={(models) => set({ models })} />
    </Form>
  );
}
