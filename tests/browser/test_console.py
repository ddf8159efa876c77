"""The console at `/api/console` in a headless Chromium: every screen is shown, and every action is done once.

With `CONSOLE_PICTURES=docs/images` in the environment the pictures of docs/console.md are made anew.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from devtools import console
from tests.browser.visits import visit
from tests.scenarios.common import BASIC
from tests.stack import ROOT, Client, Receiver, Stack
from tntcore.messaging import times
from tntcore.messaging.ids import uuid_at
from tntcore.storage import states
from tntcore.storage.commit import Unit
from tntcore.storage.records import Contact, Message, Record
from tntcore.storage.states import ContactStatus

FOLDER = Path(__file__).parent
EVIL = "</p><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
ODD = {"toString": 1, "valueOf": 1}
TURNED = "\u202e"  # turns the words that follow round
TERMS = "https://acme.example/terms/v1"
CONTEXT = {"@context": {"@vocab": "https://acme.example/terms#"}}
FIRST_VIEW = 100_000  # bytes on the wire
PICTURE = 150_000  # bytes
DAY = 24 * 3_600_000  # milliseconds


async def test_the_bundle_is_what_its_source_makes() -> None:
    """If it fails: `make console`, and commit the file."""
    assert await asyncio.to_thread(console.bundle) == (console.SERVED / "console.js").read_bytes()


def test_every_check_and_status_has_words() -> None:
    words = (console.FOLDER / "src" / "words.js").read_text()
    credentials = "".join(module.read_text() for module in (ROOT / "tntcore" / "credentials").rglob("*.py"))
    checks = set(re.findall(r'\b(?:Check|NotYetValid)\(\s*"([a-z-]+)"', credentials))
    assert len(checks) > 8
    stored = [kind for kind in vars(states).values() if isinstance(kind, type) and issubclass(kind, StrEnum)]
    statuses = {one.value for kind in stored for one in kind if one.value.isupper()}
    assert len(statuses) > 20
    assert [name for name in sorted(checks | statuses) if not re.search(rf'\b{name}"?: "', words)] == []


async def test_the_session(stack: Stack, pair: tuple[Client, Client], tmp_path: Path) -> None:
    acme, bolt = pair
    async with _receiver() as gone:
        mine, theirs = await _connect(stack, acme, bolt)
        await _disable_a_webhook(acme, gone)
        await _send_hostile_messages(bolt, theirs)
        await gone.until(lambda hook: True)
        await _let_a_stranger_ask(stack, acme)
        await _offer(stack, acme, bolt, theirs)
        given = {"key": acme.key, "partner": mine.contact_uuid, "bolt": {"key": bolt.key}}
        seen = await _visit("session", stack, tmp_path, given)
    _check_manners(seen, stack.url, acme.key, bolt.key)
    policy = seen["headers"]["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert seen["firstView"] < FIRST_VIEW
    assert seen["firstFiles"] == 3, "the page, its style and its script, and no call before somebody signs in"
    assert "key-unknown" in seen["refused"]
    assert seen["strayed"] == []
    assert TURNED not in seen["home"]
    assert "onerror=window.hacked=1>" in seen["home"]
    assert seen["waiting"] == "2"
    assert seen["focusAfterwards"] == "Keys"
    assert seen["signedOut"] == {"local": {}, "session": {}}
    assert seen["curl"].startswith("curl -sS -X ")
    assert "$TNT_KEY" in seen["curl"]
    assert (seen["focusedTitle"], seen["focusedButton"], seen["skippedTo"]) == ("Messages", "Refresh", "main")
    assert not [call for call in seen["next"] if "WAITING" not in call and "connection?state" not in call]


async def test_partners_and_messages(stack: Stack, pair: tuple[Client, Client], tmp_path: Path) -> None:
    acme, bolt = pair
    mine, theirs = await _connect(stack, acme, bolt)
    await _send_hostile_messages(bolt, theirs)
    await _let_a_stranger_ask(stack, acme)
    given = {
        "key": acme.key,
        "partner": mine.contact_uuid,
        "invitation": (await bolt.post("invitation", {"label": "Bolt again"}))["invitationUrl"],
        "other": (await bolt.post("invitation", {"label": "Bolt", "goal": "Only look"}))["invitationUrl"],
    }
    seen = await _visit("partners", stack, tmp_path, given)
    _check_manners(seen, stack.url, acme.key)
    assert seen["exported"].endswith(".json")
    assert seen["copied"] == seen["link"]
    assert "/api/i/" in seen["copied"]
    assert seen["saved"].endswith(".bin")
    assert seen["typed"] == "half a name"


async def test_what_waits(stack: Stack, pair: tuple[Client, Client], tmp_path: Path) -> None:
    acme, bolt = pair
    _, theirs = await _connect(stack, acme, bolt)
    await _let_a_stranger_ask(stack, acme)
    offer = await _offer(stack, acme, bolt, theirs)
    of = {"path": ["$.type", "$.vc.type"], "filter": {"type": "array", "contains": {"const": "Membership"}}}
    level = {"path": ["$.credentialSubject.level", "$.vc.credentialSubject.level"]}
    question = {"input_descriptors": [{"id": "membership", "constraints": {"fields": [of, level]}}]}
    given = {
        "key": acme.key,
        "bolt": {
            "key": bolt.key,
            "to": theirs.contact_uuid,
            "question": {"presentation_definition": question},
            "offer": offer,
        },
    }
    seen = await _visit("waiting", stack, tmp_path, given)
    _check_manners(seen, stack.url, acme.key)


async def test_credentials_and_proofs(stack: Stack, pair: tuple[Client, Client], tmp_path: Path) -> None:
    acme, bolt = pair
    mine, _ = await _connect(stack, acme, bolt)
    await bolt.post("context", {"url": TERMS, "document": CONTEXT})
    terms = {"url": TERMS, "document": orjson.dumps(CONTEXT).decode()}
    seen = await _visit("credentials", stack, tmp_path, {"key": acme.key, "partner": mine.contact_uuid, "terms": terms})
    _check_manners(seen, stack.url, acme.key)
    asked_at = seen["asked"]["non_revoked"]
    assert asked_at["from"] == asked_at["to"]


async def test_webhooks_and_deliveries(stack: Stack, pair: tuple[Client, Client], tmp_path: Path) -> None:
    acme, bolt = pair
    async with _receiver() as gone, _receiver() as well:
        _, theirs = await _connect(stack, acme, bolt)
        await _disable_a_webhook(acme, gone)
        await _send_hostile_messages(bolt, theirs)
        await gone.until(lambda hook: True)
        await _let_a_stranger_ask(stack, acme)
        given = {"key": acme.key, "receiver": f"{well.url}/hook"}
        seen = await _visit("webhooks", stack, tmp_path, given)
    _check_manners(seen, stack.url, acme.key)


async def test_the_account(stack: Stack, tmp_path: Path) -> None:
    acme = await stack.register(EVIL)
    reading = await acme.post("api-token", {"name": "reading", "scope": "read"})
    given = {"key": acme.key, "reading": reading["headers"]["tnt-subscription-key"]}
    seen = await _visit("account", stack, tmp_path, given)
    _check_manners(seen, stack.url, *given.values())
    assert datetime.fromisoformat(seen["expires"]) > datetime.now() + timedelta(days=360)


async def test_the_operator(stack: Stack, tmp_path: Path) -> None:
    operator = stack.operator["tnt_operator_key"]
    acme = await stack.register(EVIL)
    await stack.app.poison.handle("relay", f"senseless-{acme.uuid}", b"senseless")
    seen = await _visit("operator", stack, tmp_path, {"operator": operator})
    _check_manners(seen, stack.url, operator)
    assert seen["kept"] == {}


async def test_many_messages_and_partners(stack: Stack, tmp_path: Path) -> None:
    acme = await stack.register("Acme with many")
    oldest = await _fill(acme)
    seen = await _visit("many", stack, tmp_path, {"key": acme.key, "oldest": oldest})
    assert seen["calls"] < 60
    assert seen["elements"] < 2_000
    assert (seen["rows"], seen["afterwards"], seen["inOrder"]) == (300, 300, True)
    assert seen["titleAfterEnter"] == "Offer a credential"


async def _fill(acme: Client) -> str:
    """Gives Acme 300 partners and 10,000 messages of 20 days; returns the day before which a few of them are."""
    records = (await acme.tenant()).records
    now = acme.stack.app.services.now()
    partners = [uuid_at(now - number, f"partner {number}") for number in range(300)]
    made: list[Record] = [
        Contact(uuid=uuid, status=ContactStatus.ACCEPTED, display_name=f"partner ({number})", created_at=now - number)
        for number, uuid in enumerate(partners)
    ]
    for number in range(10_000):
        at = now - number * (20 * DAY // 10_000)
        uuid = uuid_at(at, f"message {number}")
        body = records.seal_body(uuid, orjson.dumps({"@type": BASIC, "content": f"number {number}"}))
        partner = partners[number % 300]
        made.append(Message(uuid=uuid, direction="IN", type=BASIC, contact_uuid=partner, body=body, created_at=at))
    units = [Unit() for _ in range(0, len(made), 100)]
    for number, record in enumerate(made):
        units[number // 100].create(record)
    await asyncio.gather(*(records.commit(unit) for unit in units))
    return times.iso(now - 20 * DAY + DAY)[: len("2026-01-31")]


def test_the_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").glob("console-*.png"))
    assert pictures
    assert max(picture.stat().st_size for picture in pictures) < PICTURE


async def _visit(name: str, stack: Stack, folder: Path, given: dict[str, Any]) -> Any:
    """Runs `visit_{name}.mjs`, which gets `given`, and returns what it saw."""
    await asyncio.to_thread(console.install)
    arguments = (f"{stack.url}/api/console", _pictures(folder), orjson.dumps(given).decode())
    return await visit(FOLDER / f"visit_{name}.mjs", *arguments)


def _pictures(folder: Path) -> str:
    return str(Path(os.environ.get("CONSOLE_PICTURES", folder)).resolve())


@asynccontextmanager
async def _receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()


async def _connect(stack: Stack, acme: Client, bolt: Client) -> tuple[Any, Any]:
    """Connects the two; Bolt then accepts what Acme offers and asks for, and Acme decides who connects."""
    connected = await stack.connect(acme, bolt)
    await bolt.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoRequest": True, "autoPresent": True}}, 200)
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    return connected


async def _disable_a_webhook(acme: Client, gone: Receiver) -> None:
    """Gives Acme a webhook which the first call finds gone."""
    gone.answer = lambda hook: (410 if len(gone.got) == 1 else 200, {})
    await acme.post("settings/DIDCOMM_WEBHOOK", {"setting": [{"id": "erp", "url": f"{gone.url}/hook"}]}, 200)


async def _send_hostile_messages(bolt: Client, theirs: Any) -> None:
    message = {
        # A type with a space is not sent.
        "@type": f"javascript:window.hacked=1//{EVIL}/1.0/{TURNED}{EVIL}".replace(" ", "/"),
        "content": EVIL,
        "x~attach": {"@id": EVIL, "filename": EVIL, "mime-type": "text/html", "data": {"json": {EVIL: EVIL}}},
    }
    await bolt.act(theirs.contact_uuid, message)
    report = {
        "@type": "https://didcomm.org/report-problem/1.0/problem-report",
        "description": {"en": ODD, "code": 5},
        "comment": ODD,
        "x~attach": [None, 5, {"@id": ODD, "data": {"base64": 7}}, {"filename": ODD, "data": "no object"}],
        "y~attach": ODD,
    }
    await bolt.act(theirs.contact_uuid, report)


async def _let_a_stranger_ask(stack: Stack, acme: Client) -> None:
    """Has a company with a hostile name ask Acme to connect, which waits for Acme's word."""
    carol = await stack.register(EVIL[:200])
    invitation = await acme.post("invitation", {"label": "Acme"})
    await carol.post("contact", {"invitationUrl": invitation["invitationUrl"]})

    async def waits() -> bool:
        return bool((await acme.get("connection?state=request-received"))["hits"])

    await stack.eventually(waits, 20)


