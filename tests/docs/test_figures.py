"""The figures in the pages are the code's."""

from __future__ import annotations

import json
import re

from devtools.peers import PEERS
from tests.docs.pages import ROOT
from tntcore import egress
from tntcore.api import didcomm, http, idempotency, settings, views
from tntcore.config import Config
from tntcore.delivery import outbound, webhook_calls
from tntcore.delivery.retry import SEND_LADDER, WEBHOOK_LADDER
from tntcore.envelope.limits import MAX_PLAINTEXT, MAX_RECIPIENTS, MAX_WIRE
from tntcore.storage.records import ANSWER_KEPT
from tntcore.storage.repository import COUNT_CAP
from tntcore.strict_json import MAX_DEPTH
from tntcore.tenancy.webhooks import MAX_ENTRIES, MAX_MATCH, MAX_TASK_ENTRIES

_MIB, _DAY = 1024 * 1024, 24 * 3600


def page(name: str) -> str:
    """With each run of white space as one space."""
    return " ".join((ROOT / "docs" / f"{name}.md").read_text().split())


def test_limits() -> None:
    text = page("operating")
    kept = f"{webhook_calls._MAX_ANSWER // 1000} kB are kept"
    entries = f"{MAX_ENTRIES} entries (`TASK_WEBHOOK`: {MAX_TASK_ENTRIES})"
    hits = f"{views.DEFAULT_LIMIT} hits a page, at most {views.MAX_LIMIT}"
    hours = ANSWER_KEPT // 3_600_000
    sizes = f"{MAX_PLAINTEXT // _MIB} MiB unpacked, {MAX_WIRE / _MIB} MiB packed"
    looking = egress._NAME_PATIENCE + egress._NAME_ANSWER
    *first, last = outbound._REFUSED
    refused = f"{', '.join(map(str, first))} or {last}"
    for shown in (
        f"| a message | {sizes}, nested {MAX_DEPTH} deep, {MAX_RECIPIENTS} recipients |",
        f"| a request's JSON body | {http.MAX_JSON // _MIB} MiB |",
        f"| webhook setting | {entries}, {settings._MAX_SEALED // 1000} kB; `match` {MAX_MATCH:,} characters |",
        f"| a webhook's answer | {webhook_calls._TIMEOUT:.0f} s; "
        f"{len(WEBHOOK_LADDER)} attempts over three days; {kept} |",
        f"| an outgoing message's answer | {outbound._TIMEOUT:.0f} s; {len(SEND_LADDER)} attempts over two days; "
        f"{outbound._REFUSED_ATTEMPTS} where it is {refused}; {outbound._UNPROVEN_ATTEMPTS} where a stranger's request "
        "named the endpoint |",
        f"| looking up a host's name | {looking:.0f} s, beside the receiver's time; "
        f"its addresses are kept for {egress._NAME_KEPT:.0f} s |",
        f"| waiting at the door | {didcomm.MAX_IN_HAND // _MIB} MiB in each process, then 503 |",
        f"| lists | {hits}; totals are counted up to {COUNT_CAP:,} |",
        f"| `Idempotency-Key` | {idempotency._MAX_KEY} characters, remembered for {hours} hours |",
    ):
        assert shown in text
    assert 3 * _DAY < sum(WEBHOOK_LADDER) < 4 * _DAY
    assert 1.5 * _DAY < sum(SEND_LADDER) < 2.5 * _DAY


def test_what_the_host_holds() -> None:
    text = page("deploy")
    http = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]
    at_once, waiting = http["maxConcurrentRequests"], http["maxOutstandingRequests"]
    held = at_once * MAX_WIRE * 4 / 1e9
    for shown in (
        f"`perInstanceConcurrency` {at_once}, as `maxConcurrentRequests`",
        f"`maxOutstandingRequests` ({waiting})",
        f"`FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` {MAX_WIRE}, the largest packed message ({MAX_WIRE / _MIB} MiB)",
        f"{at_once} x {MAX_WIRE / _MIB} MiB x 4 = {held:.2f} GB",
        f"{held + 0.27 + 0.13 + 0.11:.1f} GB. Waiting calls",
    ):
        assert shown in text


def test_when_a_webhook_is_tried_again() -> None:
    [told] = re.findall(r"tried again after (.+?), each up to a fifth later", page("webhooks"))
    seconds, minutes, hours = re.fullmatch(r"(\d+) seconds, (.+?) minutes, (.+?) hours", told).groups()  # type: ignore[union-attr]
    numbers = [
        int(number) * unit
        for text, unit in ((seconds, 1), (minutes, 60), (hours, 3600))
        for number in re.findall(r"\d+", text)
    ]
    assert (0, *numbers) == WEBHOOK_LADDER


def test_defaults_of_settings() -> None:
    """A default that is set changes nothing, and the values that a setting names are taken."""
    rows = re.findall(
        r"^\| `(TNT_[A-Z_]+)` \| `?([\w]+)`? \| (?:`(\w+)`)?",
        (ROOT / "docs" / "operating.md").read_text(),
        re.MULTILINE,
    )
    base = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "TNT_PUBLIC_URL": "http://localhost:7071",
        "TNT_MASTER_KEY_FILE": "keys.json",
    }
    defaults = [(name, default) for name, default, _ in rows if default not in ("none", "anywhere", "required")]
    assert len(defaults) >= 12
    for name, default in defaults:
        assert Config.read({**base, name: default}) == Config.read(base), name
    named = [(name, value) for name, _, value in rows if value]
    assert len(named) >= 4
    for name, value in named:
        assert Config.read({**base, name: value}), name


def test_the_agents_that_are_tried() -> None:
    rows = re.findall(
        r"^\| ([\w-]+)[^|]* \| (\d+\.\d+\.\d+) \|", (ROOT / "docs" / "interop.md").read_text(), re.MULTILINE
    )
    installed = {requirement for peer in PEERS.values() for requirement in peer.requirements}
    credo = json.loads((ROOT / "tests" / "interop" / "credo" / "package.json").read_text())["dependencies"]
    assert len(rows) == 4
    for name, version in rows:
        package = {"ACA-Py": f"acapy-agent=={version}", "didcomm-node": f"didcomm-node@{version}"}.get(name)
        assert package in installed if package else (name, credo["@credo-ts/core"]) == ("Credo", version)
