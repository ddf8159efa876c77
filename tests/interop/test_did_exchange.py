"""ACA-Py and a tenant become each other's contacts: DID exchange 1.0 and 1.1 (RFC 0023), connections 1.0 (RFC 0160)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.interop.acapy import CONNECTIONS_1_0, DIDEXCHANGE_1_0, DIDEXCHANGE_1_1, AcapyVersion
from tests.interop.conftest import Agents
from tests.interop.tenant import (
    BASIC,
    accept,
    auto_accept,
    connect,
    heard,
    invite,
    send,
    talk,
    until_connected,
    until_refused,
    until_state,
)
from tests.stack import Client

pytestmark = pytest.mark.interop

HANDSHAKES: list[tuple[AcapyVersion, str]] = [
    ("1.7.0", DIDEXCHANGE_1_0),
    ("1.7.0", DIDEXCHANGE_1_1),
    ("1.2.7", DIDEXCHANGE_1_0),
    ("1.2.7", DIDEXCHANGE_1_1),
    ("1.2.7", CONNECTIONS_1_0),
]
VERSIONS: list[AcapyVersion] = ["1.7.0", "1.2.7"]
DID_METHODS = ["did:peer:2", "did:peer:4"]


@pytest.mark.parametrize(("version", "protocol"), HANDSHAKES)
async def test_acapy_invites(agents: Agents, tenant: Client, version: AcapyVersion, protocol: str) -> None:
    alice = await agents(version, "alice")
    invitation = await alice.create_invitation(protocol)
    contact = await accept(tenant, invitation, contact={"displayName": "Alice"})
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    theirs = await alice.wait_invited(invitation, "completed")
    assert (mine["role"], mine["protocol"], mine["contactUuid"]) == ("requester", protocol, contact["uuid"])
    assert protocol.endswith(theirs["connection_protocol"])
    known = await tenant.get(f"contact/{contact['uuid']}")
    assert (known["status"], known["displayName"]) == ("ACCEPTED", "Alice")
    await talk(tenant, mine, alice, theirs["connection_id"])


@pytest.mark.parametrize(("version", "protocol"), HANDSHAKES)
async def test_acapy_is_invited(agents: Agents, tenant: Client, version: AcapyVersion, protocol: str) -> None:
    alice = await agents(version, "alice")
    invited = await invite(tenant, protocol)
    theirs = await alice.receive_invitation(invited["invitation"])
    assert protocol.endswith((await alice.wait_state(theirs, "completed"))["connection_protocol"])
    [mine] = await until_connected(tenant)
    assert (mine["role"], mine["protocol"]) == ("responder", protocol)
    known = await tenant.get(f"contact/{mine['contactUuid']}")
    assert (known["status"], known["displayName"]) == ("ACCEPTED", alice.name)
    await talk(tenant, mine, alice, theirs)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("offered", [(DIDEXCHANGE_1_0, DIDEXCHANGE_1_1), (DIDEXCHANGE_1_1, DIDEXCHANGE_1_0)])
async def test_of_two_handshakes_offered_one_is_agreed_on(
    agents: Agents, tenant: Client, version: AcapyVersion, offered: tuple[str, str]
) -> None:
    alice = await agents(version, "alice")
    mine, theirs = await connect(tenant, alice, *offered)
    assert mine["protocol"].endswith((await alice.connection(theirs))["connection_protocol"])
    await talk(tenant, mine, alice, theirs)
    invited = await invite(tenant, *offered)
    theirs = await alice.receive_invitation(invited["invitation"])
    await alice.wait_state(theirs, "completed")


@pytest.mark.parametrize("version", VERSIONS)
async def test_all_that_the_service_speaks_is_offered_by_default(
    agents: Agents, tenant: Client, version: AcapyVersion
) -> None:
    alice = await agents(version, "alice")
    theirs = await alice.receive_invitation((await invite(tenant))["invitation"])
    await alice.wait_state(theirs, "completed")
    [mine] = await until_connected(tenant)
    await talk(tenant, mine, alice, theirs)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("protocol", [DIDEXCHANGE_1_0, DIDEXCHANGE_1_1])
@pytest.mark.parametrize("did_method", DID_METHODS)
async def test_acapy_invites_by_a_did(
    agents: Agents, tenant: Client, version: AcapyVersion, protocol: str, did_method: str
) -> None:
    alice = await agents(version, "alice")
    invitation = await alice.create_invitation(protocol, did_method=did_method)
    assert invitation["services"][0].startswith(did_method)
    contact = await accept(tenant, invitation)
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    theirs = await alice.wait_invited(invitation, "completed")
    await talk(tenant, mine, alice, theirs["connection_id"])


# The DIDs that a tenant chooses.

CHOSEN = [
    (version, protocol, method)
    for version in VERSIONS
    for protocol in (DIDEXCHANGE_1_0, DIDEXCHANGE_1_1)
    for method in (*DID_METHODS, "did:sov")
]


def spelled(did: str) -> str:
    """A DID in one spelling: ACA-Py writes a did:sov without the method, and a did:peer:4 in either form."""
    did = did if did.startswith("did:") else f"did:sov:{did}"
    return ":".join(did.split(":")[:3])


@pytest.mark.parametrize(("version", "protocol", "method"), CHOSEN)
async def test_acapy_invites_and_we_request_with_a_chosen_did(
    agents: Agents, tenant: Client, version: AcapyVersion, protocol: str, method: str
) -> None:
    alice = await agents(version, "alice")
    mine, theirs = await connect(tenant, alice, protocol, didMethod=method)
    assert mine["myDid"].startswith(method)
    assert spelled((await alice.connection(theirs))["their_did"]) == spelled(mine["myDid"])
    await talk(tenant, mine, alice, theirs)


@pytest.mark.parametrize(("version", "protocol", "method"), CHOSEN)
async def test_acapy_is_invited_and_we_respond_with_a_chosen_did(
    agents: Agents, tenant: Client, version: AcapyVersion, protocol: str, method: str
) -> None:
    alice = await agents(version, "alice")
    invited = await invite(tenant, protocol, didMethod=method)
    theirs = await alice.receive_invitation(invited["invitation"])
    await alice.wait_state(theirs, "completed")
    [mine] = await until_connected(tenant)
    assert mine["myDid"].startswith(method)
    assert spelled((await alice.connection(theirs))["their_did"]) == spelled(mine["myDid"])
    await talk(tenant, mine, alice, theirs)


@pytest.mark.parametrize("protocol", [DIDEXCHANGE_1_0, DIDEXCHANGE_1_1])
@pytest.mark.parametrize("method", [None, "did:peer:2"])
async def test_acapy_is_invited_by_a_did_web(agents: Agents, tenant: Client, protocol: str, method: str | None) -> None:
    """Its resolver is told to use http: see the plugin. Version 1.2.7 takes the end of a DID in `services` for a
    did:sov.
    """
    alice = await agents("1.7.0", "web", flags=("--plugin", "plain_did_web"), plugins=True)
    invited = await invite(tenant, protocol, publicDid=True, didMethod=method)
    assert invited["invitation"]["services"] == [tenant.identity["did"]]
    theirs = await alice.receive_invitation(invited["invitation"])
    await alice.wait_state(theirs, "completed")
    [mine] = await until_connected(tenant)
    await talk(tenant, mine, alice, theirs)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("did_method", DID_METHODS)
async def test_acapy_requests_with_a_did(
    agents: Agents, tenant: Client, version: AcapyVersion, did_method: str
) -> None:
    """In 1.1, that is: for 1.0 it takes an unqualified did:sov whatever it is told."""
    alice = await agents(version, "alice")
    invited = await invite(tenant, DIDEXCHANGE_1_1)
    theirs = await alice.receive_invitation(invited["invitation"], auto_accept=False)
    assert (await alice.accept_invitation(theirs, did_method=did_method))["my_did"].startswith(did_method)
    await alice.wait_state(theirs, "completed")
    [mine] = await until_connected(tenant)
    assert mine["theirDid"].startswith(did_method)
    await talk(tenant, mine, alice, theirs)


async def test_legacy_invitations(agents: Agents, new_tenant: Callable[[str], Awaitable[Client]]) -> None:
    acme, bolt = await new_tenant("Acme"), await new_tenant("Bolt")
    alice = await agents("1.2.7", "alice")
    invitation = await alice.create_legacy_invitation()
    contact = await accept(acme, alice.url_of(invitation))
    mine = await until_state(acme, contact["connectionUuid"], "completed")
    theirs = (await alice.wait_invited(invitation, "completed"))["connection_id"]
    await talk(acme, mine, alice, theirs)
    invited = await invite(bolt, form="connections/1")
    assert "?c_i=" in invited["invitationUrl"]
    theirs = await alice.receive_invitation(invited["invitation"])
    await alice.wait_state(theirs, "completed")
    [mine] = await until_connected(bolt)
    await talk(bolt, mine, alice, theirs)


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_invitation_goes_by_its_url(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    invitation = await alice.create_invitation(DIDEXCHANGE_1_1)
    contact = await accept(tenant, alice.url_of(invitation))
    await until_state(tenant, contact["connectionUuid"], "completed")
    assert (await tenant.get(f"contact/{contact['uuid']}"))["displayName"] == alice.name


async def test_one_invitation_of_ours_for_three_agents(agents: Agents, tenant: Client) -> None:
    invited = await invite(tenant, multiUse=True)
    others = [await agents("1.7.0", "alice"), await agents("1.7.0", "bob"), await agents("1.2.7", "alice")]
    theirs = [await other.receive_invitation(invited["invitation"]) for other in others]
    for other, connection in zip(others, theirs, strict=True):
        await other.wait_state(connection, "completed")
    mine = await until_connected(tenant, len(others))
    assert len({connection["theirDid"] for connection in mine}) == len(others)
    contacts = {
        (await tenant.get(f"contact/{connection['contactUuid']}"))["displayName"]: connection for connection in mine
    }
    for other, connection in zip(others, theirs, strict=True):
        await talk(tenant, contacts[other.name], other, connection)


@pytest.mark.parametrize("protocol", [DIDEXCHANGE_1_0, DIDEXCHANGE_1_1])
async def test_one_invitation_of_acapys_for_three_tenants(
    agents: Agents, new_tenant: Callable[[str], Awaitable[Client]], protocol: str
) -> None:
    alice = await agents("1.7.0", "alice")
    invitation = await alice.create_invitation(protocol, multi_use=True)
    for name in ("Acme", "Bolt", "Carl"):
        tenant = await new_tenant(name)
        contact = await accept(tenant, invitation)
        mine = await until_state(tenant, contact["connectionUuid"], "completed")
        [theirs] = [
            record
            for record in await alice.connections(invitation_msg_id=invitation["@id"])
            if record.get("their_label") == name
        ]
        await talk(tenant, mine, alice, theirs["connection_id"])


@pytest.mark.parametrize(("version", "protocol"), HANDSHAKES)
async def test_a_single_use_invitation_is_good_for_one(
    agents: Agents, tenant: Client, version: AcapyVersion, protocol: str
) -> None:
    alice, bob = await agents(version, "alice"), await agents(version, "bob")
    invited = await invite(tenant, protocol)
    theirs = await alice.receive_invitation(invited["invitation"])
    await alice.wait_state(theirs, "completed")
    [mine] = await until_connected(tenant)
    second = await bob.receive_invitation(invited["invitation"])
    await until_refused(tenant, f"{protocol}/request")
    # It understands our report, which for it is the end.
    assert (await bob.wait_state(second, "abandoned"))["error_msg"] == "The invitation cannot be answered."
    await talk(tenant, mine, alice, theirs)
    assert (await tenant.get("connection"))["total"]["value"] == 1


@pytest.mark.parametrize(("version", "protocol"), HANDSHAKES)
async def test_we_decide_on_a_request(agents: Agents, tenant: Client, version: AcapyVersion, protocol: str) -> None:
    alice = await agents(version, "alice")
    await auto_accept(tenant, on=False)
    accepted = await alice.receive_invitation((await invite(tenant, protocol))["invitation"])
    [mine] = await until_connected(tenant, state="request-received")
    assert (await alice.connection(accepted))["rfc23_state"] == "request-sent"
    await tenant.post(f"connection/{mine['uuid']}/accept", {}, 200)
    await alice.wait_state(accepted, "completed")
    mine = await until_state(tenant, mine["uuid"], "completed")
    await talk(tenant, mine, alice, accepted)
    rejected = await alice.receive_invitation((await invite(tenant, protocol))["invitation"])
    [mine] = await until_connected(tenant, state="request-received")
    await tenant.post(f"connection/{mine['uuid']}/reject", {}, 200)
    # It gives up at any problem report.
    assert (await alice.wait_state(rejected, "abandoned"))["error_msg"]
    assert (await tenant.get(f"connection/{mine['uuid']}"))["state"] == "abandoned"
    assert (await tenant.get(f"contact/{mine['contactUuid']}"))["status"] == "REJECTED"


@pytest.mark.parametrize("version", VERSIONS)
async def test_acapy_decides_on_a_request(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    invitation = await alice.create_invitation(DIDEXCHANGE_1_1, auto_accept=False)
    contact = await accept(tenant, invitation)
    await send(tenant, contact["uuid"], BASIC, content=f"written early, to {contact['uuid']}")
    theirs = (await alice.wait_invited(invitation, "request-received"))["connection_id"]
    assert (await tenant.get(f"connection/{contact['connectionUuid']}"))["state"] == "request-sent"
    await alice.accept_request(theirs)
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    await alice.wait_message(theirs, f"written early, to {contact['uuid']}")
    await talk(tenant, mine, alice, theirs)


async def test_acapy_refuses_our_request(agents: Agents, new_tenant: Callable[[str], Awaitable[Client]]) -> None:
    """The only request that it answers by a problem report is one for an invitation that was used: to have one on the
    wire for a request it rejects, it would need a DID of its own by then."""
    alice = await agents("1.2.7", "alice")
    acme, bolt = await new_tenant("Acme"), await new_tenant("Bolt")
    invitation = await alice.create_legacy_invitation()
    first = await accept(acme, invitation)
    await until_state(acme, first["connectionUuid"], "completed")
    second = await accept(bolt, invitation)
    report = await heard(bolt, f"{CONNECTIONS_1_0}/problem_report")
    assert report["message"]["description"]["code"] == "request_not_accepted"
    assert report["connectionUuid"] == second["connectionUuid"]
    shown = await until_state(bolt, second["connectionUuid"], "abandoned")
    assert shown["error"].startswith("request_not_accepted")
    assert (await bolt.get(f"contact/{second['uuid']}"))["status"] == "REJECTED"


@pytest.mark.parametrize(("version", "protocol"), [("1.7.0", DIDEXCHANGE_1_0), ("1.2.7", CONNECTIONS_1_0)])
async def test_acapy_refuses_our_response(agents: Agents, tenant: Client, version: AcapyVersion, protocol: str) -> None:
    alice = await agents(version, "alice")
    await auto_accept(tenant, on=False)
    theirs = await alice.receive_invitation((await invite(tenant, protocol))["invitation"])
    [mine] = await until_connected(tenant, state="request-received")
    await alice.forget(theirs)
    await tenant.post(f"connection/{mine['uuid']}/accept", {}, 200)
    report = await heard(tenant, f"{protocol}/problem_report")
    assert report["message"]["description"]["code"] == "response_not_accepted"
    assert report["connectionUuid"] == mine["uuid"]
    await until_state(tenant, mine["uuid"], "request-received")
