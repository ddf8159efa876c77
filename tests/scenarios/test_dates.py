"""Dates of others and of tenants: read, refused or bounded, and never the end of a list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.scenarios.test_contexts import accepted, waiting
from tests.scenarios.test_credentials import DIPLOMA, issued
from tests.scenarios.test_exchanges import connected
from tests.stack import Client, Stack
from tntcore.storage.commit import Unit
from tntcore.storage.records import Credential, Invitation

LAST = "9999-12-31T23:59:59.999Z"


def data(**dates: str) -> dict[str, Any]:
    return {"data": {"credential": {**DIPLOMA, **dates}}}


async def offered(client: Client, contact: str, format_: str, **dates: str) -> Any:
    return await client.call("POST", "credential", {"to": contact, "format": format_, **data(**dates)})


@pytest.mark.parametrize("format_", ["jwt-vc", "ld-proof"])
async def test_a_credential_for_ever_and_a_day(stack: Stack, format_: str) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    ends = data(expirationDate="9999-12-31T23:59:59-05:00")
    credential = await issued(stack, issuer, holder, mine.contact_uuid, format_, **ends)
    # A JWT has whole seconds.
    assert (credential["status"], credential["expiresAt"][:19]) == ("HELD", LAST[:19])
    [listed] = (await holder.get("credential"))["hits"]
    assert listed["expiresAt"] == credential["expiresAt"]


async def test_rows_that_an_older_version_wrote(stack: Stack) -> None:
    client = await stack.register("Acme")
    await client.post("invitation", {})
    records = (await client.tenant()).records
    [invitation] = (await records.list(Invitation, limit=9)).records
    unit = Unit()
    unit.merge(invitation.key, {"expiresAt": 253_402_300_800_000})
    kept: dict[str, Any] = {"status": "HELD", "role": "holder", "format": "jwt-vc", "created_at": 1, "updated_at": 1}
    for number, moment in enumerate((1 << 60, -62_135_596_800_000, -(1 << 60))):
        credential = Credential(uuid=f"0{number}", expires_at=moment, **kept)
        unit.create(credential)
    await records.commit(unit)
    assert [hit["expiresAt"] for hit in (await client.get("invitation"))["hits"]] == [LAST]
    shown = [hit["expiresAt"] for hit in (await client.get("credential"))["hits"]]
    assert shown == [LAST, "0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z"]


async def test_what_serialisers_write_for_no_date(stack: Stack) -> None:
    client = await stack.register("Acme")
    for value in ("0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "10000-01-01T00:00:00Z"):
        answer = await client.call("POST", "invitation", {"expiresAt": value})
        assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (400, "time-invalid"), value
    made = await client.post("invitation", {"expiresAt": "9999-12-31T23:59:59.9999999Z"})
    assert made["expiresAt"] == LAST
    assert made["invitation"]["~timing"]["expires_time"] == "9999-12-31T23:59:59Z"
    assert len((await client.get("invitation"))["hits"]) == 1


@pytest.mark.parametrize("format_", ["jwt-vc", "ld-proof"])
async def test_dates_that_are_issued(stack: Stack, format_: str) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    for date in (
        "2024-01-31",
        "2024-W05-1",
        "20240131T120000Z",
        "2024-01-31T12:00Z",
        "yesterday",
        "2024-01-31T25:00:00Z",
    ):
        answer = await offered(issuer, mine.contact_uuid, format_, issuanceDate=date)
        assert answer.status == 400, date
        assert "issuanceDate" in answer.json()["detail"]
    day = data(issuanceDate="2024-01-31T24:00:00Z")
    assert (await issued(stack, issuer, holder, mine.contact_uuid, format_, **day))["verified"]


async def test_data_model_2_wants_a_zone(stack: Stack) -> None:
    issuer, _, mine, _ = await connected(stack, "v1")
    body = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential"],
        "credentialSubject": {},
    }
    for date, status in (("2024-01-31T12:00:00", 400), ("2024-01-31T12:00:00Z", 201)):
        asked = {"to": mine.contact_uuid, "data": {"credential": {**body, "validFrom": date}}}
        assert (await issuer.call("POST", "credential", asked)).status == status


@pytest.mark.parametrize("format_", ["jwt-vc", "ld-proof"])
async def test_a_credential_from_tomorrow_on_may_be_held(stack: Stack, format_: str) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert (await offered(issuer, mine.contact_uuid, format_, issuanceDate=tomorrow)).status == 201
    await accepted(stack, holder, "done")
    [held] = (await holder.get("credential"))["hits"]
    assert (held["status"], held["verified"]) == ("HELD", False)
    [early] = [check for check in held["checks"] if not check["passed"]]
    assert early["name"] == "expiry"
    assert tomorrow in early["detail"]
    # But it shows nothing yet.
    definition = {"input_descriptors": [{"id": "any", "constraints": {}}]}
    await issuer.post("proof-request", {"to": mine.contact_uuid, "data": {"presentation_definition": definition}})
    request = await waiting(stack, holder, "request-received")
    assert (await holder.get(f"exchange/{request['uuid']}/candidates"))["candidates"][0]["credentials"] == []
