"""The only place that commits. A unit of work of one principal takes effect as a whole or not at all; many units share
one entity-group transaction.

Units that arrive while a transaction of the same principal is under way share the next one. If a unit is at fault (a
duplicate, a lost race, a value that the service refuses), only that unit fails; the others of its transaction are
written without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from azure.core.exceptions import HttpResponseError

from tntcore.messaging.ids import first_uuid
from tntcore.storage.batching import Batcher
from tntcore.storage.records import Action, Delivery, Indexed, Message, Pointer, Record
from tntcore.storage.tables import Row, Table
from tntcore.storage.transactions import MAX_BYTES, MAX_OPERATIONS, Operation, TransactionError, Value

_MAX_IDLE = 1000  # principals whose empty batcher is kept
# Answers 4xx that are not about the content: not allowed to write, timed out, too many requests.
_NOT_OF_A_UNIT = frozenset({401, 403, 408, 429})
_THREAD, _MESSAGE, _POINTER = Action.row_key(""), Message.row_key(""), Pointer.row_key("")
_WITH_UNUSUAL: Final[Mapping[str, type[Record]]] = {kind.KIND: kind for kind in (Delivery, Message)}


class Exists(Exception):
    """A row to be created exists already. Nothing of the unit was written."""

    def __init__(self, row: str) -> None:
        super().__init__(row)
        self.row = row


class Changed(Exception):
    """A row to be changed is not as it was read, or is gone. Nothing of the unit was written."""

    def __init__(self, row: str) -> None:
        super().__init__(row)
        self.row = row


class TooLarge(ValueError):
    """The unit of work fits in no transaction. Nothing of it was written."""


@dataclass(slots=True)
class Unit:
    """Operations on one principal's rows that take effect together or not at all: at most 100 operations, at most 3.5
    MB.
    """

    operations: list[Operation] = field(default_factory=list)

    def create(self, record: Record) -> None:
        """Writes a new record. Its row must not exist."""
        self.create_row(record.key, {**record.values(), **self.point(record)})

    def change(self, record: Record) -> None:
        """Writes a record that was read. Its row must not have changed since."""
        self.merge(record.key, {**record.changes(), **self.point(record)}, record.etag)

    def remove(self, record: Record, etag: str = "*") -> None:
        """Deletes a record that was read, with its pointers. If it lacked one when it was read, the row must not have
        changed since.
        """
        if isinstance(record, Indexed):
            for pointer in filter(None, (record.indexed, *record.indexed_by.split())):
                self.delete(Pointer.row_key(pointer))
        self.delete(record.key, record.etag if isinstance(record, Indexed) and not record.is_pointed else etag)

    def point(self, record: Record) -> dict[str, Value]:
        """Writes the record's pointers, in place of those that it had. Returns the columns that say so: they must be
        written to the record's row in the same unit, if that is as it was read.
        """
        if not isinstance(record, Indexed):
            return {}
        pointer, filed = record.pointer, record.filed
        now, before = {pointer, *filed}, {record.indexed, *record.indexed_by.split()}
        for gone in before - now - {""}:
            self.delete(Pointer.row_key(gone))
        for new in now - before - {""}:
            self.upsert(Pointer(uuid=new, record_uuid=record.uuid))
        columns: dict[str, Value] = {"indexed": pointer} if pointer or record.indexed else {}
        return columns | ({"indexedBy": " ".join(filed)} if filed or record.indexed_by else {})

    def upsert(self, record: Record) -> None:
        """Writes a record, whether or not its row exists."""
        self.upsert_row(record.key, record.values())

    def create_row(self, row: str, values: dict[str, Value]) -> None:
        self.operations.append(Operation("create", row, values))

    def merge(self, row: str, values: dict[str, Value], etag: str = "*") -> None:
        """Writes some columns of a row, which must exist. With an etag, it must not have changed since."""
        self.operations.append(Operation("merge", row, values, etag))

    def upsert_row(self, row: str, values: dict[str, Value]) -> None:
        """Writes some columns of a row, whether or not it exists."""
        self.operations.append(Operation("upsert", row, values))

    def delete(self, row: str, etag: str = "*") -> None:
        self.operations.append(Operation("delete", row, {}, etag))


def add_thread_pointers(unit: Unit) -> None:
    """Adds the pointers of changed threads, but of those whose time is that of a message in the same unit: see decision
    0022.
    """
    for operation in [one for one in unit.operations if one.row.startswith(_THREAD)]:
        uuid, at = operation.row.removeprefix(_THREAD), operation.values.get("updatedAt")
        if isinstance(at, int):
            message = _MESSAGE + first_uuid(at)
            if not any(
                other.row.startswith(message) and other.values.get("actionUuid", uuid) == uuid
                for other in unit.operations
            ):
                unit.upsert(Pointer(uuid=Action.pointer_at(at, uuid), record_uuid=uuid))


def add_unusual_pointers(unit: Unit) -> None:
    """Adds the pointers of messages and deliveries with one of the statuses `Record.UNUSUAL`: see decision 0022."""
    for operation in tuple(unit.operations):
        name, _, uuid = operation.row.partition("~")
        kind, status = _WITH_UNUSUAL.get(name), operation.values.get("status")
        if kind is not None and status in kind.UNUSUAL:
            unit.upsert(Pointer(uuid=f"{kind.with_status(str(status))}{uuid}", record_uuid=uuid))


@dataclass(slots=True)
class _Plan:
    """A transaction being built: one operation per row, and which unit each belongs to."""

    operations: dict[str, Operation] = field(default_factory=dict)
    owners: dict[str, Unit] = field(default_factory=dict)  # the units that fail if the row's operation is refused
    units: list[Unit] = field(default_factory=list)
    size: int = 0

    def take(self, unit: Unit) -> bool:
        """Adds the unit and returns True, if it fits and shares no row whose two operations cannot be folded into one.

        Raises:
            TooLarge: the unit does not fit even alone.
        """
        folded: dict[str, Operation] = {}
        for operation in unit.operations:
            before = folded.get(operation.row) or self.operations.get(operation.row)
            merged = _fold(before, operation)
            if merged is None:
                return False
            folded[operation.row] = merged
        grown = len(self.operations.keys() | folded.keys())
        size = self.size + sum(operation.size for operation in unit.operations)
        if grown > MAX_OPERATIONS or size > MAX_BYTES:
            if self.units:
                return False
            raise TooLarge(
                f"a unit of work of {grown} operations and {size} bytes; "
                f"{MAX_OPERATIONS} operations and {MAX_BYTES} bytes go in a transaction"
            )
        for row in folded:
            self.owners.setdefault(row, unit)
        self.operations.update(folded)
        self.units.append(unit)
        self.size = size
        return True


def _fold(before: Operation | None, after: Operation) -> Operation | None:
    """Returns one operation with the effect of both, or None if there is none."""
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
        """Returns when the unit is durable.

        Raises:
            Exists: a row to create exists. Changed: a row to merge or delete is not as it was read.
            TooLarge: the unit does not fit in a transaction.
            TransactionError, HttpResponseError: the service refused the unit for another reason.
        """
        add_thread_pointers(unit)
        add_unusual_pointers(unit)
        # Storage names the first row that it cannot write: a lost race is reported for the record, not for its pointer.
        unit.operations.sort(key=lambda operation: operation.row.startswith(_POINTER))
        batcher = self._batchers.get(principal)
        if batcher is None:
            if len(self._batchers) >= _MAX_IDLE:
                self._batchers = {key: value for key, value in self._batchers.items() if not value.idle}
            batcher = self._batchers[principal] = Batcher(lambda units: self._write(principal, units))
        await batcher.add(unit)

    async def _write(self, principal: str, units: Sequence[Unit]) -> Sequence[BaseException | None]:
        plan = _Plan()
        try:
            for unit in units:
                if not plan.take(unit):
                    break
        except TooLarge as error:  # of the first item: only the others are preceded by a comma
            return [error]
        if not plan.units:
            return [ValueError("a unit of work changes one row twice")]
        outcome: dict[int, BaseException] = {}
        taken = list(plan.units)
        while plan.units:
            try:
                await self._table.transact(principal, list(plan.operations.values()))
                break
            except (TransactionError, HttpResponseError) as error:
                if not _is_of_a_unit(error):
                    raise
                if await self._took_effect(principal, plan, error):
                    break
                owner = plan.units[0] if len(plan.units) == 1 else _owner(plan, error)
                if owner is None:
                    outcome |= await self._one_by_one(principal, plan.units)
                    break
                outcome[id(owner)] = _told(plan, error)
                rest = [unit for unit in plan.units if unit is not owner]
                plan = _Plan()
                for unit in rest:
                    plan.take(unit)
        return [outcome.get(id(unit)) for unit in taken]

    async def _one_by_one(self, principal: str, units: Sequence[Unit]) -> dict[int, BaseException]:
        """Commits each unit alone, because it is not known which of them was refused. Returns the errors by unit."""
        outcome: dict[int, BaseException] = {}
        for number, unit in enumerate(units):
            plan = _Plan()
            plan.take(unit)
            try:
                await self._table.transact(principal, list(plan.operations.values()))
            except Exception as error:  # noqa: BLE001 - handed to each caller, none is swallowed
                if not _is_of_a_unit(error):
                    return outcome | {id(other): error for other in units[number:]}
                if await self._took_effect(principal, plan, error):
                    continue
                outcome[id(unit)] = _told(plan, error)
        return outcome

    async def _took_effect(self, principal: str, plan: _Plan, error: Exception) -> bool:
        """Whether the transaction was written by an earlier sending of the same request, whose answer was lost: then
        all of its rows are as it leaves them.
        """
        if not isinstance(error, TransactionError) or not error.repeated:
            return False
        operations = list(plan.operations.values())
        rows = await asyncio.gather(*(self._table.get(principal, operation.row) for operation in operations))
        return all(map(_is_done, operations, rows))


def _is_done(operation: Operation, row: Row | None) -> bool:
    if row is None or operation.kind == "delete":
        return row is None and operation.kind == "delete"
    return all(row.values.get(name) == value for name, value in operation.values.items() if value is not None)


def _is_of_a_unit(error: Exception) -> bool:
    """Whether the content of the request is at fault. Any other error would hit every unit."""
    status = error.status if isinstance(error, TransactionError) else getattr(error, "status_code", None)
    return status is not None and 400 <= status < 500 and status not in _NOT_OF_A_UNIT


def _row_of(plan: _Plan, error: Exception) -> str | None:
    """Returns the row that was refused, if the service names one."""
    rows = list(plan.operations)
    if isinstance(error, TransactionError) and 0 <= error.index < len(rows):
        return rows[error.index]
    return None


def _owner(plan: _Plan, error: Exception) -> Unit | None:
    row = _row_of(plan, error)
    return None if row is None else plan.owners[row]


def _told(plan: _Plan, error: Exception) -> Exception:
    """Returns the error that the unit's caller gets."""
    row = _row_of(plan, error)
    if row is None or not isinstance(error, TransactionError) or error.status not in (404, 409, 412):
        return error
    return Exists(row) if error.status == 409 else Changed(row)
