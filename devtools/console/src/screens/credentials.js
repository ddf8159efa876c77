import { useState } from "preact/hooks";
import { all, get, post, remove } from "../api.js";
import { contacts, PartnerLink, partnersOf } from "../contacts.js";
import { html } from "../html.js";
import { PartnerField } from "../partner_field.js";
import { go, route, setQuery, to } from "../route.js";
import { Check, Do, Facts, Field, Form, HowMany, Json, Loaded, Screen, Status, Table, Time, useList, useLoad } from "../ui.js";
import { checkWords, inLine, text } from "../words.js";

/** A credential's kind. */
export const typeOf = (summary) => [summary?.type ?? "Credential"].flat().map(text).join(", ");

/** What a credential says, by name; what is within a thing is indented below it. */
export function Claims({ of: summary }) {
  const claims = [summary?.claims ?? {}].flat()[0] ?? {};
  const shown = (name, value) => {
    if (!isThing(value)) return text(value);
    const inner = Object.entries(value);
    if (inner.length === 1 && inner[0][0] === name) return text(inner[0][1]); // AnonCreds: an attribute that was asked for by its name
    return html`<${Facts} of=${inner.map(([within, one]) => [within, text(one)])} />`;
  };
  return html`<${Facts} of=${Object.entries(claims).map(([name, value]) => [name, shown(name, value)])} />`;
}

const isThing = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** What a credential is about: as JSON it says so itself; a JWT has it in its payload. */
function subjectOf(credential) {
  if (typeof credential !== "string") return credential?.credentialSubject;
  try {
    const payload = credential.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (one) => one.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)).vc.credentialSubject;
  } catch {
    return null; // neither: its JSON is shown below
  }
}

/** Each check that was made, in words: those of the whole first, then those of each credential in it. */
function Checks({ of: checks }) {
  if (!checks.length) return html`<p class="empty">No check was made.</p>`;
  const result = { true: "passed", false: "failed", null: "not made" };
  const subjects = [...new Set(checks.map(({ subject }) => subject ?? ""))].sort();
  return subjects.map((subject) => html`${subject && html`<h3>${subjectWords(subject)}</h3>`}
    <ul class="lines">${checks.filter((check) => (check.subject ?? "") === subject).map(({ name, passed, detail }) => html`<li>
      <${Status} of=${result[passed]} /> ${checkWords(name)} <small>${detail}</small>
    </li>`)}</ul>`);
}

/** Said where no check was about revocation. */
function Revocation({ of: checks }) {
  return !checks.some(({ name }) => name === "status") && html`<p class="quiet">Revocation was not checked: it was not asked for, or what was shown cannot be revoked.</p>`;
}

/** The service counts the credentials of a proof from 0. */
const subjectWords = (subject) => subject.replace(/^credential (\d+)$/, (_, number) => `Credential ${Number(number) + 1}`);

export function Credentials({ path: [uuid] }) {
  return uuid ? html`<${Credential} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const role = route.value.query.get("role") ?? "";
  const list = useList("credential", { role });
  const actions = html`<a class="button main" href=${to("offer")}>Offer a credential</a>`;
  return html`<${Screen} title="Credentials" actions=${actions}>
    <div class="filters"><${Field} text="Show" value=${role} onChange=${(event) => setQuery({ role: event.target.value })} options=${[["", "All"], ["holder", "Those that you hold"], ["issuer", "Those that you issued"]]} /></div>
    <${Loaded} of=${list}>${(credentials) => html`
      <${HowMany} of=${credentials} what="credential" />
      <${Table} caption="Credentials" list=${list} empty=${html`There are none yet. <a href=${to("offer")}>Offer one to a partner</a>; what partners offer you is under <a href=${to("waiting")}>Waiting</a>.`} columns=${[
        ["What", ({ uuid, summary }) => html`<a href=${to("credentials", uuid)}>${typeOf(summary)}</a>`],
        ["You", ({ role }) => (role === "issuer" ? "issued it" : "hold it")],
        ["Partner", ({ contactUuid }) => credentials.partners.name(contactUuid)],
        ["Status", ({ status }) => html`<${Status} of=${status} />`],
        ["Verified", ({ verified, role }) => (role === "issuer" ? "" : verified ? "yes" : "no")],
        ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ]} />`}<//>
  <//>`;
}

