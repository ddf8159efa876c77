"""Rows of before a did:sov had to be proven."""

from __future__ import annotations

from typing import Any

import pytest

from tntcore.dids import sov
from tntcore.storage.records import Connection, Contact, Record
from tntcore.storage.tables import Row
from tntcore.tenancy.recipients import KeyPairs

BANK, OTHER = KeyPairs.generate().verkey, KeyPairs.generate().verkey
DID = f"did:sov:{sov.create(BANK)}"
PEER = "did:peer:2.Vz6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V"


def document(*keys: str, did: str = DID) -> dict[str, Any]:
    raw = sov.legacy_document(did, keys[0], "https://bank.example")
    more = ({**raw["publicKey"][0], "id": f"{did}#{n}", "publicKeyBase58": key} for n, key in enumerate(keys[1:], 2))
    return {**raw, "publicKey": [*raw["publicKey"], *more]}


def reread(record: Record, *, new: bool = False) -> Any:
    values = record.values()
    assert ("named" in values) is new
    return type(record).read(Row("p", record.key, values, "etag"))


@pytest.mark.parametrize(
    ("their_document", "proven"),
    [
        (document(BANK), True),
        (document(OTHER), False),
        (document(BANK, OTHER), False),
        (document(OTHER, BANK), False),
        ({}, False),
        (document(BANK, did=f"did:sov:{sov.create(OTHER)}"), False),
    ],
)
def test_an_old_did_sov_counts_if_no_other_key_is_in_its_document(their_document: Any, proven: bool) -> None:
    kept = Connection(uuid="u", their_did=DID, contact_did=DID, their_document=their_document)
    read = reread(kept)
    assert (read.their_did, read.contact_did, read.claimed_did) == ((DID, DID, None) if proven else ("", "", DID))
    # What is written from now on says so itself.
    assert read.named
    again = reread(read, new=True)
    assert (again.their_did, again.contact_did, again.claimed_did) == (
        read.their_did,
        read.contact_did,
        read.claimed_did,
    )


def test_an_old_name_from_before_a_rotation() -> None:
    for previous, known in ((document(BANK), DID), (document(OTHER), ""), ({}, "")):
        read = reread(Connection(uuid="u", their_did=PEER, contact_did=DID, previous_document=previous))
        assert (read.their_did, read.contact_did, read.claimed_did) == (PEER, known, None)


@pytest.mark.parametrize(
    "did", [PEER, "did:web:bank.example", "did:key:z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V"]
)
def test_all_other_dids_were_proven(did: str) -> None:
    read = reread(Connection(uuid="u", their_did=did, contact_did=did))
    assert (read.their_did, read.contact_did, read.claimed_did) == (did, did, None)
    assert reread(Contact(uuid="u", did=did)).did == did


def test_an_old_contact_with_a_did_sov_claims_it() -> None:
    read = reread(Contact(uuid="u", did=DID))
    assert (read.did, read.claimed_did) == ("", DID)
    assert reread(Contact(uuid="u", did=DID, named=True), new=True).did == DID
