// The frame around every page: where one is, in which language and colours, and the way out.
import { AppShell, Burger, Group, NativeSelect, NavLink, Stack, Text, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { Link, Route, Switch, useLocation } from "wouter";
import { arrival } from "./api/arrival";
import { SESSION } from "./api/client";
import type { SessionState } from "./api/types";
import { type Language, LANGUAGES, useWords, type WordKey } from "./i18n";
import { Asked, Page, Unbroken, Waiting } from "./parts/basics";
import { Icon } from "./parts/icons";
import { rightsOf } from "./parts/rights";
import { UserMenu } from "./parts/account";
import { Invitation } from "./pages/invitation";
import { arrive, SignIn } from "./pages/signin";

// Each page is a file of its own, loaded when somebody opens it. What the gateway would refuse to show to everybody says for whom it is.
const PAGES = [
  { path: "/", name: "overview", group: "groupUse", page: lazy(() => import("./pages/overview")) },
  { path: "/logs", name: "logs", group: "groupUse", page: lazy(() => import("./pages/logs")) },
  { path: "/keys", name: "keys", group: "groupAccess", page: lazy(() => import("./pages/keys")) },
  { path: "/teams", name: "teams", group: "groupAccess", page: lazy(() => import("./pages/teams")) },
  { path: "/users", name: "users", group: "groupAccess", needs: "sees_all", page: lazy(() => import("./pages/users")) },
  { path: "/organizations", name: "organizations", group: "groupAccess", page: lazy(() => import("./pages/organizations")) },
  { path: "/budgets", name: "budgets", group: "groupAccess", needs: "sees_all", page: lazy(() => import("./pages/budgets")) },
  { path: "/customers", name: "customers", group: "groupAccess", needs: "sees_all", page: lazy(() => import("./pages/customers")) },
  { path: "/models", name: "models", group: "groupGateway", page: lazy(() => import("./pages/models")) },
  { path: "/playground", name: "playground", group: "groupGateway", needs: "plays", page: lazy(() => import("./pages/playground")) },
  { path: "/connect", name: "connect", group: "groupGateway", page: lazy(() => import("./pages/connect")) },
  { path: "/settings", name: "settings", group: "groupGateway", needs: "sees_all", page: lazy(() => import("./pages/settings")) },
] as const satisfies readonly { path: string; name: string; group: string; needs?: "sees_all" | "plays"; page: unknown }[];
const GROUPS = ["groupUse", "groupAccess", "groupGateway"] as const;

export function Tollway() {
  const session = useQuery({
    queryKey: SESSION,
    queryFn: arrive,
    staleTime: Infinity,
  });
  const [invitation, setInvitation] = useState(arrival.invitation);
  if (invitation !== null) return <Invitation id={invitation} close={() => setInvitation(null)} />;
  return <Asked query={session}>{(state) => (state.signed_in ? <Frame session={state} /> : <SignIn session={state} />)}</Asked>;
}

function Frame({ session }: { session: SessionState }) {
  const { t } = useWords();
  const [opened, { toggle, close }] = useDisclosure();
  const [here] = useLocation();
  const rights = rightsOf(session);
  const shown = PAGES.filter((one) => !("needs" in one) || rights[one.needs]);
  return (
    <AppShell header={{ height: 52 }} navbar={{ width: 200, breakpoint: "sm", collapsed: { mobile: !opened } }} padding="md">
      <a className="skip" href="#content">
        {t("app.skip")}
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t("app.menu")} />
            <Text fw={700}>Tollway</Text>
            <Text size="xs" c="dimmed" visibleFrom="xs">
              {session.version}
            </Text>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <LanguageChoice />
            <Colors />
            <UserMenu session={session} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" className="nav" aria-label={t("app.pages")}>
        <Stack gap={2}>
          {GROUPS.map((group) => (
            <Stack key={group} gap={2} role="group" aria-label={t(`nav.${group}`)}>
              <Text size="xs" c="dimmed" px="xs" pt="xs" aria-hidden="true">
                {t(`nav.${group}`)}
              </Text>
              {shown
                .filter((one) => one.group === group)
                .map(({ path, name }) => (
                  <NavLink
                    key={path}
                    component={Link}
                    href={path}
                    active={here === path}
                    aria-current={here === path ? "page" : undefined}
                    label={t(`nav.${name}` as WordKey)}
                    leftSection={<Icon name={name} />}
                    onClick={close}
                    variant="filled"
                    py={6}
                  />
                ))}
            </Stack>
          ))}
          <NavLink component="a" href="/docs" target="_blank" label={t("app.api")} leftSection={<Icon name="logs" />} />
        </Stack>
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1}>
        <Unbroken key={here}>
          <Suspense fallback={<Waiting />}>
            <Switch>
              {PAGES.map(({ path, page: Shown }) => (
                <Route key={path} path={path}>
                  <Shown />
                </Route>
              ))}
              <Route>
                <Page title={t("app.notFound")}>{null}</Page>
              </Route>
            </Switch>
          </Suspense>
        </Unbroken>
      </AppShell.Main>
    </AppShell>
  );
}

export function LanguageChoice() {
  const { t, language, speak } = useWords();
  return (
    <NativeSelect
      size="xs"
      w="7rem"
      aria-label={t("app.language")}
      data={Object.entries(LANGUAGES).map(([value, label]) => ({ value, label }))}
      value={language}
      onChange={(event) => speak(event.currentTarget.value as Language)}
    />
  );
}

export function Colors() {
  const { t } = useWords();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <NativeSelect
      size="xs"
      w="8rem"
      aria-label={t("app.colors")}
      data={(["auto", "light", "dark"] as const).map((value) => ({ value, label: t(`app.${value}`) }))}
      value={colorScheme}
      onChange={(event) => setColorScheme(event.currentTarget.value as "auto" | "light" | "dark")}
    />
  );
}
