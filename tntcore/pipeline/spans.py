"""Spans and metrics of received messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

from tntcore.messaging.ids import seconds_since
from tntcore.messaging.types import DIDCOMM_ORG, canonical
from tntcore.protocols.registry import PROTOCOLS
from tntcore.services import Services
from tntcore.storage.items import InboundItem
from tntcore.storage.storage import INBOUND
from tntcore.telemetry import QUIET, Span
from tntcore.telemetry.meter import AGE_SECONDS, MESSAGES, OTHER, PROCESS_SECONDS, TENANT_MESSAGES

PASSED_ON = "passed-on"
"""The outcome on queue `inbound` of a message that queue `exchange` handles."""


def receiving(services: Services, item: InboundItem, queue: str, among: int) -> AbstractContextManager[Span]:
    """Opens the span of an item of queue `inbound` or `exchange`, one of `among` in its queue message."""
    span = item.follow(services.tracing, f"process {queue}", queue)
    return span if span is QUIET else _receiving(services, item, queue, among, span)


@contextmanager
def _receiving(services: Services, item: InboundItem, queue: str, among: int, span: Span) -> Iterator[Span]:
    meter, first = services.meter, queue == INBOUND and item.put_off is None and not item.limits_passed
    span.attributes["messaging.message.id"] = span.attributes["tnt.message"] = item.uuid
    span.attributes["messaging.batch.message_count"] = among
    if first:
        meter.record(AGE_SECONDS, seconds_since(item.uuid, services.now()), INBOUND)
    try:
        with span:
            yield span
    finally:
        outcome = span.outcome
        if outcome != PASSED_ON:
            meter.add(MESSAGES, str(span.attributes.get("tnt.protocol", "")), outcome, span.error)
            meter.add(TENANT_MESSAGES, span.tenant, outcome)
        meter.record(PROCESS_SECONDS, span.seconds, queue, outcome)


@lru_cache(1024)
def protocol_of(message_type: str) -> str:
    """Returns the protocol of a type, such as `issue-credential/2.0`; `other` if the service does not know it, as
    senders may invent any.
    """
    protocol = canonical(message_type).rpartition("/")[0]
    return protocol.removeprefix(DIDCOMM_ORG) if protocol in PROTOCOLS else OTHER
