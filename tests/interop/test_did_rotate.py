"""ACA-Py changes its DID on a connection, and ends it: DID rotate 1.0 (RFC 0794)."""

from __future__ import annotations

import pytest

from tests.interop.acapy import DIDEXCHANGE_1_0, DIDEXCHANGE_1_1, AcapyVersion, until
from tests.interop.conftest import Agents
from tests.interop.tenant import connect, talk, until_state
from tests.stack import Client

pytestmark = pytest.mark.interop

VERSIONS: list[AcapyVersion] = ["1.7.0", "1.2.7"]


async def until_their_did(tenant: Client, connection: str, did: str) -> None:
    """A new DID of an agent's counts once it has said something by it."""

    async def check() -> bool:
        return bool((await tenant.get(f"connection/{connection}"))["theirDid"] == did)

    await until(check)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("protocol", [DIDEXCHANGE_1_0, DIDEXCHANGE_1_1])
async def test_messages_go_on_after_rotations(
    agents: Agents, tenant: Client, version: AcapyVersion, protocol: str
) -> None:
    alice = await agents(version, "alice")
    mine, theirs = await connect(tenant, alice, protocol)
    for method in ("did:peer:4", "did:peer:2", "did:peer:4"):
        # It has our ack when this returns.
        did = await alice.rotate(theirs, method)
        await talk(tenant, mine, alice, theirs)
        await until_their_did(tenant, mine["uuid"], did)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_hangup_ends_the_connection(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    mine, theirs = await connect(tenant, alice)
    await alice.hangup(theirs)
    await until_state(tenant, mine["uuid"], "abandoned")
