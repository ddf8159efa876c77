"""What the service tells its operator about itself: counts, steps of messages' ways, log lines (docs/decisions/0009).

Nothing here imports OpenTelemetry but `export`, in a thread of its own, where an operator asked for it.
"""

from tntcore.telemetry.meter import Meter, Metric
from tntcore.telemetry.steps import QUIET, Step, Tracing, came_to, current, mark, tell, traceparent

__all__ = [
    "QUIET",
    "Meter",
    "Metric",
    "Step",
    "Tracing",
    "came_to",
    "current",
    "mark",
    "tell",
    "traceparent",
]
