from __future__ import annotations

from tntcore.storage.queries import ANY, Where, deliveries_in, equal, messages_of_types


def test_conditions_are_joined_with_their_parameters() -> None:
    both = equal({"status": ("status", "FAILED")}) & Where("kind eq @kind", {"kind": "task"})
    assert both == Where("( status eq @status ) and ( kind eq @kind )", {"status": "FAILED", "kind": "task"})
    assert both & ANY == ANY & both == both
    assert ANY & ANY == ANY == equal({})


def test_alternatives_do_not_swallow_what_is_joined_to_them() -> None:
    where = deliveries_in(["FAILED", "WITHHELD"], "hook")
    assert where.text == "( status eq @status0 or status eq @status1 ) and ( entryId eq @entry )"
    assert where.parameters == {"status0": "FAILED", "status1": "WITHHELD", "entry": "hook"}
    assert deliveries_in(["FAILED"], "") == Where("status eq @status0", {"status0": "FAILED"})


def test_a_beginning_is_a_range() -> None:
    where = messages_of_types(["a/", "b/"])
    assert where.text.count(" or ") == 1
    assert where.parameters["behind1"] > where.parameters["prefix1"] + "z"
