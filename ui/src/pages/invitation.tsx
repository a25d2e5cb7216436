// Who is invited chooses a password, and is signed in.
import { Button, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { ask, queries, SESSION, took } from "../api/client";
import type { SessionState } from "../api/types";
import { useWords } from "../i18n";
import { Failed, Waiting } from "../parts/basics";
import { NewPassword, same } from "../parts/account";
import { Outside } from "./signin";

type Invited = { user_id: string; user_email: string | null };

export function Invitation({ id, close }: { id: string; close: () => void }) {
  const { t } = useWords();
  const [password, setPassword] = useState({ first: "", again: "" });
  const invited = useQuery({ queryKey: ["invitation"], queryFn: () => ask<Invited>("POST", "/ui/api/invitation", { invitation_id: id }), retry: false, staleTime: Infinity });
  const accept = useMutation({
    mutationFn: () => ask<SessionState>("POST", "/ui/api/invitation/accept", { invitation_id: id, password: password.first }),
    onSuccess: (state) => {
      queries.clear();
      queries.setQueryData(SESSION, took(state));
      close();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (same(password)) accept.mutate();
  };
  return (
    <Outside title={t("invitation.title")} named={t("invitation.title")}>
      {invited.isPending && <Waiting />}
      {invited.error && (
        <>
          <Failed error={invited.error} />
          <Button variant="default" onClick={close}>
            {t("signIn.submit")}
          </Button>
        </>
      )}
      {invited.data && (
        <form onSubmit={submit}>
          <Stack>
            <Text size="sm">{t("invitation.hint")}</Text>
            <TextInput label={t("signIn.user")} readOnly autoComplete="username" value={invited.data.user_email ?? invited.data.user_id} />
            <NewPassword value={password} set={setPassword} />
            {accept.error && <Failed error={accept.error} />}
            <Button type="submit" loading={accept.isPending} disabled={!same(password)}>
              {t("invitation.accept")}
            </Button>
          </Stack>
        </form>
      )}
    </Outside>
  );
}
