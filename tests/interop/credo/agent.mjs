// A Credo agent for a test to drive: `node agent.mjs FOLDER OPTIONS`, where FOLDER has the packages of package.json.
//
// OPTIONS is JSON: {label, port, contexts: JSON-LD contexts by URL, ledger: path of the file that stands in for one}.
// A line of stdin is a call, {id, op, args}; a line of stdout is its answer, {id, result} or {id, error}, or one of the
// agent's events, {event, payload}. The log goes to stderr.
import { Console } from "node:console";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const [folder, { label, port, contexts, ledger }] = [process.argv[2], JSON.parse(process.argv[3])];
globalThis.console = new Console(process.stderr);

const { resolve } = createRequire(path.join(folder, "package.json"));
const load = (name) => import(resolve(name));
// First of all: the others take what these register when they are loaded.
const { askar } = await load("@openwallet-foundation/askar-nodejs");
const { anoncreds } = await load("@hyperledger/anoncreds-nodejs");
const core = await load("@credo-ts/core");
const didcomm = await load("@credo-ts/didcomm");
const { AskarModule } = await load("@credo-ts/askar");
const credo = await load("@credo-ts/anoncreds");
const { agentDependencies, DidCommHttpInboundTransport } = await load("@credo-ts/node");

const url = `http://127.0.0.1:${port}`;
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// Where a did:web has this below it.
const webUrl = (did, file) => {
  const [host, ...parts] = did.replace("did:web:", "").split(":").map(decodeURIComponent);
  return `http://${[host, ...(parts.length ? parts : [".well-known"]), file].join("/")}`;
};

// Its own would ask over HTTPS, which the tenants of a test do not speak.
const webResolver = {
  supportedMethods: ["web"],
  allowsCaching: false,
  async resolve(context, did) {
    const answer = await fetch(webUrl(did, "did.json"));
    const didDocument = core.JsonTransformer.fromJSON(await answer.json(), core.DidDocument);
    return { didDocument, didDocumentMetadata: {}, didResolutionMetadata: {} };
  },
};

// Contexts that Credo would fetch are given to it, for there is no network.
const own = "modules/vc/data-integrity/libraries/contexts/defaultContexts.mjs";
const { DEFAULT_CONTEXTS } = await import(path.join(path.dirname(resolve("@credo-ts/core")), own));
for (const [name, context] of Object.entries(contexts)) DEFAULT_CONTEXTS[name] ??= context;

const found = (name, id, content, more = {}) => ({
  [name]: content,
  [`${name}Id`]: id,
  [`${name}Metadata`]: more,
  resolutionMetadata: {},
});
const registered = (name, id, content) => ({
  [`${name}State`]: { state: "finished", [name]: content, [`${name}Id`]: id },
  [`${name}Metadata`]: {},
  registrationMetadata: {},
});

// The file that stands in for an Indy ledger: see file_ledger.py.
const file = {
  read: () => ({ schema: {}, cred_def: {}, ...(existsSync(ledger) ? JSON.parse(readFileSync(ledger)) : {}) }),
  write(kind, id, content) {
    const all = file.read();
    all[kind][id] = content;
    writeFileSync(ledger, JSON.stringify(all));
  },
};
// Credo issues and keeps by did:indy, and says on the wire what that is without.
const INDY = "did:indy:file:";
const plain = (id) =>
  id
    .replace(INDY, "")
    .replace("/anoncreds/v0/SCHEMA/", ":2:")
    .replace("/anoncreds/v0/CLAIM_DEF/", ":3:CL:")
    .replaceAll("/", ":");
