"""The one place that commits: units of work of a principal, each all or nothing, many in one entity-group transaction.

Units that arrive while a transaction of the same principal is under way share the next one. One unit's duplicate or
lost race is its own: it is taken out, and its neighbours go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tntcore.storage.batching import Batcher
from tntcore.storage.tables import Table
from tntcore.storage.transactions import MAX_BYTES, MAX_OPERATIONS, Operation, TransactionError, Value

_MAX_IDLE = 1000  # principals whose empty batcher is kept


class Exists(Exception):
    """A row that the unit creates is there already. Nothing of the unit was written."""

    def __init__(self, row: str) -> None:
        super().__init__(row)
        self.row = row


class Changed(Exception):
    """A row that the unit changes is not as it was read, or is gone. Nothing of the unit was written."""

    def __init__(self, row: str) -> None:
        super().__init__(row)
        self.row = row


@dataclass(slots=True)
class Unit:
    """Operations on one principal's rows that happen together or not at all. At most 100, at most 3.5 MB."""

    operations: list[Operation] = field(default_factory=list)

    def create(self, row: str, values: dict[str, Value]) -> None:
        self.operations.append(Operation("create", row, values))

    def merge(self, row: str, values: dict[str, Value], etag: str = "*") -> None:
        self.operations.append(Operation("merge", row, values, etag))

    def upsert(self, row: str, values: dict[str, Value]) -> None:
        self.operations.append(Operation("upsert", row, values))

    def delete(self, row: str, etag: str = "*") -> None:
        self.operations.append(Operation("delete", row, {}, etag))


@dataclass(slots=True)
class _Plan:
    """A transaction in the making: one operation a row, and whose each is."""

    operations: dict[str, Operation] = field(default_factory=dict)
    owners: dict[str, Unit] = field(default_factory=dict)  # who fails if the row's operation is refused
    units: list[Unit] = field(default_factory=list)
    size: int = 0

    def take(self, unit: Unit) -> bool:
        """Adds the unit if it fits and touches no row in a way that cannot be folded into one operation."""
        folded: dict[str, Operation] = {}
        for operation in unit.operations:
            before = folded.get(operation.row) or self.operations.get(operation.row)
            merged = _fold(before, operation)
            if merged is None:
                return False
            folded[operation.row] = merged
        grown = len(self.operations.keys() | folded.keys())
        size = self.size + sum(operation.size for operation in unit.operations)
        if self.units and (grown > MAX_OPERATIONS or size > MAX_BYTES):
            return False
        for row in folded:
            self.owners.setdefault(row, unit)
        self.operations.update(folded)
        self.units.append(unit)
        self.size = size
        return True


def _fold(before: Operation | None, after: Operation) -> Operation | None:
    """One operation that does both, or None if there is none."""
    if before is None:
        return after
    if after.kind == "upsert" and before.kind in ("create", "upsert"):
        return Operation(before.kind, before.row, {**before.values, **after.values}, before.etag)
    return None


class Committer:
    """Commits units, by principal."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._batchers: dict[str, Batcher[Unit, None]] = {}

    async def commit(self, principal: str, unit: Unit) -> None:
        """Answers when the unit is durable.

        Raises:
            Exists: a row to create is there. Changed: a row to merge or delete is not as it was read.
        """
        batcher = self._batchers.get(principal)
        if batcher is None:
            if len(self._batchers) >= _MAX_IDLE:
                self._batchers = {key: value for key, value in self._batchers.items() if not value.idle}
            batcher = self._batchers[principal] = Batcher(lambda units: self._write(principal, units))
        await batcher.add(unit)

    async def _write(self, principal: str, units: Sequence[Unit]) -> Sequence[BaseException | None]:
        plan = _Plan()
        for unit in units:
            if not plan.take(unit):
                break
        if not plan.units:
            return [ValueError("a unit of work changes one row twice")]
        outcome: dict[int, BaseException] = {}
        taken = list(plan.units)
        while plan.units:
            try:
                await self._table.transact(principal, list(plan.operations.values()))
                break
            except TransactionError as error:
                rows = list(plan.operations)
                if error.status not in (404, 409, 412) or not 0 <= error.index < len(rows):
                    raise
                row = rows[error.index]
                owner = plan.owners[row]
                outcome[id(owner)] = Exists(row) if error.status == 409 else Changed(row)
                rest = [unit for unit in plan.units if unit is not owner]
                plan = _Plan()
                for unit in rest:
                    plan.take(unit)
        return [outcome.get(id(unit)) for unit in taken]
