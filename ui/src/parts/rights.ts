// What whoever is signed in may see and change. The gateway decides, and refuses the rest; what it would refuse is not offered.
import { queries, SESSION } from "../api/client";
import type { SessionState } from "../api/types";

export type Rights = {
  sees_all: boolean;
  changes_all: boolean;
  /** Of one's own, or of one's teams. */
  makes_keys: boolean;
  /** Teams of organisations that one administrates. */
  makes_teams: boolean;
  /** Calls models, in one's own name. */
  plays: boolean;
  /** Nobody's with the master key. */
  user_id: string | null;
};

/** A session that tells no role is the master key's. */
export function rightsOf(session: SessionState | undefined): Rights {
  const role = session?.role ?? (session?.user_id ? "" : "proxy_admin");
  const changes_all = role === "proxy_admin";
  return {
    changes_all,
    sees_all: changes_all || role === "proxy_admin_viewer",
    makes_keys: changes_all || role === "org_admin" || role === "internal_user",
    makes_teams: changes_all || role === "org_admin",
    plays: changes_all || role === "org_admin" || role === "internal_user",
    user_id: session?.user_id ?? null,
  };
}

export const useRights = (): Rights => rightsOf(queries.getQueryData<SessionState>(SESSION));
