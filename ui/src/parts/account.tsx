// Who is signed in, with which role; the own password; the way out.
import { Button, Menu, PasswordInput, Text } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { ask, queries, SESSION, took } from "../api/client";
import type { SessionState } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { Form } from "./dialogs";

const LENGTH_MIN = 8;

export type Twice = { first: string; again: string };
export const same = ({ first, again }: Twice) => first.length >= LENGTH_MIN && first === again;

/** A new password, typed twice. */
export function NewPassword({ value, set }: { value: Twice; set: (value: Twice) => void }) {
  const { t } = useWords();
  const differs = value.again !== "" && value.first !== value.again;
  return (
    <>
      <PasswordInput label={t("account.new")} description={t("account.length", { count: LENGTH_MIN })} autoComplete="new-password" required minLength={LENGTH_MIN} maxLength={1000} value={value.first} onChange={(event) => set({ ...value, first: event.currentTarget.value })} />
      <PasswordInput label={t("account.again")} error={differs && t("account.differs")} autoComplete="new-password" required value={value.again} onChange={(event) => set({ ...value, again: event.currentTarget.value })} />
    </>
  );
}

export function UserMenu({ session }: { session: SessionState }) {
  const { t } = useWords();
  const [changing, setChanging] = useState(false);
  const out = useMutation({
    mutationFn: () => ask<SessionState>("DELETE", "/ui/api/session"),
    onSuccess: (state) => {
      queries.setQueryData(SESSION, took(state));
      queries.removeQueries({ predicate: (query) => query.queryKey[0] !== SESSION[0] });
    },
  });
  const name = session.user_email ?? session.user_id ?? t("app.masterKey");
  return (
    <>
      <Menu position="bottom-end" width="16rem">
        <Menu.Target>
          <Button size="xs" variant="default" loading={out.isPending} maw="12rem" aria-haspopup="menu">
            <Text size="xs" truncate>
              {name}
            </Text>
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>
            <Text size="xs" className="said">
              {name}
            </Text>
            <Text size="xs">{t(`role.${session.role ?? "proxy_admin"}` as WordKey)}</Text>
          </Menu.Label>
          {session.has_password && <Menu.Item onClick={() => setChanging(true)}>{t("account.change")}</Menu.Item>}
          <Menu.Item onClick={() => out.mutate()}>{t("app.signOut")}</Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {changing && <ChangePassword close={() => setChanging(false)} />}
    </>
  );
}

function ChangePassword({ close }: { close: () => void }) {
  const { t } = useWords();
  const [old, setOld] = useState("");
  const [password, setPassword] = useState({ first: "", again: "" });
  const save = async () => {
    if (!same(password)) throw new Error(t(password.first === password.again ? "account.length" : "account.differs", { count: LENGTH_MIN }));
    const state = await ask<SessionState>("POST", "/ui/api/password", { old_password: old, new_password: password.first });
    queries.setQueryData(SESSION, took(state));
  };
  return (
    <Form title={t("account.change")} submit={t("app.save")} save={save} close={close}>
      <PasswordInput label={t("account.old")} autoComplete="current-password" required value={old} onChange={(event) => setOld(event.currentTarget.value)} data-autofocus />
      <NewPassword value={password} set={setPassword} />
      <Text size="sm" c="dimmed">
        {t("account.ends")}
      </Text>
    </Form>
  );
}
