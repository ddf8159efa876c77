"""Access rights: operators' roles, the scopes of subscription keys, and the actor behind a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class OperatorRole(StrEnum):
    """The rights of an operator. Each role includes the ones before it.

    READ reads. OPERATE registers, limits, suspends and resumes tenants, and replays poison messages. ADMIN deletes
    tenants, discards poison messages, and manages the operators' keys.
    """

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def covers(self, other: OperatorRole) -> bool:
        return _RANKS[self] >= _RANKS[other]


class Scope(StrEnum):
    """The rights of a subscription key. Each scope includes the ones before it.

    READ reads everything but settings. SEND does business: messages, contacts, credentials. ADMIN manages keys,
    settings and identities, and reads the audit log.
    """

    READ = "read"
    SEND = "send"
    ADMIN = "admin"

    def covers(self, other: Scope) -> bool:
        scopes = list(Scope)
        return scopes.index(self) >= scopes.index(other)


_RANKS: Final[Mapping[OperatorRole, int]] = {role: rank for rank, role in enumerate(OperatorRole)}


@dataclass(frozen=True, slots=True)
class Actor:
    """The caller behind a call.

    Attributes:
        kind: `operator` (a key of ours), `token` (an identity provider's), `tenant` (a subscription key), `host` (the
            functions host's key), `storage` (the command line, with the storage account itself).
        id: the uuid of the key, or the token's subject.
        role: an operator's role, or a subscription key's scope.
    """

    kind: str
    id: str
    name: str
    role: str
