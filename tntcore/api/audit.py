"""`/audit`: the audit log. Lists its records, and writes them for the other modules."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal, TypedDict

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Reads
from tntcore.api.views import JsonObject, Limited, Page, Time, Uuid, entity, limit_of, moment
from tntcore.errors import Problem
from tntcore.storage.commit import Unit
from tntcore.storage.records import Audit
from tntcore.tenancy.access import OperatorRole, Scope
from tntcore.tenancy.audit import COUNTED
from tntcore.tenancy.operators import HOME

NO_EFFECT = "NO_EFFECT"
_COMMITTING = "COMMITTING"
_POSITION = re.compile(r"\d{14}\.[0-9a-f-]{36}", re.ASCII)


class ActorView(TypedDict):
    """The caller. `id` is the uuid of the key, or a token's subject; `role` is an operator's role, or a key's scope."""

    kind: Literal["operator", "token", "tenant", "host", "storage"]
    id: str
    name: str
    role: str


class AuditView(TypedDict):
    """A record of the audit log: one act."""

    uuid: Uuid
    createdAt: Time
    updatedAt: Time
    status: Annotated[
        Literal["DONE", "STARTED"], "`STARTED`: the call was interrupted; it may or may not have taken effect"
    ]
    act: Annotated[str, "such as `api-token.made`"]
    by: ActorView
    principalUuid: Annotated[Uuid | None, "the tenant concerned"]
    on: Annotated[str | None, "the object of the act: a uuid, or the key of a setting"]
    details: JsonObject
    traceId: str | None


def _position(token: str) -> str:
    if not _POSITION.fullmatch(token):
        raise ValueError("the `next` of the page before")
    return token


class AuditQuery(Limited, total=False):
    since: Annotated[str, "from this time on"]
    until: Annotated[str, "before this time"]
    next: Annotated[str, "of the page before", Reads(_position)]


async def note(call: Call, unit: Unit, act: str, on: str = "", **details: Any) -> None:
    """Adds an audit record to a unit of the calling tenant's partition."""
    record = await call.services.audits.record(
        call.tenant.uuid,
        call.uuid7(),
        call.actor,
        act,
        principal=call.tenant.principal.uuid,
        on=on,
        trace=call.trace,
        details=details,
    )
    unit.upsert(record)


async def own(call: Call, act: str, on: str = "", **details: Any) -> Audit:
    """Makes an audit record for the operators' partition; the caller commits it."""
    audits = call.services.audits
    return await audits.record(HOME, call.uuid7(), call.actor, act, on=on, trace=call.trace, details=details)


async def note_own(call: Call, unit: Unit, act: str, on: str = "", **details: Any) -> None:
    """Adds an audit record to a unit of the operators' partition."""
    unit.upsert(await own(call, act, on, **details))


@asynccontextmanager
async def operating(call: Call, act: str, principal: str = "", on: str = "", **details: Any) -> AsyncIterator[Audit]:
    """An operator's act, on a tenant or on none. Its record is the operators' from the beginning, and yielded for the
    unit of the tenant's partition that has the effect: `into`. One whose status becomes `NO_EFFECT` is forgotten. An
    act that is refused after `into` may have had its effect: its record stays STARTED."""
    audits = call.services.audits
    record = await audits.record(
        HOME, call.uuid7(), call.actor, act, principal=principal, on=on, trace=call.trace, details=details
    )
    await audits.begin(record)
    try:
        yield record
    except Problem:
        if record.status != _COMMITTING:
            # It was refused, and had no effect.
            await audits.end(record, done=False)
        raise
    await audits.end(replace(record, status="DONE"), done=record.status != NO_EFFECT)


async def into(call: Call, unit: Unit, record: Audit) -> None:
    """Adds the record to a unit of the partition of the tenant concerned."""
    theirs = await call.services.audits.record(
        record.principal,
        record.uuid.partition(".")[2],
        call.actor,
        record.act,
        principal=record.principal,
        on=record.on,
        trace=record.trace,
        details=record.details,
    )
    unit.upsert(theirs)
    record.status = _COMMITTING


async def tenants_own(call: Call) -> Response:
    """Lists audit records, newest first: created and revoked keys, changed settings and webhooks, replays, and acts of
    operators on the tenant.

    A page costs two storage calls.
    """
    return await page(call, call.tenant.principal.shard_names)


async def operators_own(call: Call) -> Response:
    """Lists the acts of operators on all tenants, newest first. A page costs two storage calls."""
    return await page(call, [HOME])


async def page(call: Call, partitions: Sequence[str]) -> Response:
    """Returns one page of the records of some partitions. Raises `Problem` 400."""
    audits, query = call.services.audits, call.query
    bounds = {"since": _time(query.get("since"), "since"), "until": _time(query.get("until"), "until")}
    start = query.get("next", "")
    records, following = await audits.page(partitions, limit=limit_of(call), start=start, **bounds)
    total = len(records) if following is None and not start else await audits.count(partitions, **bounds)
    return answer(
        {
            "total": {"value": total, "relation": "gte" if total >= COUNTED else "eq"},
            "hits": [_view(record) for record in records],
            "next": following,
        }
    )


def _time(value: str | None, name: str) -> int:
    """Returns milliseconds since 1970; 0 if no time was given. Raises `Problem` 400."""
    return max(moment(value, name), 1) if value else 0


def _view(record: Audit) -> dict[str, Any]:
    return {
        **entity(record),
        "uuid": record.uuid.partition(".")[2],
        "act": record.act,
        "by": record.actor,
        "principalUuid": record.principal or None,
        "on": record.on or None,
        "details": record.details,
        "traceId": record.trace or None,
    }


ROUTES = [
    Route(
        "GET",
        "audit",
        tenants_own,
        scope=Scope.ADMIN,
        summary="List audit records",
        answers={200: Page[AuditView]},
        query=AuditQuery,
    ),
    Route(
        "GET",
        "operator/audit",
        operators_own,
        "operator",
        OperatorRole.READ,
        summary="List acts of operators",
        answers={200: Page[AuditView]},
        query=AuditQuery,
    ),
]
