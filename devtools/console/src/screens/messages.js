import { get, post, remove } from "../api.js";
import { contacts, PartnerLink, partnersOf } from "../contacts.js";
import { save } from "../files.js";
import { html } from "../html.js";
import { PartnerField } from "../partner_field.js";
import { go, route, setQuery, to } from "../route.js";
import { CALM, LIVE, Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Status, Table, Time, useList, useLoad } from "../ui.js";
import { attachmentsOf, contentOf, label, typeWords } from "../words.js";
import { DeliveryTable } from "./deliveries.js";

const STATUSES = ["RECEIVED", "CONFLICT", "REJECTED", "HELD", "SENDING", "SENT", "FAILED"];

export function Messages({ path: [uuid] }) {
  return uuid ? html`<${Message} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const query = Object.fromEntries(route.value.query);
  const list = useList("message", { ...query, until: query.until && `${query.until}T00:00:00Z` }, { every: CALM });
  const set = (name) => (event) => setQuery({ ...query, [name]: event.target.value });
  const filtered = Object.keys(query).length > 0;
  return html`<${Screen} title="Messages" actions=${html`<${Do} run=${list.reload}>Refresh<//>`}>
    <div class="filters">
      <${Field} text="Direction" value=${query.direction} onChange=${set("direction")} options=${[["", "In and out"], ["IN", "Received"], ["OUT", "Sent"]]} />
      <${PartnerField} none="All" value=${query.contactUuid} onChange=${set("contactUuid")} />
      <${Field} text="Status" value=${query.status} onChange=${set("status")} options=${[["", "All"], ...STATUSES.map((status) => [status, label(status)])]} />
      <${Field} text="Type" placeholder="basicmessage" value=${query.type} onChange=${set("type")} />
      <${Field} text="Before" type="date" value=${query.until} onChange=${set("until")} />
    </div>
    <${Loaded} of=${list}>${(messages) => html`
      <${HowMany} of=${messages} what="message" />
      <${Table} caption="Messages" list=${list} empty=${
        filtered
          ? html`No message fits these filters. <a href=${to("messages")}>Show all</a>.`
          : html`No messages yet. <a href=${to("invite")}>Invite a partner</a>, or <a href=${to("accept")}>accept an invitation</a>.`
      } columns=${[
        ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
        ["Partner", ({ contactUuid, direction }) => html`<small>${direction === "IN" ? "from" : "to"}</small> <${PartnerLink} uuid=${contactUuid} among=${messages.partners} />`],
        ["Type", ({ uuid, type }) => html`<a href=${to("messages", uuid)} title=${type}>${typeWords(type)}</a>`],
        ["Text", ({ message }) => (contentOf(message) ?? "").slice(0, 120)],
        ["Status", ({ status }) => html`<${Status} of=${status} />`],
        ["", ({ actionUuid }) => actionUuid && html`<a class="short" href=${to("threads", actionUuid)}>Thread</a>`],
      ]} />`}<//>
  <//>`;
}

function Message({ uuid }) {
  const found = useLoad(async () => {
    const message = await get(`message/${uuid}`);
    return { message, partners: await partnersOf([message]) };
  }, [uuid]);
  async function erase() {
    await remove(`message/${uuid}`);
    go("messages");
  }
  return html`<${Screen} title="Message"><${Loaded} of=${found}>${({ message, partners }) => html`
    <section>
      <h2>${typeWords(message.type)}</h2>
      <${Facts} of=${[
        ["Type", html`<code>${message.type}</code>`],
        [message.direction === "IN" ? "From" : "To", html`<${PartnerLink} uuid=${message.contactUuid} among=${partners} />`],
        ["Status", html`<${Status} of=${message.status} />`],
        ["Sender", message.authenticated ? "proven" : "not proven: anybody may have sent it"],
        ["When", html`<${Time} at=${message.createdAt} />`],
        ["Problem", message.error],
        ["Thread", message.actionUuid && html`<a href=${to("threads", message.actionUuid)}>Open the thread</a>`],
      ]} />
      <${Content} message=${message} />
      <${Json} of=${message} title="Everything, as JSON" />
    </section>
    <section><h2>Deliveries</h2><${DeliveryTable} query=${{ messageUuid: uuid }} /></section>
    <section><h2>Erase</h2><p>Erases the content and its attachments for good.</p><${Do} kind="danger" ask="Erase this message for good?" run=${erase} done="The message is erased.">Erase<//></section>`}<//><//>`;
}

function Content({ message }) {
  const text = contentOf(message.message);
  return html`${text && html`<p class="words">${text}</p>`}
    ${message.direction === "OUT" && attachmentsOf(message.message).map(({ name }) => html`<p class="quiet">Attachment ${name}</p>`)}
    ${message.assetDataUuids.map((uuid) => html`<${Attachment} key=${uuid} uuid=${uuid} />`)}`;
}

function Attachment({ uuid }) {
  const found = useLoad(() => get(`asset-data/${uuid}`), [uuid]);
  return html`<${Loaded} of=${found}>${({ name, format, mimeType, value }) => html`<div>
    Attachment <strong>${name}</strong> <small>${[format, mimeType].filter(Boolean).join(", ")}</small>
    <${Do} run=${() => saveAttachment(name, value)}>Save as a file<//>
    <${Json} of=${value} title="Content" />
  </div>`}<//>`;
}

function saveAttachment(name, value) {
  const bytes = typeof value?.base64 === "string" ? Uint8Array.from(atob(value.base64), (one) => one.charCodeAt(0)) : JSON.stringify(value, null, 2);
  save(`${name}.bin`, bytes);
}

