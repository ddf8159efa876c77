import { useState } from "preact/hooks";
import { get, post } from "../api.js";
import { PartnerLink, partnersOf } from "../contacts.js";
import { html } from "../html.js";
import { PartnerField } from "../partner_field.js";
import { go, route, setQuery, to } from "../route.js";
import { CALM, LIVE, Check, Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Status, Table, Text, Time, localMinute, tell, useList, useLoad } from "../ui.js";
import { WebhookField } from "../webhook_field.js";
import { deliveryWords, label, skippedWords, typeWords } from "../words.js";

const DAY = 86_400_000; // milliseconds
const KINDS = { webhook: "Webhook call", task: "Task webhook call", didcomm: "Message to a partner", test: "Test" };
const STATUSES = ["HELD", "PENDING", "DELIVERED", "FAILED", "WITHHELD"];
const STATUS_WORDS = {
  HELD: "until the connection is completed",
  PENDING: "on the way, or before the next attempt",
  DELIVERED: "the other side has it",
  FAILED: "given up after the last attempt",
  WITHHELD: "the webhook is disabled",
};
const BEGINNINGS = {
  webhook: "A message was received",
  task: "Something happened that your systems are told",
  didcomm: "You sent a message",
  test: "You tested the webhook",
};

export function Deliveries({ path: [uuid] }) {
  return uuid ? html`<${Delivery} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const query = Object.fromEntries(route.value.query);
  const [live, setLive] = useState(false);
  const set = (name) => (event) => setQuery({ ...query, [name]: event.target.value });
  return html`<${Screen} title="Deliveries" about="Every webhook call and every message on its way to a partner, with all attempts.">
    <section><h2>Last 7 days</h2><${Counts} /></section>
    <div class="filters">
      <${Field} text="Status" value=${query.status} onChange=${set("status")} options=${[["", "All"], ...STATUSES.map((status) => [status, label(status)])]} />
      <${Field} text="Kind" value=${query.kind} onChange=${set("kind")} options=${[["", "All"], ...Object.entries(KINDS)]} />
      <${PartnerField} none="All" value=${query.contactUuid} onChange=${set("contactUuid")} />
      <${WebhookField} value=${query.webhookId} onChange=${set("webhookId")} />
    </div>
    <${Check} text="Live: look again every few seconds" checked=${live} onChange=${(event) => setLive(event.target.checked)} />
    <${DeliveryTable} query=${query} every=${live ? LIVE : CALM} />
    <section><h2>Send again what failed</h2><${Recover} /></section>
  <//>`;
}

/** The link to a webhook's entry. */
export const webhookLink = (id) => `${to("webhooks")}?${new URLSearchParams({ id })}`;

/** Deliveries of the last 7 days by status, as links to the list. `query`: filters. */
export function Counts({ query = {} }) {
  const counts = useLoad(() => get("delivery/count", query), [JSON.stringify(query)], CALM);
  const link = (status) => `${to("deliveries")}?${new URLSearchParams({ ...query, status })}`;
  return html`<${Loaded} of=${counts}>${({ byStatus, total, relation }) =>
    total
      ? html`<ul class="counts">${STATUSES.filter((status) => byStatus[status]).map((status) => html`<li>
          <a href=${link(status)}><strong>${byStatus[status].toLocaleString("en")}</strong> <${Status} of=${status} /></a> <small>${STATUS_WORDS[status]}</small>
        </li>`)}</ul>${relation === "gte" && html`<p class="quiet">There are more: only the latest were counted.</p>`}`
      : html`<p class="empty">There was none.</p>`}<//>`;
}

export function DeliveryTable({ query, every = 0 }) {
  const list = useList("delivery", query, { every });
  return html`<${Loaded} of=${list}>${(deliveries) => html`
    <${HowMany} of=${deliveries} what="delivery" plural="deliveries" />
    <${Table} caption="Deliveries" list=${list} empty="No delivery fits. Messages that you send and webhook calls appear here." columns=${[
      ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ["What", ({ uuid, kind }) => html`<a href=${to("deliveries", uuid)}>${KINDS[kind] ?? kind}</a>`],
      ["Type", ({ type }) => html`<span title=${type}>${typeWords(type)}</span>`],
      ["To", ({ webhookId, contactUuid }) => webhookId ?? deliveries.partners.name(contactUuid)],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ["Attempts", ({ attempts }) => attempts],
      ["Why", ({ error, status, nextAttemptAt }) => error && html`${deliveryWords(error)}${status === "PENDING" && nextAttemptAt && html` <small>The next attempt is <${Time} at=${nextAttemptAt} ahead />.</small>`}`],
    ]} />`}<//>`;
}

