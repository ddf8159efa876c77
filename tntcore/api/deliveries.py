"""`/delivery`: webhook calls and outgoing messages, every attempt at them, and replays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.audit import note
from tntcore.api.counts import CountView, Period, counted
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Words
from tntcore.api.messages import Narrowed, held, messages_of, narrow, shown
from tntcore.api.views import (
    ByAction,
    ByConnection,
    ByContact,
    ByMessage,
    Entity,
    Page,
    Pointed,
    Time,
    Timed,
    Uuid,
    entity,
    found,
    listing,
    since,
    until,
)
from tntcore.delivery.replay import BY_DEFAULT, STATUSES, Replays, Skipped
from tntcore.delivery.requests import SentRequest, sent_request
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.messaging.ids import first_uuid
from tntcore.storage.commit import Unit
from tntcore.storage.records import Attempt, Delivery, Replay
from tntcore.storage.repository import Repository
from tntcore.storage.states import DeliveryStatus, ReplayStatus
from tntcore.storage.timeline import Places
from tntcore.tenancy.access import Scope

_MAX_ATTEMPTS = 500
_MAX_DELIVERIES = 999  # in a millisecond: one storage call
_MAX_BODY = 100_000  # bytes of a request's body that are shown
# All columns except large ones and those that no list shows.
_COLUMNS = (
    "status", "createdAt", "updatedAt", "kind", "type", "messageUuid", "actionUuid", "connectionUuid", "contactUuid",
    "entryId", "attempts", "responseStatus", "duration", "error", "nextAttemptAt", "replayedAt",
)  # fmt: skip


DeliveryKind = Literal["webhook", "task", "didcomm", "test"]


class DeliveryView(Entity):
    """The delivery of a webhook call or of an outgoing message."""

    status: DeliveryStatus
    kind: DeliveryKind
    type: Annotated[str, "type of the message or event"]
    messageUuid: Uuid | None
    actionUuid: Uuid | None
    connectionUuid: Uuid | None
    contactUuid: Uuid | None
    webhookId: Annotated[str | None, "id of the webhook entry in the setting"]
    attempts: int
    responseStatus: int | None
    duration: Annotated[int | None, "duration of the latest attempt, in milliseconds"]
    error: str | None
    nextAttemptAt: Time | None
    replayedAt: Time | None


class AttemptView(TypedDict):
    number: int
    at: Time
    responseStatus: int | None
    duration: Annotated[int, "milliseconds"]
    error: str | None
    answer: Annotated[Any, "the beginning of the answer"]


class RequestView(TypedDict):
    """A request, as it would be made now. Signatures and the values of your own headers are masked (`***`), and so is
    the path of a webhook unless the key has the scope `admin`."""

    method: str
    url: str
    headers: dict[str, str]
    body: Annotated[Any, "of a message to a partner, the plaintext; `{tooLarge}`, its first 100 kB, if it is longer"]


class DeliveryDetails(DeliveryView):
    """A delivery with its request and all its attempts. `request` is null if the webhook, the message or the connection
    is gone."""

    request: RequestView | None
    log: list[AttemptView]


class ReplayedView(DeliveryDetails):
    """A delivery that was to be sent again."""

    skipped: Annotated[
        Skipped | None,
        "why nothing is sent now: it waits for its connection, is under way, or was sent again less than a minute ago; "
        "null if it is sent again",
    ]


Replayable = Literal["FAILED", "WITHHELD", "DELIVERED"]


class NewReplay(TypedDict):
    since: Annotated[str, "a time, or a `sequence`", Words(examples=["2026-01-31T12:00:00Z"])]
    until: NotRequired[Annotated[str | None, "likewise", Words(examples=["2026-02-01T12:00:00Z"])]]
    status: NotRequired[Replayable | list[Replayable]]
    webhookId: NotRequired[Annotated[str, Words(maxLength=64)]]


class ReplayTo(TypedDict, total=False):
    webhookId: Annotated[str, "another entry of `DIDCOMM_WEBHOOK`, to be called instead", Words(maxLength=64)]


class DeliveryFilters(ByAction, ByMessage, ByContact, ByConnection, total=False):
    status: DeliveryStatus
    kind: DeliveryKind
    webhookId: Annotated[str, "of the entry in the setting"]
    type: Annotated[
        str, "how the type of the message or event begins, as in the list of messages", Words(maxLength=200)
    ]
    thread: Annotated[str, "the message's thread id"]


class DeliveryQuery(Timed, DeliveryFilters, total=False):
    pass


class DeliveryCountQuery(Period, DeliveryFilters, total=False):
    pass


class ReplayView(Entity):
    """The progress of a replay."""

    status: ReplayStatus
    deliveryStatus: list[DeliveryStatus]
    webhookId: str | None
    replayed: int
    skipped: int


_UNKNOWN = "404 delivery-unknown"
_NOT_AGAIN = (
    _UNKNOWN,
    "409 connection-ended",
    "409 delivery-not-replayable",
    "409 delivery-pending",
    "409 message-erased",
    "409 webhook-disabled",
    "409 webhook-removed",
)


class DeliveryRoutes:
    def __init__(self, replays: Replays) -> None:
        self._replays = replays
        self.routes = [
            Route(
                "GET",
                "delivery",
                list_,
                summary="List deliveries",
                answers={200: Page[DeliveryView]},
                query=DeliveryQuery,
            ),
            Route(
                "GET",
                "delivery/count",
                count,
                summary="Count deliveries by status and day",
                answers={200: CountView},
                query=DeliveryCountQuery,
            ),
            Route(
                "GET",
                "delivery/{uuid}",
                read,
                summary="Read a delivery",
                answers={200: DeliveryDetails},
                errors=(_UNKNOWN,),
            ),
            Route(
                "POST",
                "delivery/{uuid}/replay",
                self.replay,
                creates=True,
                summary="Send a delivery again",
                request=ReplayTo,
                bodiless=True,
                example={},
                answers={200: ReplayedView},
                errors=_NOT_AGAIN,
            ),
            Route(
                "POST",
                "delivery/replay",
                self.replay_all,
                creates=True,
                summary="Send failed deliveries again",
                request=NewReplay,
                answers={202: ReplayView},
                example={"since": "2026-01-31T12:00:00Z"},
            ),
            Route(
                "GET",
                "delivery/replay/{uuid}",
                read_replay,
                summary="Read the progress of a replay",
                answers={200: ReplayView},
                errors=("404 replay-unknown",),
            ),
        ]

    async def replay(self, call: Call) -> Response:
        """Sends a delivery again, and shows it.

        A delivery that waits for its next attempt is sent now. One that is under way, or was sent again within the last
        minute, is left alone, and `skipped` says so. Body: `{webhookId?}`, to send the message to another webhook
        entry; that delivery is shown.
        """
        delivery = await found(call.tenant.records, Delivery, call.arguments["uuid"])
        call = call.at(delivery)
        records, also = call.tenant.records, Unit()
        uuid, entry_id = delivery.uuid, call.body.get("webhookId", "")
        if entry_id and entry_id != delivery.entry_id:
            await note(call, also, "delivery.replayed", uuid, webhookId=entry_id)
            uuid, skipped = await self._replays.to_entry(call.tenant, delivery, entry_id, also)
        else:
            await note(call, also, "delivery.replayed", uuid)
            skipped = await self._replays.one(call.tenant, delivery, also)
        after = await found(records, Delivery, uuid)
        if call.is_repeated and (after.replayed_at or 0) >= call.ids.since:
            # An earlier attempt of this call has sent it again.
            skipped = None
        return answer({**await shown_delivery(call, after), "skipped": skipped})

    async def replay_all(self, call: Call) -> Response:
        """Starts a replay: sends all matching deliveries again, by default those that failed or were withheld.

        Body: `{since, until?, status?, webhookId?}`. `GET /delivery/replay/{uuid}` shows the progress.
        """
        body = call.body
        if not body.get("since"):
            raise Problem(
                400,
                "since-invalid",
                "since is missing. Send {since: a time such as 2026-01-31T12:00:00Z, or a sequence}.",
            )
        end = until(body.get("until")) or until(times.iso(call.services.now() + 1_000))
        asked = body.get("status")
        statuses = BY_DEFAULT if asked is None else [asked] if isinstance(asked, str) else asked
        if not statuses:
            raise Problem(
                400, "status-invalid", f"status must be one of {', '.join(STATUSES)}, or a list of some of them."
            )
        entry_id = body.get("webhookId", "")
        also, asked = Unit(), sorted(set(statuses))
        await note(call, also, "deliveries.replayed", since=str(body["since"]), status=asked, webhookId=entry_id)
        replay = await self._replays.start(call.tenant, since(body["since"]), end, asked, entry_id, call.ids, also)
        return Response(202, answer(_replay(replay)).body)


async def list_(call: Call) -> Response:
    """Lists deliveries.

    Filters: `status`, `action`, `message`, `contact`, `connection`, `kind` (webhook, task, didcomm, test), `webhookId`,
    `type`, `thread`, and `since` and `until` (a time or a `sequence`), which compare
    the time when the message was received or sent.
    """
    message = call.query.get("messageUuid") or call.query.get("message") or ""
    under = _beginning(message)
    narrowed, status = await narrow(call), call.query.get("status", "")
    pointed: Pointed[Delivery] | None = None
    places = None if message else await _places(call, narrowed)
    if places is None and status in Delivery.UNUSUAL and not message:
        pointed = Pointed(Delivery.with_status(status), narrowed.keeps)
    return await listing(
        call,
        Delivery,
        delivery_view,
        where=narrowed.where,
        columns=_COLUMNS,
        keep=narrowed.keeps if places is not None else None,
        under=under,
        pointed=pointed,
        places=places,
    )


def _beginning(message_uuid: str) -> str:
    """Returns the beginning of the uuids of a message's deliveries: they have its time (`delivery_uuid`)."""
    return message_uuid[: len(first_uuid(0))]


