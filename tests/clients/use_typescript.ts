// Uses the service by a client whose types were made of its description. Arguments: the service's URL, an operator's key.
// Prints what was seen, as JSON. That it compiles, strictly, is half of the test.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
const [, , url, operatorKey] = process.argv;
const baseUrl = `${url}/api`;
const BASIC = "https://didcomm.org/basicmessage/1.0/message";
const PATIENCE = 60_000; // milliseconds

type Problem = components["schemas"]["Problem"];
type Hit = components["schemas"]["Message"];

function ok<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.url}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

function is(passed: boolean, what: string): void {
  if (!passed) throw new Error(what);
}

async function eventually<T>(ask: () => Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error("It did not come.");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const operator = createClient<paths>({ baseUrl, headers: { "tnt-operator-key": operatorKey } });

async function register(displayName: string) {
  const made = ok(await operator.POST("/principal", { body: { displayName } }));
  const read = ok(await operator.GET("/principal/{uuid}", { params: { path: { uuid: made.uuid } } }));
  is(read.displayName === displayName, "its name");
  return createClient<paths>({ baseUrl, headers: { "tnt-subscription-key": made.headers["tnt-subscription-key"] } });
}

const acme = await register("TypeScript Acme");
const bolt = await register("TypeScript Bolt");
is(ok(await operator.GET("/principal", { params: { query: { name: "typescript acme" } } })).total.value >= 1, "it is listed");
is(ok(await operator.GET("/backlog")).queues.length === 4, "queues");
is(ok(await acme.GET("/health")).status === "ok", "health");
is(ok(await acme.GET("/account")).displayName === "TypeScript Acme", "account");
is(ok(await acme.GET("/identity")).hits.length === 1, "identity");

const invitation = ok(await acme.POST("/invitation", { body: { label: "Acme", goal: "Orders" } }));
is(ok(await acme.GET("/invitation")).hits[0]?.uuid === invitation.uuid, "invitation");
const contact = ok(await bolt.POST("/contact", { body: { invitationUrl: invitation.invitationUrl, contact: { displayName: "Acme" } } }));
const path = { id: contact.uuid };
await eventually(async () => ok(await bolt.GET("/contact/{id}", { params: { path } })).status === "ACCEPTED");
const connection = ok(await bolt.GET("/connection/{uuid}", { params: { path: { uuid: contact.connectionUuid } } }));
is(connection.state === "completed", "connection");
is(ok(await acme.GET("/connection")).hits[0]?.invitationUuid === invitation.uuid, "connections");
const changed = ok(await bolt.PUT("/contact/{id}", { params: { path }, body: { contact: { internalRef: "4711" } } }));
is(changed.internalRef === "4711", "contact is changed");

const message = { "@type": BASIC, content: "Hello" };
const action = ok(await bolt.POST("/action", { body: { type: "DIDCOMM", to: contact.uuid, data: { message } } }));
const thread = { params: { path: { uuid: action.uuid } } };
is(ok(await bolt.GET("/action/{uuid}", thread)).status === "ACTIVE", "action");
ok(await bolt.POST("/action/{uuid}", { ...thread, body: { data: { message } } }));
const arrived: Hit[] = await eventually(async () => {
  const { hits } = ok(await acme.GET("/message", { params: { query: { direction: "IN", type: BASIC } } }));
  return hits.length === 2 && hits;
});
is(ok(await acme.GET("/message/count", { params: { query: { type: BASIC } } })).total === 2, "count");
is(ok(await acme.GET("/action")).total.value >= 1, "actions");
is(ok(await bolt.GET("/delivery")).hits.length > 0, "deliveries");
const newest = ok(await bolt.GET("/contact", { params: { query: { order: "newest", include: "latest" } } }));
is(newest.hits[0]?.lastMessage?.direction === "OUT", "last message");

const key = { params: { path: { key: "PRINCIPAL_SETTINGS" } } } as const;
ok(await acme.POST("/settings/{key}", { ...key, body: { setting: { autoRequest: true } } }));
is(ok(await acme.GET("/settings/{key}", key)).key === "PRINCIPAL_SETTINGS", "setting");
const token = ok(await acme.POST("/api-token", { body: { name: "warehouse" } }));
const gone = await acme.DELETE("/api-token/{uuid}", { params: { path: { uuid: token.uuid } } });
is(gone.response.status === 204, "key is revoked");
const tokens = ok(await acme.GET("/api-token")).hits;
is(tokens.find(({ uuid }) => uuid === token.uuid)?.status === "REVOKED", "keys");
is(ok(await acme.GET("/usage")).storedBytes >= 0, "usage");

const refused = await acme.GET("/contact/{id}", { params: { path: { id: "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b" } } });
const problem: Problem | undefined = refused.error;
console.log(JSON.stringify({ contents: arrived.map((hit) => (hit.message as { content: string }).content), refused: problem?.type }));
