"""The page `/api/docs` in a headless Chromium: it shows the whole API, and a message is sent by it."""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.browser.visits import visit
from tests.contract.test_openapi import operations
from tests.stack import Client, Stack

VISIT = Path(__file__).with_name("visit_docs.mjs")
HELLO = {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "Hello from a page"}


async def test_the_page_shows_the_api_and_sends_a_message(
    stack: Stack, pair: tuple[Client, Client], tmp_path: Path
) -> None:
    acme, bolt = pair
    receiver = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt)
    body = {"type": "DIDCOMM", "from": acme.identity["uuid"], "to": mine.contact_uuid, "data": {"message": HELLO}}

    seen = await visit(VISIT, f"{stack.url}/api/docs", acme.key, orjson.dumps(body).decode(), str(tmp_path))

    document = stack.described.document
    described = [f"{name.split()[0].upper()} {name.split()[1]}" for name, _ in operations(document)]
    described += [f"POST {name}" for name in document["webhooks"]]
    assert sorted(seen["operations"]) == sorted(described)
    tags = {tag for _, one in operations(document) for tag in one["tags"]}
    assert set(seen["tags"]) == tags

    assert seen["status"] == "201", seen["answer"]
    made = orjson.loads(seen["answer"])
    assert (await acme.get(f"action/{made['uuid']}"))["uuid"] == made["uuid"]
    hook = (await receiver.until(lambda hook: hook.json()["type"] == HELLO["@type"])).json()
    assert hook["message"]["content"] == HELLO["content"]

    # Nobody else is asked for anything, and nothing is forbidden by the page's own policy.
    assert [url for url in seen["requests"] if not url.startswith((f"{stack.url}/", "data:"))] == []
    assert seen["complaints"][: seen["complaintsSoFar"]] == []
    assert not [text for text in seen["complaints"] if "policy" in text.lower()]
    assert acme.key not in orjson.dumps(seen["requests"]).decode()

    # The key is kept nowhere.
    kept = seen["kept"]
    assert (kept["local"], kept["session"], kept["cookies"], kept["databases"]) == ({}, {}, [], [])
    assert acme.key not in kept["address"]
    assert seen["statusAfterReload"] == "401"

    for state in ("narrow", "narrowOpened"):
        width, shown = seen[state]
        assert width <= shown, f"{state}: the page is {width} wide and the screen {shown}"

    headers = seen["headers"]
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
