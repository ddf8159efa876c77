"""Who may do what: the roles of operators, the scopes of subscription keys, and who a call is made by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What an operator may do. Each role may do what the ones before it may.

    READ looks. OPERATE registers, limits, suspends and resumes tenants, and has what was given up handled again. ADMIN
    deletes tenants, discards what was given up, and manages the operators' keys.
    """

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        return _RANKS[self] >= _RANKS[other]


class Scope(StrEnum):
    """What a subscription key may do. Each scope may do what the ones before it may.

    READ looks at all but settings. SEND does business: messages, contacts, credentials. ADMIN manages keys, settings,
    identities, and reads the audit log.
    """

    READ = "read"
    SEND = "send"
    ADMIN = "admin"

    def covers(self, other: Scope) -> bool:
        scopes = list(Scope)
        return scopes.index(self) >= scopes.index(other)


_RANKS: Final[Mapping[Role, int]] = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who a call is made by.

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
