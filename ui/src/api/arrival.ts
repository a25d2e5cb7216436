// What the address brought along: a link that signs in once, an invitation, or why single sign-on did not work. It is taken out of
// the address before anything else happens, so that it stays neither in the bar nor in what is copied from there.
const brought = new URLSearchParams(location.search);
const TAKEN = ["once", "invitation_id", "sso_error"] as const;

export const arrival = {
  once: location.pathname === "/ui/sign-in" ? brought.get("once") : null,
  invitation: brought.get("invitation_id"),
  ssoError: brought.get("sso_error"),
};

if (location.pathname === "/ui/sign-in" || TAKEN.some((name) => brought.has(name))) {
  for (const name of TAKEN) brought.delete(name);
  const path = location.pathname === "/ui/sign-in" ? "/ui/" : location.pathname;
  const rest = brought.toString();
  history.replaceState(null, "", rest ? `${path}?${rest}` : path);
}
