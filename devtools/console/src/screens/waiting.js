import { get, newest, post } from "../api.js";
import { PartnerLink, partnersOf } from "../contacts.js";
import { html } from "../html.js";
import { to } from "../route.js";
import { CALM, LIVE, Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Status, Table, Time, useList, useLoad } from "../ui.js";
import { UNDECIDED, countWaiting, waitingCount } from "../waiting_count.js";
import { attachmentsOf, exchangeWords, inLine, text } from "../words.js";
import { Claims, typeOf } from "./credentials.js";
import { Connection } from "./partners.js";


export function Waiting() {
  const waiting = useLoad(async () => {
    const [exchanges, asked, invited] = await Promise.all([newest("exchange", { status: "WAITING" }), ...UNDECIDED.map((state) => newest("connection", { state }))]);
    const connections = [...asked.hits, ...invited.hits];
    waitingCount.value = { exchanges: exchanges.total.value, connections: asked.total.value + invited.total.value };
    return { exchanges: exchanges.hits, connections, isWhole: exchanges.isWhole, partners: await partnersOf([...connections, ...exchanges.hits]) };
  }, [], CALM);
  const about = html`Here your word is needed. Which steps the service takes without asking is in your <a href=${to("settings")}>settings</a>.`;
  return html`<${Screen} title="Waiting for you" about=${about} actions=${html`<${Do} run=${waiting.reload}>Refresh<//>`}>
    <${Loaded} of=${waiting}>${({ exchanges, connections, partners, isWhole }) => html`
      ${!isWhole && html`<p class="quiet">The latest ${exchanges.length} are shown. More appear when these are decided.</p>`}
      ${!exchanges.length && !connections.length && html`<p class="empty">Nothing waits for you. Offers, requests for proof and connection requests appear here.</p>`}
      ${connections.map((connection) => html`<${Connection} key=${connection.uuid} of=${connection} reload=${waiting.reload} title=${`${partners.name(connection.contactUuid)} ${connection.state === "request-received" ? "wants to connect with you" : "invites you to connect"}`} />`)}
      ${exchanges.map((exchange) => html`<${Exchange} key=${exchange.uuid} of=${exchange} partners=${partners} reload=${waiting.reload} />`)}`}<//>
  <//>`;
}

export function Exchanges({ path: [uuid] }) {
  return uuid ? html`<${One} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const list = useList("exchange");
  return html`<${Screen} title="Exchanges" about="Every run of a credential or proof protocol."><${Loaded} of=${list}>${(exchanges) => html`
    <${HowMany} of=${exchanges} what="exchange" />
    <${Table} caption="Exchanges" list=${list} empty=${html`None yet. <a href=${to("offer")}>Offer a credential</a>, or <a href=${to("ask")}>ask for proof</a>.`} columns=${[
      ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ["What", (exchange) => html`<a href=${to("exchanges", exchange.uuid)}>${exchangeWords(exchange, exchanges.partners.name(exchange.contactUuid))}</a>`],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
    ]} />`}<//><//>`;
}

function One({ uuid }) {
  const found = useLoad(async () => {
    const exchange = await get(`exchange/${uuid}`);
    return { exchange, partners: await partnersOf([exchange]) };
  }, [uuid], LIVE);
  return html`<${Screen} title="Exchange"><${Loaded} of=${found}>${({ exchange, partners }) => html`<${Exchange} of=${exchange} partners=${partners} reload=${found.reload} /><${Json} of=${exchange} />`}<//><//>`;
}

/** An exchange in plain words, with what it is about, and the decision if it waits for one. */
function Exchange({ of: exchange, partners, reload }) {
  const waits = exchange.status === "WAITING";
  return html`<section>
    <h2>${exchangeWords(exchange, partners.name(exchange.contactUuid))}</h2>
    <${Facts} of=${[
      ["Status", html`<${Status} of=${exchange.status} />`],
      ["Partner", exchange.contactUuid && html`<${PartnerLink} uuid=${exchange.contactUuid} among=${partners} />`],
      ["Format", exchange.format],
      ["Why", exchange.error],
      ["Since", html`<${Time} at=${exchange.updatedAt} />`],
    ]} />
    <${About} exchange=${exchange} />
    <p>
      <a href=${to("threads", exchange.actionUuid)}>Thread</a>
      ${exchange.credentialUuids.map((uuid) => html` · <a href=${to("credentials", uuid)}>Credential</a>`)}
      ${exchange.presentationUuids.map((uuid) => html` · <a href=${to("proofs", uuid)}>Proof</a>`)}
    </p>
    ${waits && html`<${Decision} exchange=${exchange} reload=${reload} />`}
  </section>`;
}

