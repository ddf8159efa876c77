"""The DIDs that two tenants use on their connection: which methods, and that both sides spell them alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.scenarios.agent import BASIC_2, PING, Agent
from tests.scenarios.common import assert_problem
from tests.scenarios.test_did_exchange import completed, only_connection
from tests.stack import Client, Receiver, Stack
from tests.unit.dids.test_webvh import History
from tntcore.dids.build import BOTH, document_body
from tntcore.dids.parse import parse_document
from tntcore.dids.webvh import WebVh
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1

V2 = {"form": "out-of-band/2"}


def only(protocol: str) -> dict[str, Any]:
    return {"handshakeProtocols": [protocol]}


async def spelled_alike(acme: Client, bolt: Client, theirs: str) -> tuple[str, str]:
    """The DIDs of acme and bolt on their connection, once both sides show both of them alike. `theirs`: uuid of bolt's
    connection."""
    await completed(bolt, theirs)
    ours = (await only_connection(acme))["uuid"]

    async def check() -> tuple[str, str] | None:
        mine, other = await acme.get(f"connection/{ours}"), await bolt.get(f"connection/{theirs}")
        alike = (mine["myDid"], mine["theirDid"]) == (other["theirDid"], other["myDid"])
        return (mine["myDid"], other["myDid"]) if alike else None

    found: tuple[str, str] = await acme.stack.eventually(check)
    return found


@pytest.mark.parametrize(
    ("wanted", "method", "prefix"),
    [
        (only(DID_EXCHANGE_1_1), None, "did:peer:4zQm"),
        (only(DID_EXCHANGE_1_1), "did:peer:2", "did:peer:2."),
        (only(DID_EXCHANGE_1_1), "did:peer:4", "did:peer:4zQm"),
        (only(DID_EXCHANGE_1_1), "did:sov", "did:sov:"),
        (only(DID_EXCHANGE_1_0), None, "did:sov:"),
        (only(DID_EXCHANGE_1_0), "did:peer:2", "did:peer:2."),
        (only(DID_EXCHANGE_1_0), "did:peer:4", "did:peer:4zQm"),
        (only(CONNECTIONS_1_0), None, "did:sov:"),
        (only(CONNECTIONS_1_0), "did:sov", "did:sov:"),
        (V2, None, "did:peer:2."),
        (V2, "did:peer:4", "did:peer:4zQm"),
    ],
)
async def test_the_method_is_chosen_and_both_sides_spell_it_alike(
    pair: tuple[Client, Client], wanted: dict[str, Any], method: str | None, prefix: str
) -> None:
    acme, bolt = pair
    chosen = {"didMethod": method} if method else {}
    invited = await acme.post("invitation", {**wanted, **chosen})
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"], **chosen})
    dids = await spelled_alike(acme, bolt, contact["connectionUuid"])
    assert [did.startswith(prefix) for did in dids] == [True, True]
    # Each side can write to the other by its DID.
    hook = await acme.webhook("basicmessage")
    await bolt.act(contact["uuid"], {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "hello"})
    await hook.until(lambda hook: True)


@pytest.mark.parametrize("method", [None, "did:peer:2", "did:sov"])
async def test_a_public_did_is_asked_with_a_did_of_the_chosen_method(
    pair: tuple[Client, Client], method: str | None
) -> None:
    acme, bolt = pair
    body = {"contact": {"did": acme.identity["did"]}, "didMethod": method}
    contact = await bolt.post("contact", body)
    _, other = await spelled_alike(acme, bolt, contact["connectionUuid"])
    assert other.startswith(f"{method or 'did:peer:4'}")


@pytest.mark.parametrize("path", ["invitation", "contact"])
async def test_an_unknown_method_is_refused_with_the_known_ones(pair: tuple[Client, Client], path: str) -> None:
    acme, _ = pair
    body: dict[str, Any] = {"didMethod": "did:ion"}
    if path == "contact":
        body["contact"] = {"email": "someone@example.org"}
    problem = assert_problem(await acme.call("POST", path, body), 400, "did-method-invalid")
    for known in ("did:peer:2", "did:peer:4", "did:sov"):
        assert known in problem["detail"]


@pytest.mark.parametrize(
    ("form", "method"), [("out-of-band/2", "did:sov"), ("connections/1", "did:peer:2"), ("connections/1", "did:peer:4")]
)
async def test_a_method_that_the_protocol_has_no_place_for_is_refused(
    pair: tuple[Client, Client], form: str, method: str
) -> None:
    acme, bolt = pair
    given = {"form": form, "didMethod": method}
    assert_problem(await acme.call("POST", "invitation", given), 400, "did-method-invalid")
    invited = await acme.post("invitation", {"form": form})
    answer = {"invitationUrl": invited["invitationUrl"], "didMethod": method}
    assert_problem(await bolt.call("POST", "contact", answer), 400, "did-method-invalid")


@pytest.mark.parametrize("wanted", [{}, V2])
async def test_both_sides_spell_alike_after_a_rotation(pair: tuple[Client, Client], wanted: dict[str, Any]) -> None:
    acme, bolt = pair
    invited = await acme.post("invitation", wanted)
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    before = await spelled_alike(acme, bolt, contact["connectionUuid"])
    await bolt.post(f"connection/{contact['connectionUuid']}/rotate", {}, 200)

    async def rotated() -> bool:
        return bool((await bolt.get(f"connection/{contact['connectionUuid']}"))["myDid"] != before[1])

    await bolt.stack.eventually(rotated)
    await acme.act(
        (await only_connection(acme))["contactUuid"],
        {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "on the new one"},
    )
    await bolt.act(contact["uuid"], {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "back"})
    after = await spelled_alike(acme, bolt, contact["connectionUuid"])
    assert after[1].startswith("did:peer:2.")


@pytest.fixture
async def agent(stack: Stack) -> AsyncIterator[Agent]:
    inbox = Receiver()
    await inbox.start()
    yield Agent(stack, inbox)
    await inbox.stop()


async def test_a_partner_with_a_did_webvh(pair: tuple[Client, Client], agent: Agent) -> None:
    acme, _ = pair
    history = History()
    document = document_body(
        history.did,
        {"key-1": agent.keys.ed25519.public, "key-2": agent.keys.x25519.public},
        agent.inbox.url,
        versions=BOTH[1:],
    )
    history.change({"id": history.did, **document})
    agent.document = parse_document({"id": history.did, **document})

    async def fetch(url: str) -> bytes:
        assert url == "https://partner.example/a/did.jsonl"
        return history.log

    resolver = acme.stack.app.services.resolver
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolver, "_methods", (WebVh(fetch, acme.stack.app.services.workers.run), *resolver._methods))
        contact = await acme.post("contact", {"contact": {"did": history.did}})
        ping = await agent.got(lambda message: message["type"] == PING)
        await agent.send({"id": "back", "type": BASIC_2, "body": {"content": "back"}}, ping["from"])

        async def answered() -> dict[str, Any] | None:
            hits = (await acme.get(f"message?direction=IN&contactUuid={contact['uuid']}"))["hits"]
            return next((hit for hit in hits if hit["type"] == BASIC_2), None)

        message = await acme.stack.eventually(answered)
    assert (message["status"], message["authenticated"]) == ("RECEIVED", True)
    assert (await acme.get(f"contact/{history.did}"))["uuid"] == contact["uuid"]


async def test_a_contact_whose_did_nobody_resolves_here_is_refused_with_the_reason(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    answer = await acme.call("POST", "contact", {"contact": {"did": "did:indy:sovrin:WRfXPg8dantKVubE3HX8pw"}})
    problem = assert_problem(answer, 400, "did-unusable")
    assert "DIDs of method indy are not resolved here" in problem["detail"]
    assert "send the contact an invitation" in problem["detail"]


@pytest.mark.parametrize("text", ["did:xyz", "did:", "did:web:", "did:web:a b", "did:key:z6Mk#z6Mk", "xyz"])
async def test_what_is_no_did_is_no_name_of_anybody(pair: tuple[Client, Client], text: str) -> None:
    acme, _ = pair
    problem = assert_problem(await acme.call("GET", f"contact/{quote(text, safe=':')}"), 400, "id-invalid")
    assert "must be a uuid or a DID" in problem["detail"]
    action = {"type": "DIDCOMM", "to": text, "data": {"message": {"@type": "t"}}}
    assert_problem(await acme.call("POST", "action", action), 400, "to-invalid")
    assert_problem(await acme.call("POST", "invitation", {"identityId": text}), 400, "identity-id-invalid")
