import { useState } from "preact/hooks";
import { get, newest, post } from "../api.js";
import { contacts } from "../contacts.js";
import { html } from "../html.js";
import { go, route, setQuery, to } from "../route.js";
import { Check, Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Status, Table, Time, useLoad } from "../ui.js";
import { deliveryWords, label, typeWords } from "../words.js";

const LIVE = 3_000; // milliseconds
const KINDS = { webhook: "Webhook call", task: "Task webhook call", didcomm: "Message to a partner", test: "Test" };
const STATUSES = ["HELD", "PENDING", "DELIVERED", "FAILED", "WITHHELD"];

export function Deliveries({ path: [uuid] }) {
  return uuid ? html`<${Delivery} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const query = Object.fromEntries(route.value.query);
  const [live, setLive] = useState(false);
  const set = (name) => (event) => setQuery({ ...query, [name]: event.target.value });
  return html`<${Screen} title="Deliveries" about="Every webhook call and every message on its way to a partner, with all attempts.">
    <div class="filters">
      <${Field} text="Status" value=${query.status} onChange=${set("status")} options=${[["", "All"], ...STATUSES.map((status) => [status, label(status)])]} />
      <${Field} text="Kind" value=${query.kind} onChange=${set("kind")} options=${[["", "All"], ...Object.entries(KINDS)]} />
      <${Field} text="Webhook" value=${query.webhookId} onChange=${set("webhookId")} hint="The id of its entry." />
    </div>
    <${Check} text="Live: look again every few seconds" checked=${live} onChange=${(event) => setLive(event.target.checked)} />
    <${DeliveryTable} query=${query} every=${live ? LIVE : 0} />
    <section><h2>Send again what failed</h2><${Recover} /></section>
  <//>`;
}

export function DeliveryTable({ query, every = 0 }) {
  const found = useLoad(async () => ({ deliveries: await newest("delivery", query), partners: await contacts() }), [JSON.stringify(query)], every);
  return html`<${Loaded} of=${found}>${({ deliveries, partners }) => html`
    <${HowMany} of=${deliveries} what="delivery" plural="deliveries" />
    <${Table} caption="Deliveries" hits=${deliveries.hits} empty="No delivery fits. Messages that you send and webhook calls appear here." columns=${[
      ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ["What", ({ uuid, kind }) => html`<a href=${to("deliveries", uuid)}>${KINDS[kind] ?? kind}</a>`],
      ["Type", ({ type }) => html`<span title=${type}>${typeWords(type)}</span>`],
      ["To", ({ webhookId, contactUuid }) => webhookId ?? partners.name(contactUuid)],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ["Attempts", ({ attempts }) => attempts],
      ["Why", ({ error }) => deliveryWords(error)],
    ]} />`}<//>`;
}

function Delivery({ uuid }) {
  const found = useLoad(() => get(`delivery/${uuid}`), [uuid], LIVE);
  async function again() {
    await post(`delivery/${uuid}/replay`);
    await found.reload();
  }
  async function elsewhere(values) {
    go("deliveries", (await post(`delivery/${uuid}/replay`, values)).uuid);
  }
  return html`<${Screen} title="Delivery"><${Loaded} of=${found}>${(delivery) => html`
    <section>
      <h2>${KINDS[delivery.kind] ?? delivery.kind}</h2>
      <${Facts} of=${[
        ["Status", html`<${Status} of=${delivery.status} />`],
        ["Why", deliveryWords(delivery.error)],
        ["Type", html`<code>${delivery.type}</code>`],
        ["Webhook", delivery.webhookId && html`<a href=${to("webhooks")}>${delivery.webhookId}</a>`],
        ["Message", delivery.messageUuid && html`<a href=${to("messages", delivery.messageUuid)}>Open the message</a>`],
        ["Next attempt", delivery.nextAttemptAt && html`<${Time} at=${delivery.nextAttemptAt} />`],
        ["Sent again", delivery.replayedAt && html`<${Time} at=${delivery.replayedAt} />`],
      ]} />
      ${delivery.kind !== "test" && html`<${Do} run=${again}>Send again<//>`}
      ${delivery.kind === "webhook" && html`<details><summary>Send it to another webhook</summary><${Form} submit="Send there" run=${elsewhere}><${Field} text="The id of its entry" name="webhookId" required /><//></details>`}
    </section>
    <${Attempts} of=${delivery} />
    <${Json} of=${delivery} />`}<//><//>`;
}

/** Each attempt of a delivery, with what was answered. */
export function Attempts({ of: delivery }) {
  return html`<section><h2>Attempts</h2>
    ${delivery.log.length ? "" : html`<p class="empty">There was no attempt yet.</p>`}
    ${delivery.log.map(({ number, at, responseStatus, duration, error, answer }) => html`<div class="card" key=${number}>
      <${Facts} of=${[
        ["Attempt", number],
        ["When", html`<${Time} at=${at} />`],
        ["Answered with", responseStatus ?? "nothing"],
        ["Took", `${duration} ms`],
        ["Why it failed", deliveryWords(error)],
      ]} />
      ${answer !== null && html`<${Json} of=${answer} title="The answer" />`}
    </div>`)}
  </section>`;
}

function Recover() {
  const [uuid, setUuid] = useState("");
  async function start({ since, ...rest }) {
    setUuid((await post("delivery/replay", { since, ...rest })).uuid);
  }
  return html`<${Form} submit="Send again" run=${start}>
      <${Field} text="Everything that failed or was withheld since" name="since" type="datetime-local" required />
      <${Field} text="Until" name="until" type="datetime-local" hint="Now, if left out." />
      <${Field} text="Only of this webhook" name="webhookId" hint="The id of its entry; all, if left out." />
    <//>
    ${uuid && html`<${Progress} uuid=${uuid} />`}`;
}

function Progress({ uuid }) {
  const found = useLoad(() => get(`delivery/replay/${uuid}`), [uuid], LIVE);
  return html`<${Loaded} of=${found}>${({ status, replayed, skipped }) => html`<p role="status"><${Status} of=${status} /> ${replayed} sent again, ${skipped} skipped, as they are on their way or were sent again just now.</p>`}<//>`;
}
