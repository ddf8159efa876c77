import { all, get, newest, post, put, remove } from "../api.js";
import { contacts, forgetContacts } from "../contacts.js";
import { save } from "../files.js";
import { html } from "../html.js";
import { go, route, setQuery, to } from "../route.js";
import { CALM, LIVE, Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Short, Status, Table, Time, useList, useLoad } from "../ui.js";
import { UNDECIDED, countWaiting } from "../waiting_count.js";
import { connectionWords, exchangeWords, nameOf, text, typeWords } from "../words.js";
import { LastMessage } from "./messages.js";

const PAUSE = 300; // milliseconds, until what was typed is searched for

export function Partners({ path: [uuid] }) {
  return uuid ? html`<${Partner} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const { search = "", status = "" } = Object.fromEntries(route.value.query);
  const list = useList("contact", { search, status, include: "latest" }, { partner: null });
  const set = (name) => (event) => setQuery({ search, status, [name]: event.target.value });
  const columns = [
    ["Name", (contact) => html`<a href=${to("partners", contact.uuid)}>${nameOf(contact)}</a>`],
    ["Your reference", ({ internalRef }) => internalRef ?? ""],
    ["Status", ({ status }) => html`<${Status} of=${status} />`],
    ["Connection", ({ connection }) => connection?.state ?? "none"],
    ["Last message", ({ lastMessage }) => lastMessage && html`<${LastMessage} of=${lastMessage} />`],
    ["Since", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
  ];
  const actions = html`<a class="button main" href=${to("invite")}>Invite a partner</a><a class="button" href=${to("accept")}>Accept an invitation</a>`;
  return html`<${Screen} title="Partners" actions=${actions}>
    <div class="filters">
      <${Field} text="Search by name, email, reference or DID" type="search" maxlength="200" value=${search} onInput=${paused(set("search"))} />
      <${Field} text="Status" value=${status} onChange=${set("status")} options=${[["", "All"], ["ACCEPTED", "connected"], ["REQUESTED", "requested"], ["REJECTED", "rejected"]]} />
    </div>
    <${Loaded} of=${list}>${(partners) => html`<${HowMany} of=${partners} what="partner" />
      <${Table} caption="Partners" columns=${columns} list=${list} empty=${
        search || status
          ? html`No partner fits. <a href=${to("partners")}>Show all</a>.`
          : html`You have no partners yet. <a href=${to("invite")}>Invite one</a>, or <a href=${to("accept")}>accept an invitation</a>.`
      } />`}<//>
  <//>`;
}

let pausing = 0;

/** Waits until typing pauses. */
const paused = (act) => (event) => {
  clearTimeout(pausing);
  pausing = setTimeout(() => act(event), PAUSE);
};

function Partner({ uuid }) {
  const partner = useLoad(async () => {
    const [contact, connections] = await Promise.all([get(`contact/${uuid}`), all("connection", { contactUuid: uuid })]);
    return { contact, connections: connections.hits };
  }, [uuid], (found) => (found?.contact.status === "REQUESTED" ? LIVE : CALM));
  async function forget() {
    await remove(`contact/${uuid}`);
    forgetContacts();
    go("partners");
  }
  return html`<${Loaded} of=${partner}>${({ contact, connections }) => html`<${Screen} title=${nameOf(contact)} actions=${html`
      <a class="button" href=${`${to("offer")}?to=${uuid}`}>Offer a credential</a>
      <a class="button" href=${`${to("ask")}?to=${uuid}`}>Ask for proof</a>`}>
    <section>
      <${Facts} of=${[
        ["Status", html`<${Status} of=${contact.status} />`],
        ["DID, proven", contact.did && html`<${Short} of=${contact.did} />`],
        ["DID it claims, not proven", contact.claimedDid && html`<${Short} of=${contact.claimedDid} />`],
        ["Email", contact.email],
        ["Your reference", contact.internalRef],
        ["Since", html`<${Time} at=${contact.createdAt} />`],
      ]} />
      <details><summary>Change what you call it</summary><${Rename} contact=${contact} done=${partner.reload} /></details>
    </section>
    ${connections.filter(waits).map((connection) => html`<${Connection} key=${connection.uuid} of=${connection} reload=${partner.reload} />`)}
    <section><h2>Write</h2><${Write} to=${uuid} />
      ${contact.status === "REQUESTED" && html`<p class="quiet">You are not connected yet. What you write is sent when you are.</p>`}
    </section>
    ${connections.filter((one) => !waits(one)).map((connection) => html`<${Connection} key=${connection.uuid} of=${connection} reload=${partner.reload} />`)}
    <section><h2>Timeline</h2><${Timeline} uuid=${uuid} /></section>
    <section><h2>Everything about it</h2><p>All that is stored of the partner: connections, messages with attachments, deliveries, credentials, proofs.</p>
      <div class="actions"><${Do} run=${() => download(uuid)}>Export as a file<//>
      <${Do} kind="danger" ask=${`Erase everything that is stored of ${nameOf(contact)}, for good?`} run=${() => erase(uuid)}>Erase it all<//></div></section>
    <section><h2>Delete</h2><p>Forgets the partner and its connection. Messages stay.</p>
      <${Do} kind="danger" ask=${`Delete ${nameOf(contact)}?`} run=${forget}>Delete this partner<//></section>
    <${Json} of=${contact} />
  <//>`}<//>`;
}

