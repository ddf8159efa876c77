"""The service's metrics. Counting adds to a dictionary, which the exporter reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

OTHER = "other"
_BOUND = 1_000  # combinations of labels that one metric may have; of those by tenant, the tenants are bounded


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric.

    Attributes:
        name: of OpenTelemetry's semantic conventions, or under `tnt.`.
        unit: in UCUM, as they require.
        labels: names of its labels.
    """

    name: str
    unit: str
    description: str
    labels: tuple[str, ...] = ()


Labels = tuple[str, ...]

# Sums.
MESSAGES = Metric(
    "tnt.messages",
    "{message}",
    "Messages that were handled",
    ("tnt.protocol", "tnt.outcome", "error.type"),
)
TENANT_MESSAGES = Metric(
    "tnt.tenant.messages", "{message}", "Messages that were handled, by tenant", ("tnt.tenant", "tnt.outcome")
)
ATTEMPTS = Metric(
    "tnt.delivery.attempts",
    "{attempt}",
    "Attempts at deliveries: webhook calls and messages sent",
    ("tnt.delivery.kind", "tnt.outcome", "error.type"),
)
TENANT_ATTEMPTS = Metric(
    "tnt.tenant.delivery.attempts",
    "{attempt}",
    "Attempts at deliveries, by tenant",
    ("tnt.tenant", "tnt.delivery.kind", "tnt.outcome"),
)
REFUSALS = Metric("tnt.http.refusals", "{request}", "Requests answered with a problem", ("http.route", "error.type"))
POISON = Metric(
    "tnt.poison.messages", "{message}", "Queue messages that were given up", ("messaging.destination.name",)
)
# The counts of `Meter.count`, by its name.
STORAGE_CALLS = Metric("tnt.storage.calls", "{call}", "Storage calls, and rows written", ("tnt.storage.operation",))
EVENTS = Metric("tnt.events", "{event}", "What else happened", ("tnt.event",))
# Durations.
REQUEST_SECONDS = Metric(
    "http.server.request.duration",
    "s",
    "Duration of HTTP requests",
    ("http.request.method", "http.route", "http.response.status_code"),
)
PROCESS_SECONDS = Metric(
    "messaging.process.duration",
    "s",
    "Handling of a message, from the queue until its effects are attempted or queued",
    ("messaging.destination.name", "tnt.outcome"),
)
ATTEMPT_SECONDS = Metric(
    "tnt.delivery.attempt.duration",
    "s",
    "An attempt at a delivery: preparing, calling, waiting for the answer",
    ("tnt.delivery.kind", "tnt.outcome"),
)
AGE_SECONDS = Metric(
    "tnt.message.age",
    "s",
    "From when a message came, or was given to be sent, to its first handling by a queue",
    ("messaging.destination.name",),
)
# Figures of this moment.
DOOR_BYTES = Metric("tnt.door.held", "By", "Messages that wait for being queued")

SUMS = (MESSAGES, TENANT_MESSAGES, ATTEMPTS, TENANT_ATTEMPTS, REFUSALS, POISON)
GAUGES = (DOOR_BYTES,)
DURATIONS = (REQUEST_SECONDS, PROCESS_SECONDS, ATTEMPT_SECONDS, AGE_SECONDS)
_OF_TENANTS = (TENANT_MESSAGES, TENANT_ATTEMPTS)
_STORAGE = ("table.", "queue.", "blob.")


class Meter:
    """Counts, and passes durations on.

    Args:
        tenants: how many tenants are told apart, the first ones seen; all others are `other`.

    Attributes:
        counts: by name, e.g. storage calls by kind (`table.transaction`, `queue.put`) or messages by outcome.
        recorder: receives durations: (metric, seconds, labels). Without one they are dropped.
    """

    def __init__(self, tenants: int = 100) -> None:
        self.counts: Counter[str] = Counter()
        self.recorder: Callable[[Metric, float, Labels], None] | None = None
        self._sums: dict[Metric, dict[Labels, int]] = {metric: {} for metric in SUMS}
        self._durations: dict[Metric, set[Labels]] = {metric: set() for metric in DURATIONS}
        self._gauges: dict[Metric, Callable[[], int]] = {}
        self._tenants: set[str] = set()
        self._most_tenants = tenants

    def count(self, name: str, amount: int = 1) -> None:
        self.counts[name] += amount

    def add(self, metric: Metric, *labels: str) -> None:
        """Adds one to a sum. If a metric has too many combinations of labels, new ones become `other`."""
        sums = self._sums[metric]
        if metric in _OF_TENANTS and labels[0] not in self._tenants:
            labels = (self._tenant(labels[0]), *labels[1:])
        if labels not in sums and len(sums) >= _BOUND and metric not in _OF_TENANTS:
            labels = (OTHER,) * len(labels)
        sums[labels] = sums.get(labels, 0) + 1

    def record(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Passes a duration to the recorder, if there is one; labels as in `add`."""
        known = self._durations[metric]
        if labels not in known:
            if len(known) >= _BOUND:
                labels = (OTHER,) * len(labels)
            known.add(labels)
        if self.recorder is not None:
            self.recorder(metric, seconds, labels)

    def gauge(self, metric: Metric, value: Callable[[], int]) -> None:
        """Registers `value`, which is called from another thread at each export of metrics."""
        self._gauges[metric] = value

    def sum(self, metric: Metric) -> dict[Labels, int]:
        """Returns the current value of a sum, by its labels. May be called from another thread."""
        if metric in self._sums:
            return self._sums[metric].copy()
        counts = self.counts.copy().items()
        return {(name,): amount for name, amount in counts if name.startswith(_STORAGE) == (metric is STORAGE_CALLS)}

    def labels(self, metric: Metric) -> set[Labels]:
        """Returns the existing combinations of labels of a duration."""
        return self._durations[metric].copy()

    def level(self, metric: Metric) -> dict[Labels, int]:
        """Returns the current value of a gauge, if there is one. May be called from another thread."""
        return {(): self._gauges[metric]()} if metric in self._gauges else {}

    def _tenant(self, uuid: str) -> str:
        if len(self._tenants) >= self._most_tenants:
            return OTHER
        self._tenants.add(uuid)
        return uuid
