// One of a list, whole: a drawer whose address can be kept, with tabs of which only the open one asks.
import { Drawer, Tabs, Title } from "@mantine/core";
import { type ReactNode, useCallback } from "react";
import { useSearchParams } from "wouter";
import { useWords } from "../i18n";
import { useReturnFocus } from "./focus";

/** Which one is open, as the page's address says. */
export function useOpened(name: string): [string | null, (id: string | null) => void] {
  const [params, setParams] = useSearchParams();
  const open = useCallback(
    (id: string | null) =>
      setParams((before) => {
        const next = new URLSearchParams(before);
        if (id === null) next.delete(name);
        else next.set(name, id);
        return next;
      }),
    [setParams, name],
  );
  return [params.get(name), open];
}

export function Sheet({ title, close, children }: { title: string; close: () => void; children: ReactNode }) {
  const { t } = useWords();
  useReturnFocus();
  return (
    <Drawer
      opened
      onClose={close}
      position="right"
      size="xl"
      title={
        <Title order={2} size="h4" component="span" className="said">
          {title}
        </Title>
      }
      closeButtonProps={{ "aria-label": t("app.close") }}
    >
      {children}
    </Drawer>
  );
}

export type Leaf = { name: string; label: string; page: ReactNode };

export function Leaves({ leaves: offered }: { leaves: (Leaf | false)[] }) {
  const leaves = offered.filter((one) => one !== false);
  return (
    <Tabs defaultValue={leaves[0]!.name} keepMounted={false}>
      <Tabs.List mb="md">
        {leaves.map((one) => (
          <Tabs.Tab key={one.name} value={one.name}>
            {one.label}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {leaves.map((one) => (
        <Tabs.Panel key={one.name} value={one.name}>
          {one.page}
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}
