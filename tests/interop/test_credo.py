"""Credo and a tenant: they become each other's contacts, talk, and issue and show credentials to each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.interop.acapy import CONNECTIONS_1_0, DIDEXCHANGE_1_0, DIDEXCHANGE_1_1, until
from tests.interop.credo import Credo
from tests.interop.tenant import (
    Entity,
    accept,
    auto_accept,
    heard,
    invite,
    send,
    talk,
    until_connected,
    until_state,
)
from tests.stack import Client

pytestmark = pytest.mark.interop

PING = "https://didcomm.org/trust_ping/1.0"
DISCOVER_1 = "https://didcomm.org/discover-features/1.0"
DISCOVER_2 = "https://didcomm.org/discover-features/2.0"
SPOKEN = {DIDEXCHANGE_1_0, DIDEXCHANGE_1_1, PING, DISCOVER_1, DISCOVER_2, "https://didcomm.org/basicmessage/1.0"}
REUSE = "https://didcomm.org/out-of-band/1.1/handshake-reuse"
# With its document attached; with the document inside.
PEER_DIDS = [1, 2, 4]


async def connected(tenant: Client, credo: Credo) -> tuple[Entity, str]:
    """A completed connection, and its id there."""
    invitation = await credo.create_invitation()
    contact = await accept(tenant, invitation["invitation"])
    theirs = await credo.wait_invited(invitation)
    return await until_state(tenant, contact["connectionUuid"], "completed"), theirs["id"]


@pytest.mark.parametrize("protocol", [DIDEXCHANGE_1_1, CONNECTIONS_1_0])
async def test_credo_invites(credo: Credo, tenant: Client, protocol: str) -> None:
    invitation = await credo.create_invitation(protocol)
    contact = await accept(tenant, invitation["invitation"])
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    theirs = await credo.wait_invited(invitation)
    assert (mine["role"], mine["protocol"]) == ("requester", protocol)
    assert theirs["theirLabel"] == "Acme"
    known = await tenant.get(f"contact/{contact['uuid']}")
    assert (known["status"], known["displayName"]) == ("ACCEPTED", credo.name)
    await talk(tenant, mine, credo, theirs["id"])


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        # It looks at the major version alone, and has 1.1.
        ((DIDEXCHANGE_1_0,), DIDEXCHANGE_1_1),
        ((DIDEXCHANGE_1_1,), DIDEXCHANGE_1_1),
        ((CONNECTIONS_1_0,), CONNECTIONS_1_0),
        ((), DIDEXCHANGE_1_1),
    ],
)
async def test_credo_is_invited(credo: Credo, tenant: Client, offered: tuple[str, ...], used: str) -> None:
    invited = await invite(tenant, *offered)
    theirs = await credo.receive_invitation(invited["invitationUrl"])
    await credo.wait_state(theirs)
    [mine] = await until_connected(tenant)
    assert (mine["role"], mine["protocol"]) == ("responder", used)
    known = await tenant.get(f"contact/{mine['contactUuid']}")
    assert (known["status"], known["displayName"]) == ("ACCEPTED", credo.name)
    await talk(tenant, mine, credo, theirs)


CHOSEN = [
    (DIDEXCHANGE_1_1, "did:peer:2"),
    (DIDEXCHANGE_1_1, "did:peer:4"),
    (CONNECTIONS_1_0, "did:sov"),
]


@pytest.mark.parametrize(("protocol", "method"), CHOSEN)
async def test_credo_invites_and_we_request_with_a_chosen_did(
    credo: Credo, tenant: Client, protocol: str, method: str
) -> None:
    invitation = await credo.create_invitation(protocol)
    contact = await accept(tenant, invitation["invitation"], didMethod=method)
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    assert mine["myDid"].startswith(method)
    await talk(tenant, mine, credo, (await credo.wait_invited(invitation))["id"])


@pytest.mark.parametrize(("protocol", "method"), CHOSEN)
async def test_credo_is_invited_and_we_respond_with_a_chosen_did(
    credo: Credo, tenant: Client, protocol: str, method: str
) -> None:
    invited = await invite(tenant, protocol, didMethod=method)
    theirs = await credo.receive_invitation(invited["invitationUrl"])
    await credo.wait_state(theirs)
    [mine] = await until_connected(tenant)
    assert mine["myDid"].startswith(method)
    await talk(tenant, mine, credo, theirs)


@pytest.mark.parametrize("method", ["did:peer:2", "did:peer:4"])
async def test_credo_is_invited_by_a_did_web_and_we_respond_with_a_chosen_did(
    credo: Credo, tenant: Client, method: str
) -> None:
    invited = await invite(tenant, publicDid=True, didMethod=method)
    theirs = await credo.receive_invitation(invited["invitationUrl"])
    await credo.wait_state(theirs)
    [mine] = await until_connected(tenant)
    assert mine["myDid"].startswith(method)
    await talk(tenant, mine, credo, theirs)


@pytest.mark.parametrize("variant", PEER_DIDS)
async def test_credo_requests_with_a_did(credo: Credo, tenant: Client, variant: int) -> None:
    invited = await invite(tenant, DIDEXCHANGE_1_1)
    await credo.ask("peerDids", {"requests": variant, "rotation": 4})
    theirs = await credo.receive_invitation(invited["invitationUrl"])
    await credo.ask("peerDids", {"requests": 4, "rotation": 4})
    await credo.wait_state(theirs)
    [mine] = await until_connected(tenant)
    assert mine["theirDid"].startswith(f"did:peer:{variant}")
    await talk(tenant, mine, credo, theirs)


@pytest.mark.parametrize("variant", [2, 4])
async def test_credo_invites_by_a_did_and_is_known_by_it(credo: Credo, tenant: Client, variant: int) -> None:
    did = await credo.ask("peerDid", variant)
    invitation = await credo.create_invitation(invitationDid=did)
    assert invitation["invitation"]["services"] == [did]
    contact = await accept(tenant, invitation["url"])
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    theirs = (await credo.wait_invited(invitation))["id"]
    await talk(tenant, mine, credo, theirs)
    again = await credo.create_invitation(invitationDid=did)
    reused = await tenant.post("contact", {"invitationUrl": again["url"]}, 200)
    assert (reused["connectionUuid"], reused["reused"]) == (mine["uuid"], True)
    heard_it = await credo.event("DidCommHandshakeReused", lambda said: said["outOfBandRecord"]["id"] == again["id"])
    assert heard_it["connectionRecord"]["id"] == theirs
    accepted = await heard(tenant, f"{REUSE}-accepted")
    assert accepted["message"]["~thread"]["pthid"] == again["invitation"]["@id"]


async def test_we_invite_by_a_public_did_and_are_known_by_it(credo: Credo, tenant: Client) -> None:
    invited = await invite(tenant, publicDid=True)
    theirs = await credo.receive_invitation(invited["invitationUrl"])
    await credo.wait_state(theirs)
    [mine] = await until_connected(tenant)
    await talk(tenant, mine, credo, theirs)
    again = await invite(tenant, publicDid=True)
    assert await credo.receive_invitation(again["invitationUrl"], reuseConnection=True) == theirs
    reuse = await heard(tenant, REUSE)
    assert reuse["connectionUuid"] == mine["uuid"]
    assert (await tenant.get(f"invitation/{again['uuid']}"))["status"] == "USED"
    assert (await tenant.get("connection"))["total"]["value"] == 1


async def test_legacy_invitations(credo: Credo, new_tenant: Callable[[str], Awaitable[Client]]) -> None:
    acme, bolt = await new_tenant("Acme"), await new_tenant("Bolt")
    invitation = await credo.create_legacy_invitation()
    assert "?c_i=" in invitation["url"]
    contact = await accept(acme, invitation["url"])
    mine = await until_state(acme, contact["connectionUuid"], "completed")
    await talk(acme, mine, credo, (await credo.wait_invited(invitation))["id"])
    theirs = await credo.receive_invitation((await invite(bolt, form="connections/1"))["invitationUrl"])
    await credo.wait_state(theirs)
    [mine] = await until_connected(bolt)
    await talk(bolt, mine, credo, theirs)


async def test_one_invitation_of_credos_for_two_tenants(
    credo: Credo, new_tenant: Callable[[str], Awaitable[Client]]
) -> None:
    invitation = await credo.create_invitation(multiUseInvitation=True)
    for name in ("Acme", "Bolt"):
        tenant = await new_tenant(name)
        contact = await accept(tenant, invitation["invitation"])
        mine = await until_state(tenant, contact["connectionUuid"], "completed")
        [theirs] = [
            record
            for record in await credo.call("connections.findAllByOutOfBandId", invitation["id"])
            if record["theirLabel"] == name
        ]
        await talk(tenant, mine, credo, theirs["id"])


@pytest.mark.parametrize("protocol", [DIDEXCHANGE_1_1, CONNECTIONS_1_0])
async def test_we_decide_on_a_request(credo: Credo, tenant: Client, protocol: str) -> None:
    await auto_accept(tenant, on=False)
    accepted = await credo.receive_invitation((await invite(tenant, protocol))["invitationUrl"])
    [mine] = await until_connected(tenant, state="request-received")
    await tenant.post(f"connection/{mine['uuid']}/accept", {}, 200)
    await credo.wait_state(accepted)
    mine = await until_state(tenant, mine["uuid"], "completed")
    await talk(tenant, mine, credo, accepted)
    # It takes no report of a problem in either protocol, so it waits for an answer that never comes.
    await credo.receive_invitation((await invite(tenant, protocol))["invitationUrl"])
    [mine] = await until_connected(tenant, state="request-received")
    await tenant.post(f"connection/{mine['uuid']}/reject", {}, 200)
    assert (await tenant.get(f"connection/{mine['uuid']}"))["state"] == "abandoned"
    assert (await tenant.get(f"contact/{mine['contactUuid']}"))["status"] == "REJECTED"


async def test_credo_decides_on_a_request(credo: Credo, tenant: Client) -> None:
    invitation = await credo.create_invitation(autoAcceptConnection=False)
    contact = await accept(tenant, invitation["invitation"])
    theirs = (await credo.wait_invited(invitation, "request-received"))["id"]
    assert (await tenant.get(f"connection/{contact['connectionUuid']}"))["state"] == "request-sent"
    await credo.call("connections.acceptRequest", theirs)
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    await talk(tenant, mine, credo, theirs)


async def test_trust_pings(credo: Credo, tenant: Client) -> None:
    mine, theirs = await connected(tenant, credo)
    thread = await credo.trust_ping(theirs)
    assert (await heard(tenant, f"{PING}/ping", **{"@id": thread}))["connectionUuid"] == mine["uuid"]
    thread = await send(tenant, mine["contactUuid"], f"{PING}/ping", response_requested=True)
    assert (await heard(tenant, f"{PING}/ping_response", thid=thread))["authenticated"]


async def test_features(credo: Credo, tenant: Client) -> None:
    mine, theirs = await connected(tenant, credo)
    assert await credo.discover(theirs, "v1") >= SPOKEN
    assert await credo.discover(theirs, "v2", "https://didcomm.org/didexchange/*") == {DIDEXCHANGE_1_0, DIDEXCHANGE_1_1}
    asked = {"query": "https://didcomm.org/didexchange/*"}
    thread = await send(tenant, mine["contactUuid"], f"{DISCOVER_1}/query", **asked)
    found = await heard(tenant, f"{DISCOVER_1}/disclose", thid=thread)
    assert {protocol["pid"] for protocol in found["message"]["protocols"]} == {DIDEXCHANGE_1_1}
    queries = [{"feature-type": "protocol", "match": "https://didcomm.org/didexchange/*"}]
    thread = await send(tenant, mine["contactUuid"], f"{DISCOVER_2}/queries", queries=queries)
    found = await heard(tenant, f"{DISCOVER_2}/disclosures", thid=thread)
    assert {feature["id"] for feature in found["message"]["disclosures"]} == {DIDEXCHANGE_1_1}


@pytest.mark.parametrize("variant", [2, 4])
async def test_messages_go_on_after_credo_has_a_new_did(credo: Credo, tenant: Client, variant: int) -> None:
    mine, theirs = await connected(tenant, credo)
    await credo.ask("peerDids", {"requests": 4, "rotation": variant})
    await credo.call("connections.rotate", {"connectionId": theirs})
    changed = await credo.wait_rotated(theirs, "ourDid")
    assert changed["to"].startswith(f"did:peer:{variant}")
    await talk(tenant, mine, credo, theirs)

    async def known() -> bool:
        return bool((await tenant.get(f"connection/{mine['uuid']}"))["theirDid"] == changed["to"])

    await until(known)


async def test_messages_go_on_after_we_have_a_new_did(credo: Credo, tenant: Client) -> None:
    mine, theirs = await connected(tenant, credo)
    await tenant.post(f"connection/{mine['uuid']}/rotate", {}, 200)
    changed = await credo.wait_rotated(theirs, "theirDid")
    assert changed["from"] == mine["myDid"]
    await talk(tenant, mine, credo, theirs)
    assert (await tenant.get(f"connection/{mine['uuid']}"))["myDid"] == changed["to"]


async def test_hangups(credo: Credo, tenant: Client) -> None:
    mine, theirs = await connected(tenant, credo)
    await credo.call("connections.hangup", {"connectionId": theirs})
    await until_state(tenant, mine["uuid"], "abandoned")
    mine, theirs = await connected(tenant, credo)
    await tenant.post(f"connection/{mine['uuid']}/hangup", {}, 200)

    async def over() -> bool:
        # It keeps the connection, of which it no longer knows the other side.
        return not (await credo.connection(theirs)).get("theirDid")

    await until(over)