const indy = (id, name) => {
  const [did, , ...rest] = id.split(":");
  return `${INDY}${did}${name ? `/anoncreds/v0/${name}/${rest.slice(name === "SCHEMA" ? 0 : 1).join("/")}` : ""}`;
};
const alike = (id, asked, name) => (asked.startsWith(INDY) ? indy(id, name) : id);
const fileRegistry = {
  methodName: "file",
  supportedIdentifier: /^(did:indy:file:)?[1-9A-HJ-NP-Za-km-z]{21,22}([:/]|$)/,
  allowsCaching: false,
  async getSchema(context, id) {
    const { name, version, attrNames, seqNo } = file.read().schema[plain(id)];
    const schema = { issuerId: alike(plain(id).split(":")[0], id), name, version, attrNames };
    return found("schema", id, schema, { didIndyNamespace: "file", indyLedgerSeqNo: seqNo });
  },
  async getCredentialDefinition(context, id) {
    const { schema, cred_def } = file.read();
    const { schemaId, type, tag, value } = cred_def[plain(id)];
    const of = Object.values(schema).find(({ seqNo }) => String(seqNo) === String(schemaId)).id;
    const issuerId = alike(plain(id).split(":")[0], id);
    const definition = { issuerId, schemaId: alike(of, id, "SCHEMA"), type, tag, value };
    return found("credentialDefinition", id, definition, { didIndyNamespace: "file" });
  },
  async registerSchema(context, { schema }) {
    const id = `${plain(schema.issuerId)}:2:${schema.name}:${schema.version}`;
    const seqNo = 1000 + Object.keys(file.read().schema).length;
    file.write("schema", id, { ...schema, id, ver: "1.0", seqNo });
    return registered("schema", indy(id, "SCHEMA"), schema);
  },
  async registerCredentialDefinition(context, { credentialDefinition }) {
    const number = String(file.read().schema[plain(credentialDefinition.schemaId)].seqNo);
    const id = `${plain(credentialDefinition.issuerId)}:3:CL:${number}:${credentialDefinition.tag}`;
    file.write("cred_def", id, { ...credentialDefinition, id, ver: "1.0", schemaId: number });
    return registered("credentialDefinition", indy(id, "CLAIM_DEF"), credentialDefinition);
  },
};

// What a tenant publishes beside its did:web document; and what is published here, in the same way.
const transport = new DidCommHttpInboundTransport({ port });
const resources = new Map();
transport.app.get("/issuer/resources/:digest", (request, response) => response.send(resources.get(request.params.digest)));
const publish = (did, content) => {
  const text = JSON.stringify(content);
  const digest = createHash("sha256").update(text).digest("hex");
  resources.set(digest, text);
  return `${did}/resources/${digest}`;
};
const resource = async (id) => {
  const [did, ...parts] = id.split("/");
  return (await fetch(webUrl(did, parts.join("/")))).json();
};
const webRegistry = {
  methodName: "web",
  supportedIdentifier: /^did:web:/,
  allowsCaching: false,
  getSchema: async (context, id) => found("schema", id, await resource(id)),
  getCredentialDefinition: async (context, id) => found("credentialDefinition", id, await resource(id)),
  registerSchema: async (context, { schema }) => registered("schema", publish(schema.issuerId, schema), schema),
  registerCredentialDefinition: async (context, { credentialDefinition: made }) =>
    registered("credentialDefinition", publish(made.issuerId, made), made),
};

const indyCredentialFormat = new credo.LegacyIndyDidCommCredentialFormatService();
const indyProofFormat = new credo.LegacyIndyDidCommProofFormatService();