/** The latest message of a partner or a thread, as lists have it. */
export function LastMessage({ of: { uuid, actionUuid, direction, type, createdAt } }) {
  return html`<a href=${actionUuid ? to("threads", actionUuid) : to("messages", uuid)} title=${type}>${typeWords(type)}</a>${" "}
    <small>${direction === "IN" ? "received" : "sent"} <${Time} at=${createdAt} /></small>`;
}

export function Threads({ path: [uuid] }) {
  return uuid ? html`<${Thread} uuid=${uuid} />` : html`<${ThreadList} />`;
}

function ThreadList() {
  const { status = "" } = Object.fromEntries(route.value.query);
  const list = useList("action", { status, include: "latest" }, { partner: ({ config }) => config.contactUuid });
  return html`<${Screen} title="Threads" about="Conversations: messages that belong together. The latest change first." actions=${html`<${Do} run=${list.reload}>Refresh<//>`}>
    <div class="filters"><${Field} text="Show" value=${status} onChange=${(event) => setQuery({ status: event.target.value })} options=${[["", "All"], ["ERROR", "Those with a problem report"]]} /></div>
    <${Loaded} of=${list}>${(threads) => html`<${HowMany} of=${threads} what="thread" />
      <${Table} caption="Threads" list=${list} empty=${status ? "No partner reported a problem." : html`No threads yet. Write to a <a href=${to("partners")}>partner</a>.`} columns=${[
        ["Changed", ({ updatedAt }) => html`<${Time} at=${updatedAt} />`],
        ["Partner", ({ uuid, config }) => html`<a href=${to("threads", uuid)}>${threads.partners.name(config.contactUuid)}</a>`],
        ["Last message", ({ lastMessage }) => lastMessage && html`<${LastMessage} of=${lastMessage} />`],
        ["Thread id", ({ referenceID }) => html`<code>${referenceID}</code>`],
        ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ]} />`}<//>
  <//>`;
}

function Thread({ uuid }) {
  const found = useLoad(async () => {
    const action = await get(`action/${uuid}`);
    return { action, name: (await contacts([action.config.contactUuid])).name(action.config.contactUuid) };
  }, [uuid], LIVE);
  const list = useList("message", { actionUuid: uuid }, { every: LIVE, partner: null });
  return html`<${Loaded} of=${found}>${({ action, name }) => html`<${Screen} title=${`Thread with ${name}`}>
    <section><${Facts} of=${[
      ["Thread id", html`<code>${action.referenceID}</code>`],
      ["Status", html`<${Status} of=${action.status} />`],
      ["Partner", action.config.contactUuid && html`<a href=${to("partners", action.config.contactUuid)}>${name}</a>`],
    ]} />
    ${action.config.error && html`<p>The partner reported a problem: ${contentOf(action.config.error) ?? "it is in the JSON."}</p><${Json} of=${action.config.error} title="The report" />`}</section>
    <${Loaded} of=${list}>${({ hits, next }) => html`
      ${next && html`<p><${Do} run=${list.more}>Show earlier messages<//></p>`}
      ${!hits.length && html`<p class="empty">There is no message on this thread. Write the first one below.</p>`}
      <ol class="chat" aria-label="Messages, the latest last">${hits.toReversed().map((message) => html`<li key=${message.uuid} class=${message.direction === "OUT" ? "out" : "in"}>
        <strong>${message.direction === "OUT" ? "You" : message.authenticated ? name : "Sender not proven"}</strong>
        ${" "}<small title=${message.type}>${typeWords(message.type)}</small> <${Status} of=${message.status} /> <${Time} at=${message.createdAt} />
        <${Content} message=${message} />
        <div><a href=${to("messages", message.uuid)}>Details and deliveries</a></div>
        <${Json} of=${message.message ?? message.envelope} />
      </li>`)}</ol>`}<//>
    <section><h2>Reply</h2><${Reply} uuid=${uuid} done=${list.reload} /></section>
  <//>`}<//>`;
}

const TYPES = [
  ["https://didcomm.org/basicmessage/1.0/message", "Message"],
  ["https://didcomm.org/notification/1.0/ack", "Acknowledgement"],
];

function Reply({ uuid, done }) {
  async function send({ type, content, files = [], json }) {
    if (!json && !content && !files.length && !type.endsWith("/ack")) throw new Error("The message is empty. Write a text, or attach a file.");
    const message = json ? readJson(json) : { "@type": type };
    if (!json && type.endsWith("/ack")) message.status = "OK";
    if (content) message[type.endsWith("/ack") ? "comment" : "content"] = content;
    if (files.length) message["files~attach"] = await Promise.all(files.map(attach));
    await post(`action/${uuid}`, { command: "message", data: { message } });
    await done();
  }
  return html`<${Form} submit="Send" run=${send} reset>
    <${Field} text="Kind" name="type" options=${TYPES} />
    <${Field} text="Text" name="content" rows="3" />
    <${Field} text="Attachments" name="files" type="file" multiple hint="At most 4 MB in all." />
    <details><summary>Another kind of message, as JSON</summary><${Field} text="Message with @type" name="json" rows="6" hint="The thread and an id are filled in." /></details>
  <//>`;
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The message is not JSON (${error.message}). Mend it, then send again.`);
  }
}

async function attach(file) {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`The file ${file.name} cannot be read. Choose another.`));
    reader.readAsDataURL(file);
  });
  return { filename: file.name, "mime-type": file.type || "application/octet-stream", data: { base64: url.slice(url.indexOf(",") + 1) } };
}
