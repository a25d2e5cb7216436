// What a user may be, in the reader's words.
import { useWords } from "../i18n";

export const ROLES = ["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"] as const;
const NAMED = [...ROLES, "org_admin"] as const;

export function useRoleName() {
  const { t } = useWords();
  return (role: string | null) => {
    if (!role) return t("role.none");
    const known = NAMED.find((one) => one === role);
    return known ? t(`role.${known}`) : role;
  };
}

export function useRoleHint() {
  const { t } = useWords();
  return (role: string | null) => {
    const known = NAMED.find((one) => one === role);
    return known ? t(`role.about.${known}`) : role ? undefined : t("role.about.none");
  };
}
