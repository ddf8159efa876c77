import { get, newest } from "../api.js";
import { partnersOf } from "../contacts.js";
import { html } from "../html.js";
import { to } from "../route.js";
import { session } from "../session.js";
import { CALM, Facts, Loaded, Screen, Status, Time, size, useLoad } from "../ui.js";
import { countWaiting } from "../waiting_count.js";
import { allEntries } from "../webhook_field.js";
import { contentOf, typeWords } from "../words.js";
import { Counts, webhookLink } from "./deliveries.js";
import { Health } from "./service.js";

const DAY = 86_400_000;
const MANY = 7;

export function Home() {
  const { about } = session.value;
  return html`<${Screen} title="Home">
    <div class="cards">
      <section><h2>Waiting for you</h2><${Waiting} /></section>
      <section><h2>Service</h2><${Health} /><${Account} about=${about} /></section>
      <section><h2>Webhooks</h2><${Webhooks} about=${about} /></section>
      <section><h2>Messages, last 7 days</h2><${Week} /></section>
      <section><h2>Deliveries, last 7 days</h2><${Counts} /></section>
    </div>
    <section><h2>Last messages</h2><${Last} /></section>
  <//>`;
}

function Account({ about }) {
  const { displayName, key, storedBytes, quota } = about;
  return html`<${Facts} of=${[
    ["Company", displayName],
    ["Your key", `${key.name || "without a name"}, may ${{ read: "read", send: "read and send", admin: "do everything" }[key.scope]}`],
    ["Expires", key.expiresAt && html`<${Time} at=${key.expiresAt} />`],
    ["Stored", quota ? `${size(storedBytes)} of ${size(quota)}` : size(storedBytes)],
  ]} />`;
}

function Waiting() {
  const waiting = useLoad(countWaiting, [], CALM);
  return html`<${Loaded} of=${waiting}>${({ exchanges, connections }) =>
    exchanges + connections === 0
      ? html`<p class="empty">Nothing waits for you.</p>`
      : html`<p><a class="big" href=${to("waiting")}>${exchanges + connections}</a></p>
          <p>Offers, requests and proofs: ${exchanges}. Connections: ${connections}. <a href=${to("waiting")}>Decide</a></p>`}<//>`;
}

function Webhooks({ about }) {
  const found = useLoad(async () => ({ entries: about.key.scope === "admin" ? await allEntries() : null }), [], CALM);
  return html`<${Loaded} of=${found}>${({ entries }) => {
    if (!entries) return html`<p class="empty">Sign in with an admin key to see your webhooks.</p>`;
    const disabled = entries.filter(({ status }) => status === "DISABLED");
    const failing = entries.filter(({ status, failingSince }) => status !== "DISABLED" && failingSince);
    if (!entries.length) return html`<p class="empty">You have no webhook, so nobody is told of received messages. <a href=${to("webhooks")}>Add one</a>.</p>`;
    if (!disabled.length && !failing.length) return html`<p>${entries.length === 1 ? "Your webhook works." : `All ${entries.length} work.`}</p>`;
    return html`<ul>${[...disabled, ...failing].map(({ id, status, failingSince }) => html`<li>
      <a href=${webhookLink(id)}>${id}</a> <${Status} of=${status === "DISABLED" ? status : "failing"} />${failingSince && html` since <${Time} at=${failingSince} />`}
    </li>`)}</ul>`;
  }}<//>`;
}

function Week() {
  const counts = useLoad(async () => {
    const now = Date.now();
    const [week, day] = await Promise.all([MANY - 1, 1].map((days) => get("message/count", { since: new Date(now - days * DAY).toISOString() })));
    const byDay = Object.fromEntries(week.byDay.map(({ day, total }) => [day, total]));
    // The service counts days in UTC.
    const days = Array.from({ length: MANY }, (_, back) => new Date(now - (MANY - 1 - back) * DAY).toISOString().slice(0, "2026-01-31".length));
    return { days, totals: days.map((one) => byDay[one] ?? 0), day, exact: week.relation === "eq" };
  });
  return html`<${Loaded} of=${counts}>${({ days, totals, day, exact }) => html`
    <p>${day.total}${day.relation === "gte" ? " or more" : ""} in the last 24 hours</p>
    ${totals.some(Boolean) ? html`<${Bars} days=${days} totals=${totals} />` : html`<p class="empty">None on the days before, either.</p>`}
    ${!exact && html`<p class="quiet">There are more: only the latest were counted.</p>`}`}<//>`;
}

function Bars({ days, totals }) {
  const most = Math.max(...totals, 1);
  const names = days.map((day) => new Date(day).toLocaleDateString("en", { weekday: "short", timeZone: "UTC" }));
  const text = names.map((name, day) => `${name} ${totals[day]}`).join(", ");
  return html`<svg class="bars" viewBox="0 0 210 90" role="img" aria-label=${`Messages by day: ${text}`}>
    ${totals.map((count, day) => {
      const height = Math.round((count / most) * 50);
      return html`<g>
        <rect x=${day * 30 + 4} y=${66 - height} width="22" height=${Math.max(height, 1)} />
        <text x=${day * 30 + 15} y=${62 - height}>${count}</text>
        <text x=${day * 30 + 15} y="82">${names[day]}</text>
      </g>`;
    })}
  </svg>`;
}

function Last() {
  const last = useLoad(async () => {
    const { hits } = await newest("message", { limit: 10 });
    const { name } = await partnersOf(hits);
    return hits.map((message) => ({ ...message, partner: name(message.contactUuid) }));
  }, [], CALM);
  return html`<${Loaded} of=${last}>${(messages) =>
    messages.length
      ? html`<ul class="lines">${messages.map(
          ({ uuid, actionUuid, direction, type, partner, status, createdAt, message }) => html`<li key=${uuid}>
            <a href=${actionUuid ? to("threads", actionUuid) : to("messages", uuid)}>${typeWords(type)}</a>
            ${direction === "IN" ? " from " : " to "}${partner} <${Status} of=${status} /> <${Time} at=${createdAt} />
            <small class="cut">${(contentOf(message) ?? "").slice(0, 120)}</small>
          </li>`,
        )}</ul>`
      : html`<p class="empty">No messages yet. <a href=${to("invite")}>Invite a partner</a>, or <a href=${to("accept")}>accept an invitation</a>.</p>`}<//>`;
}
