// What an admin of a company looks after: identities, schemas, contexts, keys, settings and the audit log.
import { useState } from "preact/hooks";
import { post, put, remove, settingOf, sorted } from "../api.js";
import { html } from "../html.js";
import { session } from "../session.js";
import { Check, Do, Field, Form, HowMany, Json, Loaded, Screen, Secret, Short, Status, Table, Time, ToForm, inAYear, useList, useLoad } from "../ui.js";
import { text } from "../words.js";

export function Identities() {
  const found = useLoad(() => sorted("identity"));
  const change = (uuid) => async (values) => {
    await put(`identity/${uuid}`, values);
    await found.reload();
  };
  return html`<${Screen} title="Identities" about="The DIDs that you act as. Partners see the identity's name and DID.">
    <${Loaded} of=${found}>${(identities) => identities.hits.map(({ uuid, displayName, did, ownDid, external, method, isDefault }) => html`<section key=${uuid}>
      <h2>${displayName || "Without a name"} ${isDefault && html`<small>default</small>`}</h2>
      <p><${Short} of=${did} /></p>
      <p class="quiet">${method}${external && html`. You hold its keys; the DID made here is <code>${ownDid}</code>`}</p>
      <details><summary>Rename</summary><${Form} submit="Rename" run=${change(uuid)} done="The identity is renamed."><${Field} text="Name" name="displayName" value=${displayName} required /><//></details>
      <details><summary>Use a DID whose keys you hold</summary><${Form} submit="Bind" run=${change(uuid)} done="The DID is bound."><${Field} text="DID" name="did" required hint=${`Set the external signer in the settings first. To undo it, bind ${ownDid}`} /><//></details>
    </section>`)}<//>
    <section><h2>Make an identity</h2><${Form} submit="Make" reset done="The identity is made." run=${async (values) => { await post("identity", values); await found.reload(); }}>
      <${Field} text="Name" name="displayName" required />
      <${Field} text="Method" name="method" options=${[["did:web", "did:web: this service publishes its document"], ["did:key", "did:key: is its own document, reached by invitations alone"]]} />
    <//></section>
  <//>`;
}

export function Schemas() {
  const schemas = useLoad(() => sorted("schema"));
  const definitions = useLoad(() => sorted("credential-definition"));
  async function publish({ attributes, ...rest }) {
    await post("schema", { ...rest, attributes: attributes.split(/[\n,]+/).map((one) => one.trim()).filter(Boolean) });
    await schemas.reload();
  }
  async function define({ maxCredentials, supportRevocation, ...rest }) {
    await post("credential-definition", { ...rest, supportRevocation, ...(maxCredentials && { maxCredentials: Number(maxCredentials) }) });
    await definitions.reload();
  }
  return html`<${Screen} title="Schemas and definitions" about="For AnonCreds: a schema names attributes; a credential definition has the keys by which you issue credentials of it.">
    <section><h2>Schemas</h2>
      <${Loaded} of=${schemas}>${({ hits }) => html`<${Table} caption="Schemas" hits=${hits} empty="There is no schema yet. Publish one below." columns=${[
        ["Name", ({ name, version }) => `${name} ${version}`],
        ["Attributes", ({ attributes }) => attributes.join(", ")],
        ["Id", ({ schemaId }) => html`<${Short} of=${schemaId} />`],
      ]} />`}<//>
      <details><summary>Publish a schema</summary><${Form} submit="Publish" reset run=${publish} done="The schema is published.">
        <${Field} text="Name" name="name" required /><${Field} text="Version" name="version" required value="1.0" />
        <${Field} text="Attributes" name="attributes" rows="3" required hint="Separated by commas or lines." />
      <//></details>
    </section>
    <section><h2>Credential definitions</h2>
      <${Loaded} of=${definitions}>${({ hits }) => html`<${Table} caption="Credential definitions" hits=${hits} empty="There is no definition yet. Publish a schema, then a definition of it." columns=${[
        ["Tag", ({ tag }) => tag],
        ["Attributes", ({ attributes }) => attributes.join(", ")],
        ["Revocable", ({ supportRevocation, issuedCredentials, maxCredentials }) => (supportRevocation ? `yes, ${issuedCredentials} of ${maxCredentials} issued` : "no")],
        ["Id", ({ credentialDefinitionId }) => html`<${Short} of=${credentialDefinitionId} />`],
      ]} />`}<//>
      <${Loaded} of=${schemas}>${({ hits }) => hits.length > 0 && html`<details><summary>Publish a definition</summary><${Form} submit="Publish the definition" run=${define} done="The definition is published.">
        <${Field} text="Schema" name="schemaId" options=${hits.map(({ uuid, name, version }) => [uuid, `${name} ${version}`])} />
        <${Field} text="Tag" name="tag" hint="default, if left out." />
        <${Check} text="Its credentials can be revoked" name="supportRevocation" />
        <${Field} text="How many of them" name="maxCredentials" type="number" min="1" hint="1,000, if left out. Only for revocable ones." />
        <p class="quiet">This takes some seconds.</p>
      <//></details>`}<//>
    </section>
  <//>`;
}

