"""`/health`: liveness, and reachability of the storage account."""

from __future__ import annotations

from typing import Literal, TypedDict

from tntcore.api.http import Call, Response, Route, answer
from tntcore.version import VERSION, commit


class Health(TypedDict):
    status: Literal["ok", "degraded"]
    storage: dict[str, bool]
    version: str
    commit: str


async def read(call: Call) -> Response:
    """Answers 200 `{status: "ok", storage: {...}, version, commit}`, or 503 with the storage parts that were
    unreachable seconds ago. `commit` is "" where the service was not deployed as a package."""
    storage = await call.services.storage.reachable()
    well = all(storage.values())
    health: Health = {
        "status": "ok" if well else "degraded",
        "storage": storage,
        "version": VERSION,
        "commit": commit(),
    }
    return answer(health, 200 if well else 503)


ROUTES = [
    Route("GET", "health", read, "public", summary="Check the service's health", answers={200: Health, 503: Health}),
]
