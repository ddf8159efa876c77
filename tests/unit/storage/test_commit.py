"""Whose fault it is when the service refuses a transaction of several units."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from tntcore.storage.commit import Committer, Exists, TooLarge, Unit
from tntcore.storage.records import Contact, Pointer
from tntcore.storage.states import ContactStatus
from tntcore.storage.transactions import MAX_BYTES, MAX_OPERATIONS, Operation, TransactionError


class Table:
    """Keeps the rows of what it takes; `refuse` raises for a row that it does not."""

    def __init__(self, refusals: dict[str, Exception], *, named: bool) -> None:
        self.rows: list[str] = []
        self.calls: list[list[str]] = []
        self._refusals = refusals
        self._named = named

    async def transact(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        rows = [operation.row for operation in operations]
        self.calls.append(rows)
        await asyncio.sleep(0)
        for index, row in enumerate(rows):
            error = self._refusals.get(row)
            if isinstance(error, TransactionError):
                raise TransactionError(error.status, index if self._named else -1, error.code)
            if error is not None:
                raise error
        self.rows += rows
        return [""] * len(rows)


def http_error(status: int) -> HttpResponseError:
    error = HttpResponseError("refused")
    error.status_code = status
    return error


def unit(*rows: str, **values: bytes) -> Unit:
    made = Unit()
    for row in rows:
        made.create_row(row, dict(values))
    return made


async def committed(table: Table, *units: Unit) -> list[BaseException | None]:
    """What becomes of units that share a transaction."""
    committer = Committer(table)  # type: ignore[arg-type]
    return await asyncio.gather(*(committer.commit("p", each) for each in units), return_exceptions=True)


async def test_records_come_before_their_pointers() -> None:
    """Storage names the first row that it cannot write, and callers know the record's."""
    table = Table({}, named=True)
    read = Contact(uuid="c", status=ContactStatus.ACCEPTED, email="old@a.example", created_at=1, etag="1")
    read.indexed_by = " ".join(read.filed)
    read.email = "new@a.example"
    changed = Unit()
    changed.change(read)
    assert await committed(table, changed) == [None]
    [rows] = table.calls
    assert rows[0] == read.key
    assert len(rows) == 3
    assert all(row.startswith(Pointer.row_key("")) for row in rows[1:])


@pytest.mark.parametrize("status", [400, 413, 405])
async def test_a_refusal_of_a_named_row_is_its_units_own(status: int) -> None:
    table = Table({"bad": TransactionError(status, 0, "PropertyValueTooLarge")}, named=True)
    first, bad, last = await committed(table, unit("a"), unit("b", "bad"), unit("c"))
    assert (first, last) == (None, None)
    assert isinstance(bad, TransactionError)
    assert (bad.status, bad.code) == (status, "PropertyValueTooLarge")
    assert table.rows == ["a", "c"]
    assert len(table.calls) == 2


@pytest.mark.parametrize("error", [TransactionError(400, -1, "InvalidInput"), http_error(400), http_error(413)])
async def test_a_refusal_that_names_no_row_is_found_one_unit_at_a_time(error: Exception) -> None:
    table = Table({"bad": error}, named=False)
    first, bad, last = await committed(table, unit("a"), unit("bad"), unit("c"))
    assert (first, last) == (None, None)
    assert type(bad) is type(error)
    assert table.rows == ["a", "c"]


async def test_a_refusal_and_then_a_duplicate_are_each_its_units_own() -> None:
    table = Table({"bad": TransactionError(400, 0, "x"), "there": TransactionError(409, 0, "y")}, named=True)
    bad, there, good = await committed(table, unit("bad"), unit("there"), unit("good"))
    assert isinstance(bad, TransactionError)
    assert isinstance(there, Exists)
    assert there.row == "there"
    assert good is None


@pytest.mark.parametrize(
    "error",
    [
        TransactionError(500, 0, "InternalError"),
        TransactionError(503, 0, "ServerBusy"),
        http_error(503),
        http_error(403),
        http_error(429),
        ServiceRequestError("away"),
    ],
)
async def test_what_is_not_about_a_unit_is_everybodys(error: Exception) -> None:
    table = Table({"any": error}, named=True)
    results = await committed(table, unit("a"), unit("any"), unit("c"))
    assert [type(result) for result in results] == [type(error)] * 3
    assert table.rows == []
    assert len(table.calls) == 1


async def test_an_outage_while_one_goes_at_a_time_is_of_those_that_are_left() -> None:
    table = Table({"bad": http_error(400), "out": ServiceRequestError("away")}, named=False)
    # Together, the first refusal is the one that is met.
    results = await committed(table, unit("bad"), unit("b"), unit("out"), unit("d"))
    assert [type(result) for result in results] == [
        HttpResponseError,
        type(None),
        ServiceRequestError,
        ServiceRequestError,
    ]
    assert table.rows == ["b"]
    assert len(table.calls) == 4


@pytest.mark.parametrize(
    "large",
    [
        unit(*(f"row-{number:03d}" for number in range(MAX_OPERATIONS + 1))),
        unit(*(f"row-{number:03d}" for number in range(60)), body=bytes(MAX_BYTES // 60)),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
async def test_a_unit_that_no_transaction_takes_is_told_so_and_nobody_else(large: Unit, place: int) -> None:
    table = Table({}, named=True)
    units = [unit("a"), unit("b")]
    units.insert(place, large)
    results = await committed(table, *units)
    assert isinstance(results.pop(place), TooLarge)
    assert results == [None, None]
    assert table.rows == ["a", "b"]