const agent = new core.Agent({
  config: { logger: new core.ConsoleLogger(core.LogLevel.debug), allowInsecureHttpUrls: true },
  dependencies: agentDependencies,
  modules: {
    askar: new AskarModule({
      askar,
      store: {
        id: label,
        key: askar.storeGenerateRawKey({}),
        keyDerivationMethod: "raw",
        database: { type: "sqlite", config: { inMemory: true } },
      },
    }),
    anoncreds: new credo.AnonCredsModule({ anoncreds, registries: [fileRegistry, webRegistry] }),
    dids: new core.DidsModule({ resolvers: [webResolver] }),
    didcomm: new didcomm.DidCommModule({
      endpoints: [url],
      transports: {
        inbound: [transport],
        outbound: [new didcomm.DidCommHttpOutboundTransport()],
      },
      connections: { autoAcceptConnections: true },
      credentials: {
        credentialProtocols: [
          new credo.DidCommCredentialV1Protocol({ indyCredentialFormat }),
          new didcomm.DidCommCredentialV2Protocol({
            credentialFormats: [
              indyCredentialFormat,
              new credo.AnonCredsDidCommCredentialFormatService(),
              new didcomm.DidCommJsonLdCredentialFormatService(),
            ],
          }),
        ],
      },
      proofs: {
        proofProtocols: [
          new credo.DidCommProofV1Protocol({ indyProofFormat }),
          new didcomm.DidCommProofV2Protocol({
            proofFormats: [
              indyProofFormat,
              new credo.AnonCredsDidCommProofFormatService(),
              new didcomm.DidCommDifPresentationExchangeProofFormatService(),
            ],
          }),
        ],
      },
    }),
  },
});

const messages = new Map();

const operations = {
  // A method of the agent's API by its path: ("didcomm.connections.sendPing", ...arguments).
  async call(where, ...args) {
    const names = where.split(".");
    const method = names.pop();
    const result = await names.reduce((object, name) => object[name], agent)[method](...args);
    if (result?.message?.id) messages.set(result.message.id, result.message);
    return result;
  },

  // `requests` are ids of messages that were answers.
  async invite({ requests = [], ...options }) {
    const attached = requests.map((id) => messages.get(id));
    const record = await agent.didcomm.oob.createInvitation({ label, messages: attached, ...options });
    return { record, invitation: record.outOfBandInvitation, url: record.outOfBandInvitation.toUrl({ domain: url }) };
  },

  async inviteLegacy(options) {
    const { outOfBandRecord, invitation } = await agent.didcomm.oob.createLegacyInvitation({ label, ...options });
    return { record: outOfBandRecord, invitation, url: invitation.toUrl({ domain: url }) };
  },

  async receive(invitationUrl, options) {
    return agent.didcomm.oob.receiveInvitationFromUrl(invitationUrl, { label, ...options });
  },

  // A new did:peer of that variant, to invite with.
  async peerDid(numAlgo) {
    const { recipientKey } = await agent.context
      .resolve(didcomm.DidCommRoutingService)
      .getRouting(agent.context, { useDefaultMediator: false });
    const service = { id: "inline-0", serviceEndpoint: url, recipientKeys: [recipientKey], routingKeys: [] };
    const { didDocument, keys } = core.createPeerDidDocumentFromServices([service], true);
    const { didState } = await agent.dids.create({ method: "peer", didDocument, options: { numAlgo, keys } });
    return didState.did;
  },

  // The variants of did:peer that it takes from now on: {requests, rotation}.
  async peerDids({ requests, rotation }) {
    agent.didcomm.connections.config.peerNumAlgoForDidExchangeRequests = requests;
    agent.didcomm.connections.config.peerNumAlgoForDidRotation = rotation;
  },
};

for (const name of [
  "ConnectionStateChanged",
  "ConnectionDidRotated",
  "DidCommHandshakeReused",
  "DidCommBasicMessageStateChanged",
  "DidCommTrustPingResponseReceivedEvent",
  "DidCommFeatureDisclosureReceived",
  "DidCommCredentialStateChanged",
  "DidCommProofStateChanged",
])
  agent.events.on(name, ({ payload }) => say({ event: name, payload }));

await agent.initialize();
say({ event: "ready", payload: {} });

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, op, args } = JSON.parse(line);
  operations[op](...args).then(
    (result) => say({ id, result: result ?? null }),
    (error) => say({ id, error: String(error?.stack ?? error) }),
  );
}
process.exit(0);