async def _places(call: Call, narrowed: Narrowed) -> Places[Delivery] | None:
    """Returns the places of the deliveries of some threads, or of those that are held, if the list is for these and
    they are not too many; or None.
    """
    records = call.tenant.records
    if (uuids := await messages_of(call, narrowed)) is not None:

        async def at(beginnings: Sequence[str]) -> list[Delivery]:
            pages = await asyncio.gather(
                *(records.list(Delivery, limit=_MAX_DELIVERIES, under=one, where=narrowed.where) for one in beginnings)
            )
            return [delivery for page in pages for delivery in page.records]

        return Places(set(map(_beginning, uuids)), at)
    if (waiting := await held(call)) is None:
        return None
    shards = {one.delivery_uuid: one.partition for one in waiting}
    return Places(shards, lambda some: records.many(Delivery, some, shards))


async def count(call: Call) -> Response:
    """Counts deliveries by status and by day; filters as in the list. Cost and bound are those of `message/count`."""
    return await counted(call, Delivery, (await narrow(call)).where)


async def read(call: Call) -> Response:
    """Shows a delivery with all its attempts."""
    records = call.tenant.records
    return answer(await shown_delivery(call, await found(records, Delivery, call.arguments["uuid"])))


async def read_replay(call: Call) -> Response:
    return answer(_replay(await found(call.tenant.records, Replay, call.arguments["uuid"])))


