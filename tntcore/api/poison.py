"""`/poison`: the operator sees what the queues gave up, and has it handled again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

from tntcore.api.audit import NO_EFFECT, operating
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.views import Time, Uuid, limit_of, text
from tntcore.delivery.items import DeliveryItem, InboundItem, Item
from tntcore.errors import Problem
from tntcore.maintenance.poison import QUEUES, Given, Poison, Replayed
from tntcore.messaging import times
from tntcore.tenancy.access import Role

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
    """As `Page`, without a total."""

    hits: list[PoisonView]
    next: str | None


class PoisonWanted(TypedDict, total=False):
    queue: str
    id: Annotated[str, "of one message; by default all"]
    principalUuid: Annotated[Uuid, "what has any of this tenant's"]


class PoisonReplayed(TypedDict):
    replayed: int
    senseless: Annotated[int, "of which the queue makes no sense; they stay"]
    missing: Annotated[int, "whose envelope is gone; they stay, and their tenants go on seeing them as failed"]
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
                Role.READ,
                summary="What the queues gave up",
                answers={200: PoisonPage},
                query={
                    "queue": "`inbound`, `exchange`, `outbound` or `relay`",
                    "limit": "how many",
                    "next": "of the page before",
                },
                errors=("400 queue-invalid", "400 limit-invalid"),
            ),
            Route(
                "GET",
                "poison/{queue}/{id}",
                self.read,
                "operator",
                Role.READ,
                summary="A message that a queue gave up",
                answers={200: PoisonView},
                errors=_UNKNOWN,
            ),
            Route(
                "DELETE",
                "poison/{queue}/{id}",
                self.discard,
                "operator",
                Role.ADMIN,
                summary="Throw it away",
                answers={204: None},
                errors=_UNKNOWN,
            ),
            Route(
                "POST",
                "poison/replay",
                self.replay,
                "operator",
                Role.OPERATE,
                summary="Have it handled again",
                request=PoisonWanted,
                answers={200: PoisonReplayed},
                errors=_UNKNOWN,
                example={"queue": "relay"},
            ),
        ]

    async def list_(self, call: Call) -> Response:
        """Filter: `queue`. Nothing of a message's content is shown: its tenant sees the message, FAILED."""
        limit, queue = limit_of(call), call.request.query.get("queue", "")
        token_queue, _, start = call.request.query.get("next", "").partition("~")
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
        return answer(_view(await self._given(call.arguments["queue"], call.arguments["id"])))

    async def discard(self, call: Call) -> Response:
        given = await self._given(call.arguments["queue"], call.arguments["id"])
        async with operating(call, "poison.discarded", on=given.id, queue=given.queue):
            await self._poison.discard(given)
        return Response(204, content_type="")

    async def replay(self, call: Call) -> Response:
        """`{queue?, id?, principalUuid?}`: all that was given up of a queue, one message of it, or what has any of a
        tenant's. Answers how many went back, how many make no sense to their queue and stay, and whether there may be
        more: 1,000 are looked at in one call."""
        body = call.request.object()
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
        """Args: principal: whose alone; "" for all."""
        done: Counter[Replayed] = Counter()
        looked_at, more = 0, False
        for queue in QUEUES if not name else (_queue(name),):
            start: str | None = ""
            while start is not None:
                page, start = await self._poison.list(queue, limit=100, start=start)
                for given in page:
                    if principal and all(item.principal != principal for item in given.items):
                        continue
                    done[await self._poison.replay(given)] += 1
                looked_at += len(page)
                if looked_at >= _MAX_REPLAY and start is not None:
                    more, start = True, None
        return _answer(done, more=more)

    async def _given(self, queue: str, message_id: str) -> Given:
        given = await self._poison.get(_queue(queue), message_id) if _ID.fullmatch(message_id) else None
        if given is None:
            raise Problem(404, "poison-unknown", f"The queue {queue} has given up no message of this id.")
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
        raise Problem(400, "queue-invalid", f"queue has to be one of {', '.join(QUEUES)}.")
    return name


def _view(given: Given) -> dict[str, Any]:
    return {
        "queue": given.queue,
        "id": given.id,
        "at": times.iso(given.at),
        "bytes": len(given.body),
        "replayable": given.replayable,
        "items": [{"principalUuid": item.principal, "uuid": _uuid(item)} for item in given.items],
    }


def _uuid(item: Item) -> str | None:
    """The message's, or the delivery's."""
    if isinstance(item, InboundItem):
        return item.uuid
    return item.delivery if isinstance(item, DeliveryItem) else None
