"""Attachments in formats that are not supported: passed on unchanged in both directions, and never checked.

The tenant's own system interprets them, and answers by action or with the content `{attachment: <JSON or text>,
format?, mimeType?}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tntcore.credentials.formats import (
    Candidate,
    CredentialStep,
    Draft,
    HeldCredential,
    Issuing,
    Party,
    ProofStep,
    ReceivedCredential,
    Verification,
    Verified,
)
from tntcore.errors import Problem
from tntcore.nearest import check_members, names

_UNCHECKED = Verification((), frozenset())


class PlainCredential:
    name = "plain"
    identifiers: Mapping[CredentialStep, Sequence[str]] = {}

    def reads(self, step: CredentialStep, value: Any) -> bool:
        return True

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        return _draft(content)

    async def offer(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        return _draft(content)

    async def request(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        return _draft(content)

    async def issue(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        return _draft(content)

    async def receive(self, party: Party, issuing: Issuing, value: Any) -> ReceivedCredential:
        return ReceivedCredential(HeldCredential("", "", value), _UNCHECKED)

    async def verify(self, held: HeldCredential) -> Verification:
        return _UNCHECKED

    async def revoke(self, party: Party, held: HeldCredential) -> None:
        raise Problem(
            409,
            "credential-not-revocable",
            "A credential of the format plain cannot be revoked here. Revoke it in the system that made it.",
        )


class PlainProof:
    name = "plain"
    identifiers: Mapping[ProofStep, Sequence[str]] = {}

    def reads(self, step: ProofStep, value: Any) -> bool:
        return True

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        return _draft(content)

    async def request(self, party: Party, proposal: Any, content: Mapping[str, Any] | None) -> Draft:
        return _draft(content)

    async def candidates(
        self, request: Any, held: Sequence[HeldCredential], party: Party | None = None
    ) -> Sequence[Candidate]:
        return ()

    async def present(
        self, party: Party, request: Any, held: Sequence[HeldCredential], chosen: Mapping[str, Any] | None
    ) -> Draft:
        return _draft(chosen)

    async def verify(self, party: Party, request: Any, presentation: Any) -> Verified:
        return Verified(_UNCHECKED, {})


def _draft(content: Mapping[str, Any] | None) -> Draft:
    if content is None or "attachment" not in content:
        raise Problem(400, "attachment-missing", "data must be {attachment: ..., format?, mimeType?}.")
    check_members(content, names("attachment", "format", "mimeType"), "data")
    texts = {name: content.get(name, "") for name in ("format", "mimeType")}
    if not all(isinstance(text, str) and len(text) <= 200 for text in texts.values()):
        raise Problem(400, "attachment-invalid", "format and mimeType must be texts of at most 200 characters.")
    return Draft(content["attachment"], texts["format"], texts["mimeType"] or "application/json")
