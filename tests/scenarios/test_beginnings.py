"""How connections begin: by whose key a request is accepted or refused, and what a tenant is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import basic
from tests.security.handshakes import until_state
from tests.stack import Client, Receiver, Stack
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1

PROTOCOLS = pytest.mark.parametrize("protocol", [DID_EXCHANGE_1_1, DID_EXCHANGE_1_0, CONNECTIONS_1_0])


@pytest.fixture
async def pair(stack: Stack) -> tuple[Client, Client]:
    return await stack.register("Acme"), await stack.register("Bolt")


async def waiting(acme: Client) -> dict[str, Any]:
    async def check() -> Any:
        return (await acme.get("connection?state=request-received"))["hits"]

    [connection] = await acme.stack.eventually(check)
    return connection  # type: ignore[no-any-return]


async def tasks(client: Client, match: str = ".*") -> Receiver:
    receiver = Receiver()
    await receiver.start()
    client.receivers.append(receiver)
    await client.post("settings/TASK_WEBHOOK", {"setting": [{"url": receiver.url, "match": match}]}, 200)
    return receiver


@PROTOCOLS
@pytest.mark.parametrize("public", [True, False])
async def test_a_request_that_waited_is_accepted_by_the_key_it_was_for(
    pair: tuple[Client, Client], protocol: str, public: bool
) -> None:
    acme, bolt = pair
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    made = await acme.post("invitation", {"publicDid": public, "handshakeProtocols": [protocol]})
    contact = await bolt.post("contact", {"invitation": made["invitation"]})
    mine = await waiting(acme)
    await acme.post(f"connection/{mine['uuid']}/accept", {}, 200)
    await until_state(bolt, contact["connectionUuid"], "completed")
    hook = await bolt.webhook("basicmessage")
    await bolt.act(contact["uuid"], basic("hello"))
    await until_state(acme, mine["uuid"], "completed")
    await acme.act(mine["contactUuid"], basic("hello"))
    await hook.until(lambda got: True)


@PROTOCOLS
@pytest.mark.parametrize("public", [True, False])
async def test_who_is_refused_is_told(pair: tuple[Client, Client], protocol: str, public: bool) -> None:
    acme, bolt = pair
    told = await tasks(bolt)
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    made = await acme.post("invitation", {"publicDid": public, "handshakeProtocols": [protocol]})
    contact = await bolt.post("contact", {"invitation": made["invitation"]})
    held = await bolt.act(contact["uuid"], basic("hello"))
    mine = await waiting(acme)
    await acme.post(f"connection/{mine['uuid']}/reject", {}, 200)
    theirs = await until_state(bolt, contact["connectionUuid"], "abandoned")
    assert theirs["error"] == "request_not_accepted: The request was rejected."
    assert (await bolt.get(f"contact/{contact['uuid']}"))["status"] == "REJECTED"
    event = (await told.until(lambda got: got.json()["type"] == "connection")).json()
    assert (event["uuid"], event["status"], event["error"]) == (theirs["uuid"], "abandoned", theirs["error"])

    async def failed() -> bool:
        return bool((await bolt.get(f"message/{held['messages'][0]}"))["status"] == "FAILED")

    await bolt.stack.eventually(failed)


async def test_who_is_refused_in_v2_is_told(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    made = await acme.post("invitation", {"form": "out-of-band/2"})
    contact = await bolt.post("contact", {"invitation": made["invitation"]})
    told = await tasks(bolt)
    mine = await waiting(acme)
    await acme.post(f"connection/{mine['uuid']}/reject", {}, 200)
    theirs = await until_state(bolt, contact["connectionUuid"], "abandoned")
    assert theirs["error"] == "e.p.req.not-accepted: The request was rejected."
    assert (await bolt.get(f"contact/{contact['uuid']}"))["status"] == "REJECTED"
    event = (await told.until(lambda got: got.json()["type"] == "contact")).json()
    assert (event["uuid"], event["status"], event["error"]) == (contact["uuid"], "REJECTED", theirs["error"])


@pytest.mark.parametrize(
    ("given", "goal", "code"),
    [
        ({"goal": "To order"}, "To order", "aries.rel.build"),
        ({"goalCode": "issue-vc"}, "issue-vc", "issue-vc"),
        ({"goal": "To order", "goalCode": "issue-vc"}, "To order", "issue-vc"),
        ({}, None, None),
    ],
)
async def test_a_goal_has_a_code_and_a_code_a_goal(stack: Stack, given: dict[str, str], goal: Any, code: Any) -> None:
    acme = await stack.register("Acme")
    made = (await acme.post("invitation", given))["invitation"]
    assert (made.get("goal"), made.get("goal_code")) == (goal, code)
    made = (await acme.post("invitation", {**given, "form": "out-of-band/2"}))["invitation"]["body"]
    assert (made.get("goal"), made.get("goal_code")) == (goal, code)


async def test_a_partner_that_forgot_us_and_invites_again(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    first = await acme.post("invitation", {"publicDid": True})
    contact = await bolt.post("contact", {"invitation": first["invitation"]})
    await until_state(bolt, contact["connectionUuid"], "completed")
    [mine] = (await acme.get("connection"))["hits"]
    await until_state(acme, mine["uuid"], "completed")
    assert (await acme.call("DELETE", f"contact/{mine['contactUuid']}")).status == 204
    hook = await bolt.webhook("example.org")
    requests = [{"@type": "https://example.org/trade/1.0/offer", "price": 3}]
    second = await acme.post("invitation", {"publicDid": True, "requests": requests})
    again = await bolt.post("contact", {"invitation": second["invitation"]}, 200)
    assert again["reused"]
    offer = (await hook.until(lambda got: True)).json()
    assert offer["contactUuid"] != contact["uuid"]
    assert offer["from"] == acme.identity["did"]
    answers = await acme.webhook("answer")
    message = {"@type": "https://example.org/trade/1.0/answer"}
    await bolt.post(f"action/{offer['actionUuid']}", {"data": {"message": message}}, 200)
    assert (await answers.until(lambda got: True)).json()["authenticated"]


async def events(receiver: Receiver, number: int) -> dict[str, dict[str, Any]]:
    """The events that came, by their type: one of each."""
    await receiver.count(number)
    found = [got.json() for got in receiver.got]
    assert len(found) == number == len({event["type"] for event in found}), found
    for event in found:
        assert event["time"].endswith("Z")
        assert event["sequence"]
    return {event["type"]: event for event in found}


@pytest.mark.parametrize("form", ["out-of-band/1", "out-of-band/2", "without a handshake", "a DID"])
async def test_the_tenants_system_is_told_what_became_of_its_call(pair: tuple[Client, Client], form: str) -> None:
    acme, bolt = pair
    told = await tasks(bolt)
    if form == "a DID":
        contact = await bolt.post("contact", {"contact": {"did": acme.identity["did"]}})
    else:
        wanted: dict[str, Any] = {"form": form}
        if form == "without a handshake":
            wanted = {"handshakeProtocols": [], "requests": [{"@type": "https://example.org/trade/1.0/offer"}]}
        made = await acme.post("invitation", wanted)
        contact = await bolt.post("contact", {"invitation": made["invitation"]})
    found = await events(told, 3)
    call = found["request-didexchange" if form == "a DID" else "answer-invitation"]
    for event in (found["connection"], call):
        assert (event["uuid"], event["status"]) == (contact["connectionUuid"], "completed")
        assert (event["contactUuid"], event["role"]) == (contact["uuid"], "requester")
    event = found["contact"]
    assert (event["uuid"], event["status"], event["error"]) == (contact["uuid"], "ACCEPTED", None)
    shown = await bolt.get(f"contact/{contact['uuid']}")
    assert (event["did"], event["claimedDid"]) == (shown["did"], shown["claimedDid"])
    if form == "a DID":
        assert event["did"] == acme.identity["did"]
    await bolt.post(f"connection/{contact['connectionUuid']}/hangup", {}, 200)


async def test_who_waits_for_the_tenants_word_is_told(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    told = await tasks(acme)
    made = await acme.post("invitation", {})
    await bolt.post("contact", {"invitation": made["invitation"]})
    found = await events(told, 2)
    assert (found["connection"]["status"], found["contact"]["status"]) == ("request-received", "REQUESTED")
    assert found["contact"]["did"] == (await waiting(acme))["contactDid"]


@pytest.mark.parametrize("did", [True, False])
async def test_a_contact_is_known_by_its_did_on_either_side(pair: tuple[Client, Client], did: bool) -> None:
    acme, bolt = pair
    made = await acme.post("invitation", {"publicDid": did})
    contact = await bolt.post("contact", {"invitation": made["invitation"]})
    theirs = await until_state(bolt, contact["connectionUuid"], "completed")
    known = acme.identity["did"] if did else theirs["theirDid"]
    assert (await bolt.get(f"contact/{known}"))["uuid"] == contact["uuid"]
    assert (await bolt.get(f"contact/{contact['uuid']}"))["did"] == known
    hook = await acme.webhook("basicmessage")
    await bolt.act(known, basic("hello"))
    got = (await hook.until(lambda got: True)).json()
    assert got["from"] == theirs["myDid"]