/** What is offered or asked for, as its message says. */
function About({ exchange }) {
  const uuid = exchange.messages.offer ?? exchange.messages.propose ?? exchange.messages.request;
  const found = useLoad(async () => (uuid ? (await get(`message/${uuid}`)).message : {}), [uuid]);
  return html`<${Loaded} of=${found}>${(message) => {
    const body = message?.body ?? message ?? {};
    const preview = body.credential_preview ?? body.credential_proposal;
    const attributes = Array.isArray(preview?.attributes) ? preview.attributes : [];
    const attached = attachmentsOf(message).map(({ json }) => json);
    const offered = attached.map((json) => json?.credential).find((one) => one?.credentialSubject);
    const asked = attached.flatMap(askedFor);
    return html`${typeof body.comment === "string" && body.comment && html`<blockquote>${body.comment}</blockquote>`}
      <${Facts} of=${attributes.map((one) => [text(one?.name), text(one?.value)])} />
      ${offered && html`<${Facts} of=${[["Kind", typeOf({ type: kindsOf(offered.type) })]]} /><${Claims} of=${{ claims: offered.credentialSubject }} />`}
      ${asked.length > 0 && html`<p>Asked for: ${asked.join(", ")}</p>`}`;
  }}<//>`;
}

/** The kinds of an offered credential, without the one that all have. */
const kindsOf = (type) => [type].flat().filter((kind) => kind !== "VerifiableCredential");

/** What a request for proof asks for, in the form of either format. */
function askedFor(json) {
  const attributes = Object.values(json?.requested_attributes ?? {}).flatMap((one) => one?.names ?? one?.name ?? []);
  const predicates = Object.values(json?.requested_predicates ?? {}).map((one) => [one?.name, one?.p_type, one?.p_value].map(text).join(" "));
  const descriptors = [json?.presentation_definition?.input_descriptors ?? []].flat();
  const paths = descriptors.flatMap((one) => [one?.constraints?.fields ?? []].flat()).map((field) => text([field?.path].flat()[0]).split(".").pop());
  return [...attributes, ...predicates, ...paths.filter((name) => name !== "type")].map(text);
}

function Decision({ exchange, reload }) {
  const { uuid, role, state } = exchange;
  const shows = role === "prover" && state === "request-received";
  async function decide(how, body) {
    await post(`exchange/${uuid}/${how}`, body);
    await Promise.all([reload(), countWaiting()]);
  }
  const accept = (body = {}) => decide("accept", body);
  const reject = (body) => decide("reject", body);
  return html`${shows ? html`<${Choice} uuid=${uuid} format=${exchange.format} accept=${accept} />` : html`<${Do} kind="main" run=${() => accept()} done="Accepted.">Accept<//>`}
    <details><summary>Reject</summary><${Form} kind="danger" submit="Reject" run=${reject} done="Rejected."><${Field} text="Reason, for the partner" name="reason" /><//></details>`;
}

/** Candidates for a proof, as cards: one of each name is shown. */
function Choice({ uuid, format, accept }) {
  const found = useLoad(async () => {
    const { candidates } = await get(`exchange/${uuid}/candidates`);
    const needed = [...new Set(candidates.flatMap(({ credentials }) => credentials))].slice(0, 50);
    const held = await Promise.all(needed.map((one) => get(`credential/${one}`)));
    return { candidates, of: Object.fromEntries(held.map((one) => [one.uuid, one])) };
  }, [uuid]);
  return html`<${Loaded} of=${found}>${({ candidates, of }) => {
    const missing = candidates.filter(({ required, credentials }) => required && !credentials.length);
    if (missing.length) return html`<p>You hold no credential that fits ${missing.map(({ name }) => inLine(name)).join(", ")}. Reject, or ask its issuer for one.</p>`;
    return html`<p>${format === "anoncreds" ? "Only what is asked for is shown of each." : "Each is shown whole."}</p>
      <${Form} submit="Show these" run=${(chosen) => accept({ credentials: chosen })}>
      ${candidates.map(({ name, required, credentials }) => html`<fieldset>
        <legend>${inLine(name)}${required ? "" : " (not required)"}</legend>
        ${!required && html`<div><label><input type="radio" name=${name} value="" defaultChecked disabled=${!credentials.length} /> Show none</label></div>`}
        ${credentials.map((one, place) => html`<div class="card"><label><input type="radio" name=${name} value=${one} defaultChecked=${required && place === 0} /> ${typeOf(of[one]?.summary)}</label><${Claims} of=${of[one]?.summary} /></div>`)}
      </fieldset>`)}
    <//>`;
  }}<//>`;
}
