"""Rows as deployed services have written them: the vectors were made by the code of commit 7234cd7."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tntcore.storage import records
from tntcore.storage.records import Indexed, Record
from tntcore.storage.tables import Row

VECTORS = Path(__file__).parents[2] / "vectors" / "stored"
ROWS: dict[str, dict[str, Any]] = json.loads((VECTORS / "rows-7234cd7.json").read_text())
KINDS = {
    kind.KIND: kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind not in (Record, Indexed)
}


def columns(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value["bytes"].encode() if isinstance(value, dict) else value for name, value in values.items()}


def has(written: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether the columns of before are written as they were; there may be new ones."""
    return written.items() >= columns(before).items()


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_is_read_and_written_as_it_was(kind: str) -> None:
    row = ROWS[kind]
    record = KINDS[kind].read(Row("p", row["key"], columns(row["new"]), "etag"))
    assert record.key == row["key"]
    assert record.etag == "etag"
    assert has(record.values(), row["new"])
    assert has(record.changes(), row["changed"])


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_that_says_nothing_is_written_as_it_was(kind: str) -> None:
    record = KINDS[kind](uuid="u", status="ACTIVE")
    assert has(record.values(), ROWS[kind]["least"])
    assert has(record.changes(), ROWS[kind]["emptied"])


@pytest.mark.parametrize("kind", ROWS)
def test_columns_that_a_newer_process_has_added_are_no_trouble(kind: str) -> None:
    row = ROWS[kind]
    known = KINDS[kind].read(Row("p", row["key"], columns(row["new"]), ""))
    assert KINDS[kind].read(Row("p", row["key"], {**columns(row["new"]), "later": "x"}, "")) == known
