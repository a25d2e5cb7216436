// A form in a dialog, and the question before something is gone.
import { Button, Group, Modal, MultiSelect, Stack, Text } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import type { FormEvent, ReactNode } from "react";
import { get } from "../api/client";
import type { ModelList } from "../api/types";
import { useWords } from "../i18n";
import { Failed } from "./basics";
import { useReturnFocus } from "./focus";

/** Closes when what `save` began has worked; else says what did not. */
export function Form({ title, submit, save, close, children }: { title: string; submit?: string; save: () => Promise<void>; close: () => void; children: ReactNode }) {
  const { t } = useWords();
  useReturnFocus();
  const saving = useMutation({ mutationFn: save, onSuccess: close });
  const send = (event: FormEvent) => {
    event.preventDefault();
    event.stopPropagation();
    saving.mutate();
  };
  return (
    <Modal opened onClose={close} title={title} closeButtonProps={{ "aria-label": t("app.close") }}>
      <form onSubmit={send}>
        <Stack>
          {children}
          {saving.error && <Failed error={saving.error} />}
          <Group justify="end">
            <Button variant="default" onClick={close}>
              {t("app.cancel")}
            </Button>
            <Button type="submit" loading={saving.isPending}>
              {submit ?? t("app.save")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

export function Confirm({ title, hint, submit, run, close }: { title: string; hint: string; submit: string; run: () => Promise<unknown>; close: () => void }) {
  const { t } = useWords();
  useReturnFocus();
  const running = useMutation({ mutationFn: run, onSuccess: close });
  return (
    <Modal opened onClose={close} title={title} closeButtonProps={{ "aria-label": t("app.close") }}>
      <Stack>
        <Text size="sm" className="said">
          {hint}
        </Text>
        {running.error && <Failed error={running.error} />}
        <Group justify="end">
          <Button variant="default" onClick={close}>
            {t("app.cancel")}
          </Button>
          <Button color="red" onClick={() => running.mutate()} loading={running.isPending}>
            {submit}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

/** The models that somebody may call; none chosen is all of them. */
export function Models({ chosen, choose, label }: { chosen: string[]; choose: (models: string[]) => void; label?: string }) {
  const { t } = useWords();
  const models = useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get<ModelList>("/model/info", {}, signal) });
  const names = [...new Set([...(models.data?.data.map((one) => one.model_name) ?? []), ...chosen])];
  return <MultiSelect label={label ?? t("keys.models")} description={t("keys.modelsHint")} data={names} value={chosen} onChange={choose} searchable />;
}
