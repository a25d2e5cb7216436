// A link by which a user chooses a password: made when the dialog opens, seen once.
import { Alert, Code, Group, Modal, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ask } from "../api/client";
import { useWords } from "../i18n";
import { Asked, Copy } from "./basics";
import { useReturnFocus } from "./focus";

type Invitation = { id: string; url: string; expires_at: string };

export function Invite({ user, name, close }: { user: string; name: string; close: () => void }) {
  const { t, moment } = useWords();
  useReturnFocus();
  const made = useQuery({
    queryKey: ["invite", user],
    queryFn: () => ask<Invitation>("POST", "/invitation/new", { user_id: user }),
    retry: false,
    staleTime: Infinity,
    gcTime: 0,
  });
  return (
    <Modal opened onClose={close} title={t("invite.title", { name })} closeOnClickOutside={false} closeButtonProps={{ "aria-label": t("app.close") }}>
      <Asked query={made}>
        {(invitation) => (
          <Stack>
            <Alert variant="outline">{t("invite.hint", { until: moment(invitation.expires_at) })}</Alert>
            <Code block data-testid="invitation" tabIndex={0} className="said">
              {invitation.url}
            </Code>
            <Group>
              <Copy value={invitation.url} />
            </Group>
          </Stack>
        )}
      </Asked>
    </Modal>
  );
}
