import { Alert, Button, Code, Group, Modal, Stack } from "@mantine/core";
import { Link } from "wouter";
import { useWords } from "../i18n";
import { Copy } from "./basics";

/** A new key's text, the one time it is seen. */
export function Secret({ secret, close }: { secret: string | null; close: () => void }) {
  const { t } = useWords();
  return (
    <Modal opened={secret !== null} onClose={close} title={t("keys.secret")} closeOnClickOutside={false} closeButtonProps={{ "aria-label": t("app.close") }}>
      <Stack>
        <Alert variant="outline">{t("keys.secretHint")}</Alert>
        <Code block data-testid="secret" tabIndex={0} className="said">
          {secret}
        </Code>
        <Group justify="space-between">
          <Copy value={secret ?? ""} />
          <Button size="xs" variant="default" component={Link} href="/connect">
            {t("keys.use")}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
