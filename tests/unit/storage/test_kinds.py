"""A new kind of row is thought of wherever all that is stored is exported, erased, backed up, repaired or rewrapped."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from devtools.memory import Durable, MemoryStorage
from tntcore.api import personal_data
from tntcore.maintenance.backup import CAUSES
from tntcore.maintenance.repair import NOTHING_FOLLOWS, _Repair
from tntcore.storage import records
from tntcore.storage.records import HeldMessage, Indexed, Principal, Record

KINDS = {
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind not in (Record, Indexed)
}


async def _unmoved(name: str, effect: Any, *, writes: bool) -> Any:
    return effect()


@pytest.fixture
def ruled() -> set[type[Record]]:
    """The kinds that a repair looks at."""
    return set(_Repair(MemoryStorage(Durable(0), _unmoved), lambda: 0, lambda part, count: None).rules)


def test_each_is_exported_and_erased_with_a_contact_or_it_is_said_why_not() -> None:
    of_contact, along, others = set(personal_data._KINDS), set(personal_data.ALONG), set(personal_data.NOT_PERSONAL)
    assert of_contact | along | others == KINDS
    assert len(of_contact) + len(along) + len(others) == len(KINDS)
    assert {kind for kind, _ in personal_data._ERASERS} == of_contact


def test_those_that_name_a_contact_are_exported_and_erased() -> None:
    naming = {kind for kind in KINDS if "contact_uuid" in {field.name for field in dataclasses.fields(kind)}}
    assert naming - set(personal_data._KINDS) == {records.Invitation}, "which stays, as the answer says"


def test_a_repair_looks_at_each_or_it_is_said_why_not(ruled: set[type[Record]]) -> None:
    assert ruled | set(NOTHING_FOLLOWS) == KINDS
    assert not ruled & set(NOTHING_FOLLOWS)


def test_a_backup_copies_last_what_a_repair_puts_on_its_way(ruled: set[type[Record]]) -> None:
    assert set(CAUSES) <= ruled | {HeldMessage}


def test_the_master_key_wraps_what_a_rewrap_looks_at() -> None:
    wrapped = {kind for kind in KINDS if any(field.name.startswith("data_key") for field in dataclasses.fields(kind))}
    assert wrapped == {Principal}
