// The service's words in plain English.

const LABELS = {
  ACTIVE: "active", REQUESTED: "requested", ACCEPTED: "connected", REJECTED: "rejected", RECEIVED: "received",
  CONFLICT: "conflict", HELD: "held", SENDING: "sending", SENT: "sent", FAILED: "failed", PENDING: "pending",
  DELIVERED: "delivered", WITHHELD: "withheld", WAITING: "waits for you", DONE: "done", ABANDONED: "ended",
  DISABLED: "disabled", USED: "used", EXPIRED: "expired", REVOKED: "revoked", ISSUED: "issued", VERIFIED: "verified",
  SUSPENDED: "suspended", DELETED: "deleted", ERROR: "problem reported", DRAFT: "draft", STARTED: "interrupted",
  NO_EFFECT: "no effect", UNDECIDED: "not decided yet",
};

export const label = (status) => LABELS[status] ?? String(status);

/** A message's type, short: `basicmessage/1.0/message`. */
function shortType(type) {
  const text = String(type ?? "");
  const parts = text.split("/").filter(Boolean);
  return inLine(parts.length >= 3 ? parts.slice(-3).join("/") : text || "unknown type");
}

const TYPES = [
  [/basicmessage\/.*\/message$/, "Message"],
  [/notification\/.*\/ack$|\/ack$/, "Acknowledgement"],
  [/problem-report$/, "Problem report"],
  [/trust-ping\/.*\/ping$/, "Ping"],
  [/trust-ping\/.*\/ping[-_]response$/, "Answer to a ping"],
  [/(didexchange|connections)\/.*\/request$/, "Connection request"],
  [/(didexchange|connections)\/.*\/response$/, "Connection response"],
  [/didexchange\/.*\/complete$/, "Connection completed"],
  [/out-of-band\/.*\/invitation$/, "Invitation"],
  [/issue-credential\/.*\/(propose-credential)$/, "Proposal of a credential"],
  [/issue-credential\/.*\/(offer-credential)$/, "Offer of a credential"],
  [/issue-credential\/.*\/(request-credential)$/, "Request for a credential"],
  [/issue-credential\/.*\/(issue-credential)$/, "Credential"],
  [/present-proof\/.*\/(propose-presentation)$/, "Proposal of a proof"],
  [/present-proof\/.*\/(request-presentation)$/, "Request for proof"],
  [/present-proof\/.*\/(presentation)$/, "Proof"],
  [/urn:tnt:webhook-test/, "Test"],
];

/** A message's type in words; the short type where there are none. */
export const typeWords = (type) => TYPES.find(([pattern]) => pattern.test(type))?.[1] ?? shortType(type);

const STATES = {
  "holder offer-received": "{} offers you a credential. Accept to receive it.",
  "holder credential-received": "{} sent you a credential, and a check could not be made. Accept to keep it.",
  "holder proposal-sent": "You proposed a credential. {} has not answered yet.",
  "holder request-sent": "You asked for a credential. {} has not issued it yet.",
  "issuer proposal-received": "{} would like a credential from you. Accept to offer it.",
  "issuer offer-sent": "You offered a credential. {} has not answered yet.",
  "issuer request-received": "{} asks you for a credential. Accept to issue it.",
  "issuer credential-issued": "You issued a credential. {} has not confirmed it yet.",
  "prover request-received": "{} asks you for proof. Choose what you show.",
  "prover proposal-sent": "You proposed what to show. {} has not answered yet.",
  "prover presentation-sent": "You showed proof. {} has not confirmed it yet.",
  "verifier proposal-received": "{} proposes what to show you. Accept to ask for it.",
  "verifier request-sent": "You asked for proof. {} has not answered yet.",
  "verifier presentation-received": "{} showed proof, and a check could not be made. Accept to confirm it.",
};

/** An exchange in a sentence. `partner` is the name of the other side. */
export function exchangeWords({ role, state, protocol, error }, partner) {
  const who = partner || "An unknown partner";
  const sentence = STATES[`${role} ${state}`]?.replace("{}", () => who);
  if (sentence) return sentence;
  const what = protocol.includes("present-proof") ? "proof" : "credential";
  if (state === "done") return `The exchange with ${who} is done: ${what === "proof" ? "the proof was shown" : "the credential was issued"}.`;
  if (state === "abandoned") return `The exchange with ${who} ended${error ? `: ${inLine(error)}` : ""}.`;
  return `A ${what} exchange with ${who} is in state ${state}.`;
}