function Credential({ uuid }) {
  const found = useLoad(async () => {
    const credential = await get(`credential/${uuid}`);
    return { credential, partners: await partnersOf([credential]) };
  }, [uuid]);
  async function verify() {
    await post(`credential/${uuid}/verify`);
    await found.reload();
  }
  async function revoke(values) {
    await post(`credential/${uuid}/revoke`, values);
    await found.reload();
  }
  async function erase() {
    await remove(`credential/${uuid}`);
    go("credentials");
  }
  return html`<${Screen} title="Credential"><${Loaded} of=${found}>${({ credential, partners }) => html`
    <section>
      <h2>${typeOf(credential.summary)}</h2>
      <${Facts} of=${[
        ["Status", html`<${Status} of=${credential.status} />`],
        [credential.role === "issuer" ? "Issued to" : "From", html`<${PartnerLink} uuid=${credential.contactUuid} among=${partners} />`],
        ["Issuer", credential.summary.issuer && html`<code>${text(credential.summary.issuer)}</code>`],
        ["Format", credential.format],
        ["Expires", credential.expiresAt && html`<${Time} at=${credential.expiresAt} />`],
        ["The issuer says it revoked it", credential.revocationNotice && html`<${Time} at=${credential.revocationNotice.at} /> ${inLine(credential.revocationNotice.comment ?? "")}`],
        ["Exchange", html`<a href=${to("exchanges", credential.exchangeUuid)}>How it came to be</a>`],
      ]} />
      <h3>What it says</h3><${Claims} of=${{ claims: credential.summary.claims ?? subjectOf(credential.credential) }} />
    </section>
    ${credential.role === "holder" && html`<section><h2>${credential.verified ? "Verified: every check passed" : "Not verified"}</h2><${Checks} of=${credential.checks} /><${Do} run=${verify} done="Checked again.">Check again, as of now<//></section>`}
    ${credential.role === "issuer" && credential.status === "ISSUED" && html`<section><h2>Revoke</h2>
      <${Form} kind="danger" submit="Revoke" run=${revoke} done="The credential is revoked."><${Check} text="Tell the holder" name="notify" /><${Field} text="Comment, for the holder" name="comment" /><//></section>`}
    <section><h2>Delete</h2><${Do} kind="danger" ask="Delete this credential here?" run=${erase} done="The credential is deleted here.">Delete<//></section>
    <${Json} of=${credential} />`}<//><//>`;
}

const ONE_WORD = "One word: letters and digits, with a letter first.";
const CITIZENSHIP = ["givenName", "familyName", "gender", "birthDate", "birthCountry", "residentSince"];
const V1 = "https://www.w3.org/2018/credentials/v1";

/** What can be offered or asked for: [{id, title, format, names?, type?, contexts?, definition?}]. Without names they are typed. */
async function templates() {
  const [definitions, contexts] = await Promise.all([all("credential-definition"), all("context")]);
  return [
    { id: "free", title: "Attributes of your choice (JWT)", format: "jwt-vc" },
    { id: "resident", title: "Permanent resident (W3C, citizenship)", format: "ld-proof", type: "PermanentResident", names: CITIZENSHIP, contexts: [V1, "https://w3id.org/citizenship/v1"] },
    ...contexts.hits.map(({ uuid, url }) => ({ id: uuid, title: `Terms of your context ${url} (W3C)`, format: "ld-proof", contexts: [V1, url] })),
    ...definitions.hits.map((definition) => ({ id: definition.uuid, title: `AnonCreds: ${definition.tag} (${definition.attributes.join(", ")})`, format: "anoncreds", names: definition.attributes, definition })),
  ];
}

/** Loads what a form for a partner needs. */
function useForm() {
  const [chosen, setChosen] = useState("free");
  const [partner, setPartner] = useState(route.value.query.get("to") ?? "");
  const found = useLoad(async () => ({ hasPartners: (await contacts()).hits.length > 0, known: await templates() }));
  return { chosen, setChosen, found, partner, setPartner };
}

function Start({ known, partner, setPartner, chosen, setChosen }) {
  return html`<${PartnerField} name="to" required none="Choose one" value=${partner} onChange=${(event) => setPartner(event.target.value)} />
    <${Field} text="Template" value=${chosen} onChange=${(event) => setChosen(event.target.value)} options=${known.map(({ id, title }) => [id, title])} />`;
}

