import { useState } from "preact/hooks";
import { entriesOf, post, put } from "../api.js";
import { html } from "../html.js";
import { to } from "../route.js";
import { Do, Facts, Field, Form, Json, Loaded, Screen, Secret, Status, Text, Time, useLoad } from "../ui.js";
import { Attempts } from "./deliveries.js";

const SETTINGS = {
  DIDCOMM_WEBHOOK: { title: "Messages", about: "Called with each received message whose type or attachment fits." },
  TASK_WEBHOOK: { title: "Events", about: "Called when something finishes or waits: connections, exchanges, credentials, failed deliveries." },
};

export function Webhooks() {
  return html`<${Screen} title="Webhooks" about="How your own systems are told. Each call is signed with a secret of its entry.">
    ${Object.entries(SETTINGS).map(([key, { title, about }]) => html`<${Setting} key=${key} setting=${key} title=${title} about=${about} />`)}
  <//>`;
}

function Setting({ setting, title, about }) {
  const found = useLoad(() => entriesOf(setting), [setting]);
  const [secrets, setSecrets] = useState({});
  /** Saves the setting after `change` was made to its entries as they are now. */
  async function save(change) {
    const before = (await entriesOf(setting)).map(({ key, ...entry }) => entry);
    const saved = await put(`settings/${setting}`, { setting: change(before) });
    setSecrets((known) => ({ ...known, ...saved.secrets }));
    await found.reload();
  }
  return html`<div>
    <h2>${title}</h2><p class="about">${about}</p>
    <${Loaded} of=${found}>${(entries) => html`
      ${!entries.length && html`<p class="empty">There is no webhook yet. Add one below.</p>`}
      ${entries.map((entry) => html`<${Entry} key=${entry.id} of=${entry} secret=${secrets[entry.id]} save=${save} reload=${found.reload} />`)}`}<//>
    <section><details><summary>Add a webhook for ${title.toLowerCase()}</summary>
      <${Edit} submit="Add" save=${(entry) => save((entries) => [...entries, entry])} />
    </details></section>
  </div>`;
}

function Entry({ of: entry, secret, save, reload }) {
  const [rotated, setRotated] = useState(null);
  const [tested, setTested] = useState(null);
  const { key, id } = entry;
  const path = `settings/${key}/${encodeURIComponent(id)}`;
  const shown = rotated?.secret ?? secret;
  async function enable() {
    await post(`${path}/enable`);
    await reload();
  }
  return html`<section>
    <h3>${id}</h3>
    <${Facts} of=${[
      ["URL", html`<code>${entry.method} ${entry.url}</code>`],
      ["Fits", html`<code>${entry.match}</code>`],
      ["Headers", Object.keys(entry.headers).join(", ")],
      ["Status", html`<${Status} of=${entry.status} />`],
      ["Failing since", entry.failingSince && html`<${Time} at=${entry.failingSince} />`],
      ["Public key", entry.publicKey && html`<code>${entry.publicKey}</code>`],
    ]} />
    ${shown && html`<${Secret} title="The secret." of=${shown} />`}
    ${rotated && html`<p>Calls are signed with the old secret too until <${Time} at=${rotated.formerValidUntil} />.</p>`}
    <div class="actions">
      ${entry.status === "DISABLED" && html`<${Do} kind="main" run=${enable}>Enable<//>`}
      <${Do} run=${async () => setTested(await post(`${path}/test`))}>Test<//>
      <${Do} run=${async () => setRotated(await post(`${path}/rotate-secret`))} ask="Make a new secret? The old one is good for one more day.">New secret<//>
      <a class="button" href=${`${to("deliveries")}?webhookId=${encodeURIComponent(id)}`}>Its deliveries</a>
      <${Do} kind="danger" ask=${`Remove the webhook ${id}?`} run=${() => save((entries) => entries.filter((one) => one.id !== id))}>Remove<//>
    </div>
    ${tested && html`<p role="status">The test was <${Status} of=${tested.status} /></p><${Attempts} of=${tested} />`}
    <details><summary>Change</summary><${Edit} of=${entry} submit="Save" save=${(changed) => save((entries) => entries.map((one) => (one.id === id ? { ...changed, id } : one)))} /></details>
    <details><summary>A receiver to try it with</summary><${Receiver} url=${entry.url} /></details>
    <${Json} of=${entry} />
  </section>`;
}

function Edit({ of: entry, submit, save }) {
  const headers = Object.entries(entry?.headers ?? {}).map((pair) => pair.join(": ")).join("\n");
  const run = ({ id, url, method, match, headers = "" }) => save({ ...(id && { id }), url, method, ...(match && { match }), headers: readHeaders(headers) });
  return html`<${Form} submit=${submit} run=${run} reset=${!entry}>
    ${!entry && html`<${Field} text="Name" name="id" hint="How it is called here and in deliveries. The service makes one if left out." />`}
    <${Field} text="URL" name="url" type="url" required value=${entry?.url} placeholder="https://erp.example.com/didcomm" />
    <${Field} text="Method" name="method" value=${entry?.method} options=${["POST", "PUT", "PATCH"].map((one) => [one, one])} />
    <${Field} text="Only what fits" name="match" value=${entry?.match} hint="A regular expression for the type, such as basicmessage|ack~attach. Everything, if left out." />
    <${Field} text="Headers to send" name="headers" rows="2" value=${headers} hint="One a line, such as Authorization: Bearer abc" />
  <//>`;
}

function readHeaders(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error(`'${line}' is no header. Write a name, a colon and a value on each line.`);
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
  }));
}

function Receiver({ url }) {
  let port = 8000;
  try {
    port = new URL(url).port || 8000;
  } catch {
    // The service checks URLs; one that it took before is shown as it is.
  }
  const program = `# receiver.py, started with: WEBHOOK_SECRET=whsec_... PORT=${port} python3 receiver.py
# It stands for ${url.replace(/[\r\n]/g, "")}
import base64, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))


def is_genuine(headers, body):
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    wanted = b"v1," + base64.b64encode(hmac.digest(KEY, signed, "sha256"))
    return any(hmac.compare_digest(wanted, each) for each in headers.get("webhook-signature", "").encode().split())


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        genuine = is_genuine(self.headers, body)
        if genuine:
            print(json.loads(body)["type"], flush=True)
        self.send_response(204 if genuine else 401)
        self.end_headers()

    do_PUT = do_PATCH = do_POST


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
`;
  return html`<${Text} title="Python, without further packages" of=${program} />`;
}
