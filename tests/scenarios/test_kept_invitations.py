"""An invitation is received and looked at before it is answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import assert_problem, basic
from tests.scenarios.test_did_exchange import completed
from tests.stack import Client
from tntcore.messaging import times

FORMS = pytest.mark.parametrize("form", ["out-of-band/1", "out-of-band/2", "connections/1"])


async def kept(acme: Client, bolt: Client, wanted: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Bolt's contact, whose connection keeps acme's invitation."""
    invited = await acme.post("invitation", wanted)
    made: dict[str, Any] = await bolt.post(
        "contact", {"invitationUrl": invited["invitationUrl"], "accept": False, **more}
    )
    return {**made, "content": invited["invitation"], "path": f"connection/{made['connectionUuid']}"}


@FORMS
async def test_an_invitation_is_shown_and_then_accepted(pair: tuple[Client, Client], form: str) -> None:
    acme, bolt = pair
    hook = await acme.webhook("basicmessage")
    contact = await kept(acme, bolt, {"form": form, "label": "Acme"})
    assert contact["status"] == "REQUESTED"
    shown = await bolt.get(contact["path"])
    assert (shown["state"], shown["role"], shown["myDid"]) == ("invitation-received", "requester", None)
    assert shown["invitation"] == contact["content"]
    await bolt.act(contact["uuid"], basic("held"))
    assert (await acme.get("connection"))["hits"] == []
    await bolt.post(f"{contact['path']}/accept", {}, 200)
    connection = await completed(bolt, contact["connectionUuid"])
    assert connection["invitation"] is None
    assert connection["createdAt"] == shown["createdAt"]
    assert (await hook.until(lambda hook: True)).body.count(b'"held"') == 1
    assert (await bolt.get(f"contact/{contact['uuid']}"))["status"] == "ACCEPTED"
    assert len((await bolt.get("contact"))["hits"]) == 1


@FORMS
async def test_an_invitation_is_declined_without_a_word(pair: tuple[Client, Client], form: str) -> None:
    acme, bolt = pair
    contact = await kept(acme, bolt, {"form": form})
    declined = await bolt.post(f"{contact['path']}/reject", {}, 200)
    assert (declined["state"], declined["invitation"]) == ("abandoned", None)
    assert (await bolt.get(f"contact/{contact['uuid']}"))["status"] == "REJECTED"
    assert_problem(await bolt.call("POST", f"{contact['path']}/accept", {}), 409, "nothing-to-decide")
    assert (await acme.get("connection"))["hits"] == []
    assert [hit["status"] for hit in (await acme.get("invitation"))["hits"]] == ["ACTIVE"]


async def test_an_invitation_without_a_handshake_is_kept_and_accepted(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await kept(acme, bolt, {"handshakeProtocols": [], "requests": [basic("attached")]})
    accepted = await bolt.post(f"{contact['path']}/accept", {}, 200)
    assert accepted["state"] == "completed"

    async def received() -> Any:
        return (await bolt.get("message?direction=IN"))["hits"]

    assert await bolt.stack.eventually(received)


async def test_a_public_did_in_a_kept_invitation_is_claimed_when_it_is_accepted(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await kept(acme, bolt, {"publicDid": True}, didMethod="did:peer:2")
    await bolt.post(f"{contact['path']}/accept", {}, 200)
    connection = await completed(bolt, contact["connectionUuid"])
    assert connection["myDid"].startswith("did:peer:2")
    assert (await bolt.get(f"contact/{contact['uuid']}"))["did"] == acme.identity["did"]


async def test_an_invitation_expires_while_it_is_kept(pair: tuple[Client, Client], monkeypatch: Any) -> None:
    acme, bolt = pair
    now = bolt.stack.app.services.now()
    contact = await kept(acme, bolt, {"expiresAt": times.iso(now + 2_000)})

    async def expired() -> Any:
        answer = await bolt.call("POST", f"{contact['path']}/accept", {})
        return answer if answer.status == 400 else None

    # It must not be accepted while this waits for it to expire.
    while bolt.stack.app.services.now() <= now + 3_100:
        await bolt.get(contact["path"])
    assert_problem(await bolt.stack.eventually(expired), 400, "invitation-expired")
    assert (await bolt.get(contact["path"]))["state"] == "invitation-received"


async def test_there_is_nothing_to_keep_without_an_invitation(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    body = {"contact": {"did": acme.identity["did"]}, "accept": False}
    assert_problem(await bolt.call("POST", "contact", body), 400, "contact-invalid")
