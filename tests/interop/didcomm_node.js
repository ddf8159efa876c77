// Lets a test call the library in FOLDER: `node didcomm_node.js FOLDER`.
//
// A line of stdin is a question, {op, docs, secrets, ...}: `docs` are DID documents by DID, `secrets` private keys by
// kid. A line of stdout is its answer, in the same order: what the operation of that name returns, or {error}.
"use strict";

const path = require("node:path");
const readline = require("node:readline");

const { FromPrior, Message } = require(path.join(process.argv[2], "node_modules", "didcomm-node"));

const operations = {
  async pack({ message, to, from, signBy = null }, dids, keys) {
    const [packed, meta] = await new Message(message).pack_encrypted(to, from, signBy, dids, keys, { forward: false });
    return { packed, meta };
  },

  async unpack({ packed }, dids, keys) {
    const [message, meta] = await Message.unpack(packed, dids, keys, {});
    return { message: message.as_value(), meta };
  },

  async fromPrior({ claims, kid }, dids, keys) {
    const [jwt, signer] = await new FromPrior(claims).pack(kid, dids, keys);
    return { jwt, kid: signer };
  },
};

async function answer({ op, docs, secrets, ...question }) {
  const dids = { resolve: async (did) => docs[did] ?? null };
  const keys = {
    get_secret: async (kid) => secrets[kid] ?? null,
    find_secrets: async (kids) => kids.filter((kid) => kid in secrets),
  };
  return operations[op](question, dids, keys);
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const said = await answer(JSON.parse(line)).catch((error) => ({ error: String(error) }));
    process.stdout.write(JSON.stringify(said) + "\n");
  }
}

main();