async def _offer(stack: Stack, acme: Client, bolt: Client, theirs: Any) -> dict[str, Any]:
    """Has Bolt offer Acme a credential, which waits for Acme's word. Returns the body of the call."""
    credential = {
        "@context": ["https://www.w3.org/2018/credentials/v1"],
        "type": ["VerifiableCredential", "Membership"],
        "credentialSubject": {"level": "gold", "remark": EVIL, "odd": ODD},
    }
    offer = {"command": "offer", "to": theirs.contact_uuid, "format": "jwt-vc", "comment": EVIL}
    body = {**offer, "data": {"credential": credential}}
    await bolt.post("credential", body)

    async def waits() -> bool:
        return bool((await acme.get("exchange?status=WAITING"))["hits"])

    await stack.eventually(waits, 20)
    return body


@cache
def _tried() -> list[str]:
    """The buttons that the visits press, by the beginnings of their names."""
    scripts = "".join(script.read_text() for script in FOLDER.glob("visit_*.mjs"))
    names = re.findall(r'(?:press\(|name: )(?:"|/\^?)([^"$/]+)["$/]', scripts)
    return [name.replace(r"\d+", "N") for name in names]


def _check_manners(seen: dict[str, Any], url: str, *keys: str) -> None:
    """What holds on every screen. Every button is pressed in this visit or in another one."""
    untried = [(name, where) for name, where in seen["untried"] if not name.startswith(tuple(_tried()))]
    assert not untried, f"buttons that nobody has pressed, and where: {untried}"
    assert [asked for asked in seen["requests"] if not asked.startswith((f"{url}/", "data:", f"blob:{url}/"))] == []
    assert not [key for key in keys if key in orjson.dumps(seen["requests"]).decode()]
    assert [said for said in seen["complaints"] if "policy" in said.lower() or "Error" in said] == []
    assert seen.get("hacked") is not True
    for name, screen in seen["screens"].items():
        assert screen["serious"] == [], name
        assert screen["tooWide"] == [], f"{name} scrolls sideways at these widths"
