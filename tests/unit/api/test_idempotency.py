"""Where the answer to an `Idempotency-Key` is kept."""

from __future__ import annotations

import itertools

from tntcore.api.idempotency import row_of
from tntcore.storage.records import short_hash


def test_no_two_callers_share_a_row() -> None:
    parts = ("a", "a~b", "b~c", "c", "~", "~~", "%7E", "a%7Eb", "a~", "~b", "%", "%25")
    rows = {row_of(key, of) for of, key in itertools.product(parts, parts)}
    assert len(rows) == len(parts) ** 2


def test_rows_written_before_are_found() -> None:
    operator = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"
    assert row_of("k~1", operator) == f"idempotency~{short_hash(operator + '~k~1')}"
    assert row_of("k~1") == f"idempotency~{short_hash('k~1')}"