/** Exports all parts of what is stored of a partner as one file. */
async function download(uuid) {
  const items = [];
  let next;
  let part;
  do {
    part = await get(`contact/${uuid}/export`, { next });
    items.push(...part.items);
    next = part.next;
  } while (next !== null);
  save(`partner-${uuid}.json`, JSON.stringify({ contact: part.contact, items }, null, 2));
}

/** Erases what is stored of a partner, call by call until nothing is left. */
async function erase(uuid) {
  while (!(await post(`contact/${uuid}/erase`)).done);
  forgetContacts();
  go("partners");
}

function Rename({ contact, done }) {
  async function save({ displayName = null, email = null, internalRef = null }) {
    await put(`contact/${contact.uuid}`, { displayName, email, internalRef });
    forgetContacts();
    await done();
  }
  return html`<${Form} submit="Save" run=${save} done="The names are saved.">
    <${Field} text="Name" name="displayName" value=${contact.displayName} />
    <${Field} text="Email" name="email" type="email" value=${contact.email ?? ""} />
    <${Field} text="Your reference" name="internalRef" value=${contact.internalRef ?? ""} />
  <//>`;
}

function Write({ to: partner }) {
  async function send({ content }) {
    const message = { "@type": "https://didcomm.org/basicmessage/1.0/message", content, sent_time: new Date().toISOString() };
    const { uuid } = await post("action", { type: "DIDCOMM", to: partner, data: { message } });
    go("threads", uuid);
  }
  return html`<${Form} submit="Send" run=${send}><${Field} text="Message" name="content" rows="3" required /><//>`;
}

/** Whether a connection needs your decision. */
const waits = ({ state }) => UNDECIDED.includes(state);

/** A connection with what can be decided and done about it. */
export function Connection({ of: connection, reload, title = "Connection" }) {
  const { uuid, state } = connection;
  const act = (what) => async () => {
    await post(`connection/${uuid}/${what}`);
    forgetContacts();
    await Promise.all([reload(), countWaiting()]);
  };
  return html`<section>
    <h2>${title}</h2>
    <${Facts} of=${[
      ["State", html`${connectionWords(state)} <small>${state}</small>`],
      ["Begun by", connection.role === "requester" ? "you" : "the partner"],
      ["DIDComm", connection.version],
      ["Your DID here", connection.myDid && html`<${Short} of=${connection.myDid} />`],
      ["Their DID here", connection.theirDid && html`<${Short} of=${connection.theirDid} />`],
      ["Its label", text(connection.invitation?.label ?? "")],
      ["Its goal", text(connection.invitation?.goal ?? connection.invitation?.body?.goal ?? "")],
      ["Problem", connection.error],
    ]} />
    ${connection.invitation && html`<${Json} of=${connection.invitation} title="The invitation, as it came" />`}
    <div class="actions">
      ${waits(connection) && html`<${Do} kind="main" run=${act("accept")} done="The connection is accepted.">Accept<//><${Do} kind="danger" run=${act("reject")} done="The connection is rejected.">Reject<//>`}
      ${state === "start" && html`<${Do} run=${act("accept")}>Try again<//>`}
      ${state === "completed" && html`<${Do} run=${act("rotate")} done="The partner is told your new DID.">Take a new DID<//>
        <${Do} kind="danger" ask="End this connection? The partner is told, and neither side can send any more." run=${act("hangup")} done="The connection is ended.">Hang up<//>`}
    </div>
  </section>`;
}

function Timeline({ uuid }) {
  const events = useLoad(async () => {
    const of = { contactUuid: uuid };
    const [messages, credentials, proofs, exchanges] = await Promise.all([newest("message", { ...of, limit: 50 }), all("credential", of), all("presentation", of), all("exchange", of)]);
    const { name } = await contacts([uuid]);
    return [
      ...messages.hits.map((one) => ({ ...one, link: one.actionUuid ? to("threads", one.actionUuid) : to("messages", one.uuid), text: `${typeWords(one.type)} ${one.direction === "IN" ? "received" : "sent"}` })),
      ...credentials.hits.map((one) => ({ ...one, link: to("credentials", one.uuid), text: one.role === "issuer" ? "Credential that you issued" : "Credential that you received" })),
      ...proofs.hits.map((one) => ({ ...one, link: to("proofs", one.uuid), text: one.role === "verifier" ? "Proof that you were shown" : "Proof that you gave" })),
      ...exchanges.hits.map((one) => ({ ...one, link: to("exchanges", one.uuid), text: exchangeWords(one, name(uuid)) })),
    ].sort((one, other) => (one.createdAt < other.createdAt ? 1 : -1));
  }, [uuid], CALM);
  const columns = [
    ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
    ["What", ({ text, link }) => html`<a href=${link}>${text}</a>`],
    ["Status", ({ status }) => html`<${Status} of=${status} />`],
  ];
  return html`<${Loaded} of=${events}>${(hits) => html`<${Table} caption="Timeline" columns=${columns} hits=${hits} empty="Nothing has happened yet. Write a message above." />`}<//>`;
}
