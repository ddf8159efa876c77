"""`/health`: liveness, and reachability of the storage account."""

from __future__ import annotations

from typing import Literal, TypedDict

from tntcore.api.http import Call, Response, Route, answer


class Health(TypedDict):
    status: Literal["ok", "degraded"]
    storage: dict[str, bool]


async def read(call: Call) -> Response:
    """Answers 200 `{status: "ok", storage: {...}}`, or 503 with the storage parts that were unreachable seconds ago."""
    storage = await call.services.storage.reachable()
    well = all(storage.values())
    return answer({"status": "ok" if well else "degraded", "storage": storage}, 200 if well else 503)


ROUTES = [
    Route("GET", "health", read, "public", summary="Check the service's health", answers={200: Health, 503: Health}),
]
