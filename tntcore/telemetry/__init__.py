"""Telemetry for the operator: metrics, spans and log lines (docs/decisions/0009).

Only `export` imports OpenTelemetry, in a thread of its own, and only if an operator asked for it.
"""

from tntcore.telemetry.meter import Meter, Metric
from tntcore.telemetry.spans import QUIET, Span, Tracing, add_event, current, set_attribute, set_outcome, traceparent

__all__ = [
    "QUIET",
    "Meter",
    "Metric",
    "Span",
    "Tracing",
    "add_event",
    "current",
    "set_attribute",
    "set_outcome",
    "traceparent",
]
