"""The small protocols that every agent expects, with ACA-Py: trust ping (RFC 0048), discover features 1.0 (RFC 0031)
and 2.0 (RFC 0557)."""

from __future__ import annotations

import pytest

from tests.interop.acapy import DIDEXCHANGE_1_0, DIDEXCHANGE_1_1, AcapyVersion
from tests.interop.conftest import Agents
from tests.interop.tenant import connect, heard, send
from tests.stack import Client

pytestmark = pytest.mark.interop

VERSIONS: list[AcapyVersion] = ["1.7.0", "1.2.7"]
PING = "https://didcomm.org/trust_ping/1.0"
DISCOVER_1 = "https://didcomm.org/discover-features/1.0"
DISCOVER_2 = "https://didcomm.org/discover-features/2.0"
SPOKEN = {DIDEXCHANGE_1_0, DIDEXCHANGE_1_1, PING, DISCOVER_1, DISCOVER_2, "https://didcomm.org/basicmessage/1.0"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_acapy_pings(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    mine, theirs = await connect(tenant, alice)
    thread = await alice.trust_ping(theirs)
    hook = await heard(tenant, f"{PING}/ping", **{"@id": thread})
    assert hook["connectionUuid"] == mine["uuid"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_we_ping(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    mine, _ = await connect(tenant, alice)
    thread = await send(tenant, mine["contactUuid"], f"{PING}/ping", response_requested=True)
    answer = await heard(tenant, f"{PING}/ping_response", thid=thread)
    assert answer["authenticated"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_acapy_asks_what_we_speak(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    _, theirs = await connect(tenant, alice)
    assert await alice.discover(theirs) >= SPOKEN
    assert await alice.discover(theirs, "https://didcomm.org/didexchange/*") == {DIDEXCHANGE_1_0, DIDEXCHANGE_1_1}
    assert await alice.discover_2(theirs) >= SPOKEN
    assert await alice.discover_2(theirs, "https://didcomm.org/trust_ping/*") == {PING}


@pytest.mark.parametrize("version", VERSIONS)
async def test_we_ask_what_acapy_speaks(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    mine, _ = await connect(tenant, alice)
    thread = await send(tenant, mine["contactUuid"], f"{DISCOVER_1}/query", query="https://didcomm.org/didexchange/*")
    found = await heard(tenant, f"{DISCOVER_1}/disclose", thid=thread)
    assert {protocol["pid"] for protocol in found["message"]["protocols"]} == {DIDEXCHANGE_1_0, DIDEXCHANGE_1_1}
    thread = await send(
        tenant,
        mine["contactUuid"],
        f"{DISCOVER_2}/queries",
        queries=[{"feature-type": "protocol", "match": "https://didcomm.org/didexchange/*"}],
    )
    found = await heard(tenant, f"{DISCOVER_2}/disclosures", thid=thread)
    assert {feature["id"] for feature in found["message"]["disclosures"]} == {DIDEXCHANGE_1_0, DIDEXCHANGE_1_1}
