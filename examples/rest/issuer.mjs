// Gives tokens to whoever asks, for trying the example out. A real API has Keycloak, Auth0, Cognito or another OpenID
// provider here, which asks for a password first.
//
//     node issuer.mjs [PORT]          curl "localhost:9000/token?user=ada"

import { createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import http from "node:http";

const LIFETIME = 3600;
const SCOPES = ["notes:read", "notes:write"];

const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const key = { ...publicKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };

function token(issuer, { user, scope = SCOPES.join(" "), audience = "notes", lifetime = LIFETIME }) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, sub: user, aud: audience, scope, iat: now, nbf: now, exp: now + Number(lifetime) };
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${encode({ alg: key.alg, typ: "JWT", kid: key.kid })}.${encode(claims)}`;
  return `${text}.${createSign("sha256").update(text).sign(privateKey, "base64url")}`;
}

const server = http.createServer((request, response) => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const { pathname, searchParams } = new URL(request.url, issuer);
  const json = (value) => response.setHeader("content-type", "application/json").end(JSON.stringify(value));
  if (pathname === "/.well-known/openid-configuration") {
    json({ issuer, jwks_uri: `${issuer}/jwks`, id_token_signing_alg_values_supported: [key.alg] });
  } else if (pathname === "/jwks") {
    json({ keys: [key] });
  } else if (pathname === "/token" && searchParams.get("user")) {
    response.end(token(issuer, Object.fromEntries(searchParams)));
  } else {
    response.writeHead(404).end("Try /token?user=ada\n");
  }
});
server.listen(Number(process.argv[2] ?? 9000), "127.0.0.1", () => {
  console.log(`tokens from http://127.0.0.1:${server.address().port}/token?user=ada`);
});
