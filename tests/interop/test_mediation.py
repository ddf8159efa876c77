"""ACA-Py behind an ACA-Py mediator: what we send it travels in forwards (RFC 0094)."""

from __future__ import annotations

import pytest

from tests.interop.acapy import CONNECTIONS_1_0, DIDEXCHANGE_1_0, DIDEXCHANGE_1_1, AcapyVersion
from tests.interop.conftest import Agents
from tests.interop.tenant import accept, invite, talk, until_connected, until_state
from tests.stack import Client

pytestmark = pytest.mark.interop

HANDSHAKES: list[tuple[AcapyVersion, str]] = [
    ("1.7.0", DIDEXCHANGE_1_0),
    ("1.7.0", DIDEXCHANGE_1_1),
    ("1.2.7", CONNECTIONS_1_0),
]


@pytest.mark.parametrize(("version", "protocol"), HANDSHAKES)
async def test_it_invites(agents: Agents, tenant: Client, version: AcapyVersion, protocol: str) -> None:
    bob, mediator = await agents(version, "bob"), await agents(version, "mediator", mediator=True)
    mediation = await bob.be_mediated_by(mediator)
    invitation = await bob.create_invitation(protocol, mediation=mediation)
    [service] = invitation["services"]
    assert service["serviceEndpoint"] == mediator.endpoint
    assert len(service["routingKeys"]) == 1
    before = mediator.forwarded
    contact = await accept(tenant, invitation)
    mine = await until_state(tenant, contact["connectionUuid"], "completed")
    theirs = (await bob.wait_invited(invitation, "completed"))["connection_id"]
    await talk(tenant, mine, bob, theirs)
    # At least the request and the message.
    await mediator.wait_forwarded(before + 2)


@pytest.mark.parametrize(("version", "protocol"), HANDSHAKES)
async def test_it_is_invited(agents: Agents, tenant: Client, version: AcapyVersion, protocol: str) -> None:
    bob, mediator = await agents(version, "bob"), await agents(version, "mediator", mediator=True)
    mediation = await bob.be_mediated_by(mediator)
    before = mediator.forwarded
    theirs = await bob.receive_invitation((await invite(tenant, protocol))["invitation"], mediation=mediation)
    await bob.wait_state(theirs, "completed")
    [mine] = await until_connected(tenant)
    await talk(tenant, mine, bob, theirs)
    # At least the response and the message.
    await mediator.wait_forwarded(before + 2)
