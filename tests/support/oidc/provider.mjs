// A real OpenID Connect provider on loopback: node provider.mjs NODE_MODULES PORT KEYS_FILE PAGES
//
// People sign in by forms, under any name and with any password; they are sent back to PAGES.
// Each client is somebody: its id the subject, and whatever stands behind a dot in it the groups. A resource
// `urn:AUDIENCE:ALGORITHM` says whom a token is for and how it is signed.
import { readFileSync } from "node:fs";

const [modules, port, keys, pages] = process.argv.slice(2);
const { Provider } = await import(`${modules}/oidc-provider/lib/index.js`);

const client = (client_id) => ({
  client_id,
  client_secret: "secret",
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: "client_secret_post",
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    ...["kim.sre", "lee.dev", "eve"].map(client),
    { client_id: "pages", redirect_uris: [pages], token_endpoint_auth_method: "none" },
    { client_id: "pages-with-secret", client_secret: "a secret/+", redirect_uris: [pages] },
  ],
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, groups: id.split(".").slice(1) }) }),
  claims: { openid: ["sub", "groups"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  jwks: JSON.parse(readFileSync(keys, "utf8")),
  cookies: { keys: ["only for tests"] },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => {
        const [, audience, alg] = resource.split(":");
        return { scope: "", audience, accessTokenTTL: 600, accessTokenFormat: "jwt", jwt: { sign: { alg } } };
      },
    },
  },
  extraTokenClaims: (_context, token) => ({ groups: token.clientId.split(".").slice(1) }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
