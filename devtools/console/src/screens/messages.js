import { get, newest, post, remove } from "../api.js";
import { choices, contacts } from "../contacts.js";
import { save } from "../files.js";
import { html } from "../html.js";
import { go, route, setQuery, to } from "../route.js";
import { Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Status, Table, Time, useLoad } from "../ui.js";
import { attachmentsOf, contentOf, label, typeWords } from "../words.js";
import { DeliveryTable } from "./deliveries.js";

const STATUSES = ["RECEIVED", "CONFLICT", "REJECTED", "HELD", "SENDING", "SENT", "FAILED"];

export function Messages({ path: [uuid] }) {
  return uuid ? html`<${Message} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const query = Object.fromEntries(route.value.query);
  const found = useLoad(async () => {
    const [messages, partners] = await Promise.all([newest("message", { ...query, until: query.until && `${query.until}T00:00:00Z` }), contacts()]);
    return { messages, partners };
  }, [JSON.stringify(query)]);
  const set = (name) => (event) => setQuery({ ...query, [name]: event.target.value });
  return html`<${Screen} title="Messages" actions=${html`<button type="button" onClick=${found.reload}>Refresh</button>`}><${Loaded} of=${found}>${({ messages, partners }) => html`
    <div class="filters">
      <${Field} text="Direction" value=${query.direction} onChange=${set("direction")} options=${[["", "In and out"], ["IN", "Received"], ["OUT", "Sent"]]} />
      <${Field} text="Partner" value=${query.contactUuid} onChange=${set("contactUuid")} options=${[["", "All"], ...choices(partners)]} />
      <${Field} text="Status" value=${query.status} onChange=${set("status")} options=${[["", "All"], ...STATUSES.map((status) => [status, label(status)])]} />
      <${Field} text="Type, or how it begins" value=${query.type} onChange=${set("type")} />
      <${Field} text="Before" type="date" value=${query.until} onChange=${set("until")} />
    </div>
    <${HowMany} of=${messages} what="message" />
    <${Table} caption="Messages" hits=${messages.hits} empty="No message fits these filters. Choose others, or write to a partner." columns=${[
      ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ["", ({ direction }) => (direction === "IN" ? "from" : "to")],
      ["Partner", ({ contactUuid }) => (contactUuid ? html`<a href=${to("partners", contactUuid)}>${partners.name(contactUuid)}</a>` : "an unknown sender")],
      ["Type", ({ uuid, type }) => html`<a href=${to("messages", uuid)} title=${type}>${typeWords(type)}</a>`],
      ["Text", ({ message }) => (contentOf(message) ?? "").slice(0, 120)],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ["", ({ actionUuid }) => actionUuid && html`<a href=${to("threads", actionUuid)}>Thread</a>`],
    ]} />`}<//><//>`;
}

function Message({ uuid }) {
  const found = useLoad(async () => {
    const [message, partners] = await Promise.all([get(`message/${uuid}`), contacts()]);
    return { message, partners };
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
        [message.direction === "IN" ? "From" : "To", message.contactUuid ? html`<a href=${to("partners", message.contactUuid)}>${partners.name(message.contactUuid)}</a>` : "an unknown sender"],
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
    <section><h2>Erase</h2><p>Erases the content and its attachments for good.</p><${Do} kind="danger" ask="Erase this message for good?" run=${erase}>Erase<//></section>`}<//><//>`;
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

export function Thread({ path: [uuid] }) {
  const found = useLoad(async () => {
    const [action, messages, partners] = await Promise.all([get(`action/${uuid}`), newest("message", { actionUuid: uuid }), contacts()]);
    return { action, messages: { ...messages, hits: messages.hits.toReversed() }, partners };
  }, [uuid], 3_000);
  return html`<${Loaded} of=${found}>${({ action, messages, partners }) => html`<${Screen} title=${`Thread with ${partners.name(action.config.contactUuid)}`}>
    <section><${Facts} of=${[
      ["Thread id", html`<code>${action.referenceID}</code>`],
      ["Status", html`<${Status} of=${action.status} />`],
      ["Partner", action.config.contactUuid && html`<a href=${to("partners", action.config.contactUuid)}>${partners.name(action.config.contactUuid)}</a>`],
    ]} />
    ${action.config.error && html`<p>The partner reported a problem: ${contentOf(action.config.error) ?? "it is in the JSON."}</p><${Json} of=${action.config.error} title="The report" />`}</section>
    ${!messages.isWhole && html`<p class="quiet">The last ${messages.hits.length} messages</p>`}
    <ol class="chat">${messages.hits.map((message) => html`<li key=${message.uuid} class=${message.direction === "OUT" ? "out" : "in"}>
      <strong>${message.direction === "OUT" ? "You" : message.authenticated ? partners.name(message.contactUuid) : "Sender not proven"}</strong>
      ${" "}<small title=${message.type}>${typeWords(message.type)}</small> <${Status} of=${message.status} /> <${Time} at=${message.createdAt} />
      <${Content} message=${message} />
      <a href=${to("messages", message.uuid)}>Details and deliveries</a>
      <${Json} of=${message.message ?? message.envelope} />
    </li>`)}</ol>
    <section><h2>Reply</h2><${Reply} uuid=${uuid} done=${found.reload} /></section>
  <//>`}<//>`;
}

const TYPES = [
  ["https://didcomm.org/basicmessage/1.0/message", "Message"],
  ["https://didcomm.org/notification/1.0/ack", "Acknowledgement"],
];

function Reply({ uuid, done }) {
  async function send({ type, content, files = [], json }) {
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
