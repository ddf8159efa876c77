"""Spans and metrics of queue items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from urllib.parse import urlsplit

from tntcore.messaging.ids import time_of
from tntcore.services import Services
from tntcore.storage.items import DeliveryItem, Item, MessageCall, SendItem, TaskCall
from tntcore.telemetry import QUIET, Span, current, tell
from tntcore.telemetry.meter import (
    AGE_SECONDS,
    ATTEMPT_SECONDS,
    ATTEMPTS,
    OTHER,
    TENANT_ATTEMPTS,
)

_MAX_HOST = 253  # characters of a name (RFC 1035, section 2.3.4)


def follow(services: Services, name: str, item: Item, queue: str) -> Span:
    """Opens the span of handling an item from `queue`."""
    return services.tracing.follow(name, queue, tenant=item.principal, parent=item.trace, link=item.link)


def attempting(services: Services, item: DeliveryItem, queue: str, number: int) -> AbstractContextManager[Span]:
    """Opens the span of attempt `number` at the delivery of an item of queue `outbound` or `relay`."""
    step = follow(services, f"process {queue}", item, queue)
    return step if step is QUIET else _attempting(services, item, queue, number, step)


@contextmanager
def _attempting(services: Services, item: DeliveryItem, queue: str, number: int, step: Span) -> Iterator[Span]:
    meter = services.meter
    kind = "task" if isinstance(item, TaskCall) else "webhook" if isinstance(item, MessageCall) else "didcomm"
    if isinstance(item, MessageCall | SendItem):
        step.attributes["messaging.message.id"] = step.attributes["tnt.message"] = item.message
    step.attributes["tnt.delivery"] = item.delivery
    step.attributes["tnt.delivery.kind"] = kind
    step.attributes["tnt.attempt"] = number
    if number == 1 and not item.again and not (isinstance(item, SendItem) and item.held):
        meter.record(AGE_SECONDS, age(services, item.delivery), queue)
    try:
        with step:
            yield step
    finally:
        outcome = step.outcome
        # A receiver may answer any status.
        error = f"http-{step.error[5]}xx" if step.error.startswith("http-") else step.error
        meter.add(ATTEMPTS, kind, outcome, error)
        meter.add(TENANT_ATTEMPTS, step.tenant, kind, outcome)
        meter.record(ATTEMPT_SECONDS, step.seconds, kind, outcome)


def calling(url: str) -> None:
    """Adds the called host to the current span. Only the host, as the rest of the URL may be a secret. Partners choose
    the URL, so it may be malformed.
    """
    if current() is None:
        return
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
        tell("server.address", host if len(host) <= _MAX_HOST and host.isprintable() else OTHER)


def age(services: Services, uuid: str) -> float:
    """Returns the seconds since the uuid was made."""
    return max(services.now() - time_of(uuid), 0) / 1000
