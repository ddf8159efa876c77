"""The console at `/api/console` in a headless Chromium: every screen is shown, and every action is done once.

With `CONSOLE_PICTURES=docs/images` in the environment the pictures of docs/console.md are made anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from devtools import console
from tests.browser.visits import visit
from tests.scenarios.common import BASIC
from tests.stack import ROOT, Client, Receiver, Stack
from tntcore.messaging import times
from tntcore.messaging.ids import uuid_at
from tntcore.storage.commit import Unit
from tntcore.storage.records import Contact, Message, Record
from tntcore.storage.states import ContactStatus

COMPANY = Path(__file__).with_name("visit_console.mjs")
MANY = Path(__file__).with_name("visit_many.mjs")
ACCOUNT = Path(__file__).with_name("visit_account.mjs")
EVIL = "</p><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
TURNED = "\u202e"  # turns the words that follow round
TERMS = "https://acme.example/terms/v1"
CONTEXT = {"@context": {"@vocab": "https://acme.example/terms#"}}
FIRST_VIEW = 100_000  # bytes on the wire
PICTURE = 150_000  # bytes
DAY = 24 * 3_600_000  # milliseconds


async def test_the_bundle_is_what_its_source_makes() -> None:
    """If it fails: `make console`, and commit the file."""
    assert await asyncio.to_thread(console.bundle) == (console.SERVED / "console.js").read_bytes()


async def test_the_console(stack: Stack, pair: tuple[Client, Client], tmp_path: Path) -> None:
    await asyncio.to_thread(console.install)
    acme, bolt = pair
    receivers = [Receiver(), Receiver()]
    for receiver in receivers:
        await receiver.start()
    try:
        given = await _prepare(stack, acme, bolt, receivers)
        seen = await visit(COMPANY, f"{stack.url}/api/console", _pictures(tmp_path), orjson.dumps(given).decode())
    finally:
        for receiver in receivers:
            await receiver.stop()
    _check_manners(seen, stack.url, acme.key)
    policy = seen["headers"]["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert seen["firstView"] < FIRST_VIEW
    assert "key-unknown" in seen["refused"]
    assert seen["hacked"] is False
    assert TURNED not in seen["home"]
    assert "onerror=window.hacked=1>" in seen["home"]
    assert seen["focusAfterwards"] == "Keys"
    assert seen["exported"].endswith(".json")
    assert seen["signedOut"] == {"local": {}, "session": {}}
    assert seen["copied"] == seen["link"]
    assert "/api/i/" in seen["copied"]
    assert seen["curl"].startswith("curl -sS -X ")
    assert "$TNT_KEY" in seen["curl"]
    assert seen["saved"].endswith(".bin")
    assert (seen["focusedTitle"], seen["focusedButton"], seen["skippedTo"]) == ("Messages", "Refresh", "main")


async def test_the_account_and_the_operator(stack: Stack, tmp_path: Path) -> None:
    await asyncio.to_thread(console.install)
    acme = await stack.register(EVIL)
    operator = stack.operator["tnt_operator_key"]
    await stack.app.poison.handle("relay", f"senseless-{acme.uuid}", b"senseless")
    reading = await acme.post("api-token", {"name": "reading", "scope": "read"})
    keys = {"key": acme.key, "operator": operator, "reading": reading["headers"]["tnt-subscription-key"]}
    given = orjson.dumps(keys).decode()
    seen = await visit(ACCOUNT, f"{stack.url}/api/console", _pictures(tmp_path), given)
    _check_manners(seen, stack.url, *keys.values(), elsewhere={"Menu", "Copy", "Copy as curl", "Try again"})
    assert seen["kept"] == {}
    assert datetime.fromisoformat(seen["expires"]) > datetime.now() + timedelta(days=360)


async def test_many_messages_and_partners(stack: Stack, tmp_path: Path) -> None:
    await asyncio.to_thread(console.install)
    acme = await stack.register("Acme with many")
    oldest = await _fill(acme)
    given = orjson.dumps({"key": acme.key, "oldest": oldest}).decode()
    seen = await visit(MANY, f"{stack.url}/api/console", _pictures(tmp_path), given)
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


def _pictures(folder: Path) -> str:
    return str(Path(os.environ.get("CONSOLE_PICTURES", folder)).resolve())


async def _prepare(stack: Stack, acme: Client, bolt: Client, receivers: list[Receiver]) -> dict[str, Any]:
    """Gives Acme something of everything: a hostile partner, a disabled webhook, an offer and a question that wait."""
    mine, theirs = await stack.connect(acme, bolt)
    await bolt.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoRequest": True, "autoPresent": True}}, 200)
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    gone, well = receivers
    gone.answer = lambda hook: (410 if len(gone.got) == 1 else 200, {})
    await acme.post("settings/DIDCOMM_WEBHOOK", {"setting": [{"id": "erp", "url": f"{gone.url}/hook"}]}, 200)
    message = {
        "@type": f"javascript:window.hacked=1//{EVIL}/1.0/{TURNED}{EVIL}",
        "content": EVIL,
        "x~attach": {"@id": EVIL, "filename": EVIL, "mime-type": "text/html", "data": {"json": {EVIL: EVIL}}},
    }
    await bolt.act(theirs.contact_uuid, message)
    odd = {"toString": 1, "valueOf": 1}
    report = {
        "@type": "https://didcomm.org/report-problem/1.0/problem-report",
        "description": {"en": odd, "code": 5},
        "comment": odd,
        "x~attach": [None, 5, {"@id": odd, "data": {"base64": 7}}, {"filename": odd, "data": "no object"}],
        "y~attach": odd,
    }
    await bolt.act(theirs.contact_uuid, report)
    await gone.until(lambda hook: True)

    await bolt.post("context", {"url": TERMS, "document": CONTEXT})
    carol = await stack.register(EVIL[:200])
    invitation = await acme.post("invitation", {"label": "Acme"})
    await carol.post("contact", {"invitationUrl": invitation["invitationUrl"]})
    subject = {"level": "gold", "remark": EVIL, "odd": odd}
    credential = {
        "@context": ["https://www.w3.org/2018/credentials/v1"],
        "type": ["VerifiableCredential", "Membership"],
        "credentialSubject": subject,
    }
    offer = {"command": "offer", "to": theirs.contact_uuid, "format": "jwt-vc", "comment": EVIL}
    await bolt.post("credential", {**offer, "data": {"credential": credential}})

    async def waits() -> bool:
        exchanges = await acme.get("exchange?status=WAITING")
        connections = await acme.get("connection?state=request-received")
        return bool(exchanges["hits"] and connections["hits"])

    await stack.eventually(waits, 20)
    of = {"path": ["$.type", "$.vc.type"], "filter": {"type": "array", "contains": {"const": "Membership"}}}
    level = {"path": ["$.credentialSubject.level", "$.vc.credentialSubject.level"]}
    question = {"input_descriptors": [{"id": "membership", "constraints": {"fields": [of, level]}}]}
    return {
        "key": acme.key,
        "partner": mine.contact_uuid,
        "receiver": f"{well.url}/hook",
        "terms": {"url": TERMS, "document": orjson.dumps(CONTEXT).decode()},
        "bolt": {
            "key": bolt.key,
            "to": theirs.contact_uuid,
            "question": {"presentation_definition": question},
            "offer": {**offer, "data": {"credential": credential}},
        },
        "invitation": (await bolt.post("invitation", {"label": "Bolt again"}))["invitationUrl"],
        "other": (await bolt.post("invitation", {"label": "Bolt", "goal": "Only look"}))["invitationUrl"],
    }


def _check_manners(seen: dict[str, Any], url: str, *keys: str, elsewhere: Collection[str] = ()) -> None:
    """What holds on every screen. Args: elsewhere: the buttons that the other visit presses."""
    untried = [(name, where) for name, where in seen["untried"] if name not in elsewhere]
    assert not untried, f"buttons that nobody has pressed, and where: {untried}"
    assert [asked for asked in seen["requests"] if not asked.startswith((f"{url}/", "data:", f"blob:{url}/"))] == []
    assert not [key for key in keys if key in orjson.dumps(seen["requests"]).decode()]
    assert [said for said in seen["complaints"] if "policy" in said.lower() or "Error" in said] == []
    for name, screen in seen["screens"].items():
        assert screen["serious"] == [], name
        assert not screen["tooWide"], f"{name} scrolls sideways at 390 px"
