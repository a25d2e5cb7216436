// What rows of every list have: a name that opens, and a menu of what can be done.
import { ActionIcon, Menu, Table, Text, UnstyledButton } from "@mantine/core";
import { useWords } from "../i18n";
import { Icon } from "./icons";

export function Name({ name, id, note, open }: { name: string; id?: string | null; note?: string | null; open?: () => void }) {
  return (
    <Table.Td maw="20rem">
      {open ? (
        <UnstyledButton onClick={open} fz="sm" fw={600} className="said opens">
          {name}
        </UnstyledButton>
      ) : (
        <Text size="sm" fw={600} className="said">
          {name}
        </Text>
      )}
      {id && id !== name && (
        <Text size="xs" c="dimmed" className="mono said">
          {id}
        </Text>
      )}
      {note && (
        <Text size="xs" c="dimmed" className="said">
          {note}
        </Text>
      )}
    </Table.Td>
  );
}

/** Languages bend the word after whom it is said of. */
export function State({ of, blocked }: { of: "teams" | "customers"; blocked: boolean }) {
  const { t } = useWords();
  return (
    <Table.Td>
      <Text size="sm" className={blocked ? "bad" : "good"}>
        {t(`${of}.${blocked ? "blocked" : "active"}`)}
      </Text>
    </Table.Td>
  );
}

export type Action = { label: string; run: () => void } | false;

export function Actions({ name, actions, busy = false }: { name: string; actions: Action[]; busy?: boolean }) {
  const { t } = useWords();
  const offered = actions.filter((one) => one !== false);
  return (
    <Table.Td>
      {offered.length > 0 && (
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon variant="default" aria-label={t("keys.actionsOf", { name })} loading={busy}>
              <Icon name="more" />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            {offered.map((one) => (
              <Menu.Item key={one.label} onClick={one.run}>
                {one.label}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      )}
    </Table.Td>
  );
}
