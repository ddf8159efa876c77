import { useEffect, useState } from "preact/hooks";
import { all, get, newest, picture, post, remove } from "../api.js";
import { forgetContacts, PartnerLink, partnersOf } from "../contacts.js";
import { html } from "../html.js";
import { go, route, to } from "../route.js";
import { LIVE, Check, Do, Facts, Failure, Field, Form, HowMany, Json, Loaded, Screen, Status, Table, Text, Time, useList, useLoad } from "../ui.js";
import { connectionWords } from "../words.js";

const MOST_SHOWN = 20;

/** All invitations, or one of them. */
export function Invitations({ path: [uuid] }) {
  return uuid ? html`<${One} uuid=${uuid} />` : html`<${List} />`;
}

function List() {
  const list = useList("invitation", {}, { partner: null });
  const columns = [
    ["Label", ({ uuid, invitation }) => html`<a href=${to("invitations", uuid)}>${invitation.label || "without a label"}</a>`],
    ["Goal", ({ invitation }) => invitation.goal ?? invitation.body?.goal ?? ""],
    ["Status", ({ status }) => html`<${Status} of=${status} />`],
    ["Use", ({ multiUse }) => (multiUse ? "many times" : "once")],
    ["Made", ({ createdAt }) => html`<${Time} at=${createdAt} />`],
  ];
  return html`<${Screen} title="Invitations" actions=${html`<a class="button main" href=${to("invite")}>Invite a partner</a>`}>
    <${Loaded} of=${list}>${(invitations) => html`<${HowMany} of=${invitations} what="invitation" />
      <${Table} caption="Invitations" columns=${columns} list=${list} empty=${html`You have made no invitation yet. <a href=${to("invite")}>Invite a partner</a>.`} />`}<//>
  <//>`;
}

function One({ uuid }) {
  const found = useLoad(async () => {
    const [invitation, connections] = await Promise.all([get(`invitation/${uuid}`), newest("connection", { invitationUuid: uuid, limit: MOST_SHOWN })]);
    return { invitation, connections, partners: await partnersOf(connections.hits) };
  }, [uuid], LIVE);
  async function withdraw() {
    await remove(`invitation/${uuid}`);
    await found.reload();
  }
  return html`<${Screen} title="Invitation"><${Loaded} of=${found}>${({ invitation, connections, partners }) => html`
    <section>
      <${Facts} of=${[["Status", html`<${Status} of=${invitation.status} />`], ["Use", invitation.multiUse ? "many times" : "once"], ["Expires", invitation.expiresAt && html`<${Time} at=${invitation.expiresAt} />`]]} />
      ${connections.hits.length === 0 && html`<p class="quiet">Nobody has used it yet. Whoever does appears here.</p>`}
      <ul>${connections.hits.map(({ uuid, contactUuid, state }) => html`<li key=${uuid}><${PartnerLink} uuid=${contactUuid} among=${partners} />: ${connectionWords(state)}</li>`)}</ul>
      ${!connections.isWhole && html`<p class="quiet">The latest are shown; all are among your <a href=${to("partners")}>partners</a>.</p>`}
    </section>
    ${invitation.status === "ACTIVE" && html`<${Share} invitation=${invitation} />
      <section><h2>Withdraw</h2><p>Nobody can use it any more. Who is connected stays so.</p><${Do} kind="danger" ask="Withdraw this invitation?" run=${withdraw} done="The invitation is withdrawn.">Withdraw<//></section>`}`}<//><//>`;
}

