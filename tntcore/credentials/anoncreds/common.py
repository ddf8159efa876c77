"""Shared parts of issuing, holding and proving AnonCreds: attribute encoding, revocation state, the link secret."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tntcore.credentials.anoncreds import work
from tntcore.credentials.anoncreds.registry import Json, Registry, TailsFiles
from tntcore.credentials.formats import FormatError, HeldCredential
from tntcore.storage.commit import Unit
from tntcore.storage.records import LinkSecret
from tntcore.storage.repository import Repository
from tntcore.storage.retrying import retrying
from tntcore.strict_json import write_json
from tntcore.workers import Workers

_INT32 = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tools:
    """Everything that issuing and proving need.

    Attributes:
        now: milliseconds since 1970.
        random: returns so many random bytes.
    """

    workers: Workers
    registry: Registry
    tails: TailsFiles
    now: Callable[[], int]
    random: Callable[[int], bytes]

    async def link_secret(self, records: Repository) -> str:
        """Returns the principal's link secret; makes it when it is first needed."""

        async def attempt() -> str:
            kept = await records.get(LinkSecret, "default")
            if kept is not None:
                return records.open(kept.value, kept.key).decode()
            now = self.now()
            made = LinkSecret(uuid="default", created_at=now, updated_at=now)
            secret: str = await self.workers.run(work.link_secret)
            made.value = records.seal(secret.encode(), made.key)
            unit = Unit()
            unit.create(made)
            await records.commit(unit)
            return secret

        return await retrying(attempt)

    async def revocation_registry(self, identifier: str, definition_id: str, definition: Json) -> Json:
        """Returns the registry's definition. Raises `FormatError` if it does not belong to the credential
        definition.
        """
        registry = await self.registry.revocation_registry_definition(identifier)
        if registry["credDefId"] != definition_id or registry["issuerId"] != definition["issuerId"]:
            raise FormatError("revocation-registry-mismatch", "the registry is not one of the credential definition")
        return registry


@dataclass(frozen=True, slots=True)
class Kept:
    """The content of `HeldCredential.secret` for an AnonCreds credential.

    Attributes:
        credential: as its holder stores it, with the blinding removed.
        metadata: of the request. link_secret: that it was requested with.
        tags: the values that restrictions compare: `schema_id, schema_issuer_id, schema_name, schema_version,
            issuer_id, cred_def_id`, and `rev_reg_id`.
    """

    credential: str
    metadata: str
    link_secret: str
    tags: Mapping[str, str]

    def serialise(self) -> bytes:
        return write_json([self.credential, self.metadata, self.link_secret, dict(self.tags)])

    @staticmethod
    def read(held: HeldCredential) -> Kept:
        """Reads it. Raises `ValueError` if the credential is its issuer's own copy."""
        members = orjson.loads(held.secret)
        if not isinstance(members, list):
            raise ValueError("not a holder's credential")  # noqa: TRY004
        return Kept(*members)


def encode(raw: str) -> str:
    """Encodes an attribute's value as a number (AnonCreds Specification, "Encoding Attribute Data"): a 32-bit integer
    as it is, anything else as its SHA-256.
    """
    if _INT32.fullmatch(raw) and -(2**31) <= int(raw) < 2**31:
        return str(int(raw))
    return str(int.from_bytes(hashlib.sha256(raw.encode("utf-8", "surrogatepass")).digest(), "big"))


def tags_of(schema_id: str, schema: Json, definition_id: str, definition: Json) -> dict[str, str]:
    return {
        "schema_id": schema_id,
        "schema_issuer_id": schema["issuerId"],
        "schema_name": schema["name"],
        "schema_version": schema["version"],
        "issuer_id": definition["issuerId"],
        "cred_def_id": definition_id,
    }


def object_with(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and all(name in value for name in names)
