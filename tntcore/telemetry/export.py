"""Exports spans and metrics: to a collector by OTLP, to Application Insights, or to the terminal.

OpenTelemetry's own environment variables configure it. If none is set, nothing of this is created. The operator chooses
the destination, not a tenant or a stranger, so exports do not go through `egress`, which would refuse an internal
collector. Everything slow (importing OpenTelemetry, encoding, sending) runs in threads of its own. Any error there is
logged and loses spans, never a message.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from tntcore.config import Telemetry
from tntcore.telemetry.meter import DURATIONS, EVENTS, GAUGES, STORAGE_CALLS, SUMS, Labels, Meter, Metric
from tntcore.telemetry.spans import Span, SpanIds

log = logging.getLogger(__name__)

SCOPE = "tntcore"
MAX_WAITING = 8_192  # spans that wait for being sent; what comes beyond is dropped, and counted
_BATCH = 512
CLOSE_SECONDS = 5.0  # for which a process that stops waits for the last spans to be sent


class Exporter:
    """Keeps each span passed to it from the event loop, and returns at once; a thread exports them.

    Args:
        seconds: between two batches of spans that are not full; default: the configured interval.
    """

    def __init__(self, settings: Telemetry, meter: Meter, seconds: float | None = None) -> None:
        self._settings = settings
        self._meter = meter
        self._seconds = 0.2 if "console" in settings.traces else seconds or settings.seconds  # somebody looks on
        self._ended: deque[Span] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()
        # For a process that ends without closing the service.
        atexit.register(self.stop)

    def __call__(self, span: Span) -> None:
        if len(self._ended) >= MAX_WAITING:
            self._meter.count("telemetry.dropped")
            return
        self._ended.append(span)
        if len(self._ended) == _BATCH:
            self._wake.set()

    def stop(self, seconds: float | None = None) -> None:
        """Exports the rest, and waits for that, for at most `seconds`, `CLOSE_SECONDS` by default."""
        atexit.unregister(self.stop)
        self._stopping = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS if seconds is None else seconds)

    def _run(self) -> None:
        try:
            sdk = _Sdk(self._settings, self._meter)
        except Exception:
            log.exception("telemetry cannot be exported")
            return
        while not self._stopping:
            self._wake.wait(self._seconds)
            self._wake.clear()
            self._send(sdk)
        self._send(sdk)
        sdk.close()

    def _send(self, sdk: _Sdk) -> None:
        while self._ended:
            batch = [self._ended.popleft() for _ in range(min(_BATCH, len(self._ended)))]
            try:
                sdk.send(batch)
            except Exception:
                log.exception("%s spans could not be exported", len(batch))
                self._meter.count("telemetry.failed", len(batch))


class _Sdk:
    """OpenTelemetry's SDK, set up without any of its global state."""

    def __init__(self, settings: Telemetry, meter: Meter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource.create({"service.name": settings.service, "service.instance.id": str(uuid.uuid4())})
        self._scope = InstrumentationScope(SCOPE)
        self._exporters = [_span_exporter(name, self._resource) for name in settings.traces]
        # By which Application Insights counts one request for so many.
        self._more = {"_MS.sampleRate": settings.ratio * 100} if "azure" in settings.traces else {}
        self._metrics = self._meters(settings.metrics, meter) if settings.metrics else None

    def send(self, spans: Sequence[Span]) -> None:
        spans = [self._span(span) for span in spans]
        for exporter in self._exporters:
            exporter.export(spans)

    def close(self) -> None:
        for exporter in self._exporters:
            exporter.shutdown()
        if self._metrics is not None:
            self._metrics.shutdown(timeout_millis=CLOSE_SECONDS * 1000)

    def _span(self, span: Span) -> Any:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(of: SpanIds, *, remote: bool) -> Any:
            trace_id, span_id, sampled = of
            return SpanContext(trace_id, span_id, is_remote=remote, trace_flags=TraceFlags(int(sampled)))

        attributes = {**span.attributes, **self._more}
        if span.tenant:
            attributes["tnt.tenant"] = span.tenant
        if span.error:
            # Application Insights leaves out attributes of the semantic conventions for which it has no field.
            attributes["error.type"] = attributes["tnt.error"] = span.error
        return ReadableSpan(
            span.name,
            context=context((span.trace_id, span.span_id, span.sampled), remote=False),
            parent=context((span.trace_id, span.parent_id, True), remote=True) if span.parent_id else None,
            resource=self._resource,
            attributes=attributes,
            events=[Event(name, timestamp=when) for name, when in span.events],
            links=[Link(context(link, remote=True)) for link in span.links],
            kind=SpanKind[span.kind.upper()],
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=span.began,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )

    def _meters(self, exporters: Sequence[str], meter: Meter) -> Any:
        from opentelemetry.metrics import CallbackOptions, Observation
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        readers = [PeriodicExportingMetricReader(_metric_exporter(name)) for name in exporters]
        provider = MeterProvider(readers, self._resource, shutdown_on_exit=False)
        made = provider.get_meter(SCOPE)

        def observe(values: Callable[[], Mapping[Labels, int]], metric: Metric) -> Callable[..., Iterable[Any]]:
            def observed(options: CallbackOptions) -> Iterable[Any]:
                return [Observation(v, dict(zip(metric.labels, key, strict=True))) for key, v in values().items()]

            return observed

        for metric in (*SUMS, STORAGE_CALLS, EVENTS):
            made.create_observable_counter(
                metric.name, [observe(partial(meter.sum, metric), metric)], metric.unit, metric.description
            )
        for metric in GAUGES:
            made.create_observable_gauge(
                metric.name, [observe(partial(meter.level, metric), metric)], metric.unit, metric.description
            )
        histograms = {
            metric: made.create_histogram(
                metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=_BUCKETS
            )
            for metric in DURATIONS
        }
        meter.recorder = lambda metric, seconds, labels: histograms[metric].record(
            seconds, dict(zip(metric.labels, labels, strict=True))
        )
        return provider


# Seconds: those of the semantic conventions for HTTP, and more, as long as a message may wait.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300, 3_600, 86_400)


def _span_exporter(name: str, resource: Any) -> Any:
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if name == "azure":
        from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter
        from opentelemetry.sdk.trace import TracerProvider

        # It asks the provider for the resource, and else logs an error with each batch.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        return AzureMonitorTraceExporter(disable_offline_storage=True, tracer_provider=provider)
    return _Console()


def _metric_exporter(name: str) -> Any:
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter()
    if name == "azure":
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

        return AzureMonitorMetricExporter(disable_offline_storage=True)
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    return ConsoleMetricExporter(out=sys.stderr)


class _Console:
    """Prints a line for each span."""

    def export(self, spans: Sequence[Any]) -> None:
        for span in spans:
            took = (span.end_time - span.start_time) / 1e6
            told = " ".join(f"{name}={value}" for name, value in span.attributes.items())
            parent = f"{span.parent.span_id:016x}" if span.parent else "-" * 16
            ids = f"{span.context.trace_id:032x} {parent} > {span.context.span_id:016x}"
            print(f"{ids} {took:8.1f} ms  {span.name}  {told}", file=sys.stderr, flush=True)

    def shutdown(self) -> None:
        return None
