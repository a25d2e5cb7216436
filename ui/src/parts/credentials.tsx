// Keys and settings that several models share, by a name. What is in them is shown nowhere.
import { Alert, Button, Group, Modal, PasswordInput, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { ask, get, queries } from "../api/client";
import type { CredentialPage } from "../api/types";
import { useWords } from "../i18n";
import { Asked, Failed } from "./basics";
import { useReturnFocus } from "./focus";

export const useCredentials = () => useQuery({ queryKey: ["credentials"], queryFn: ({ signal }) => get<CredentialPage>("/credentials", {}, signal) });

export default function Credentials({ close }: { close: () => void }) {
  const { t } = useWords();
  useReturnFocus();
  const credentials = useCredentials();
  const [fields, setFields] = useState({ name: "", api_key: "", api_base: "" });
  const changed = () => queries.invalidateQueries({ queryKey: ["credentials"] });
  const save = useMutation({
    mutationFn: () => {
      const values = Object.fromEntries(Object.entries({ api_key: fields.api_key, api_base: fields.api_base }).filter(([, value]) => value));
      return ask("POST", "/credentials", { credential_name: fields.name, credential_values: values });
    },
    onSuccess: () => {
      setFields({ name: "", api_key: "", api_base: "" });
      void changed();
    },
  });
  const remove = useMutation({ mutationFn: (name: string) => ask("DELETE", `/credentials/${encodeURIComponent(name)}`), onSuccess: changed });
  const set = (name: keyof typeof fields) => (event: { currentTarget: { value: string } }) => setFields({ ...fields, [name]: event.currentTarget.value });
  return (
    <Modal opened onClose={close} title={t("models.credentials")} size="lg" closeButtonProps={{ "aria-label": t("app.close") }}>
      <Stack>
        <Text size="sm">{t("models.credentialsHint")}</Text>
        <Asked query={credentials}>
          {(data) =>
            data.credentials.length === 0 ? (
              <Alert variant="outline">{t("models.noCredentials")}</Alert>
            ) : (
              <Table>
                <Table.Tbody>
                  {data.credentials.map((one) => (
                    <Table.Tr key={one.credential_name}>
                      <Table.Td className="said">{one.credential_name}</Table.Td>
                      <Table.Td className="said">{Object.keys(one.credential_values).join(", ")}</Table.Td>
                      <Table.Td ta="right">
                        <Button size="compact-xs" variant="default" aria-label={t("keys.deleteTitle", { name: one.credential_name })} onClick={() => remove.mutate(one.credential_name)} loading={remove.isPending && remove.variables === one.credential_name}>
                          {t("keys.delete")}
                        </Button>
                      </Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            )
          }
        </Asked>
        {remove.error && <Failed error={remove.error} />}
        <form
          onSubmit={(event: FormEvent) => {
            event.preventDefault();
            save.mutate();
          }}
        >
          <Stack gap="xs">
            <TextInput label={t("keys.name")} required value={fields.name} onChange={set("name")} />
            <PasswordInput label={t("models.apiKey")} autoComplete="off" value={fields.api_key} onChange={set("api_key")} />
            <TextInput label={t("models.apiBase")} value={fields.api_base} onChange={set("api_base")} />
            {save.error && <Failed error={save.error} />}
            <Group justify="end">
              <Button type="submit" loading={save.isPending}>
                {t("models.addCredential")}
              </Button>
            </Group>
          </Stack>
        </form>
      </Stack>
    </Modal>
  );
}