async def shown_delivery(call: Call, delivery: Delivery) -> dict[str, Any]:
    """Returns a delivery with its request, and with each attempt and the first 20 kB of its answer under `log`."""
    log = await attempt_log(call.tenant.records, delivery)
    sent = await sent_request(call.services, call.tenant, delivery, whole=call.actor.role == Scope.ADMIN)
    request = _request(sent) if sent is not None else None
    return {**delivery_view(delivery), "request": request, "log": log}


async def attempt_log(records: Repository, delivery: Delivery) -> list[dict[str, Any]]:
    """Returns the delivery's attempts in order, each with the first 20 kB of its answer."""
    log = []
    # An attempt that succeeds has no row of its own.
    if delivery.attempts > (delivery.status == DeliveryStatus.DELIVERED):
        rows = (await records.list(Attempt, limit=_MAX_ATTEMPTS, under=f"{delivery.uuid}.")).records
        log = [
            _attempt(
                int(row.uuid.rpartition(".")[2]),
                row.created_at,
                row.response_status,
                row.duration,
                row.error,
                records.open(row.answer, row.key) if row.answer else b"",
            )
            for row in rows
        ]
    if delivery.status == DeliveryStatus.DELIVERED:
        opened = records.open(delivery.answer, delivery.key) if delivery.answer else b""
        status, took = delivery.response_status, delivery.duration
        log.append(_attempt(delivery.attempts, delivery.updated_at, status, took, "", opened))
    return sorted(log, key=lambda attempt: int(attempt["number"]))


def _request(sent: SentRequest) -> dict[str, Any]:
    fits = len(sent.body) <= _MAX_BODY
    body = shown(sent.body) if fits else {"tooLarge": sent.body[:_MAX_BODY].decode(errors="ignore")}
    return {"method": sent.method, "url": sent.url, "headers": dict(sent.headers), "body": body}


def _attempt(number: int, at: int, status: int, duration: int, error: str, body: bytes) -> dict[str, Any]:
    return {
        "number": number,
        "at": times.iso(at),
        "responseStatus": status or None,
        "duration": duration,
        "error": error or None,
        "answer": shown(body) if body else None,
    }


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    return entity(
        delivery,
        kind=delivery.kind,
        type=delivery.type,
        messageUuid=delivery.message_uuid or None,
        actionUuid=delivery.action_uuid or None,
        connectionUuid=delivery.connection_uuid or None,
        contactUuid=delivery.contact_uuid or None,
        webhookId=delivery.entry_id or None,
        attempts=delivery.attempts,
        responseStatus=delivery.response_status or None,
        duration=delivery.duration or None,
        error=delivery.error or None,
        nextAttemptAt=times.iso(delivery.next_attempt_at) if delivery.status == DeliveryStatus.PENDING else None,
        replayedAt=times.iso(delivery.replayed_at) if delivery.replayed_at else None,
    )


def _replay(replay: Replay) -> dict[str, Any]:
    return entity(
        replay,
        deliveryStatus=replay.statuses,
        webhookId=replay.entry_id or None,
        replayed=replay.replayed,
        skipped=replay.skipped,
    )
