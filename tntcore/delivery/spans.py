"""Spans and metrics of delivery attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from urllib.parse import urlsplit

from tntcore.messaging.ids import seconds_since
from tntcore.services import Services
from tntcore.storage.items import DeliveryItem, MessageCall, SendItem, TaskCall
from tntcore.telemetry import QUIET, Span, current, set_attribute
from tntcore.telemetry.meter import (
    AGE_SECONDS,
    ATTEMPT_SECONDS,
    ATTEMPTS,
    OTHER,
    TENANT_ATTEMPTS,
)

_MAX_HOST = 253  # characters of a name (RFC 1035, section 2.3.4)


def attempting(services: Services, item: DeliveryItem, queue: str, number: int) -> AbstractContextManager[Span]:
    """Opens the span of attempt `number` at the delivery of an item of queue `outbound` or `relay`."""
    span = item.follow(services.tracing, f"process {queue}", queue)
    return span if span is QUIET else _attempting(services, item, queue, number, span)


@contextmanager
def _attempting(services: Services, item: DeliveryItem, queue: str, number: int, span: Span) -> Iterator[Span]:
    meter = services.meter
    kind = "task" if isinstance(item, TaskCall) else "webhook" if isinstance(item, MessageCall) else "didcomm"
    if isinstance(item, MessageCall | SendItem):
        span.attributes["messaging.message.id"] = span.attributes["tnt.message"] = item.message
    span.attributes["tnt.delivery"] = item.delivery
    span.attributes["tnt.delivery.kind"] = kind
    span.attributes["tnt.attempt"] = number
    if number == 1 and not item.again and not (isinstance(item, SendItem) and item.held):
        meter.record(AGE_SECONDS, seconds_since(item.delivery, services.now()), queue)
    try:
        with span:
            yield span
    finally:
        outcome = span.outcome
        # A receiver may answer any status.
        error = f"http-{span.error[5]}xx" if span.error.startswith("http-") else span.error
        meter.add(ATTEMPTS, kind, outcome, error)
        meter.add(TENANT_ATTEMPTS, span.tenant, kind, outcome)
        meter.record(ATTEMPT_SECONDS, span.seconds, kind, outcome)


def calling(url: str) -> None:
    """Adds the called host to the current span. Only the host, as the rest of the URL may be a secret. Partners choose
    the URL, so it may be malformed.
    """
    if current() is None:
        return
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
        set_attribute("server.address", host if len(host) <= _MAX_HOST and host.isprintable() else OTHER)
