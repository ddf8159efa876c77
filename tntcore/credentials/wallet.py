"""Credentials and checks in stored form: sealed, each under the name of its record."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tntcore.credentials.formats import Check, FormatError, HeldCredential, Verification
from tntcore.storage import queries
from tntcore.storage.records import Credential, Presentation
from tntcore.storage.repository import Repository
from tntcore.strict_json import reread_json, write_json

MAX_CREDENTIAL = 1024 * 1024  # bytes of JSON
MAX_SEARCHED = 500
_MAX_DETAILS = 48 * 1024
_MAX_CHECKS, _MAX_DETAIL = 100, 200  # longer lists of checks are cut to this
_PAGE, _MAX_PAGES = 1000, 20


@dataclass(frozen=True, slots=True)
class Details:
    """The details of a credential or a presentation besides its value."""

    summary: Mapping[str, Any]
    verification: Verification

    @property
    def checks(self) -> list[dict[str, Any]]:
        return [_check(check) for check in self.verification.checks]


def seal_details(records: Repository, record: Credential | Presentation, details: Details) -> None:
    """Stores the details in the record. A summary too large for a row is left out; of many checks most texts are
    dropped, those of passed checks first.
    """
    verification = details.verification
    written: dict[str, Any] = {"checks": details.checks, "required": sorted(verification.required)}
    data = write_json({**written, "summary": details.summary})
    if len(data) > _MAX_DETAILS:
        data = write_json({**written, "summary": {"tooLarge": True}})
    if len(data) > _MAX_DETAILS:
        data = write_json({**_shortened(details), "summary": {"tooLarge": True}})
    record.details = records.seal(data, f"{record.key}/details")
    record.verified = verification.verified


def open_details(records: Repository, record: Credential | Presentation) -> Details:
    if not record.details:
        return Details({}, Verification((), frozenset()))
    data = reread_json(records.open(record.details, f"{record.key}/details"))
    checks = [Check(check["name"], check["passed"], check["detail"], check["subject"]) for check in data["checks"]]
    required = frozenset((name, subject) for name, subject in data["required"])
    return Details(data["summary"], Verification(checks, required))


async def seal_held(records: Repository, record: Credential, held: HeldCredential) -> None:
    """Stores the credential itself. Raises `FormatError` if it is too large."""
    data = write_json({"value": held.value, "secret": base64.b64encode(held.secret).decode()})
    if len(data) > MAX_CREDENTIAL:
        raise FormatError("credential-too-large", f"a credential may have {MAX_CREDENTIAL} bytes")
    record.attachment_format, record.expires_at = held.format, held.expires_at
    record.body = await records.put_body(record.uuid, records.seal(data, f"{record.key}/body"))


async def open_held(records: Repository, record: Credential) -> HeldCredential:
    sealed = record.body or await records.stored_body(record.uuid)
    data = reread_json(records.open(sealed, f"{record.key}/body"))
    return HeldCredential(
        uuid=record.uuid,
        format=record.attachment_format,
        value=data["value"],
        secret=base64.b64decode(data["secret"]),
        summary=open_details(records, record).summary,
        expires_at=record.expires_at,
    )


async def held_credentials(records: Repository, format_names: frozenset[str]) -> list[HeldCredential]:
    """Returns the tenant's credentials in these formats, newest first: the newest `MAX_SEARCHED` of 20,000."""
    if not format_names:
        return []
    newest: deque[Credential] = deque(maxlen=MAX_SEARCHED)
    start: str | None = ""
    for _ in range(_MAX_PAGES):
        where = queries.held_credentials(format_names)
        hits = await records.list(Credential, limit=_PAGE, start=start or "", where=where)
        newest.extend(hits.records)
        start = hits.next
        if start is None:
            break
    return await asyncio.gather(*(open_held(records, record) for record in reversed(newest)))


def _shortened(details: Details) -> dict[str, Any]:
    checks = sorted(details.checks, key=lambda check: check["passed"] is True)[:_MAX_CHECKS]
    required = sorted(details.verification.required)[:_MAX_CHECKS]
    return {
        "checks": [
            {**check, **{name: check[name][:_MAX_DETAIL] for name in ("detail", "subject")}} for check in checks
        ],
        "required": [(name, subject[:_MAX_DETAIL]) for name, subject in required],
    }


def _check(check: Check) -> dict[str, Any]:
    return {"name": check.name, "passed": check.passed, "detail": check.detail, "subject": check.subject}