function Delivery({ uuid }) {
  const found = useLoad(async () => {
    const delivery = await get(`delivery/${uuid}`);
    return { delivery, partners: await partnersOf([delivery]) };
  }, [uuid], LIVE);
  async function again() {
    const { skipped } = await post(`delivery/${uuid}/replay`);
    tell(skippedWords(skipped));
    await found.reload();
  }
  async function elsewhere(values) {
    go("deliveries", (await post(`delivery/${uuid}/replay`, values)).uuid);
  }
  return html`<${Screen} title="Delivery"><${Loaded} of=${found}>${({ delivery, partners }) => html`
    <section>
      <h2>${KINDS[delivery.kind] ?? delivery.kind}</h2>
      <${Facts} of=${[
        ["Status", html`<${Status} of=${delivery.status} /> <small>${STATUS_WORDS[delivery.status]}</small>`],
        ["Why", deliveryWords(delivery.error)],
        ["Type", html`<code>${delivery.type}</code>`],
        ["Webhook", delivery.webhookId && html`<a href=${webhookLink(delivery.webhookId)}>${delivery.webhookId}</a>`],
        ["Partner", delivery.contactUuid && html`<${PartnerLink} uuid=${delivery.contactUuid} among=${partners} />`],
        ["Message", delivery.messageUuid && html`<a href=${to("messages", delivery.messageUuid)}>Open the message</a>`],
        ["Sent again", delivery.replayedAt && html`<${Time} at=${delivery.replayedAt} />`],
      ]} />
      ${["PENDING", "FAILED"].includes(delivery.status) && delivery.error && html`<p>${repairWords(delivery)}</p>`}
      ${delivery.kind !== "test" && html`<${Do} kind=${delivery.status === "DELIVERED" ? "" : "main"} run=${again}>Send again<//>`}
      ${delivery.kind === "webhook" && html`<details><summary>Send it to another webhook</summary><${Form} submit="Send there" run=${elsewhere}><${WebhookField} name="webhookId" none="Choose one" required /><//></details>`}
    </section>
    <section><h2>What happened</h2><${Way} of=${delivery} /></section>
    <section><h2>The request</h2><${Request} of=${delivery.request} kind=${delivery.kind} /></section>
    <${Json} of=${delivery} />`}<//><//>`;
}

/** What mends a delivery that does not arrive. */
function repairWords({ kind, webhookId, contactUuid }) {
  if (kind === "didcomm") return html`The partner's agent does not take it. Tell the <a href=${to("partners", contactUuid)}>partner</a>, then send it again.`;
  if (kind === "test") return html`Mend the receiver or the <a href=${webhookLink(webhookId)}>webhook</a>, then test it again there.`;
  return html`Mend the receiver or the <a href=${webhookLink(webhookId)}>webhook</a>, then send it again.`;
}

/** The way of a delivery: where it began, each attempt with its answer, and what comes next. */
export function Way({ of: { createdAt, kind, log, status, nextAttemptAt } }) {
  const step = (tone, title, at, rest) => html`<li class=${tone}><strong>${title}</strong> <${Time} at=${at} ahead=${tone === "wait"} />${rest}</li>`;
  return html`<ol class="way">
    ${step("", BEGINNINGS[kind] ?? "It began", createdAt)}
    ${log.map(({ number, at, responseStatus, duration, error, answer }) => step(
      error ? "bad" : "good",
      `Attempt ${number}: ${error ? deliveryWords(error) : `answered with status ${responseStatus}.`}`,
      at,
      html` <small>took ${duration.toLocaleString("en")} ms</small>${answer !== null && html`<${Json} of=${answer} title="The answer" />`}`,
    ))}
    ${status === "PENDING" && nextAttemptAt && step("wait", log.length ? "The next attempt" : "The first attempt", nextAttemptAt)}
    ${["HELD", "WITHHELD"].includes(status) && html`<li class="wait"><strong>${STATUS_WORDS[status]}</strong></li>`}
    ${status === "FAILED" && html`<li class="bad"><strong>${kind === "test" ? "A test is tried once. Mend the cause, then test again." : "Given up. Mend the cause, then send it again."}</strong></li>`}
  </ol>`;
}

function Request({ of: request, kind }) {
  if (!request) return html`<p class="empty">It cannot be shown: its webhook, its message or its connection is gone.</p>`;
  const { method, url, headers, body } = request;
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n");
  const text = typeof body?.tooLarge === "string" ? `${body.tooLarge}\n… and more` : JSON.stringify(body, null, 2);
  return html`<p class="quiet">As the next attempt makes it. ${kind === "didcomm" ? "The body is encrypted for the partner; this is what it can read." : "Signatures and the values of your own headers are not shown."}</p>
    <p><code>${method} ${url || "(the partner has no address now)"}</code></p>
    <${Text} title="Headers" of=${head} /><${Text} title="Body" of=${text} />`;
}

function Recover() {
  const [uuid, setUuid] = useState("");
  const [yesterday] = useState(() => localMinute(new Date(Date.now() - DAY)));
  async function start({ since, ...rest }) {
    setUuid((await post("delivery/replay", { since, ...rest })).uuid);
  }
  return html`<${Form} submit="Send again" run=${start}>
      <${Field} text="Everything that failed or was withheld since" name="since" type="datetime-local" required value=${yesterday} />
      <${Field} text="Until" name="until" type="datetime-local" hint="Now, if left out." />
      <${WebhookField} text="Only of this webhook" name="webhookId" />
    <//>
    ${uuid && html`<${Progress} uuid=${uuid} />`}`;
}

function Progress({ uuid }) {
  const found = useLoad(() => get(`delivery/replay/${uuid}`), [uuid], LIVE);
  return html`<${Loaded} of=${found}>${({ status, replayed, skipped }) => html`<p role="status"><${Status} of=${status} /> ${replayed} sent again, ${skipped} skipped, as they are on their way or were sent again just now.</p>`}<//>`;
}
