"""The row of an `Idempotency-Key`: its name, and its release when the call fails."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tntcore.api.http import Call, Request, Response
from tntcore.api.idempotency import once, row_of
from tntcore.errors import Problem
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.records import short_hash
from tntcore.storage.tables import Row


def test_no_two_callers_share_a_row() -> None:
    parts = ("a", "a~b", "b~c", "c", "~", "~~", "%7E", "a%7Eb", "a~", "~b", "%", "%25")
    rows = {row_of(key, of) for of, key in itertools.product(parts, parts)}
    assert len(rows) == len(parts) ** 2


def test_rows_written_before_are_found() -> None:
    operator = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"
    assert row_of("k~1", operator) == f"idempotency~{short_hash(operator + '~k~1')}"
    assert row_of("k~1") == f"idempotency~{short_hash('k~1')}"


class _Refusing:
    """Records that take the first write, and no other."""

    principal = "tenant"

    def __init__(self) -> None:
        self.written = 0

    def seal(self, data: bytes, name: str) -> bytes:
        return data

    async def get(self, partition: str, row: str) -> None:
        return None

    async def commit(self, unit: Unit) -> None:
        self.written += 1
        if self.written > 1:
            raise OSError("storage is gone")


@pytest.mark.parametrize("error", [Problem(404, "contact-unknown", "There is none."), RuntimeError("bug")])
async def test_the_caller_gets_the_error_of_the_call_even_if_the_key_cannot_be_released(error: Exception) -> None:
    records: Any = _Refusing()
    services: Any = SimpleNamespace(random=bytes, now=lambda: 1, storage=SimpleNamespace(records=records))

    async def handler(call: Call) -> Response:
        raise error

    request = Request("POST", "contact", {}, {"idempotency-key": "k"}, b"{}")
    with pytest.raises(type(error)) as raised:
        await once(Call(services, request, {}, None), records, handler)
    assert raised.value is error
    assert records.written == 2


class _Losing:
    """Records that keep the row of one key. Storage takes the write `lost` without saying so, and is then away for the
    next read.
    """

    principal = "tenant"

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.values: dict[str, Any] | None = None
        self.written = 0
        self.away = False

    def seal(self, data: bytes, name: str) -> bytes:
        return data

    open = seal

    async def put_body(self, uuid: str, sealed: bytes) -> bytes:
        return sealed

    async def get(self, partition: str, row: str) -> Row | None:
        if self.away:
            self.away = False
            raise OSError("storage is away")
        return None if self.values is None else Row(partition, row, dict(self.values), "")

    async def commit(self, unit: Unit) -> None:
        self.written += 1
        [operation] = unit.operations
        if operation.kind == "create" and self.values is not None:
            raise Exists(operation.row)
        self.values = None if operation.kind == "delete" else {**(self.values or {}), **operation.values}
        if self.written == self.lost:
            self.away = True
            raise OSError("the answer was lost")


async def test_a_call_whose_answer_was_stored_unnoticed_is_not_made_anew() -> None:
    records: Any = _Losing(2)
    seeds = itertools.count(1)
    services: Any = SimpleNamespace(
        random=lambda size: next(seeds).to_bytes(size), now=lambda: 10**12, storage=SimpleNamespace(records=records)
    )
    chances = []

    async def handler(call: Call) -> Response:
        assert call.chance is not None
        chances.append((call.chance.random(8), call.chance.at, call.chance.again))
        return Response(201, b"{}")

    request = Request("POST", "contact", {}, {"idempotency-key": "k"}, b"{}")
    with pytest.raises(OSError, match="away"):
        await once(Call(services, request, {}, None), records, handler)
    await once(Call(services, request, {}, None), records, handler)
    (seed, at, again), second = chances
    assert not again
    assert second == (seed, at, True)
    answered = await once(Call(services, request, {}, None), records, handler)
    assert (answered.status, len(chances)) == (201, 2)


@pytest.mark.parametrize("error", [Problem(409, "contact-exists", "There is one."), RuntimeError("bug")])
async def test_a_call_that_ends_late_leaves_its_key_to_the_repetition(error: Exception) -> None:
    records: Any = _Losing(0)
    now = itertools.count(10**12, 130_000)
    services: Any = SimpleNamespace(random=bytes, now=lambda: next(now), storage=SimpleNamespace(records=records))
    request = Request("POST", "contact", {}, {"idempotency-key": "k"}, b"{}")
    call = Call(services, request, {}, None)

    async def quick(call: Call) -> Response:
        return Response(201, b"{}")

    async def late(call: Call) -> Response:
        assert (await once(replace(call, chance=None), records, quick)).status == 201
        raise error

    with pytest.raises(type(error)):
        await once(call, records, late)
    assert records.values["finished"]
    assert records.values["at"] > 0
