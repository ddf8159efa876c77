// What an operator looks after: tenants, messages that the queues gave up, operators' keys and the audit log.
import { useState } from "preact/hooks";
import { all, get, post, put, remove } from "../api.js";
import { html } from "../html.js";
import { go, route, setQuery, to } from "../route.js";
import { Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Secret, Status, Table, Time, ToForm, inAYear, size, useList, useLoad } from "../ui.js";
import { AuditLog } from "./account.js";
import { Months } from "./usage.js";

export function Tenants({ path: [uuid] }) {
  return uuid ? html`<${Tenant} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const { search = "", status = "" } = Object.fromEntries(route.value.query);
  const list = useList("principal", { search, status }, { partner: null, order: "" });
  const [made, setMade] = useState(null);
  async function register(values) {
    setMade(await post("principal", values));
    await list.reload();
  }
  return html`<${Screen} title="Tenants" actions=${html`<${ToForm} id="register">New tenant<//>`}>
    ${made && html`<${Secret} title=${`The first key of ${made.displayName}.`} of=${made.headers["tnt-subscription-key"]} use="Give it to the company. It signs in with it here, and its systems send it in the header tnt-subscription-key." />`}
    <div class="filters">
      <${Field} text="Name contains" type="search" maxlength="200" value=${search} onChange=${(event) => setQuery({ search: event.target.value, status })} />
      <${Field} text="Status" value=${status} onChange=${(event) => setQuery({ search, status: event.target.value })} options=${[["", "All"], ["ACTIVE", "active"], ["SUSPENDED", "suspended"]]} />
    </div>
    <${Loaded} of=${list}>${(tenants) => html`<${HowMany} of=${tenants} what="tenant" />
      <${Table} caption="Tenants" list=${list} empty="No tenant fits. Register one below, or choose other filters." columns=${[
        ["Name", (tenant) => html`<a href=${to("tenants", tenant.uuid)}>${tenant.displayName}</a>`],
        ["Status", (tenant) => html`<${Status} of=${tenant.status} />`],
        ["Stores", ({ storedBytes }) => size(storedBytes)],
        ["Since", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ]} />`}<//>
    <section id="register"><h2>Register a tenant</h2><${Form} submit="Register" reset run=${register}><${Field} text="Name of the company" name="displayName" required maxlength="200" /><//></section>
  <//>`;
}

function Tenant({ uuid }) {
  const found = useLoad(() => get(`principal/${uuid}`), [uuid]);
  const [turn, setTurn] = useState(0);
  /** Does something, and reads the tenant and its audit log again. */
  const then = (act) => async (values) => {
    await act(values);
    await found.reload();
    setTurn((before) => before + 1);
  };
  const limit = ({ storedBytes, messagesPerMinute, displayName }) =>
    put(`principal/${uuid}`, { displayName, limits: { ...(storedBytes && { storedBytes: Number(storedBytes) }), ...(messagesPerMinute && { messagesPerMinute: Number(messagesPerMinute) }) } });
  async function erase({ typed }, name) {
    if (typed !== name) throw new Error(`You typed another name. Type ${name}`);
    await remove(`principal/${uuid}`);
    go("tenants");
  }
  return html`<${Screen} title="Tenant"><${Loaded} of=${found}>${({ displayName, status, limits, storedBytes, createdAt }) => html`
    <section>
      <h2>${displayName}</h2>
      <${Facts} of=${[["Status", html`<${Status} of=${status} />`], ["Id", html`<code>${uuid}</code>`], ["Stores", size(storedBytes)], ["Since", html`<${Time} at=${createdAt} />`]]} />
      <${Do} run=${then(() => post(`principal/${uuid}/recount`))} done="Counted anew.">Count anew what it stores<//>
    </section>
    ${status === "SUSPENDED"
      ? html`<section><h2>Resume</h2><p>What waits goes on within five minutes.</p><${Do} kind="main" run=${then(() => post(`principal/${uuid}/resume`, {}))} done="The tenant is resumed.">Resume<//></section>`
      : html`<section><h2>Suspend</h2><p>Nothing gets in or out, and nothing is lost.</p><${Form} kind="danger" submit="Suspend" run=${then((values) => post(`principal/${uuid}/suspend`, values))} done="The tenant is suspended."><${Field} text="Reason" name="reason" hint="The tenant can read it in its audit log." /><//></section>`}
    <section><h2>Name and limits</h2><${Form} key=${`limits ${turn}`} submit="Save" run=${then(limit)} done="Name and limits are saved.">
      <${Field} text="Name" name="displayName" required value=${displayName} />
      <${Field} text="Bytes it may store" name="storedBytes" type="number" min="0" value=${limits.storedBytes ?? undefined} hint="The service's default if left out; 0 is no limit." />
      <${Field} text="Messages a minute" name="messagesPerMinute" type="number" min="0" value=${limits.messagesPerMinute ?? undefined} hint="Likewise." />
    <//></section>
    <section><h2>Usage</h2><${Months} path=${`principal/${uuid}/usage`} /></section>
    <section><h2>Audit log</h2><${AuditLog} key=${`audit ${turn}`} path=${`principal/${uuid}/audit`} /></section>
    <section><h2>Delete</h2><p>Destroys the key that the tenant's data is encrypted under. Nothing can be read any more, by anybody.</p>
      <${Form} kind="danger" submit="Delete for ever" run=${(values) => erase(values, displayName)}><${Field} text="Type the tenant's name" name="typed" required hint=${displayName} /><//></section>`}<//><//>`;
}

