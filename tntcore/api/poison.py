"""`/poison`: lets operators inspect, replay and discard messages that the queues gave up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

from tntcore.api.audit import NO_EFFECT, operating
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Reads
from tntcore.api.views import Limited, Time, Uuid, limit_of, text
from tntcore.errors import Problem
from tntcore.maintenance.poison import QUEUES, Given, Poison, Replayed
from tntcore.messaging import times
from tntcore.storage.items import DeliveryItem, InboundItem, Item
from tntcore.tenancy.access import OperatorRole

_ID = re.compile(r"[A-Za-z0-9 ._-]{1,200}")
_MAX_REPLAY = 1_000


class PoisonItem(TypedDict):
    principalUuid: Uuid
    uuid: str | None


class PoisonView(TypedDict):
    """A message that a queue gave up."""

    queue: Literal["inbound", "exchange", "outbound", "relay"]
    id: str
    at: Time
    bytes: int
    replayable: bool
    items: list[PoisonItem]


class PoisonPage(TypedDict):
    """A page, without a total."""

    hits: list[PoisonView]
    next: str | None


QueueName = Literal["inbound", "exchange", "outbound", "relay"]


def _position(token: str) -> str:
    if token.partition("~")[0] not in QUEUES:
        raise ValueError("the `next` of the page before")
    return token


class PoisonQuery(Limited, total=False):
    queue: QueueName
    next: Annotated[str, "of the page before", Reads(_position)]


class PoisonWanted(TypedDict, total=False):
    queue: QueueName
    id: Annotated[str, "id of one message; by default all messages"]
    principalUuid: Annotated[Uuid, "only messages that contain items of this tenant"]


class PoisonReplayed(TypedDict):
    replayed: int
    senseless: Annotated[int, "messages that their queue cannot read; they stay"]
    missing: Annotated[int, "messages whose envelope is gone; they stay, and their tenants still see them as FAILED"]
    more: bool


_UNKNOWN = ("400 queue-invalid", "404 poison-unknown")


class PoisonRoutes:
    def __init__(self, poison: Poison) -> None:
        self._poison = poison
        self.routes = [
            Route(
                "GET",
                "poison",
                self.list_,
                "operator",
                OperatorRole.READ,
                summary="List messages that the queues gave up",
                answers={200: PoisonPage},
                query=PoisonQuery,
            ),
            Route(
                "GET",
                "poison/{queue}/{message}",
                self.read,
                "operator",
                OperatorRole.READ,
                summary="Read a message that a queue gave up",
                answers={200: PoisonView},
                errors=_UNKNOWN,
            ),
            Route(
                "DELETE",
                "poison/{queue}/{message}",
                self.discard,
                "operator",
                OperatorRole.ADMIN,
                summary="Discard a message that a queue gave up",
                answers={204: None},
                errors=_UNKNOWN,
            ),
            Route(
                "POST",
                "poison/replay",
                self.replay,
                "operator",
                OperatorRole.OPERATE,
                summary="Process messages again that a queue gave up",
                request=PoisonWanted,
                answers={200: PoisonReplayed},
                errors=_UNKNOWN,
                example={"queue": "relay"},
            ),
        ]

    async def list_(self, call: Call) -> Response:
        """Lists messages that the queues gave up. Filter: `queue`.

        The content is not shown. Its tenant sees the message with the status FAILED.
        """
        limit, queue = limit_of(call), call.query.get("queue", "")
        token_queue, _, start = call.query.get("next", "").partition("~")
        names: Sequence[str] = QUEUES if not queue else (_queue(queue),)
        if token_queue:
            names = names[names.index(token_queue) :] if token_queue in names else ()
        hits: list[Given] = []
        following = None
        for name in names:
            if len(hits) == limit:
                following = f"{name}~"
                break
            page, rest = await self._poison.list(name, limit=limit - len(hits), start=start)
            hits += page
            start = ""
            if rest is not None:
                following = f"{name}~{rest}"
                break
        return answer({"hits": [_view(given) for given in hits], "next": following})

    async def read(self, call: Call) -> Response:
        return answer(_view(await self._given(call.arguments["queue"], call.arguments["message"])))

    async def discard(self, call: Call) -> Response:
        given = await self._given(call.arguments["queue"], call.arguments["message"])
        async with operating(call, "poison.discarded", on=given.id, queue=given.queue):
            await self._poison.discard(given)
        return Response(204, content_type="")

    async def replay(self, call: Call) -> Response:
        """Puts messages back into their queues. Body: `{queue?, id?, principalUuid?}`.

        Select one queue, one message of it, or the messages of one tenant; by default all. The answer says how many
        went back, how many their queue cannot read (they stay), and whether there may be more: one call looks at 1,000.
        """
        body = call.body
        principal, name = text(body.get("principalUuid"), "principalUuid"), text(body.get("queue"), "queue")
        given = await self._given(name, text(body["id"], "id", required=True)) if "id" in body else None
        on = given.id if given else ""
        async with operating(call, "poison.replayed", principal, on, queue=name) as record:
            done = await self._replay(given) if given else await self._replay_all(name, principal)
            record.details |= {"replayed": done["replayed"]}
            if not done["replayed"]:
                record.status = NO_EFFECT
        return answer(done)

    async def _replay(self, given: Given) -> PoisonReplayed:
        return _answer(Counter([await self._poison.replay(given)]), more=False)

    async def _replay_all(self, name: str, principal: str) -> PoisonReplayed:
        """Replays all messages of a queue, or only those of one principal; "" means all."""
        done: Counter[Replayed] = Counter()
        looked_at, more = 0, False
        for queue in QUEUES if not name else (_queue(name),):
            start: str | None = ""
            while start is not None:
                page, start = await self._poison.list(queue, limit=100, start=start)
                for given in page:
                    if principal and all(item.tenant != principal for item in given.items):
                        continue
                    done[await self._poison.replay(given)] += 1
                looked_at += len(page)
                if looked_at >= _MAX_REPLAY and start is not None:
                    more, start = True, None
        return _answer(done, more=more)

    async def _given(self, queue: str, message_id: str) -> Given:
        given = await self._poison.get(_queue(queue), message_id) if _ID.fullmatch(message_id) else None
        if given is None:
            raise Problem(
                404,
                "poison-unknown",
                f"The queue {queue} has given up no message with this id. GET /api/poison lists them.",
            )
        return given


def _answer(done: Counter[Replayed], *, more: bool) -> PoisonReplayed:
    return {
        "replayed": done[Replayed.REPLAYED],
        "senseless": done[Replayed.SENSELESS],
        "missing": done[Replayed.MISSING],
        "more": more,
    }


def _queue(name: str) -> str:
    if name not in QUEUES:
        raise Problem(400, "queue-invalid", f"queue must be one of {', '.join(QUEUES)}.")
    return name


def _view(given: Given) -> dict[str, Any]:
    return {
        "queue": given.queue,
        "id": given.id,
        "at": times.iso(given.at),
        "bytes": len(given.body),
        "replayable": given.replayable,
        "items": [{"principalUuid": item.tenant, "uuid": _uuid(item)} for item in given.items],
    }


def _uuid(item: Item) -> str | None:
    """Returns the uuid of the message or of the delivery."""
    if isinstance(item, InboundItem):
        return item.uuid
    return item.delivery if isinstance(item, DeliveryItem) else None
