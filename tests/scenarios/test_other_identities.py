"""An exchange is on a connection of one identity; any other of the tenant's may issue, hold and show in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.test_contexts import accepted, waiting
from tests.scenarios.test_credentials import DIPLOMA
from tests.scenarios.test_exchanges import connected, state
from tests.stack import Client, Stack

PATHS = ["$.credentialSubject.givenName", "$.vc.credentialSubject.givenName"]
ASKED = {"input_descriptors": [{"id": "any", "constraints": {"fields": [{"path": PATHS}]}}]}


async def another(client: Client, method: str = "did:key") -> str:
    return str((await client.post("identity", {"method": method}))["did"])


def offering(contact: str, format_: str, **more: Any) -> dict[str, Any]:
    return {"to": contact, "format": format_, "data": {"credential": {**DIPLOMA, **more}}}


async def proven(stack: Stack, verifier: Client, prover: Client, contact: str, **choice: Any) -> Any:
    asked = await verifier.post("proof-request", {"to": contact, "data": {"presentation_definition": ASKED}})
    request = await waiting(stack, prover, "request-received")
    [candidate] = (await prover.get(f"exchange/{request['uuid']}/candidates"))["candidates"]
    await prover.post(f"exchange/{request['uuid']}/accept", choice, 200)
    done = await state(stack, verifier, asked["uuid"], "done")
    return await verifier.get(f"presentation/{done['presentationUuids'][0]}"), candidate["credentials"]


@pytest.mark.parametrize("format_", ["ld-proof", "jwt-vc"])
@pytest.mark.parametrize("method", ["did:key", "did:web"])
async def test_an_offer_of_another_identity(stack: Stack, format_: str, method: str) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    did = await another(issuer, method)
    for body in ({"from": did}, {}):
        more = {} if body else {"issuer": did}
        made = await issuer.post("credential", {**offering(mine.contact_uuid, format_, **more), **body})
        assert made["connectionUuid"] == mine.uuid
        await accepted(stack, holder, "done")
        held = (await holder.get("credential?status=HELD"))["hits"]
        assert {one["summary"]["issuer"] for one in held} == {did}
        assert all(one["verified"] for one in held)


async def test_a_proposal_is_accepted_by_the_issuer_it_names(stack: Stack) -> None:
    issuer, holder, _, theirs = await connected(stack, "v1")
    did = await another(issuer)
    await holder.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoRequest": True}}, 200)
    await holder.post("credential", {"command": "propose", **offering(theirs.contact_uuid, "ld-proof", issuer=did)})
    proposed = await waiting(stack, issuer, "proposal-received")
    await issuer.post(f"exchange/{proposed['uuid']}/accept", {}, 200)
    await state(stack, issuer, proposed["uuid"], "done")
    [held] = (await holder.get("credential"))["hits"]
    assert (held["status"], held["summary"]["issuer"]) == ("HELD", did)


@pytest.mark.parametrize("format_", ["ld-proof", "jwt-vc"])
async def test_what_another_identity_holds_is_shown(stack: Stack, format_: str) -> None:
    issuer, holder, mine, theirs = await connected(stack, "v1")
    did = await another(holder)
    await issuer.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoOffer": True}}, 200)
    await holder.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoRequest": True}}, 200)
    body = {"command": "propose", "from": did, **offering(theirs.contact_uuid, format_)}
    begun = await holder.post("credential", body)
    assert begun["connectionUuid"] == theirs.uuid
    await state(stack, holder, begun["uuid"], "done")
    [held] = (await holder.get("credential"))["hits"]
    assert (held["status"], held["summary"]["subject"]) == ("HELD", did)
    shown, candidates = await proven(stack, issuer, holder, mine.contact_uuid)
    assert candidates == [held["uuid"]]
    assert shown["verified"]
    again, _ = await proven(stack, issuer, holder, mine.contact_uuid, credentials={"any": held["uuid"]})
    assert again["verified"]


async def test_candidates_are_what_accept_takes(stack: Stack) -> None:
    """A credential about nobody of the tenant's is no candidate."""
    issuer, holder, mine, _ = await connected(stack, "v1")
    subject = {**DIPLOMA["credentialSubject"], "id": "did:example:somebody"}  # type: ignore[dict-item]
    await issuer.post("credential", offering(mine.contact_uuid, "ld-proof", credentialSubject=subject))
    await accepted(stack, holder, "done")
    await issuer.post("proof-request", {"to": mine.contact_uuid, "data": {"presentation_definition": ASKED}})
    request = await waiting(stack, holder, "request-received")
    [candidate] = (await holder.get(f"exchange/{request['uuid']}/candidates"))["candidates"]
    assert candidate["credentials"] == []
    answer = await holder.call("POST", f"exchange/{request['uuid']}/accept", {})
    assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (409, "nothing-to-present")


async def test_nobody_issues_in_anothers_name(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    did = await another(holder)
    answer = await issuer.call("POST", "credential", offering(mine.contact_uuid, "ld-proof", issuer=did))
    assert answer.status == 400
    answer = await issuer.call("POST", "credential", {**offering(mine.contact_uuid, "ld-proof"), "from": did})
    assert answer.status == 404
