"""Spans and metrics of queue items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from urllib.parse import urlsplit

from tntcore.delivery.items import DeliveryItem, InboundItem, Item, MessageCall, SendItem, TaskCall
from tntcore.messaging.ids import time_of
from tntcore.messaging.types import DIDCOMM_ORG, canonical
from tntcore.protocols.registry import PROTOCOLS
from tntcore.services import Services
from tntcore.storage.storage import INBOUND
from tntcore.telemetry import QUIET, Span, current, tell
from tntcore.telemetry.meter import (
    AGE_SECONDS,
    ATTEMPT_SECONDS,
    ATTEMPTS,
    MESSAGES,
    OTHER,
    PROCESS_SECONDS,
    TENANT_ATTEMPTS,
    TENANT_MESSAGES,
)

PASSED_ON = "passed-on"
"""The outcome on queue `inbound` of a message that queue `exchange` handles."""
_MAX_HOST = 253  # characters of a name (RFC 1035, section 2.3.4)


def follow(services: Services, name: str, item: Item, queue: str) -> Span:
    """Opens the span of handling an item from `queue`."""
    return services.tracing.follow(name, queue, tenant=item.principal, parent=item.trace, link=item.link)


def receiving(services: Services, item: InboundItem, queue: str, among: int) -> AbstractContextManager[Span]:
    """Opens the span of an item of queue `inbound` or `exchange`, one of `among` in its queue message."""
    step = follow(services, f"process {queue}", item, queue)
    return step if step is QUIET else _receiving(services, item, queue, among, step)


@contextmanager
def _receiving(services: Services, item: InboundItem, queue: str, among: int, step: Span) -> Iterator[Span]:
    meter, first = services.meter, queue == INBOUND and item.put_off is None and not item.limits_passed
    step.attributes["messaging.message.id"] = step.attributes["tnt.message"] = item.uuid
    step.attributes["messaging.batch.message_count"] = among
    if first:
        meter.record(AGE_SECONDS, _age(services, item.uuid), INBOUND)
    try:
        with step:
            yield step
    finally:
        outcome = step.outcome
        if outcome != PASSED_ON:
            meter.add(MESSAGES, str(step.attributes.get("tnt.protocol", "")), outcome, step.error)
            meter.add(TENANT_MESSAGES, step.tenant, outcome)
        meter.record(PROCESS_SECONDS, step.seconds, queue, outcome)


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
        meter.record(AGE_SECONDS, _age(services, item.delivery), queue)
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


def _age(services: Services, uuid: str) -> float:
    return max(services.now() - time_of(uuid), 0) / 1000


@lru_cache(1024)
def protocol_of(message_type: str) -> str:
    """Returns the protocol of a type, such as `issue-credential/2.0`; `other` if the service does not know it, as
    senders may invent any.
    """
    protocol = canonical(message_type).rpartition("/")[0]
    return protocol.removeprefix(DIDCOMM_ORG) if protocol in PROTOCOLS else OTHER