const CONNECTIONS = {
  start: "The partner could not be reached yet.",
  "invitation-sent": "You invited the partner. It has not answered yet.",
  "invitation-received": "The partner invites you. Accept to connect.",
  "request-sent": "You asked to connect. The partner has not answered yet.",
  "request-received": "The partner asks to connect. Accept to connect.",
  "response-sent": "You accepted. The partner has not confirmed it yet.",
  "response-received": "The partner accepted.",
  completed: "Connected.",
  abandoned: "Ended.",
};

/** A connection's state in a sentence. */
export const connectionWords = (state) => CONNECTIONS[state] ?? "";

const CHECKS = {
  signature: "The signature is the issuer's",
  issuer: "The issuer is who it says",
  "holder-binding": "Whoever showed it is its holder",
  challenge: "It was made for this request",
  domain: "It was made for you",
  schema: "It has the form that its schema asks for",
  expiry: "It is valid at this time",
  status: "It is not revoked",
  request: "It is what was asked for",
  encoding: "Its numbers are those of its texts",
};

export const checkWords = (name) => CHECKS[name] ?? name;

const DELIVERY_ERRORS = {
  dns: "The name of the host has no address. Check the URL.",
  connect: "The address cannot be reached, or nothing listens there.",
  tls: "The certificate, or the name of its host, is wrong.",
  timeout: "The answer was late.",
  disconnected: "The answer was incomplete.",
  protocol: "The answer was not HTTP.",
  "refused-address": "The address is not public, so the service does not call it.",
  "webhook-removed": "The webhook was removed from your settings.",
  "webhook-disabled": "The webhook is disabled.",
  "connection-ended": "The connection was ended.",
  "connection-gone": "The connection was deleted.",
  internal: "Something went wrong in the service. It tries again.",
  "message-erased": "The message was erased.",
};

const SKIPPED = {
  held: "Nothing is sent now: the delivery waits until the connection is completed.",
  "under-way": "Nothing is sent now: the delivery is under way.",
  "just-replayed": "Nothing is sent now: the delivery was sent again less than a minute ago.",
};

/** What became of a delivery that was to be sent again. */
export function skippedWords(skipped) {
  return skipped ? (SKIPPED[skipped] ?? skipped) : "The delivery is sent again.";
}

export function deliveryWords(error) {
  if (!error) return "";
  const status = /^http-(\d+)$/.exec(error);
  return status ? `The other side answered with status ${status[1]}.` : (DELIVERY_ERRORS[error] ?? error);
}

/** The text of a message, if it has one that is for people; null otherwise. */
export function contentOf(message) {
  if (typeof message === "string") return message;
  const body = message?.body ?? message;
  for (const name of ["content", "comment", "goal", "explain", "reason", "description"]) {
    const value = body?.[name];
    const said = [value, value?.en, value?.code].find((one) => typeof one === "string" && one);
    if (said) return said;
  }
  return null;
}

/** A stranger's value as text. `String` is no good for it: an object may name its own `toString`. */
export const text = (value) => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""));

/** The attachments of a message, of either version: [{name, json}]; `json` is null where the content is not JSON. */
export function attachmentsOf(message) {
  if (!message || typeof message !== "object") return [];
  const keys = Object.keys(message).filter((key) => key.endsWith("~attach") || key === "attachments");
  return keys.flatMap((key) => [message[key]].flat().map((one) => ({ name: text(one?.filename ?? one?.["@id"] ?? one?.id ?? key), json: jsonOf(one?.data) })));
}

function jsonOf(data) {
  if (data?.json !== undefined) return data.json;
  try {
    const text = data.base64.replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (one) => one.charCodeAt(0))));
  } catch {
    return null;
  }
}

export const nameOf = (contact) => inLine(contact?.displayName || contact?.email || contact?.did || contact?.claimedDid || "a partner without a name");

/** A stranger's text for use within a sentence: it changes the direction of none of our words, and hides nothing. */
export function inLine(text) {
  return text.replace(/[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, "\ufffd");
}
