"""Queue `inbound`: each item of a queue message is received; what fails is put back or put off."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tntcore.connections.handshake import Handshake
from tntcore.connections.received import Received
from tntcore.connections.rotation import Rotation
from tntcore.delivery.items import InboundItem, items_of, queue_message
from tntcore.delivery.outbound import Outbound
from tntcore.delivery.outbox import Outbox
from tntcore.delivery.spans import receiving
from tntcore.errors import NotYet
from tntcore.exchanges.exchanges import Exchanges
from tntcore.pipeline.consequences import Consequences
from tntcore.pipeline.publisher import Publisher
from tntcore.pipeline.receive import Admission, Receiving, TooSoon
from tntcore.services import Services
from tntcore.storage.queues import MAX_DELAY, MAX_MESSAGE, fit
from tntcore.storage.storage import INBOUND

log = logging.getLogger(__name__)

_ATTEMPTS = 4  # deliveries of a message before it is put off; at the fifth the host gives it up
_LATER = (5, 60, 600, 3_600, 6 * 3_600, 24 * 3_600)  # seconds
_SPAN = 30.0  # seconds that the times of items may differ that are put off together


@dataclass(frozen=True, slots=True)
class PutOff:
    """The item's turn is in so many seconds."""

    item: InboundItem
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The item could not be handled."""

    item: InboundItem
    error: Exception


class Inbound:
    def __init__(
        self,
        services: Services,
        outbox: Outbox,
        outbound: Outbound,
        handshake: Handshake,
        rotation: Rotation,
        exchanges: Exchanges,
    ) -> None:
        self._services = services
        self._storage = services.storage
        received = Received(services, handshake, rotation)
        consequences = Consequences(services, exchanges)
        self._receiving = Receiving(services, outbox, received, consequences, Publisher(services, outbox, outbound))

    async def handle(self, body: bytes, dequeue_count: int) -> None:
        """Handles a queue message. What fails of a list goes back alone, what fails alone raises.

        Args:
            dequeue_count: how often the queue has given this message out, 1 the first time.
        """
        items = items_of(body, InboundItem.read)
        if len(items) == 1:
            await self._alone(items[0], dequeue_count)
        elif dequeue_count > 1:
            await self._put_back(items)
        else:
            results = await asyncio.gather(*(self._item(item, last=False, among=len(items)) for item in items))
            failed = [result for result in results if isinstance(result, Failed)]
            for result in failed:
                log.warning("an inbound item goes back to the queue alone", exc_info=result.error)
            await asyncio.gather(
                self._put_back([result.item for result in failed]),
                self._put_off([result for result in results if isinstance(result, PutOff)]),
            )

    async def _alone(self, item: InboundItem, dequeue_count: int) -> None:
        """Handles an item. One whose time has not come, or that keeps failing, is put off, for longer each time, before
        it is given up: most of what makes a message fail here is an outage of something else."""
        tries = item.put_off or 0
        last = tries >= len(_LATER)
        result = await self._item(item, last=last)
        if isinstance(result, PutOff):
            await self._put_off([result])
        elif isinstance(result, Failed):
            if last or not (isinstance(result.error, NotYet) or dequeue_count >= _ATTEMPTS):
                raise result.error
            log.warning("an inbound item is put off", exc_info=result.error)
            body = queue_message([replace(result.item, put_off=tries + 1)])
            await self._storage.queues[INBOUND].put(body, delay=_LATER[tries])

    async def _item(self, item: InboundItem, *, last: bool, among: int = 1) -> PutOff | Failed | None:
        """Handles an item; None if it is done."""
        admission = Admission.of(item)
        try:
            with receiving(self._services, item, among):
                await self._receiving.receive(item, admission, last=last)
        except TooSoon as soon:
            return PutOff(admission.on(item), soon.seconds)
        except Exception as error:  # noqa: BLE001  what fails must not fail its neighbours
            return Failed(admission.on(item), error)
        return None

    async def _put_off(self, early: list[PutOff]) -> None:
        """Has the items given out again when it is their turn; those whose turns are near each other together."""
        early.sort(key=lambda one: one.seconds)
        queue, puts, begin = self._storage.queues[INBOUND], [], 0
        self._services.meter.count("inbound.put-off", len(early))
        while begin < len(early):
            near = [one for one in early[begin:] if one.seconds <= early[begin].seconds + _SPAN]
            data = [one.item.data() for one in near]
            count = fit(data, MAX_MESSAGE - len(b'{"items":[]}') + 1)
            delay = min(math.ceil(early[begin + count - 1].seconds), MAX_DELAY)
            puts.append(queue.put(b'{"items":[' + b",".join(data[:count]) + b"]}", delay=delay))
            begin += count
        await asyncio.gather(*puts)

    async def _put_back(self, items: Sequence[InboundItem]) -> None:
        queue = self._storage.queues[INBOUND]
        await asyncio.gather(*(queue.put(queue_message([item])) for item in items))