export function PoisonQueue() {
  const found = useLoad(() => all("poison"));
  const [told, setTold] = useState(null);
  const again = (wanted) => async () => {
    setTold(await post("poison/replay", wanted));
    await found.reload();
  };
  async function discard({ queue, id }) {
    await remove(`poison/${queue}/${encodeURIComponent(id)}`);
    await found.reload();
  }
  return html`<${Screen} title="Poison queue" about="Messages that the queues gave up. Find the cause in the logs, mend it, then have them handled again. Their content is not shown.">
    ${told && html`<p role="status">${told.replayed} handled again. ${told.senseless} cannot be read by their queue and ${told.missing} have lost their envelope: these stay.</p>`}
    <${Loaded} of=${found}>${(poison) => html`<${HowMany} of=${poison} what="message" />
      <${Table} caption="Poison queue" hits=${poison.hits} empty="The queues gave nothing up. All is well." columns=${[
        ["When", ({ at }) => html`<${Time} at=${at} />`],
        ["Queue", ({ queue }) => queue],
        ["Of", ({ items }) => items.map(({ principalUuid }) => principalUuid).join(", ")],
        ["Bytes", ({ bytes }) => bytes],
        ["", ({ queue, id, replayable }) => replayable && html`<${Do} run=${again({ queue, id })}>Handle again<//>`],
        ["", (one) => html`<${Do} kind="danger" ask="Forget this message for good?" run=${() => discard(one)} done="The message is discarded.">Discard<//>`],
        ["", (one) => html`<${Json} of=${one} />`],
      ]} />
      ${poison.hits.length > 0 && html`<${Do} ask="Have all of them handled again?" run=${again({})}>Handle all again<//>`}`}<//>
  <//>`;
}

const ROLES = { read: "read: look at everything", operate: "operate: also tenants, limits, replays", admin: "admin: everything, also keys and deletion" };

export function Operators() {
  const found = useLoad(() => get("operator"));
  const [made, setMade] = useState(null);
  const [year] = useState(inAYear);
  const then = (act) => async (values) => {
    setMade(await act(values));
    await found.reload();
  };
  return html`<${Screen} title="Operators" about="Each operator should have a key of their own." actions=${html`<${ToForm} id="make">New operator<//>`}>
    ${made?.headers && html`<${Secret} title=${`The key of ${made.name}.`} of=${made.headers["tnt-operator-key"]} use="Its operator signs in with it here, and sends it in the header tnt-operator-key." />`}
    <${Loaded} of=${found}>${({ hits }) => html`<${Table} caption="Operators' keys" hits=${hits} empty="There is no key." columns=${[
      ["Name", ({ name }) => name],
      ["Role", ({ role }) => role],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ["Expires", ({ expiresAt }) => html`<${Time} at=${expiresAt} />`],
      ["Last used", ({ lastUsedAt }) => html`<${Time} at=${lastUsedAt} />`],
      ["", ({ uuid, name, status }) => status === "ACTIVE" && html`<${Do} ask=${`Give ${name} a new key? The former one is good for an hour.`} run=${then(() => post(`operator/${uuid}/rotate`))}>New key<//>
        <${Do} kind="danger" ask=${`Revoke the key of ${name}?`} run=${then(() => remove(`operator/${uuid}`))} done=${`The key of ${name} is revoked.`}>Revoke<//>`],
    ]} />`}<//>
    <section id="make"><h2>Make a key</h2><${Form} submit="Make the key" reset run=${then((values) => post("operator", values))}>
      <${Field} text="Name" name="name" required /><${Field} text="Role" name="role" options=${Object.entries(ROLES)} /><${Field} text="Expires" name="expiresAt" type="datetime-local" value=${year} hint="Empty: never." />
    <//></section>
  <//>`;
}

export function OperatorAudit() {
  return html`<${Screen} title="Audit log" about="What operators did, the newest first."><${AuditLog} path="operator/audit" /><//>`;
}
