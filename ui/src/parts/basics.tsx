// What every page has: its title, what it says while it waits, when something failed, and when there is nothing yet.
import { Alert, Button, Center, CopyButton, Group, Loader, Stack, Text, Title } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import { Component, type ReactNode, useEffect } from "react";
import { useWords } from "../i18n";

export function Page({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Tollway`;
  }, [title]);
  return (
    <Stack className="page" gap="md">
      <Group justify="space-between" align="center">
        <Title order={1} size="h2">
          {title}
        </Title>
        <Group gap="xs" align="end">
          {actions}
        </Group>
      </Group>
      {children}
    </Stack>
  );
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useWords();
  return (
    <Alert color="red" variant="outline" title={t("app.failed")} role="alert">
      <Text size="sm" className="said">
        {error instanceof Error ? error.message : String(error)}
      </Text>
      {retry && (
        <Button size="xs" variant="default" mt="sm" onClick={retry}>
          {t("app.retry")}
        </Button>
      )}
    </Alert>
  );
}

export function Waiting() {
  const { t } = useWords();
  return (
    <Center p="xl" role="status" aria-label={t("app.loading")}>
      <Loader size="sm" />
    </Center>
  );
}

/** A page that fails says so, and the others stay within reach. */
export class Unbroken extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown };
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override render() {
    return this.state.error === null ? this.props.children : <Failed error={this.state.error} retry={() => location.reload()} />;
  }
}

/** Nothing is here yet: says so, and what to do next. */
export function Empty({ title, hint, children }: { title: string; hint: string; children?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" p="xl">
      <Text fw={600}>{title}</Text>
      <Text c="dimmed" ta="center" maw="32rem">
        {hint}
      </Text>
      {children}
    </Stack>
  );
}

/** The answer of a question, or what stands in its place. */
export function Asked<T>({ query, children }: { query: UseQueryResult<T>; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error) return <Failed error={query.error} retry={() => void query.refetch()} />;
  return <Waiting />;
}

export function Copy({ value, label }: { value: string; label?: string }) {
  const { t } = useWords();
  return (
    <CopyButton value={value}>
      {({ copied, copy }) => (
        <Button size="xs" variant="default" onClick={copy}>
          {copied ? t("app.copied") : (label ?? t("app.copy"))}
        </Button>
      )}
    </CopyButton>
  );
}

/** How much of something; of a budget, it warns before the end. */
export function Bar({ share, label, warns = true }: { share: number; label: string; warns?: boolean }) {
  const percent = Math.min(100, Math.max(0, share * 100));
  return (
    <div
      className="bar"
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
      data-near={warns && share >= 0.8 && share < 1 ? "" : undefined}
      data-over={warns && share >= 1 ? "" : undefined}
    >
      <div style={{ width: `${percent}%` }} />
    </div>
  );
}

export function saveAs(name: string, rows: (string | number | null)[][]) {
  // A cell that a spreadsheet would take for a formula is told to be text.
  const cell = (value: string | number | null) => {
    const text = value === null ? "" : typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const url = URL.createObjectURL(new Blob([rows.map((row) => row.map(cell).join(",")).join("\r\n")], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