export function Contexts() {
  const found = useLoad(() => sorted("context"));
  async function add({ url, document: text }) {
    let document;
    try {
      document = JSON.parse(text);
    } catch (error) {
      throw new Error(`The document is not JSON (${error.message}). Mend it, then add it again.`);
    }
    await post("context", { url, document });
    await found.reload();
  }
  return html`<${Screen} title="Contexts" about="JSON-LD contexts of your own credential types, by the URL that the credentials name. Both sides need them.">
    <${Loaded} of=${found}>${({ hits }) => html`<${Table} caption="Contexts" hits=${hits} empty="There is none yet. The common ones are built in. Add one below if you issue credentials with terms of your own." columns=${[
      ["URL", ({ url }) => html`<code>${url}</code>`],
      ["Since", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ["", ({ uuid, url }) => html`<${Do} kind="danger" ask=${`Delete ${url}? Credentials that name it can then be neither issued nor verified.`} run=${async () => { await remove(`context/${uuid}`); await found.reload(); }} done="The context is deleted.">Delete<//>`],
    ]} />`}<//>
    <section><h2>Add a context</h2><${Form} submit="Add" reset run=${add} done="The context is added.">
      <${Field} text="URL" name="url" required placeholder="https://acme.example/terms/v1" />
      <${Field} text="Document, as JSON" name="document" rows="8" required hint=${'An object with "@context".'} />
    <//></section>
  <//>`;
}

const SCOPES = { read: "read: look at everything but settings and keys", send: "send: also send messages and do business", admin: "admin: also keys, settings and identities" };

export function Keys() {
  const found = useLoad(() => sorted("api-token"));
  const [made, setMade] = useState(null);
  const [year] = useState(inAYear);
  const own = session.value?.about.key.uuid;
  async function make(values) {
    setMade(await post("api-token", values));
    await found.reload();
  }
  async function revoke(uuid) {
    await remove(`api-token/${uuid}`);
    await found.reload();
  }
  return html`<${Screen} title="Keys" about="Subscription keys: each of your systems and colleagues should have one of its own." actions=${html`<${ToForm} id="make">New key<//>`}>
    ${made && html`<${Secret} title=${`The key ${made.name}.`} of=${made.headers["tnt-subscription-key"]} use="A system sends it in the header tnt-subscription-key; a person signs in with it here." />`}
    <${Loaded} of=${found}>${({ hits }) => html`<${Table} caption="Keys" hits=${hits} empty="There is no key." columns=${[
      ["Name", ({ uuid, name }) => html`${name || "without a name"} ${uuid === own && html`<small>this one</small>`}`],
      ["Scope", ({ scope }) => scope],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ["Expires", ({ expiresAt }) => html`<${Time} at=${expiresAt} />`],
      ["Last used", ({ lastUsedAt }) => html`<${Time} at=${lastUsedAt} />`],
      ["", ({ uuid, name, status }) => status === "ACTIVE" && html`<${Do} kind="danger" ask=${uuid === own ? "This is the key that you are signed in with. Revoke it?" : `Revoke the key ${name}?`} run=${() => revoke(uuid)} done="The key is revoked.">Revoke<//>`],
    ]} />`}<//>
    <section id="make"><h2>Make a key</h2><${Form} submit="Make the key" reset run=${make}>
      <${Field} text="Name" name="name" required hint="Who or what will use it." />
      <${Field} text="Scope" name="scope" options=${Object.entries(SCOPES)} />
      <${Field} text="Expires" name="expiresAt" type="datetime-local" value=${year} hint="Empty: never." />
    <//></section>
  <//>`;
}

