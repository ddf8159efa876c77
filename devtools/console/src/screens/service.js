import { useState } from "preact/hooks";
import { call, get, post } from "../api.js";
import { html } from "../html.js";
import { session } from "../session.js";
import { to } from "../route.js";
import { CALM, Do, Facts, Loaded, Screen, Status, Table, Time, useLoad } from "../ui.js";

/** Answers 503 with the same body if a part of its storage does not answer. */
const askHealth = () => call("GET", "health", { expected: 503 });

/** Whether the service and its storage answer. */
export function Health() {
  const health = useLoad(askHealth, [], CALM);
  const away = (storage) => Object.keys(storage).filter((part) => !storage[part]);
  return html`<${Loaded} of=${health}>${({ status, storage }) =>
    html`<p><${Status} of=${status === "ok" ? "healthy" : status} /> ${away(storage).length > 0 && `Out of reach: ${away(storage).join(", ")}.`}</p>`}<//>`;
}

export function Service() {
  const { about } = session.value;
  const health = useLoad(askHealth);
  return html`<${Screen} title="Service">
    <section><h2>Health</h2><${Health} /></section>
    <section><h2>Backlog</h2><${Backlog} /></section>
    <section><h2>Version</h2><${Loaded} of=${health}>${({ version, commit }) => html`<${Facts} of=${[["Version", version], ["Commit", commit]]} />`}<//></section>
    <section>
      <h2>Your key</h2>
      <${Facts} of=${[["Name", about.name], ["Role", about.role], ["Expires", about.expiresAt && html`<${Time} at=${about.expiresAt} />`]]} />
    </section>
    <section><h2>Master key</h2><${Rewrap} /></section>
  <//>`;
}

const QUEUES = {
  inbound: "Received messages",
  exchange: "Received messages of credential exchanges",
  outbound: "Messages to partners",
  relay: "Webhook calls",
};

/** What waits in the queues, and what they gave up. */
function Backlog() {
  const found = useLoad(async () => {
    const [backlog, poison] = await Promise.all([get("backlog"), get("poison", { limit: 1 })]);
    return { queues: backlog.queues, isPoisoned: poison.hits.length > 0 };
  }, [], CALM);
  return html`<${Loaded} of=${found}>${({ queues, isPoisoned }) => html`
    <${Table} caption="Queues" hits=${queues.map((one) => ({ ...one, id: one.queue }))} columns=${[
      ["Queue", ({ queue }) => html`<code>${queue}</code>`],
      ["Contents", ({ queue }) => QUEUES[queue] ?? ""],
      ["Waiting", ({ waiting }) => waiting.toLocaleString("en")],
      ["The oldest since", ({ oldestAt, waiting }) => (oldestAt ? html`<${Time} at=${oldestAt} />` : waiting ? "in work, or put off" : "")],
    ]} />
    <p class="quiet">Messages that wait for their next attempt are counted too. ${isPoisoned ? html`Some were given up: see the <a href=${to("poison")}>poison queue</a>.` : "None was given up: the poison queue is empty."}</p>`}<//>`;
}

/** Wraps all tenants' data keys under the present master key, call by call. */
function Rewrap() {
  const [done, setDone] = useState(null);
  async function run() {
    const total = { rewrapped: 0, unchanged: 0, failed: {} };
    let start = null;
    do {
      const part = await post("principal/rewrap", start ? { start } : {});
      for (const name of ["rewrapped", "unchanged"]) total[name] += part[name];
      Object.assign(total.failed, part.failed);
      setDone({ ...total, more: part.next !== null });
      start = part.next;
    } while (start !== null);
  }
  return html`<p>After a rotation of the master key, this wraps the tenants' data keys under its new version. Nobody notices.</p>
    <${Do} run=${run} ask="Wrap all tenants' data keys under the present version of the master key?">Wrap the data keys anew<//>
    ${done && html`<p role="status">${done.rewrapped} wrapped anew, ${done.unchanged} were so already, ${Object.keys(done.failed).length} failed${done.more ? " …" : "."}</p>
      <ul>${Object.entries(done.failed).map(([uuid, code]) => html`<li><a href=${to("tenants", uuid)}><code>${uuid}</code></a>: ${code}</li>`)}</ul>`}`;
}
