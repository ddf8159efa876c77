"""A proof request in a multi-use invitation asks everybody the same: what one shows, another must not show again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.scenarios.test_credentials import offer
from tests.scenarios.test_exchanges import connected
from tests.stack import Client, Stack
from tntcore.storage.records import ShownPresentation

JSON_LD = {
    "input_descriptors": [{"id": "any", "constraints": {"fields": [{"path": ["$.credentialSubject.givenName"]}]}}]
}
JWT = {
    "input_descriptors": [{"id": "any", "constraints": {"fields": [{"path": ["$.vc.credentialSubject.givenName"]}]}}],
    "format": {"jwt_vp": {"alg": ["EdDSA"]}},
}


async def hit(stack: Stack, client: Client, path: str) -> Any:
    async def check() -> Any:
        hits = (await client.get(path))["hits"]
        return hits[0] if hits else None

    return await stack.eventually(check)


async def holding(stack: Stack, format_: str) -> tuple[Client, Client]:
    """A verifier, and somebody who holds a credential of it."""
    verifier, holder, mine, _ = await connected(stack, "v1")
    await holder.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoRequest": True}}, 200)
    await verifier.post("credential", offer(format_, mine.contact_uuid))
    await hit(stack, holder, "credential?status=HELD")
    return verifier, holder


async def asking(verifier: Client, definition: Any) -> Any:
    body = {"invitation": {"multiUse": True, "handshakeProtocols": []}, "data": {"presentation_definition": definition}}
    return await verifier.post("proof-request", body)


async def asked(stack: Stack, client: Client, invited: Any) -> Any:
    await client.post("contact", {"invitation": invited["invitation"]})
    return await hit(stack, client, "exchange?state=request-received")


async def shown(stack: Stack, holder: Client, invited: Any) -> Any:
    """The message by which the holder answers."""
    exchange = await asked(stack, holder, invited)
    done = await holder.post(f"exchange/{exchange['uuid']}/accept", {}, 200)
    return (await holder.get(f"message/{done['messages']['present']}"))["message"]


async def copy(client: Client, exchange: Any, message: Any) -> None:
    """Sends what another showed, as one's own answer."""
    taken = {name: value for name, value in message.items() if name not in ("@id", "~thread", "~service")}
    await client.post(f"action/{exchange['uuid']}", {"data": {"message": taken}}, 200)


async def presentations(stack: Stack, verifier: Client, count: int) -> list[Any]:
    async def check() -> Any:
        hits = (await verifier.get("presentation"))["hits"]
        return hits if len(hits) == count else None

    hits: list[Any] = await stack.eventually(check)
    return hits


@pytest.mark.parametrize(("format_", "definition"), [("ld-proof", JSON_LD), ("jwt-vc", JWT)])
async def test_a_copy_is_refused(stack: Stack, format_: str, definition: Any) -> None:
    verifier, holder = await holding(stack, format_)
    invited = await asking(verifier, definition)
    message = await shown(stack, holder, invited)
    [first] = await presentations(stack, verifier, 1)
    assert (first["status"], first["verified"]) == ("VERIFIED", True)
    thief = await stack.register("Mallory")
    await copy(thief, await asked(stack, thief, invited), message)
    both = await presentations(stack, verifier, 2)
    [second] = [one for one in both if one["uuid"] != first["uuid"]]
    assert (second["status"], second["verified"]) == ("REJECTED", False)
    assert [check["name"] for check in second["checks"] if check["passed"] is False] == ["challenge"]
    assert (await verifier.get(f"exchange/{second['exchangeUuid']}"))["state"] == "abandoned"
    # Nor is it good when the checks are made again; the first still is.
    assert not (await verifier.post(f"presentation/{second['uuid']}/verify", None, 200))["verified"]
    assert (await verifier.post(f"presentation/{first['uuid']}/verify", None, 200))["verified"]
    # Only what was not refused is remembered.
    records = (await verifier.tenant()).records
    assert [one.presentation_uuid for one in (await records.list(ShownPresentation, limit=9)).records] == [
        first["uuid"]
    ]


async def test_many_copies_at_once(stack: Stack) -> None:
    verifier, holder = await holding(stack, "ld-proof")
    thieves = [await stack.register(f"Mallory {number}") for number in range(3)]
    invited = await asking(verifier, JSON_LD)
    exchanges = [await asked(stack, thief, invited) for thief in thieves]
    message = await shown(stack, holder, invited)
    await asyncio.gather(*(copy(thief, one, message) for thief, one in zip(thieves, exchanges, strict=True)))
    found = await presentations(stack, verifier, 4)
    assert sorted(one["status"] for one in found) == ["REJECTED", "REJECTED", "REJECTED", "VERIFIED"]


async def test_whoever_holds_it_may_show_it_again(stack: Stack) -> None:
    """A new signature is no copy: somebody who comes back answers the same invitation again."""
    verifier, holder = await holding(stack, "ld-proof")
    invited = await asking(verifier, JSON_LD)
    message = await shown(stack, holder, invited)
    await presentations(stack, verifier, 1)
    [exchange] = (await holder.get("exchange?role=prover"))["hits"]
    again = await holder.call("POST", "presentation", {"exchangeUuid": exchange["uuid"]})
    assert again.status == 409  # that exchange is done
    second = await asking(verifier, JSON_LD)
    assert (await shown(stack, holder, second))["@id"] != message["@id"]
    assert {one["status"] for one in await presentations(stack, verifier, 2)} == {"VERIFIED"}
