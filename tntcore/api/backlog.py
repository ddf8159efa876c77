"""`/backlog`: what the queues have still to do."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal, TypedDict

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.views import Time
from tntcore.messaging import times
from tntcore.tenancy.access import OperatorRole


class QueueView(TypedDict):
    """A queue. One queue message has one or more messages or deliveries in it."""

    queue: Literal["inbound", "exchange", "outbound", "relay"]
    waiting: Annotated[int, "about how many queue messages there are, those included that wait for their next attempt"]
    oldestAt: Annotated[Time | None, "since when the queue message waits that is next; null if none can be taken now"]


class BacklogView(TypedDict):
    queues: list[QueueView]


async def read(call: Call) -> Response:
    """Shows how many queue messages wait in each queue. It costs two storage calls for each queue.

    A queue that grows while `oldestAt` stays the same is not being read.
    """
    queues = call.services.storage.queues.values()
    waiting = await asyncio.gather(*(queue.backlog() for queue in queues))
    return answer(
        {
            "queues": [
                {"queue": queue.name, "waiting": count, "oldestAt": times.iso(oldest) if oldest else None}
                for queue, (count, oldest) in zip(queues, waiting, strict=True)
            ]
        }
    )


ROUTES = [
    Route(
        "GET",
        "backlog",
        read,
        "operator",
        OperatorRole.READ,
        summary="Show what waits in the queues",
        answers={200: BacklogView},
    ),
]
