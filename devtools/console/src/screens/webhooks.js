import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { call, entriesOf, post, put, remove } from "../api.js";
import { html } from "../html.js";
import { route, to } from "../route.js";
import { Do, Facts, Field, Form, Json, Loaded, Screen, Secret, Status, Text, Time, useLoad } from "../ui.js";
import { Counts, Way } from "./deliveries.js";

const SETTINGS = {
  DIDCOMM_WEBHOOK: { title: "Messages", about: "Called with each received message whose type or attachment fits.", match: "basicmessage|ack~attach" },
  TASK_WEBHOOK: { title: "Events", about: "Called when something finishes or waits: connections, exchanges, credentials, failed deliveries.", match: "connection|delivery" },
};

export function Webhooks() {
  return html`<${Screen} title="Webhooks" about="How your own systems are told. Each call is signed with a secret of its entry.">
    ${Object.entries(SETTINGS).map(([key, { title, about }]) => html`<${Setting} key=${key} setting=${key} title=${title} about=${about} />`)}
  <//>`;
}

function Setting({ setting, title, about }) {
  const found = useLoad(() => entriesOf(setting), [setting]);
  const [secrets, setSecrets] = useState({});
  const folded = useRef(null);
  async function add({ id, ...entry }) {
    try {
      const headers = { "if-none-match": "*" };
      const { secret } = await call("PUT", `settings/${setting}/${encodeURIComponent(id)}`, { body: entry, headers });
      setSecrets((known) => ({ ...known, [id]: secret }));
    } catch (problem) {
      throw problem.code === "precondition-failed" ? new Error(`There is a webhook ${id} already. Choose another name.`) : problem;
    }
    await found.reload();
    folded.current.open = false;
  }
  return html`<div>
    <h2>${title}</h2><p class="about">${about}</p>
    <${Loaded} of=${found}>${(entries) => html`
      ${!entries.length && html`<p class="empty">There is no webhook yet. Add one below.</p>`}
      ${entries.map((entry) => html`<${Entry} key=${entry.id} of=${entry} secret=${secrets[entry.id]} reload=${found.reload} />`)}`}<//>
    <section><details ref=${folded}><summary>Add a webhook for ${title.toLowerCase()}</summary>
      <${Edit} setting=${setting} submit="Add" save=${add} done="The webhook is added. Test it." />
    </details></section>
  </div>`;
}

function Entry({ of: entry, secret, reload }) {
  const [rotated, setRotated] = useState(null);
  const [tested, setTested] = useState(null);
  const { key, id } = entry;
  const path = `settings/${key}/${encodeURIComponent(id)}`;
  const [tests, setTests] = useState(0);
  const place = useRef(null);
  const shown = rotated?.secret ?? secret;
  useLayoutEffect(() => {
    if (route.value.query.get("id") === id) place.current.scrollIntoView();
  }, []);
  async function test() {
    setTested(await post(`${path}/test`));
    setTests((before) => before + 1);
    await reload();
  }
  const then = (act) => async (...values) => {
    await act(...values);
    await reload();
  };
  return html`<section ref=${place}>
    <h3>${id}</h3>
    <${Facts} of=${[
      ["URL", html`<code>${entry.method} ${entry.url}</code>`],
      ["Matches", html`<code>${entry.match}</code>`],
      ["Headers", Object.keys(entry.headers).join(", ")],
      ["Status", html`<${Status} of=${entry.status === "ACTIVE" && entry.failingSince ? "failing" : entry.status} />`],
      ["Failing since", entry.failingSince && html`<${Time} at=${entry.failingSince} />`],
      ["Public key", entry.publicKey && html`<code>${entry.publicKey}</code>`],
    ]} />
    <h4>Its deliveries, last 7 days</h4><${Counts} key=${tests} query=${{ webhookId: id }} />
    ${shown && html`<${Secret} title="The secret." of=${shown} use="Your receiver checks the calls' signatures with it." />`}
    ${rotated && html`<p>Calls carry a signature of the old secret as well. It ends <${Time} at=${rotated.formerValidUntil} />.</p>`}
    <div class="actions">
      ${entry.status === "DISABLED" && html`<${Do} kind="main" run=${then(() => post(`${path}/enable`))} done=${`The webhook ${id} is called again.`}>Enable<//>`}
      <${Do} run=${test}>Test<//>
      <${Do} run=${async () => setRotated(await post(`${path}/rotate-secret`))} ask="Make a new secret? The old one is good for one more day.">New secret<//>
      <a class="button" href=${`${to("deliveries")}?webhookId=${encodeURIComponent(id)}`}>Its deliveries</a>
      <${Do} kind="danger" ask=${`Remove the webhook ${id}?`} run=${then(() => remove(path))} done=${`The webhook ${id} is removed.`}>Remove<//>
    </div>
    ${tested && html`<p role="status">The test was <${Status} of=${tested.status} /></p><${Way} of=${tested} />`}
    <details><summary>Change</summary><${Edit} of=${entry} setting=${key} submit="Save" save=${then((changed) => put(path, changed))} done=${`The webhook ${id} is saved.`} /></details>
    <details><summary>A receiver to try it with</summary><${Receiver} url=${entry.url} /></details>
    <${Json} of=${entry} />
  </section>`;
}

function Edit({ of: entry, setting, submit, save, done }) {
  const headers = Object.entries(entry?.headers ?? {}).map((pair) => pair.join(": ")).join("\n");
  const run = ({ id, url, method, match, headers = "" }) => save({ ...(id && { id }), url, method, ...(match && { match }), headers: readHeaders(headers) });
  return html`<${Form} submit=${submit} run=${run} done=${done} reset=${!entry}>
    ${!entry && html`<${Field} text="Name" name="id" required maxlength="64" placeholder="erp" hint="How it is called here and in deliveries." />`}
    <${Field} text="URL" name="url" type="url" required value=${entry?.url} placeholder="https://erp.example.com/didcomm" />
    <${Field} text="Method" name="method" value=${entry?.method} options=${["POST", "PUT", "PATCH"].map((one) => [one, one])} />
    <${Field} text="Only types that match" name="match" value=${entry?.match} hint=${`A regular expression, such as ${SETTINGS[setting].match}. All, if left out.`} />
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