const NO_PARTNER = html`<p class="empty">You have no partner yet. <a href=${to("invite")}>Invite one</a> first.</p>`;

export function Offer() {
  const { chosen, setChosen, found, partner, setPartner } = useForm();
  return html`<${Screen} title="Offer a credential" about="The partner accepts the offer, and the service issues what you filled in."><${Loaded} of=${found}>${({ hasPartners, known }) => {
    if (!hasPartners) return NO_PARTNER;
    const template = known.find(({ id }) => id === chosen);
    const run = async ({ to: receiver, type, comment, ...values }) => {
      const data = offerOf(template, type, attributesOf(template, values));
      const { uuid } = await post("credential", { command: "offer", to: receiver, format: template.format, data, ...(comment && { comment }) });
      go("exchanges", uuid);
    };
    return html`<section><${Form} key=${chosen} submit="Offer" run=${run}>
      <${Start} ...${{ known, partner, setPartner, chosen, setChosen }} />
      ${!template.names && html`<${Field} text="Kind of credential" name="type" required hint="One word, such as Membership." pattern="[A-Za-z][A-Za-z0-9]*" title=${ONE_WORD} />`}
      <${Attributes} template=${template} values />
      <${Field} text="Comment, for the partner" name="comment" />
    <//></section>`;
  }}<//><//>`;
}

/** A field for each attribute; rows of name and value where the template names none. `values`: whether they have any. */
function Attributes({ template, values }) {
  const [rows, setRows] = useState(2);
  if (template.names) {
    return html`<fieldset><legend>Attributes</legend>${template.names.map((name) => (values ? html`<${Field} key=${name} text=${name} name=${`value ${name}`} required=${Boolean(template.definition)} />` : html`<${Check} key=${name} text=${name} name=${`asked ${name}`} />`))}</fieldset>`;
  }
  return html`<fieldset><legend>Attributes</legend>
    <p class="quiet">Each name is one word, such as validUntil.</p>
    ${Array.from({ length: rows }, (_, row) => html`<div key=${row} class="row">
      <${Field} text=${`Name ${row + 1}`} name=${`name ${row}`} pattern="[A-Za-z][A-Za-z0-9_]*" title=${ONE_WORD} />
      ${values && html`<${Field} text=${`Value ${row + 1}`} name=${`value ${row}`} />`}
    </div>`)}
    <button type="button" onClick=${() => setRows(rows + 1)}>One more</button>
  </fieldset>`;
}

/** What was filled in, as {name: value}; of a question, the names that were chosen. */
function attributesOf(template, values) {
  if (template.names) {
    return Object.fromEntries(template.names.filter((name) => values[`value ${name}`] || values[`asked ${name}`]).map((name) => [name, values[`value ${name}`] ?? true]));
  }
  const rowsOf = (kind) => Object.keys(values).filter((field) => field.startsWith(kind)).map((field) => field.slice(kind.length));
  const rows = rowsOf("name ");
  const nameless = rowsOf("value ").find((row) => !rows.includes(row));
  if (nameless) throw new Error(`Value ${Number(nameless) + 1} has no name. Write one, or take the value away.`);
  const twice = rows.map((row) => values[`name ${row}`]).find((name, place, names) => names.indexOf(name) !== place);
  if (twice) throw new Error(`Two attributes are called ${twice}. Give each a name of its own.`);
  return Object.fromEntries(rows.map((row) => [values[`name ${row}`], values[`value ${row}`] ?? ""]));
}

function offerOf({ format, type: known, contexts = [V1], definition }, typed, attributes) {
  if (format === "anoncreds") return { credentialDefinitionId: definition.credentialDefinitionId, attributes };
  const type = known ?? typed;
  const subject = known ? { type, ...attributes } : attributes;
  return { credential: { "@context": contexts, type: ["VerifiableCredential", type], credentialSubject: subject } };
}

