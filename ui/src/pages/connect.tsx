// How to point a client at this gateway, with a key of its own.
import { Alert, Button, Group, Select, Stack, Text } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ask, get, queries, SESSION } from "../api/client";
import type { MadeKey, ModelList, SessionState } from "../api/types";
import { useWords } from "../i18n";
import { Failed, Page } from "../parts/basics";
import { Snippet } from "../parts/code";
import { CLIENTS } from "../parts/snippets";

const UNKNOWN = "YOUR_KEY";

export default function ConnectPage() {
  const { t } = useWords();
  // Only what this gateway answers is offered.
  const operations = queries.getQueryData<SessionState>(SESSION)?.operations ?? [];
  const clients = CLIENTS.filter((client) => operations.includes(client.needs));
  const [id, setId] = useState(clients[0]?.id ?? "");
  const [chosen, setChosen] = useState<string | null>(null);
  const [keys, setKeys] = useState<Record<string, string>>({});
  const models = useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get<ModelList>("/model/info", {}, signal) });
  const names = [...new Set(models.data?.data.filter((one) => (one.model_info.mode ?? "chat") === "chat").map((one) => one.model_name))];
  const client = clients.find((one) => one.id === id);
  const make = useMutation({
    mutationFn: () => ask<MadeKey>("POST", "/key/generate", { metadata: { client: id } }),
    onSuccess: (made) => {
      setKeys((before) => ({ ...before, [id]: made.key }));
      void queries.invalidateQueries({ queryKey: ["keys"] });
    },
  });
  const at = { url: location.origin, key: keys[id] ?? UNKNOWN, model: chosen ?? names[0] ?? "MODEL" };
  return (
    <Page title={t("nav.connect")}>
      <Text c="dimmed">{t("connect.hint")}</Text>
      <Group align="end">
        <Select label={t("connect.client")} data={clients.map((one) => ({ value: one.id, label: one.name }))} value={id} onChange={(value) => value && setId(value)} allowDeselect={false} />
        <Select label={t("connect.model")} data={names} value={at.model} onChange={setChosen} allowDeselect={false} searchable />
        <Button onClick={() => make.mutate()} loading={make.isPending}>
          {t("connect.make")}
        </Button>
      </Group>
      {make.error && <Failed error={make.error} />}
      {models.error && <Failed error={models.error} retry={() => void models.refetch()} />}
      {keys[id] && <Alert variant="outline">{t("connect.made")}</Alert>}
      <Stack maw="52rem">
        {client?.snippets(at).map((snippet, place) => (
          <Snippet
            key={place}
            code={snippet.code}
            title={snippet.title.kind === "file" ? t("connect.file", { file: snippet.title.file }) : snippet.title.kind === "shell" ? t("connect.shell") : snippet.title.name}
          />
        ))}
      </Stack>
      <Text c="dimmed" size="sm">
        {t("connect.see")}
      </Text>
    </Page>
  );
}
