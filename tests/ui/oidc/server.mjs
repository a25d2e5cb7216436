// A real OpenID Connect provider on loopback, for tests: whoever types a login is signed in as the account of that name.
import Provider from "oidc-provider";

const ACCOUNTS = {
  ada: { email: "ada@example.com", email_verified: true, name: "Ada", groups: ["admins", "people"] },
  bob: { email: "bob@example.com", email_verified: true, name: "Bob", groups: ["people"] },
  eve: { email: "eve@elsewhere.example", email_verified: true, name: "Eve", groups: ["people"] },
  mallory: { email: "bob@example.com", email_verified: false, name: "Mallory", groups: [] },
};

const provider = new Provider(`http://127.0.0.1:${process.env.PORT}`, {
  clients: [
    {
      client_id: "tollway",
      client_secret: process.env.CLIENT_SECRET,
      redirect_uris: ["http://127.0.0.1/sso/callback"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username"], groups: ["groups"] },
  // Everything that a scope opens stands in the ID token, too: other tests show it where keys are taken.
  conformIdTokenClaims: false,
  scopes: ["openid", "email", "profile", "groups"],
  pkce: { required: () => true },
  cookies: { keys: ["only for tests"] },
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, ...(ACCOUNTS[id] ?? {}) }),
  }),
});

// The gateway's port is known when it runs; all else of the address is held to the one above.
const allowed = provider.Client.prototype.redirectUriAllowed;
provider.Client.prototype.redirectUriAllowed = function (uri) {
  const at = new URL(uri);
  at.port = "";
  return allowed.call(this, at.href);
};

provider.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("ready"));
