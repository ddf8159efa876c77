"""Queues `inbound` and `exchange`: receives each item of a queue message, and puts back or puts off those that fail.

Every message comes by `inbound`, where many are handled at once and none may take long. Messages that issue or prove go
on to `exchange`, where each needs a place in its tenant's and its sender's share, and has a limited time. Messages to
identities and invitations, which may begin a connection, need a place, too: they cost ten times a message on one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tntcore.caching import SharedCache
from tntcore.errors import NotYet
from tntcore.pipeline.receive import Admission, Receiving, TooSoon
from tntcore.pipeline.spans import receiving
from tntcore.services import Services
from tntcore.shares import Busy, Shares, on_behalf_of, party, within_budget
from tntcore.storage.items import InboundItem, items_of, queue_message
from tntcore.storage.queues import MAX_DELAY, MAX_MESSAGE, fit
from tntcore.storage.storage import INBOUND

log = logging.getLogger(__name__)

_ATTEMPTS = 4  # deliveries of a message before it is put off; at the fifth the host gives it up
_LATER = (5, 60, 600, 3_600, 6 * 3_600, 24 * 3_600)  # seconds
# Messages that may take long, at once, and those that may wait for a place. If they were more than newBatchThreshold
# (host.json), the host would fetch no others.
_PLACES, _WAITERS = 16, 4
# Of these places, those for tenants that needed little computing lately, and among them those for small messages.
_KEPT, _KEPT_FOR_SMALL = 4, 2
_FIRST_CONTACTS = 12  # messages to identities and invitations, at once
_SECONDS = 30.0  # of work that one such message may cause
_MOST_DOUBLINGS = 10
_WAIT, _LONGEST_WAIT = 2.0, 120.0  # seconds until one for which there was no place is tried again
# The same for messages to identities and invitations, which come again one after the other.
_SOON, _LATEST, _APART = 1.0, 15.0, 0.1
# Those that came in one list may wait for one another instead: so many seconds, in so many lists at once.
_PATIENCE, _LISTS = 2.0, 6
_LINES = 10_000  # identities and invitations
_SPAN = 30.0  # seconds that the times of items may differ that are put off together


@dataclass(frozen=True, slots=True)
class PutOff:
    """The item is due in this many seconds."""

    item: InboundItem
    seconds: float


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """The item could not be handled."""

    item: InboundItem
    error: BaseException


class NoPlace(TooSoon):
    """Too many items that may take long are being handled."""


class Inbound:
    """Receives queue messages.

    Args:
        queue: the queue they come from.
        now: monotonic seconds.
    """

    def __init__(
        self,
        services: Services,
        receiving: Receiving,
        queue: str = INBOUND,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._receiving = receiving
        self._name = queue
        self._now = now
        self._places = Shares(_PLACES)
        self._first_contacts = Shares(_FIRST_CONTACTS)
        # By identity or invitation, when the last of those that were put off comes again.
        self._line: SharedCache[float] = SharedCache(now, _LINES)
        self._patient_lists = self._waiting = 0

    async def handle(self, body: bytes, dequeue_count: int) -> None:
        """Handles a queue message. Failed items of a list are put back alone; an item that fails alone raises.

        Args:
            dequeue_count: how often the queue has delivered this message, 1 the first time.
        """
        with self._services.storage.queues[self._name].handling(body, dequeue_count) as count:
            await self._handle(body, count)

    async def _handle(self, body: bytes, dequeue_count: int) -> None:
        items = items_of(body, InboundItem.read)
        if len(items) == 1:
            await self._alone(items[0], dequeue_count)
        elif dequeue_count > 1:
            await self._put_back(items)
        else:
            ends = await self._together(items)
            results = [
                ItemFailed(item, end) if isinstance(end, BaseException) else end
                for item, end in zip(items, ends, strict=True)
            ]
            failed = [result for result in results if isinstance(result, ItemFailed)]
            for result in failed:
                _note("an inbound item goes back to the queue alone", result.error)
            await asyncio.gather(
                self._put_back([result.item for result in failed]),
                self._put_off([result for result in results if isinstance(result, PutOff)]),
            )

    async def _together(self, items: Sequence[InboundItem]) -> list[PutOff | ItemFailed | BaseException | None]:
        """Handles the items of a list side by side."""
        patient = self._patient_lists < _LISTS and any(item.owner != "connection" for item in items)
        self._patient_lists += patient
        try:
            patience = _PATIENCE if patient else 0.0
            handled = (self._item(item, last=False, among=len(items), patience=patience) for item in items)
            # Something that an item waits for may be cancelled while this queue message is not.
            return await asyncio.gather(*handled, return_exceptions=True)
        finally:
            self._patient_lists -= patient

    async def _alone(self, item: InboundItem, dequeue_count: int) -> None:
        """Handles an item. If it is not due yet, or keeps failing, it is put off, for longer each time, before it is
        given up: most failures here are outages of other services.
        """
        tries = item.put_off or 0
        last = tries >= len(_LATER)
        result = await self._item(item, last=last)
        if isinstance(result, PutOff):
            await self._put_off([result])
        elif isinstance(result, ItemFailed):
            if last or not (isinstance(result.error, NotYet) or dequeue_count >= _ATTEMPTS):
                raise result.error
            _note("an inbound item is put off", result.error)
            body = queue_message([replace(result.item, put_off=tries + 1)])
            await self._services.storage.queues[self._name].put(body, delay=_LATER[tries])

    async def _item(
        self, item: InboundItem, *, last: bool, among: int = 1, patience: float = 0.0
    ) -> PutOff | ItemFailed | None:
        """Handles an item; None if it is done. `patience`: seconds that a first contact may wait for a place."""
        span = receiving(self._services, item, self._name, among)
        admission = Admission.of(item)
        try:
            with span:
                if self._name == INBOUND:
                    with on_behalf_of(item.tenant, item.owner_uuid):
                        if item.owner == "connection":
                            await self._receiving.receive(item, admission, last=last)
                        else:
                            await self._first_contact(item, admission, last=last, patience=patience)
                else:
                    with on_behalf_of(item.tenant, await self._receiving.sender(item)):
                        await self._in_turn(item, admission, last=last)
        except TooSoon as soon:
            waited = item.waited + isinstance(soon, NoPlace)
            return PutOff(replace(admission.on(item), waited=waited), soon.seconds)
        except Exception as error:  # noqa: BLE001  what fails must not fail its neighbours
            return ItemFailed(admission.on(item), error)
        return None

    async def _first_contact(self, item: InboundItem, admission: Admission, *, last: bool, patience: float) -> None:
        """Handles an item from anybody. Raises `TooSoon` if for so long the tenant, or the identity or invitation that
        it is for, has its share of all places, and the errors of `Receiving.receive`.
        """
        holders = party().holders
        try:
            await self._first_contacts.acquire(*holders, patience=patience)
        except Busy:
            raise self._line_up(item) from None
        try:
            await self._receiving.receive(item, admission, last=last)
        finally:
            self._first_contacts.give_back(*holders)

    async def _in_turn(self, item: InboundItem, admission: Admission, *, last: bool) -> None:
        """Handles an item that may take long. Raises `TooSoon` if the tenant, or the sender, has its share of all
        places, and the errors of `Receiving.receive`.
        """
        # Thrice: one connection leaves places to the others that came in where it did.
        holders = (*party().holders, *[f"{item.tenant}/connection/{item.owner_uuid}"] * 3)
        # What is too large for a queue message is likely to take long as well.
        for_small = _KEPT_FOR_SMALL if item.in_blob else 0
        kept = for_small if self._services.workers.needs_little() else _KEPT
        if not kept and self._waiting < _WAITERS:
            self._waiting += 1
            try:
                await self._places.acquire(*holders, patience=_PATIENCE)
            except Busy:
                raise self._no_place(item) from None
            finally:
                self._waiting -= 1
        elif self._places.free <= kept or not self._places.may_take(*holders):
            raise self._no_place(item)
        else:
            self._places.take(*holders)
        try:
            with within_budget(_SECONDS):
                await self._receiving.receive(item, admission, last=last, long=True)
        except Busy:
            raise self._no_place(item) from None
        finally:
            self._places.give_back(*holders)

    def _line_up(self, item: InboundItem) -> TooSoon:
        """Returns the delay until the item's turn. If hundreds wait and each tried again as soon as another, nearly all
        would be put off again, which costs as much as handling them.
        """
        now = self._now()
        last = self._line.peek(item.owner_uuid) or 0.0
        turn = min(max(now + _SOON, last + _APART), now + _LATEST)
        self._line.put(item.owner_uuid, turn, _LATEST)
        return NoPlace(turn - now)

    def _no_place(self, item: InboundItem) -> TooSoon:
        """Returns a short delay, a little longer each time: busy places are no outage."""
        random = int.from_bytes(self._services.random(4), "big") / 2**32
        return NoPlace(min(_WAIT * 2 ** min(item.waited, _MOST_DOUBLINGS), _LONGEST_WAIT) * (0.5 + random))

    async def _put_off(self, early: list[PutOff]) -> None:
        """Queues the items again for the time they are due; items that are due at about the same time share a queue
        message.
        """
        early.sort(key=lambda one: one.seconds)
        puts, begin = [], 0
        self._services.meter.count("inbound.put-off", len(early))
        while begin < len(early):
            near = [one for one in early[begin:] if one.seconds <= early[begin].seconds + _SPAN]
            data = [one.item.data() for one in near]
            count = fit(data, MAX_MESSAGE - len(b'{"items":[]}') + 1)
            delay = min(math.ceil(early[begin + count - 1].seconds), MAX_DELAY)
            puts.append(
                self._services.storage.queues[self._name].put(
                    b'{"items":[' + b",".join(data[:count]) + b"]}", delay=delay
                )
            )
            begin += count
        await asyncio.gather(*puts)

    async def _put_back(self, items: Sequence[InboundItem]) -> None:
        await asyncio.gather(*(self._services.storage.queues[self._name].put(queue_message([item])) for item in items))


def _note(text: str, error: BaseException) -> None:
    """Logs an item that did not succeed. An item that waits is no fault: its reason is enough."""
    if isinstance(error, NotYet):
        log.warning("%s: %s", text, error)
    else:
        log.warning(text, exc_info=error)