/** What to give to the partner: a QR code, a link, a text for a mail. */
function Share({ invitation }) {
  const [source, setSource] = useState("");
  const [error, setError] = useState(null);
  useEffect(() => {
    let url = "";
    picture(`invitation/${invitation.uuid}/qr.svg`).then((made) => setSource((url = made)), setError);
    return () => URL.revokeObjectURL(url);
  }, [invitation.uuid]);
  const content = invitation.invitation;
  const goal = content.goal ?? content.body?.goal;
  const until = invitation.expiresAt ? ` It is valid until ${new Date(invitation.expiresAt).toUTCString()}.` : "";
  const mail = `${content.label || "We"} would like to connect with you${goal ? ` (${goal})` : ""}.\n\nOpen this link, or paste it into your agent:\n${invitation.shortUrl}\n\n${until.trim()}`.trim();
  return html`<section>
    <h2>For your partner</h2>
    <${Failure} error=${error} />
    ${source && html`<p><img class="qr" src=${source} alt="QR code of the invitation's link" /></p>`}
    <${Text} title="Link" of=${invitation.shortUrl} />
    <${Text} title="Text for a mail" of=${mail} />
    <p><a class="button" href=${`mailto:?${new URLSearchParams({ subject: "Invitation to connect", body: mail }).toString().replaceAll("+", "%20")}`}>Write the mail</a></p>
    <details><summary>Long link, for agents that are offline when they read it</summary><${Text} title="Long link" of=${invitation.invitationUrl} /></details>
    <${Json} of=${content} title="The invitation as JSON" />
  </section>`;
}

export function Invite() {
  const identities = useLoad(() => all("identity"));
  async function make({ form, ...wanted }) {
    const made = await post("invitation", { form, ...wanted });
    go("invitations", made.uuid);
  }
  return html`<${Screen} title="Invite a partner" about="An invitation is a link or a QR code. Whoever opens it with an agent is connected with you.">
    <${Loaded} of=${identities}>${({ hits }) => html`<section><${Form} submit="Make the invitation" run=${make}>
      <${Field} text="Label" name="label" maxlength="200" placeholder=${hits.find(({ isDefault }) => isDefault)?.displayName} hint="Your name, as the partner sees it. The identity's name, if left out." />
      <${Field} text="Goal" name="goal" hint="What the connection is for, such as: Orders and invoices." />
      <${Field} text="Expires" name="expiresAt" type="datetime-local" hint="Never, if left out." />
      <${Field} text="Identity" name="identityId" value=${hits.find(({ isDefault }) => isDefault)?.uuid} options=${hits.map(({ uuid, displayName, did }) => [uuid, displayName || did])} />
      <${Field} text="For agents of" name="form" options=${[["out-of-band/1", "DIDComm v1 (most agents)"], ["out-of-band/2", "DIDComm v2"], ["connections/1", "Connections 1.0 alone (old agents)"]]} />
      <${Check} text="Anybody may use it, as often as they like" name="multiUse" />
    <//></section>`}<//>
  <//>`;
}

/** What was pasted, as the API takes it: JSON, a DID or a link. */
function read(pasted) {
  const text = pasted.trim();
  if (text.startsWith("did:")) return { contact: { did: text } };
  if (!text.startsWith("{")) return { invitationUrl: text };
  try {
    return { invitation: JSON.parse(text) };
  } catch {
    throw new Error("This begins like JSON and is not complete. Paste the whole invitation.");
  }
}

export function Accept() {
  async function accept({ pasted, displayName, internalRef, look }) {
    const { contact = {}, ...rest } = read(pasted);
    if (look && !contact.did) rest.accept = false;
    if (displayName) contact.displayName = displayName;
    if (internalRef) contact.internalRef = internalRef;
    const made = await post("contact", Object.keys(contact).length ? { ...rest, contact } : rest);
    forgetContacts();
    go("partners", made.uuid);
  }
  return html`<${Screen} title="Accept an invitation" about="Paste what you were given: a link, the invitation as JSON, or a partner's public DID.">
    <section><${Form} submit="Connect" run=${accept}>
      <${Field} text="Link, JSON or DID" name="pasted" rows="5" required value=${route.value.query.get("invitation")} />
      <${Field} text="What you call the partner" name="displayName" hint="What it calls itself, if left out." />
      <${Field} text="Your reference" name="internalRef" />
      <${Check} text="Look at it first" name="look" hint="The partner hears nothing until you accept on the next screen." />
    <//></section>
  <//>`;
}
