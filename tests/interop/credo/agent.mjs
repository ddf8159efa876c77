// A Credo agent for a test to drive: `node agent.mjs FOLDER OPTIONS`, where FOLDER has the packages of package.json.
//
// OPTIONS is JSON: {label, port, contexts: JSON-LD contexts by URL, ledger: path of the file that stands in for one}.
// A line of stdin is a call, {id, op, args}; a line of stdout is its answer, {id, result} or {id, error}, or one of the
// agent's events, {event, payload}. The log goes to stderr.
import { Console } from "node:console";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const [folder, { label, port, contexts }] = [process.argv[2], JSON.parse(process.argv[3])];
globalThis.console = new Console(process.stderr);

const { resolve } = createRequire(path.join(folder, "package.json"));
const load = (name) => import(resolve(name));
// First of all: the others take what this one registers when they are loaded.
const { askar } = await load("@openwallet-foundation/askar-nodejs");
const core = await load("@credo-ts/core");
const didcomm = await load("@credo-ts/didcomm");
const { AskarModule } = await load("@credo-ts/askar");
const { agentDependencies, DidCommHttpInboundTransport } = await load("@credo-ts/node");

const url = `http://127.0.0.1:${port}`;
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// Its own would ask over HTTPS, which the tenants of a test do not speak.
const webResolver = {
  supportedMethods: ["web"],
  allowsCaching: false,
  async resolve(context, did) {
    const [host, ...parts] = did.replace("did:web:", "").split(":").map(decodeURIComponent);
    const answer = await fetch(`http://${[host, ...(parts.length ? parts : [".well-known"])].join("/")}/did.json`);
    const didDocument = core.JsonTransformer.fromJSON(await answer.json(), core.DidDocument);
    return { didDocument, didDocumentMetadata: {}, didResolutionMetadata: {} };
  },
};

// Contexts that Credo would fetch are given to it, for there is no network.
const documentLoader = (context) => {
  const next = new core.W3cCredentialsModuleConfig().documentLoader(context);
  return async (name) =>
    name in contexts ? { contextUrl: null, documentUrl: name, document: contexts[name] } : next(name);
};

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
    dids: new core.DidsModule({ resolvers: [webResolver] }),
    w3cCredentials: new core.W3cCredentialsModule({ documentLoader }),
    didcomm: new didcomm.DidCommModule({
      endpoints: [url],
      transports: {
        inbound: [new DidCommHttpInboundTransport({ port })],
        outbound: [new didcomm.DidCommHttpOutboundTransport()],
      },
      connections: { autoAcceptConnections: true },
      credentials: {
        credentialProtocols: [
          new didcomm.DidCommCredentialV2Protocol({
            credentialFormats: [new didcomm.DidCommJsonLdCredentialFormatService()],
          }),
        ],
      },
      proofs: {
        proofProtocols: [
          new didcomm.DidCommProofV2Protocol({
            proofFormats: [new didcomm.DidCommDifPresentationExchangeProofFormatService()],
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
