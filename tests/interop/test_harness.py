"""The harness by itself: real agents are installed, start, and do among each other what other tests have them do."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from devtools import peers
from tests.interop.acapy import (
    CONNECTIONS_1_0,
    DIDEXCHANGE_1_0,
    DIDEXCHANGE_1_1,
    Acapy,
    AcapyError,
    AcapyVersion,
    Record,
    until,
)
from tests.interop.conftest import Agents

pytestmark = pytest.mark.interop

BOTH: tuple[AcapyVersion, ...] = ("1.7.0", "1.2.7")


async def connect(inviter: Acapy, invited: Acapy, invitation: Record) -> tuple[str, str]:
    """The connection that accepting the invitation makes, on both sides."""
    theirs = await invited.receive_invitation(invitation)
    await invited.wait_state(theirs, "completed")
    mine = await inviter.wait_invited(invitation, "completed")
    return mine["connection_id"], theirs


async def talk(one: Acapy, ones: str, other: Acapy, others: str, text: str) -> None:
    await one.send_message(ones, f"{text} there")
    await other.wait_message(others, f"{text} there")
    await other.send_message(others, f"{text} and back")
    await one.wait_message(ones, f"{text} and back")


@pytest.mark.parametrize(
    ("version", "protocol"),
    [
        ("1.7.0", DIDEXCHANGE_1_0),
        ("1.7.0", DIDEXCHANGE_1_1),
        ("1.2.7", DIDEXCHANGE_1_0),
        ("1.2.7", DIDEXCHANGE_1_1),
        ("1.2.7", CONNECTIONS_1_0),
    ],
)
async def test_two_agents_connect_and_talk(agents: Agents, version: AcapyVersion, protocol: str) -> None:
    alice, bob = await agents(version, "alice"), await agents(version, "bob")
    mine, theirs = await connect(alice, bob, await alice.create_invitation(protocol))
    assert protocol.endswith((await alice.connection(mine))["connection_protocol"])
    await talk(alice, mine, bob, theirs, protocol)
    await alice.trust_ping(mine)
    await bob.trust_ping(theirs)


async def test_the_two_versions_connect_to_each_other(agents: Agents) -> None:
    alice, bob = await agents("1.7.0", "alice"), await agents("1.2.7", "alice")
    mine, theirs = await connect(alice, bob, await alice.create_invitation(DIDEXCHANGE_1_1, DIDEXCHANGE_1_0))
    assert (await alice.connection(mine))["connection_protocol"] == "didexchange/1.1"
    await talk(alice, mine, bob, theirs, "versions")


async def test_legacy_invitations(agents: Agents) -> None:
    alice, bob = await agents("1.2.7", "alice"), await agents("1.2.7", "bob")
    invitation = await alice.create_legacy_invitation()
    assert "?c_i=" in alice.url_of(invitation)
    mine, theirs = await connect(alice, bob, invitation)
    await talk(alice, mine, bob, theirs, "legacy")


@pytest.mark.parametrize("version", BOTH)
@pytest.mark.parametrize("did_method", ["did:peer:2", "did:peer:4"])
async def test_dids(agents: Agents, version: AcapyVersion, did_method: str) -> None:
    alice, bob = await agents(version, "alice"), await agents(version, "bob")
    invitation = await alice.create_invitation(DIDEXCHANGE_1_1, did_method=did_method, auto_accept=False)
    assert invitation["services"][0].startswith(did_method)
    theirs = await bob.receive_invitation(invitation, auto_accept=False)
    assert (await bob.accept_invitation(theirs, did_method=did_method))["my_did"].startswith(did_method)
    mine = (await alice.wait_invited(invitation, "request-received"))["connection_id"]
    await alice.accept_request(mine)
    await bob.wait_state(theirs, "completed")
    await talk(alice, mine, bob, theirs, did_method)
    for method in ("did:peer:4", "did:peer:2"):
        did = await alice.rotate(mine, method)
        assert (await bob.connection(theirs))["their_did"] == did
        await talk(alice, mine, bob, theirs, f"rotated to {method}")
    await alice.hangup(mine)
    await bob.wait_gone(theirs)


@pytest.mark.parametrize("version", BOTH)
async def test_discover_features(agents: Agents, version: AcapyVersion) -> None:
    alice, bob = await agents(version, "alice"), await agents(version, "bob")
    mine, theirs = await connect(alice, bob, await alice.create_invitation())
    assert "https://didcomm.org/didexchange/1.1" in await alice.discover(mine)
    assert await bob.discover_2(theirs, "https://didcomm.org/didexchange/*") == {DIDEXCHANGE_1_0, DIDEXCHANGE_1_1}


async def test_one_invitation_for_three(agents: Agents) -> None:
    alice = await agents("1.7.0", "alice")
    invitation = await alice.create_invitation(multi_use=True)
    others = [await agents("1.7.0", "bob"), await agents("1.2.7", "alice"), await agents("1.2.7", "bob")]
    for other in others:
        await other.wait_state(await other.receive_invitation(invitation), "completed")

    async def three() -> bool:
        return len(await alice.connections(invitation_msg_id=invitation["@id"], state="completed")) == len(others)

    await until(three)


@pytest.mark.parametrize("version", BOTH)
async def test_a_forgotten_request_is_answered_by_a_problem_report(agents: Agents, version: AcapyVersion) -> None:
    alice, bob = await agents(version, "alice"), await agents(version, "bob")
    invitation = await alice.create_invitation(auto_accept=False)
    theirs = await bob.receive_invitation(invitation)
    mine = (await alice.wait_invited(invitation, "request-received"))["connection_id"]
    await bob.forget(theirs)
    await alice.accept_request(mine)
    assert (await alice.wait_state(mine, "abandoned"))["error_msg"] == "No corresponding connection request found"


async def test_a_used_invitation_is_answered_by_a_problem_report(agents: Agents) -> None:
    alice, bob = await agents("1.2.7", "alice"), await agents("1.2.7", "bob")
    invitation = await alice.create_legacy_invitation()
    await connect(alice, bob, invitation)
    again = await bob.receive_invitation(invitation)
    assert "No invitation found" in (await bob.wait_state(again, "abandoned"))["error_msg"]


@pytest.mark.parametrize("version", BOTH)
async def test_a_rejected_request_is_abandoned(agents: Agents, version: AcapyVersion) -> None:
    alice, bob = await agents(version, "alice"), await agents(version, "bob")
    invitation = await alice.create_invitation(auto_accept=False)
    await bob.receive_invitation(invitation)
    mine = (await alice.wait_invited(invitation, "request-received"))["connection_id"]
    assert (await alice.reject(mine, "not today"))["rfc23_state"] == "abandoned"


@pytest.mark.parametrize("version", BOTH)
async def test_an_agent_behind_a_mediator(agents: Agents, version: AcapyVersion) -> None:
    alice, bob = await agents(version, "alice"), await agents(version, "bob")
    mediator = await agents(version, "mediator", mediator=True)
    mediation = await bob.be_mediated_by(mediator)
    invitation = await bob.create_invitation(mediation=mediation)
    assert invitation["services"][0]["serviceEndpoint"] == mediator.endpoint
    mine, theirs = await connect(bob, alice, invitation)
    before = mediator.forwarded
    await talk(bob, mine, alice, theirs, "mediated inviter")
    await mediator.wait_forwarded(before + 1)
    invitation = await alice.create_invitation(DIDEXCHANGE_1_1)
    theirs = await bob.receive_invitation(invitation, mediation=mediation)
    mine = (await alice.wait_invited(invitation, "completed"))["connection_id"]
    before = mediator.forwarded
    await talk(bob, theirs, alice, mine, "mediated requester")
    await mediator.wait_forwarded(before + 1)


async def test_a_call_that_is_refused_says_why(agents: Agents) -> None:
    alice = await agents("1.7.0", "alice")
    with pytest.raises(AcapyError, match=r"connections/none.*Record not found"):
        await alice.connection("none")


@pytest.mark.parametrize(
    ("peer", "command"),
    [
        ("didcomm", ["bin/python", "-W", "ignore", "-c", "import didcomm.pack_encrypted, didcomm.unpack"]),
        ("didcomm-node", ["node", "-e", "if (!require('didcomm-node').Message) process.exit(1)"]),
    ],
)
async def test_the_libraries_load(peer: str, command: list[str]) -> None:
    folder = await asyncio.to_thread(peers.install, peer)
    program = shutil.which(command[0], path=None if command[0] == "node" else str(folder)) or str(folder / command[0])
    process = await asyncio.create_subprocess_exec(program, *command[1:], cwd=folder)
    assert await process.wait() == 0
