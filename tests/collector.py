"""A collector as an operator may run one: takes OTLP over HTTP, in protobuf, and keeps what it got."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import orjson


@dataclass(frozen=True)
class Span:
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    events: list[str]
    failed: bool
    resource: dict[str, Any]


@dataclass
class Collector:
    """In threads of its own, so that it answers whatever the event loop of the tests does.

    Attributes:
        answer: what it does before it answers, with which status.
        insights: what came as Application Insights takes it.
    """

    answer: Callable[[], int] = lambda: 200
    spans: list[Span] = field(default_factory=list)
    points: dict[str, list[tuple[dict[str, Any], Any]]] = field(default_factory=dict)
    insights: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status = collector.answer()
                content = collector.take(self.path, body) if status == 200 else b""
                self.send_response(status)
                self.send_header("content-type", self.headers["content-type"])
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *words: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, body: bytes) -> bytes:
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service

        if path == "/v2.1/track":
            self.insights += (items := orjson.loads(body))
            return orjson.dumps({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []})
        if path == "/v1/traces":
            self._take_spans(trace_service.ExportTraceServiceRequest.FromString(body))
            return bytes(trace_service.ExportTraceServiceResponse().SerializeToString())
        assert path == "/v1/metrics", path
        self._take_points(metrics_service.ExportMetricsServiceRequest.FromString(body))
        return bytes(metrics_service.ExportMetricsServiceResponse().SerializeToString())

    def _take_spans(self, request: Any) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            span.name,
                            span.kind,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            _values(span.attributes),
                            [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                            [event.name for event in span.events],
                            span.status.code == 2,
                            _values(resource.resource.attributes),
                        )
                    )

    def _take_points(self, request: Any) -> None:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, str(metric.WhichOneof("data")))
                    # Each time all of it is sent: the last is what counts.
                    self.points[metric.name] = [
                        (_values(point.attributes), getattr(point, "as_int", None) or getattr(point, "count", 0))
                        for point in data.data_points
                    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes}
