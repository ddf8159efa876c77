"""`/usage`: what a tenant did in each month."""

from __future__ import annotations

from typing import Annotated, TypedDict

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Words
from tntcore.api.principals import own_principal, principal_of
from tntcore.api.views import Uuid
from tntcore.storage.records import Principal
from tntcore.tenancy.access import OperatorRole

_NAMES = (
    "messagesIn",
    "messagesOut",
    "bytes",
    "credentialsIssued",
    "credentialsReceived",
    "presentationsReceived",
    "presentationsSent",
)


class MonthView(TypedDict):
    """Counts of one month, in UTC. Messages that were refused are not counted."""

    month: Annotated[str, Words(examples=["2026-01"])]
    messagesIn: int
    messagesOut: int
    bytes: Annotated[int, "of bodies of messages, and of other large bodies, encrypted"]
    credentialsIssued: int
    credentialsReceived: int
    presentationsReceived: int
    presentationsSent: int


class UsageView(TypedDict):
    """The latest 36 months in which anything was done, the latest first."""

    principalUuid: Uuid
    storedBytes: Annotated[int, "bytes the tenant stores now"]
    months: list[MonthView]


async def own(call: Call) -> Response:
    """Shows what the tenant did in each month. It costs one storage call.

    Each process of the service writes its figures down about once a minute, so those of other processes may be a minute
    old. If a tenant falls silent, its last figures are written with its next message. A process that dies loses the
    figures that it had not written.
    """
    return _shown(call, await own_principal(call))


async def of_tenant(call: Call) -> Response:
    """Shows what a tenant did in each month, as the tenant sees it."""
    return _shown(call, await principal_of(call))


def _shown(call: Call, principal: Principal) -> Response:
    usage = call.services.usage
    months = sorted(usage.months(principal).items(), reverse=True)
    return answer(
        {
            "principalUuid": principal.uuid,
            "storedBytes": usage.kept(principal),
            "months": [{"month": month, **{name: counts.get(name, 0) for name in _NAMES}} for month, counts in months],
        }
    )


ROUTES = [
    Route(
        "GET",
        "usage",
        own,
        when_suspended=True,
        summary="Show what you did in each month",
        answers={200: UsageView},
    ),
    Route(
        "GET",
        "principal/{uuid}/usage",
        of_tenant,
        "operator",
        OperatorRole.READ,
        summary="Show what a tenant did in each month",
        answers={200: UsageView},
        errors=("404 principal-unknown",),
    ),
]
