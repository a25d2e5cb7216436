import { Alert, Button, Center, Divider, Group, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { arrival } from "../api/arrival";
import { ask, pathWith, queries, SESSION, took, was } from "../api/client";
import type { SessionState } from "../api/types";
import { useWords, type WordKey } from "../i18n";
import { Failed, Waiting } from "../parts/basics";
import { Colors, LanguageChoice } from "../shell";

const SSO_ERRORS = ["denied", "expired", "domain", "blocked", "admins", "taken", "not_configured", "not_installed"];

let refused: unknown = null;

/** Who is signed in; who came by a link is from now on. */
export async function arrive(): Promise<SessionState> {
  const token = arrival.once;
  arrival.once = null;
  if (token !== null) {
    try {
      return took(await ask<SessionState>("POST", "/ui/api/session", { once: token }));
    } catch (error) {
      refused = error;
    }
  }
  return took(await ask<SessionState>("GET", "/ui/api/session"));
}

export function SignIn({ session }: { session: SessionState }) {
  const { t } = useWords();
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const passwords = session.passwords !== false;
  const signIn = useMutation({
    mutationFn: () => ask<SessionState>("POST", "/ui/api/session", { user: user || null, password }),
    onSuccess: (state) => queries.setQueryData(SESSION, took(state)),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate();
  };
  const sso = session.sso ?? [];
  // Who has just signed out wants to see that; who was refused, why.
  const first = session.sso_first && arrival.ssoError === null && refused === null && !was.signedIn ? sso[0] : undefined;
  useEffect(() => {
    if (first) location.assign(wayTo(first.name));
  }, [first]);
  if (first) return <Waiting />;
  return (
    <Outside title={t("signIn.title")} named={t("signIn.submit")}>
      {arrival.ssoError !== null && (
        <Alert color="red" variant="outline" title={t("app.failed")} role="alert">
          <Text size="sm">{t(`sso.${SSO_ERRORS.includes(arrival.ssoError) ? arrival.ssoError : "failed"}` as WordKey)}</Text>
        </Alert>
      )}
      {sso.length > 0 && (
        <>
          {sso.map((one) => (
            <Button key={one.name} component="a" href={wayTo(one.name)} variant="default">
              {t("sso.with", { name: one.label })}
            </Button>
          ))}
          {passwords && <Divider label={t("sso.or")} labelPosition="center" />}
        </>
      )}
      {!passwords && refused !== null && <Failed error={refused} />}
      {passwords && <form onSubmit={submit}>
        <Stack>
          <TextInput label={t("signIn.user")} description={t("signIn.userHint")} autoComplete="username" value={user} onChange={(event) => setUser(event.currentTarget.value)} />
          <PasswordInput label={t("signIn.password")} autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.currentTarget.value)} />
          {signIn.error ? <Failed error={signIn.error} /> : refused !== null && <Failed error={refused} />}
          <Button type="submit" loading={signIn.isPending}>
            {t("signIn.submit")}
          </Button>
          <Text size="sm" c="dimmed">
            {t("signIn.where")}
          </Text>
        </Stack>
      </form>}
    </Outside>
  );
}

const wayTo = (provider: string) => pathWith("/sso/key/generate", { provider, to: location.pathname });

/** A page for who is not signed in yet. */
export function Outside({ title, named, children }: { title: string; named: string; children: ReactNode }) {
  useEffect(() => {
    document.title = `${named} · Tollway`;
  }, [named]);
  return (
    <Center component="main" mih="100dvh" p="md">
      <Paper withBorder p="xl" w="24rem" maw="100%">
        <Stack>
          <Title order={1} size="h3">
            {title}
          </Title>
          {children}
          <Group justify="space-between">
            <LanguageChoice />
            <Colors />
          </Group>
        </Stack>
      </Paper>
    </Center>
  );
}
