"""Spans: one operation on a message, or one request (W3C Trace Context, OpenTelemetry).

A span gets its parent from a `traceparent`: of the queue item, `tp`, or of the row that it is about, never a
stranger's. The current span belongs to the task, so that everything queued or logged below it refers to it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final, Literal, Self

SpanKind = Literal["server", "consumer", "producer"]
AttributeValue = str | int | bool
SpanIds = tuple[int, int, bool]  # trace id, span id, whether it is sampled

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_current: ContextVar[Span | None] = ContextVar("span", default=None)


class Span:
    """A span; made by `Tracing`. Begins and ends as a `with` block does.

    Attributes:
        trace_id, span_id, parent_id: 0 if nothing is traced, or there is no parent.
        tenant: uuid, "" if there is none or it is not known.
        attributes: of OpenTelemetry's semantic conventions, or under `tnt.`.
        error: a stable code, or the name of an exception's type; "" if it went well.
        events: their names and times.
        began, ended: nanoseconds since 1970.
    """

    __slots__ = (
        "_sink", "_token", "attributes", "began", "ended", "error", "events", "kind", "links",
        "name", "parent_id", "sampled",
        "span_id", "tenant", "trace_id",
    )  # fmt: skip

    def __init__(self, name: str, kind: SpanKind, sink: Callable[[Span], None] | None) -> None:
        self._sink = sink
        self._token: Token[Span | None] | None = None
        self.name = name
        self.kind = kind
        self.attributes: dict[str, AttributeValue] = {}
        self.links: Sequence[SpanIds] = ()
        self.trace_id = self.span_id = self.parent_id = 0
        self.sampled = False
        self.tenant = self.error = ""
        self.events: list[tuple[str, int]] = []
        self.began = self.ended = 0

    @property
    def traceparent(self) -> str:
        """The `traceparent`; "" if nothing is traced."""
        if not self.trace_id:
            return ""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"

    @property
    def trace(self) -> str:
        """The trace's id, "" if nothing is traced."""
        return f"{self.trace_id:032x}" if self.trace_id else ""

    def link(self, to: object) -> None:
        """Links the span of a `traceparent`, if it is valid."""
        if self.trace_id and (found := read_traceparent(to)) is not None:
            self.links = (*self.links, found)

    @property
    def seconds(self) -> float:
        return (self.ended - self.began) / 1e9

    @property
    def failed(self) -> bool:
        """Whether the service is at fault: not for a request that was refused with advice."""
        if self.kind == "server":
            return int(self.attributes.get("http.response.status_code", 500)) >= 500
        return self.outcome in ("failed", "retry")

    @property
    def outcome(self) -> str:
        return str(self.attributes.get("tnt.outcome") or ("failed" if self.error else "handled"))

    def __enter__(self) -> Self:
        self.began = time.time_ns()
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.ended = time.time_ns()
        if self._token is not None:
            _current.reset(self._token)
        if error is not None:
            # An error that means waiting has an outcome. Any other shows only its name: its text may quote the message.
            outcome = getattr(error, "outcome", None)
            self.attributes["tnt.outcome"] = outcome or "failed"
            self.error = self.error or ("" if outcome else type(error).__name__)
        if self._sink is not None:
            self._sink(self)


class _Nothing(dict[str, AttributeValue]):
    """Ignores every call."""

    def __setitem__(self, name: str, value: AttributeValue) -> None:
        return None


class _Quiet(Span):
    """The span when nothing is traced: one instance for all, and never the current span."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("", "server", None)
        object.__setattr__(self, "attributes", _Nothing())

    def __setattr__(self, name: str, value: object) -> None:
        if not hasattr(self, name):
            super().__setattr__(name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *how: object) -> None:
        return None


class Tracing:
    """Makes spans.

    Args:
        random: returns so many random bytes.
        sample: whether a trace is exported, by its id. A child span follows its parent.
        watched: make spans even if nothing is traced: for metrics and log lines.

    Attributes:
        sinks: called with each sampled span when it has ended; they neither wait nor raise. Without any, nothing is
            traced.
    """

    def __init__(
        self,
        random: Callable[[int], bytes] = lambda size: b"",
        sample: Callable[[int], bool] = lambda trace_id: True,
        *,
        watched: bool = False,
    ) -> None:
        self.sinks: list[Callable[[Span], None]] = []
        self.watched = watched
        self._random = random
        self._sample = sample

    def begin(self, name: str, kind: SpanKind = "server", *, parent: object = "", links: Sequence[object] = ()) -> Span:
        """Makes a span, which begins when it is entered.

        Args:
            parent: the `traceparent` of its parent. Without one, or if it is malformed, a new trace begins.
            links: `traceparent`s of related spans.
        """
        if not self.sinks:
            return Span(name, kind, None) if self.watched else QUIET
        before = read_traceparent(parent)
        if before is None:
            ids = self._random(24)
            trace_id, span_id = int.from_bytes(ids[:16], "big") or 1, int.from_bytes(ids[16:], "big") or 1
            sampled, parent_id = self._sample(trace_id), 0
        else:
            trace_id, parent_id, sampled = before
            span_id = int.from_bytes(self._random(8), "big") or 1
        span = Span(name, kind, self._ended if sampled else None)
        span.trace_id, span.span_id, span.parent_id, span.sampled = trace_id, span_id, parent_id, sampled
        for link in links:
            span.link(link)
        return span

    def follow(self, name: str, queue: str, *, tenant: str, parent: str, link: str) -> Span:
        """Makes the span of a queue item.

        Args:
            parent, link: `traceparent` of its parent, and of a related span; "" for none.
        """
        span = self.begin(name, "consumer", parent=parent, links=(link,) if link else ())
        if span is QUIET:
            return span
        span.tenant = tenant
        span.attributes = {
            "messaging.system": "azure_queue_storage",
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
        }
        return span

    def _ended(self, span: Span) -> None:
        for sink in self.sinks:
            sink(span)


QUIET: Final[Span] = _Quiet()


def read_traceparent(text: object) -> SpanIds | None:
    """Parses a `traceparent` of version 00; None for anything else (W3C Trace Context, section 3.2.2)."""
    found = _TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    trace_id, span_id = int(found[1], 16), int(found[2], 16)
    return (trace_id, span_id, bool(int(found[3], 16) & 1)) if trace_id and span_id else None


def current() -> Span | None:
    """Returns the current task's span."""
    return _current.get()


def set_attribute(name: str, value: AttributeValue) -> None:
    """Sets an attribute of the current span, if there is one."""
    span = _current.get()
    if span is not None:
        span.attributes[name] = value


def set_outcome(outcome: str, error: str = "") -> None:
    """Sets the outcome of the current span; `error` is a stable code."""
    span = _current.get()
    if span is not None:
        span.attributes["tnt.outcome"], span.error = outcome, error


def add_event(name: str) -> None:
    """Adds an event to the current span."""
    span = _current.get()
    if span is not None and span.sampled:
        span.events.append((name, time.time_ns()))


def traceparent() -> str:
    """Returns the `traceparent` of the current span; "" if there is none, or nothing is traced."""
    span = _current.get()
    return span.traceparent if span is not None else ""
