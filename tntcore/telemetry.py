"""What the service counts about itself."""

from __future__ import annotations

from collections import Counter


class Meter:
    """Counters by name, e.g. storage calls by kind (`table.transaction`, `queue.put`) or messages by outcome."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, name: str, amount: int = 1) -> None:
        self.counts[name] += amount