const SWITCHES = [
  ["autoAcceptConnections", true, "Connection requests are accepted without asking."],
  ["autoOffer", false, "A proposal is answered by an offer of what was proposed."],
  ["autoRequest", false, "An offer is accepted without asking."],
  ["autoIssue", null, "A request is answered by the credential. By default, that is so for your own offers."],
  ["autoStore", true, "A credential that passed every check is kept and acknowledged."],
  ["autoPresent", false, "A request for proof is answered with the first credentials that fit."],
  ["autoVerify", true, "A proof that passed every check is acknowledged."],
  ["offerRevocable", false, "What you offer in the format ld-proof can be revoked."],
  ["notifyRevocation", false, "The holder is told when you revoke a credential."],
];
const DEFAULTS = { true: "Yes (by default)", false: "No (by default)", null: "By default" };

export function Settings() {
  const found = useLoad(() => settingOf("PRINCIPAL_SETTINGS", {}));
  const [saved, setSaved] = useState(null);
  /** Members that are the company's own, or newer than this page, stay as they are. */
  async function save({ retentionDays, externalSigningUrl, ...choices }) {
    const setting = await settingOf("PRINCIPAL_SETTINGS", {});
    for (const [name] of SWITCHES) {
      if (choices[name]) setting[name] = choices[name] === "yes";
      else delete setting[name];
    }
    if (retentionDays) setting.retentionDays = Number(retentionDays);
    else delete setting.retentionDays;
    if (externalSigningUrl) setting.externalSigningUrl = externalSigningUrl;
    else delete setting.externalSigningUrl;
    setSaved(await put("settings/PRINCIPAL_SETTINGS", { setting }));
    await found.reload();
  }
  return html`<${Screen} title="Settings" about="Which steps the service takes without asking you.">
    ${saved && html`<p role="status">The settings are saved.</p>`}
    ${saved?.secrets?.externalSigningUrl && html`<${Secret} title="The secret that calls of the external signer are signed with." of=${saved.secrets.externalSigningUrl} />`}
    <${Loaded} of=${found}>${(setting) => html`<section><${Form} key=${JSON.stringify(setting)} submit="Save" run=${save}>
      ${SWITCHES.map(([name, usual, sentence]) => html`<${Field} key=${name} text=${sentence} name=${name} value=${setting[name] === undefined ? "" : setting[name] ? "yes" : "no"}
        options=${[["", DEFAULTS[usual]], ["yes", "Yes"], ["no", "No"]]} />`)}
      <${Field} text="Messages are erased after this many days." name="retentionDays" type="number" min="1" max="36500" value=${setting.retentionDays} hint="They are kept for ever, if left out." />
      <${Field} text="The external signer, for DIDs whose keys you hold" name="externalSigningUrl" type="url" value=${setting.externalSigningUrl} />
    <//></section><${Json} of=${setting} title="All settings as JSON, with your own" />`}<//>
  <//>`;
}

/** An audit log: `path` is whose. */
export function AuditLog({ path }) {
  const list = useList(path, {}, { partner: null, order: "" });
  return html`<${Loaded} of=${list}>${(records) => html`<${HowMany} of=${records} what="record" />
    <${Table} caption="Audit log" list=${list} empty="Nothing was recorded yet." columns=${[
      ["When", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
      ["What", ({ act }) => html`<code>${act}</code>`],
      ["Who", ({ by }) => `${by.name || by.kind} (${by.kind}, ${by.role})`],
      ["Status", ({ status }) => html`<${Status} of=${status} />`],
      ["Details", ({ details }) => Object.entries(details).filter(([, value]) => !Array.isArray(value) || value.length).map(([name, value]) => `${name}: ${Array.isArray(value) ? value.map(text).join(" ") : text(value)}`).join(", ")],
      ["Trace", ({ traceId }) => traceId && html`<code>${traceId}</code>`],
    ]} />`}<//>`;
}

export function Audit() {
  return html`<${Screen} title="Audit log" about="What was done with your keys, and what operators did to your tenant. The newest first."><${AuditLog} path="audit" /><//>`;
}
