"""`/delivery`: webhooks and outbound messages on their way."""

from __future__ import annotations

from typing import Any

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.messages import shown
from tntcore.api.views import entity, filters, found, iso, listing
from tntcore.records import Attempt, Delivery


async def list_(call: Call) -> Response:
    where, parameters = filters(
        call, {"status": "status", "action": "actionUuid", "message": "messageUuid", "kind": "kind"}
    )
    return await listing(call, Delivery, _view, where=where, parameters=parameters)


async def read(call: Call) -> Response:
    """A delivery, with each attempt that failed."""
    records = call.tenant.records
    delivery = await found(records, Delivery, call.arguments["uuid"])
    attempts = (await records.list(Attempt, limit=100, under=f"{delivery.uuid}.")).records
    return answer(
        {
            **_view(delivery),
            "failures": [
                {
                    "number": int(attempt.uuid.rpartition(".")[2]),
                    "at": iso(attempt.created_at),
                    "responseStatus": attempt.response_status or None,
                    "duration": attempt.duration,
                    "error": attempt.error,
                    "answer": shown(records.open(attempt.answer, attempt.key)) if attempt.answer else None,
                }
                for attempt in attempts
            ],
        }
    )


def _view(delivery: Delivery) -> dict[str, Any]:
    return entity(
        delivery,
        kind=delivery.kind,
        type=delivery.type,
        messageUuid=delivery.message_uuid,
        actionUuid=delivery.action_uuid or None,
        connectionUuid=delivery.connection_uuid or None,
        webhookId=delivery.entry_id or None,
        attempts=delivery.attempts,
        responseStatus=delivery.response_status or None,
        duration=delivery.duration or None,
        error=delivery.error or None,
        nextAttemptAt=iso(delivery.next_attempt_at) if delivery.status == "PENDING" else None,
    )


ROUTES = [
    Route("GET", "delivery", list_),
    Route("GET", "delivery/{uuid}", read),
]
