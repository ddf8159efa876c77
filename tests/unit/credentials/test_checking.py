"""Dates, schemas and status lists, as issuers and those who would be taken for one write them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from openvc.status import build_status_list_credential, build_status_list_entry, new_bitstring, set_status_bit

from tntcore.credentials.checking import check_dates, check_schema, check_status
from tntcore.credentials.formats import Check, Verification
from tntcore.egress import EgressError
from tntcore.workers import TooLongError, Workers, within

NOW = 1_800_000_000_000
URL = "https://issuer.example/list"
ISSUER = "did:example:issuer"


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(1)
    yield workers
    await workers.close()


class Web:
    """Documents at URLs."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self.documents = documents

    async def fetch(self, url: str) -> bytes:
        if url not in self.documents:
            raise EgressError("status", "answered 404")
        return json.dumps(self.documents[url]).encode()


@pytest.mark.parametrize(
    ("dates", "passed"),
    [
        ({}, True),
        ({"issuanceDate": "2020-01-01T00:00:00Z"}, True),
        ({"issuanceDate": "2020-01-01T00:00:00+02:00", "expirationDate": "2100-01-01T00:00:00.1234567Z"}, True),
        ({"expirationDate": "2020-01-01T00:00:00Z"}, False),
        ({"validUntil": "2020-01-01T00:00:00Z"}, False),
        ({"validUntil": "2100-01-01T00:00:00Z", "expirationDate": "2020-01-01T00:00:00Z"}, False),
        ({"validFrom": "2100-01-01T00:00:00Z"}, False),
        ({"expirationDate": "never"}, False),
        ({"expirationDate": None}, False),
        ({"expirationDate": 4_000_000_000}, False),
        ({"validUntil": ["2100-01-01T00:00:00Z"]}, False),
    ],
)
def test_a_credential_is_valid_between_its_dates_and_not_if_they_cannot_be_read(
    dates: dict[str, Any], passed: bool
) -> None:
    assert check_dates(dates, NOW, "credential 0").passed is passed


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"credentialSubject": {"type": "object", "required": ["degree"]}},
}


def _with_schema(subject: Mapping[str, Any], type_: str = "JsonSchema") -> dict[str, Any]:
    return {"credentialSubject": subject, "credentialSchema": {"id": URL, "type": type_}}


async def test_a_credential_is_compared_with_its_schema(workers: Workers) -> None:
    fetch = Web({URL: SCHEMA}).fetch
    assert await check_schema({}, fetch, workers, "") is None
    good = await check_schema(_with_schema({"degree": "PhD"}), fetch, workers, "")
    bad = await check_schema(_with_schema({}), fetch, workers, "x")
    assert good == Check("schema", True)
    assert bad is not None
    assert (bad.passed, bad.subject) == (False, "x")
    assert "degree" in bad.detail


@pytest.mark.parametrize("type_", ["JsonSchemaCredential", "1EdTechJsonSchemaValidator2019"])
async def test_a_schema_that_is_not_read_here_or_cannot_be_had_is_no_success(workers: Workers, type_: str) -> None:
    unread = await check_schema(_with_schema({"degree": "PhD"}, type_), Web({URL: SCHEMA}).fetch, workers, "")
    missing = await check_schema(_with_schema({"degree": "PhD"}), Web({}).fetch, workers, "")
    empty = await check_schema({"credentialSchema": []}, Web({}).fetch, workers, "")
    assert [check and check.passed for check in (unread, missing, empty)] == [None, None, None]
    assert unread is not None
    assert missing is not None
    assert empty is not None


@pytest.mark.parametrize(
    "bomb",
    [
        {"properties": {"credentialSubject": {"properties": {"degree": {"pattern": "^(a|a)*$"}}}}},
        {
            "$ref": "#/$defs/0",
            "$defs": {
                **{str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}, {"$ref": f"#/$defs/{n + 1}"}]} for n in range(60)},
                "60": {},
            },
        },
    ],
)
async def test_a_schema_that_takes_for_ever_is_left_and_the_process_goes_on(workers: Workers, bomb: Any) -> None:
    document = {"$schema": SCHEMA["$schema"], **bomb}
    checked = check_schema(_with_schema({"degree": "a" * 60 + "!"}), Web({URL: document}).fetch, workers, "")
    # Uncut, it would take longer than a life: any bound does, however busy the machine is.
    check = await asyncio.wait_for(checked, 120)
    assert check is not None
    assert check.passed is None


async def test_a_computation_that_is_ended_leaves_its_process_alive(workers: Workers) -> None:
    process = await workers.run(_pid)
    with pytest.raises(TooLongError):
        await workers.run(within, 0.2, re.match, "^(a|a)*$", "a" * 60 + "!")
    assert await workers.run(_pid) == process


def _pid() -> int:
    import os

    return os.getpid()


def _list(*revoked: int, issuer: str = ISSUER) -> dict[str, Any]:
    bits = new_bitstring(131_072)
    for index in revoked:
        set_status_bit(bits, index, 1)
    return dict(build_status_list_credential(id=URL, bitstring=bytes(bits), issuer=issuer))


def _listed(index: int, **more: Any) -> dict[str, Any]:
    entry = build_status_list_entry(status_list_credential=URL, index=index)
    return {"issuer": {"id": ISSUER}, "credentialStatus": {**entry, **more}}


async def _signed(value: Any) -> tuple[Verification, Mapping[str, Any]]:
    return Verification([Check("signature", True)], frozenset({("signature", "")})), value


async def _forged(value: Any) -> tuple[Verification, Mapping[str, Any]]:
    return Verification([Check("signature", False)], frozenset({("signature", "")})), value


async def test_a_revoked_credential_is_told_from_one_that_is_not(workers: Workers) -> None:
    fetch = Web({URL: _list(7)}).fetch
    assert await check_status({}, fetch, _signed, workers, "") is None
    fine = await check_status(_listed(8), fetch, _signed, workers, "")
    revoked = await check_status(_listed(7), fetch, _signed, workers, "")
    assert fine == Check("status", True)
    assert revoked == Check("status", False, "The credential was revoked.")


async def test_a_status_that_cannot_be_looked_up_is_not_a_good_one(workers: Workers) -> None:
    good = Web({URL: _list()}).fetch
    two = {"issuer": ISSUER, "credentialStatus": [_listed(7)["credentialStatus"], {"id": "x", "type": "Other"}]}
    tries = [
        await check_status(_listed(7), Web({}).fetch, _signed, workers, ""),
        await check_status(_listed(7), good, _forged, workers, ""),
        await check_status(_listed(7), Web({URL: _list(issuer="did:example:other")}).fetch, _signed, workers, ""),
        await check_status(_listed(7, type="RevocationList2020Status"), good, _signed, workers, ""),
        await check_status(two, good, _signed, workers, ""),
        await check_status(_listed(7, statusListIndex="-1"), good, _signed, workers, ""),
        await check_status(_listed(7, statusListIndex="999999"), good, _signed, workers, ""),
        await check_status({"issuer": ISSUER, "credentialStatus": {}}, good, _signed, workers, ""),
        await check_status({"issuer": ISSUER, "credentialStatus": []}, good, _signed, workers, ""),
    ]
    assert [check is not None and check.passed is None for check in tries] == [True] * len(tries)