export function Ask() {
  const { chosen, setChosen, found, partner, setPartner } = useForm();
  return html`<${Screen} title="Ask for proof" about="The partner chooses what it shows. You see each check that was made."><${Loaded} of=${found}>${({ hasPartners, known }) => {
    if (!hasPartners) return NO_PARTNER;
    const template = known.find(({ id }) => id === chosen);
    const run = async ({ to: receiver, type, comment, ...values }) => {
      const names = Object.keys(attributesOf(template, values));
      if (!names.length) throw new Error("Nothing is asked for. Choose at least one attribute.");
      const data = requestOf(template, type, names);
      const format = template.definition ? "anoncreds" : "dif";
      const { uuid } = await post("proof-request", { to: receiver, format, data, ...(comment && { comment }) });
      go("exchanges", uuid);
    };
    return html`<section><${Form} key=${chosen} submit="Ask" run=${run}>
      <${Start} ...${{ known, partner, setPartner, chosen, setChosen }} />
      ${!template.names && html`<${Field} text="Kind of credential" name="type" required hint="As its issuer named it, such as Membership." pattern="[A-Za-z][A-Za-z0-9]*" title=${ONE_WORD} />`}
      <${Attributes} template=${template} />
      <${Field} text="Comment, for the partner" name="comment" />
    <//></section>`;
  }}<//><//>`;
}

function requestOf({ type: known, definition }, typed, names) {
  if (definition) {
    const restrictions = [{ cred_def_id: definition.credentialDefinitionId }];
    const now = Math.floor(Date.now() / 1_000);
    // Where it is not asked, a revoked credential passes every check.
    const revocation = definition.supportRevocation ? { non_revoked: { from: now, to: now } } : {};
    return { requested_attributes: Object.fromEntries(names.map((name) => [name, { name, restrictions }])), requested_predicates: {}, ...revocation };
  }
  const type = known ?? typed;
  const ofType = { path: ["$.type", "$.vc.type"], filter: { type: "array", contains: { const: type } } };
  const fields = names.map((name) => ({ path: [`$.credentialSubject.${name}`, `$.vc.credentialSubject.${name}`] }));
  return { presentation_definition: { id: `ask-${Date.now().toString(36)}`, input_descriptors: [{ id: type, constraints: { fields: [ofType, ...fields] } }] } };
}

export function Proofs({ path: [uuid] }) {
  return uuid ? html`<${Proof} uuid=${uuid} />` : html`<${ProofList} />`;
}

function ProofList() {
  const list = useList("presentation");
  return html`<${Screen} title="Proofs" about="What was shown to you, and what you showed." actions=${html`<a class="button main" href=${to("ask")}>Ask for proof</a>`}><${Loaded} of=${list}>${(proofs) => html`
    <${HowMany} of=${proofs} what="proof" />
    <${Table} caption="Proofs" list=${list} empty=${html`There are none yet. <a href=${to("ask")}>Ask a partner for proof</a>; what partners ask of you is under <a href=${to("waiting")}>Waiting</a>.`} columns=${[
      ["When", ({ uuid, createdAt }) => html`<a href=${to("proofs", uuid)}><${Time} at=${createdAt} /></a>`],
      ["You", ({ role }) => (role === "verifier" ? "were shown it" : "showed it")],
      ["Partner", ({ contactUuid }) => proofs.partners.name(contactUuid)],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ["Verified", ({ verified, role }) => (role === "verifier" ? (verified ? "yes" : "no") : "")],
    ]} />`}<//><//>`;
}

function Proof({ uuid }) {
  const found = useLoad(async () => {
    const proof = await get(`presentation/${uuid}`);
    return { proof, partners: await partnersOf([proof]) };
  }, [uuid]);
  async function verify() {
    await post(`presentation/${uuid}/verify`);
    await found.reload();
  }
  return html`<${Screen} title="Proof"><${Loaded} of=${found}>${({ proof, partners }) => html`
    <section>
      <h2>${proof.role === "verifier" ? (proof.verified ? "Verified: every check passed" : "Not verified") : "Shown by you"}</h2>
      <${Facts} of=${[
        ["Status", html`<${Status} of=${proof.status} />`],
        [proof.role === "verifier" ? "Shown by" : "Shown to", html`<${PartnerLink} uuid=${proof.contactUuid} among=${partners} />`],
        ["Format", proof.format],
        ["Exchange", html`<a href=${to("exchanges", proof.exchangeUuid)}>How it came to be</a>`],
      ]} />
      <h3>What was shown</h3><${Claims} of=${proof.summary} />
    </section>
    ${proof.role === "verifier" && html`<section><h2>Checks</h2><${Checks} of=${proof.checks} /><${Revocation} of=${proof.checks} /><${Do} run=${verify} done="Checked again.">Check again, as of now<//></section>`}
    <${Json} of=${proof} />`}<//><//>`;
}
