"""The issuer's side of status lists: Bitstring Status List 1.0, and Status List 2021 for verifiers that support only
that.

An identity has lists of 131,072 credentials each, one bit a credential (the specification's minimum, so that a look-up
does not reveal whose credential it is). A list is signed when a bit changes, not when it is read, and published as
stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from openvc.status import (
    StatusListError,
    build_status_list_credential,
    build_status_list_entry,
    new_bitstring,
    parse_status_entries,
    set_status_bit,
)

from tntcore.credentials.formats import Party
from tntcore.credentials.linked_data import LinkedData
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.storage import queries
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.records import Identity, StatusList
from tntcore.storage.repository import Repository
from tntcore.storage.retrying import retrying
from tntcore.strict_json import write_json

ListType = Literal["BitstringStatusListEntry", "StatusList2021Entry"]
SIZE: Final = 131_072  # a power of two
_PURPOSE: Final = "revocation"
_V1: Final = "https://www.w3.org/2018/credentials/v1"
_LIST_2021: Final = "https://w3id.org/vc/status-list/2021/v1"


class StatusLists:
    """Allocates places in status lists, and revokes.

    Args:
        url: the base of the identities' URLs: `https://host/api/identity`.
        now: milliseconds since 1970.
        size: of a list; a power of two.
    """

    def __init__(self, linked_data: LinkedData, url: str, now: Callable[[], int], *, size: int = SIZE) -> None:
        self._linked_data = linked_data
        self._url = url
        self._now = now
        self._size = size

    async def allocate(self, party: Party, type_: str) -> dict[str, Any]:
        """Returns a `credentialStatus` that no credential of the identity had before.

        Args:
            type_: a `ListType`.

        Raises:
            Problem: 404 if the party is no identity here, 503 `busy`. SigningError: of a new list.
        """
        identity = await _identity(party)

        async def attempt() -> dict[str, Any]:
            while (found := await _open_list(party.records, identity, type_)) is None:
                await self._begin(party, identity, type_)
            unit = Unit()
            taken = found.taken + 1
            unit.merge(
                found.key,
                {"taken": taken, "status": "ACTIVE" if taken < self._size else "FULL", "updatedAt": self._now()},
                found.etag,
            )
            await party.records.commit(unit)
            return self._entry(found, _spread(party.records, found, self._size))

        return await retrying(attempt, contended=_busy())

    async def revoke(self, party: Party, credential: Mapping[str, Any]) -> None:
        """Publishes that a credential is revoked. Does nothing if it is revoked already.

        Args:
            party: the identity that issued it.

        Raises:
            Problem: 409 `credential-not-revocable`: it names no list of this identity; 503 `busy`. SigningError.
        """
        identity = await _identity(party)
        try:
            entries = parse_status_entries(dict(credential))
        except StatusListError:
            entries = []
        for entry in entries:
            begin = f"{self._url}/{identity.uuid}/status-list/"
            number = entry.status_list_credential.removeprefix(begin)
            if (
                entry.purpose == _PURPOSE
                and entry.status_list_credential.startswith(begin)
                and entry.index < self._size
            ):
                return await self._set(party, f"{identity.uuid}.{number}", entry.index)
        raise Problem(
            409,
            "credential-not-revocable",
            "The credential is in no status list of this identity. Only credentials issued with a status "
            "can be revoked.",
        )

    async def _set(self, party: Party, uuid: str, index: int) -> None:
        async def attempt() -> None:
            found = await party.records.get(StatusList, uuid)
            if found is None:
                raise Problem(
                    409,
                    "credential-not-revocable",
                    "The credential is in no status list of this identity. Only credentials issued with a status "
                    "can be revoked.",
                )
            bits = bytearray(found.bits)
            set_status_bit(bits, index, 1)
            if bits == found.bits:
                return
            found.bits = bytes(bits)
            signed = await self._sign(party, found)
            unit = Unit()
            unit.merge(found.key, {"bits": found.bits, "signed": signed, "updatedAt": self._now()}, found.etag)
            await party.records.commit(unit)

        await retrying(attempt, contended=_busy())

    async def _begin(self, party: Party, identity: Identity, type_: str) -> None:
        hits = await party.records.list(StatusList, limit=1000, under=identity.uuid + ".", columns=("type",))
        number = len(hits.records) + 1
        made = StatusList(
            uuid=f"{identity.uuid}.{number}",
            created_at=self._now(),
            updated_at=self._now(),
            identity_uuid=identity.uuid,
            number=number,
            type=type_,
            bits=bytes(new_bitstring(self._size)),
        )
        made.signed = await self._sign(party, made)
        unit = Unit()
        unit.create(made)
        try:
            await party.records.commit(unit)
        except Exists:
            return  # another process's list serves as well

    async def _sign(self, party: Party, record: StatusList) -> bytes:
        issuer = party.signer.kid.partition("#")[0]
        document = build_status_list_credential(
            id=self._list_url(record), issuer=issuer, status_purpose=_PURPOSE, bitstring=record.bits
        )
        if record.type == "StatusList2021Entry":
            document = _as_2021(document, times.iso_seconds(self._now()))
        signed = await self._linked_data.sign(
            document,
            party.signer,
            suite="Ed25519Signature2020" if record.type == "StatusList2021Entry" else "eddsa-rdfc-2022",
            purpose="assertionMethod",
            created_ms=self._now(),
        )
        return write_json(signed)

    def _entry(self, record: StatusList, index: int) -> dict[str, Any]:
        url = self._list_url(record)
        entry = build_status_list_entry(status_list_credential=url, index=index, id=f"{url}#{index}")
        return {**entry, "type": record.type}

    def _list_url(self, record: StatusList) -> str:
        return f"{self._url}/{record.identity_uuid}/status-list/{record.number}"


async def _identity(party: Party) -> Identity:
    hits = await party.records.list(Identity, limit=1, where=queries.identities_of_did(party.did))
    if not hits.records:
        raise Problem(404, "identity-not-found", f"There is no identity {party.did}. Check the DID.")
    return hits.records[0]


async def _open_list(records: Repository, identity: Identity, type_: str) -> StatusList | None:
    hits = await records.list(
        StatusList,
        limit=1,
        under=identity.uuid + ".",
        where=queries.open_status_lists(type_),
    )
    return hits.records[0] if hits.records else None


def _spread(records: Repository, record: StatusList, size: int) -> int:
    """Returns the place of the next credential: each once, in an order that does not reveal when it was issued."""
    secret = bytes.fromhex(records.fingerprint(record.key.encode()))
    start, step = int.from_bytes(secret[:4]), int.from_bytes(secret[4:8]) | 1  # odd: it meets every place
    return (start + record.taken * step) % size


def _as_2021(document: dict[str, Any], now: str) -> dict[str, Any]:
    """Returns the same list in the data model of 1.1, without multibase (Status List 2021, section 4)."""
    subject = document["credentialSubject"]
    encoded = subject["encodedList"].removeprefix("u")
    return {
        **document,
        "@context": [_V1, _LIST_2021],
        "type": [
            "VerifiableCredential",
            "StatusList2021Credential",
        ],
        "issuanceDate": now,
        "credentialSubject": {**subject, "type": "StatusList2021", "encodedList": encoded},
    }


def _busy() -> Problem:
    return Problem(
        503, "busy", "Too many credentials are being issued or revoked at the same time. Try again.", retry_after=1
    )
