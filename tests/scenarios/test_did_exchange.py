"""Two tenants become each other's contacts, by invitation and by public DID, in every dialect of DID exchange."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.stack import Client, Stack
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1


async def completed(client: Client, uuid: str) -> dict[str, Any]:
    """The connection, once it is completed."""

    async def check() -> dict[str, Any] | None:
        connection: dict[str, Any] = await client.get(f"connection/{uuid}")
        return connection if connection["state"] == "completed" else None

    found: dict[str, Any] = await client.stack.eventually(check)
    return found


async def only_connection(client: Client) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        hits = (await client.get("connection"))["hits"]
        return hits[0] if hits else None

    found: dict[str, Any] = await client.stack.eventually(check)
    return found


@pytest.mark.parametrize("protocol", [DID_EXCHANGE_1_1, DID_EXCHANGE_1_0, CONNECTIONS_1_0])
async def test_an_invitation_is_accepted_and_messages_go_both_ways(
    stack: Stack, pair: tuple[Client, Client], protocol: str
) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("basicmessage"), await bolt.webhook("basicmessage")
    invited = await acme.post("invitation", {"handshakeProtocols": [protocol]})
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    theirs = await completed(bolt, contact["connectionUuid"])
    mine = await completed(acme, (await only_connection(acme))["uuid"])
    assert (mine["role"], theirs["role"]) == ("responder", "requester")
    assert mine["theirDid"].removeprefix("did:sov:") == theirs["myDid"].removeprefix("did:sov:")
    assert (await bolt.get(f"contact/{contact['uuid']}"))["status"] == "ACCEPTED"
    assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "ACCEPTED"
    message = {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "from bolt"}
    await bolt.act(contact["uuid"], message)
    await acme.act(mine["contactUuid"], {**message, "content": "from acme"})
    assert (await hook_a.until(lambda hook: True)).json()["message"]["content"] == "from bolt"
    assert (await hook_b.until(lambda hook: True)).json()["message"]["content"] == "from acme"
    used = await acme.get(f"invitation/{invited['uuid']}")
    assert used["status"] == "USED"


async def test_a_public_did_is_an_invitation(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await acme.post("contact", {"contact": {"did": bolt.identity["did"], "displayName": "Bolt"}})
    assert contact["unreachable"] is None
    await completed(acme, contact["connectionUuid"])
    assert (await only_connection(bolt))["role"] == "responder"


async def test_only_one_of_two_requests_gets_a_single_use_invitation(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    carl = await stack.register("Carl")
    invited = await acme.post("invitation", {})
    body = {"invitationId": invited["invitationId"]}
    made = await asyncio.gather(bolt.post("contact", body), carl.post("contact", body))
    await only_connection(acme)
    await asyncio.sleep(1.5)
    states = [
        (await client.get(f"connection/{contact['connectionUuid']}"))["state"]
        for client, contact in zip((bolt, carl), made, strict=True)
    ]
    assert sorted(states) == ["completed", "request-sent"]
    assert len((await acme.get("connection"))["hits"]) == 1


async def test_a_request_waits_for_the_tenants_word(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    for word, state in (("accept", "completed"), ("reject", "abandoned")):
        invited = await acme.post("invitation", {})
        contact = await bolt.post("contact", {"invitation": invited["invitation"]})

        async def waiting() -> dict[str, Any] | None:
            hits = (await acme.get("connection?state=request-received"))["hits"]
            return hits[0] if hits else None

        mine = await acme.stack.eventually(waiting)
        assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "REQUESTED"
        await acme.post(f"connection/{mine['uuid']}/{word}", {}, 200)
        if state == "completed":
            await completed(bolt, contact["connectionUuid"])
            await completed(acme, mine["uuid"])
        else:
            assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "REJECTED"

            async def told() -> bool:
                connection = await bolt.get(f"connection/{contact['connectionUuid']}")  # noqa: B023
                return bool(connection["state"] == "invitation-received")

            # The code is one of the RFC's four: the request may be sent again.
            await acme.stack.eventually(told)


async def test_what_is_sent_before_the_exchange_is_completed_goes_out_by_itself(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook = await acme.webhook("basicmessage")
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    invited = await acme.post("invitation", {})
    contact = await bolt.post("contact", {"invitationId": invited["uuid"]})
    for number in range(3):
        await bolt.act(contact["uuid"], {"@type": "https://didcomm.org/basicmessage/1.0/message", "n": number})
    mine = await only_connection(acme)
    await acme.post(f"connection/{mine['uuid']}/accept", {}, 200)
    await hook.count(3)
    assert [hook.json()["message"]["n"] for hook in hook.got] == [0, 1, 2]


async def test_an_email_makes_an_invitation_for_that_contact(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await acme.post("contact", {"contact": {"email": "someone@example.org", "displayName": "Someone"}})
    made = await bolt.post("contact", {"invitationId": contact["invitationId"]})
    await completed(bolt, made["connectionUuid"])
    await completed(acme, contact["connectionUuid"])
    known = await acme.get(f"contact/{contact['uuid']}")
    assert (known["status"], known["displayName"]) == ("ACCEPTED", "Someone")
    assert len((await acme.get("contact"))["hits"]) == 1
