import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tntcore.messaging.threads import action_uuid, new_action_uuid

SCOPES = st.uuids().map(str)
RANDOM = st.binary(min_size=10, max_size=16)


@given(SCOPES, RANDOM)
def test_an_action_of_ours_is_found_by_its_own_thread(scope: str, random: bytes) -> None:
    made = new_action_uuid(scope, random)
    assert action_uuid(scope, made) == made
    assert (uuid.UUID(made).version, uuid.UUID(made).variant, str(uuid.UUID(made))) == (8, uuid.RFC_4122, made)


@given(SCOPES, SCOPES, RANDOM)
def test_no_other_connection_reaches_it(scope: str, other: str, random: bytes) -> None:
    made = new_action_uuid(scope, random)
    assert (action_uuid(other, made) == made) == (scope == other)


@given(SCOPES, RANDOM, st.integers(0, 127))
def test_one_changed_bit_leads_elsewhere(scope: str, random: bytes, bit: int) -> None:
    made = new_action_uuid(scope, random)
    changed = str(uuid.UUID(int=uuid.UUID(made).int ^ 1 << bit))
    assert action_uuid(scope, changed) not in (made, changed)


@given(SCOPES, RANDOM)
def test_only_the_canonical_text_counts(scope: str, random: bytes) -> None:
    made = new_action_uuid(scope, random)
    spelled = {made.upper(), made.replace("-", ""), "{" + made + "}", "urn:uuid:" + made, made + "\n"} - {made}
    assert made not in {action_uuid(scope, text) for text in spelled}
    assert len({action_uuid(scope, text) for text in spelled}) == len(spelled)


@given(SCOPES, st.text(max_size=80), st.text(max_size=80))
@example("00000000-0000-0000-0000-000000000000", "", "\ud800")
def test_a_thread_of_theirs_has_one_action(scope: str, thid: str, other: str) -> None:
    derived = action_uuid(scope, thid)
    assert derived == action_uuid(scope, thid)
    assert (derived == action_uuid(scope, other)) == (thid == other)
    assert (uuid.UUID(derived).version, uuid.UUID(derived).variant) == (8, uuid.RFC_4122)
    # An answer is not itself a thread of ours: nobody can name a derived action by its uuid.
    assert action_uuid(scope, derived) != derived


@given(SCOPES, SCOPES, st.text(max_size=80))
def test_the_same_thread_on_another_connection_is_another_action(scope: str, other: str, thid: str) -> None:
    assert (action_uuid(scope, thid) == action_uuid(other, thid)) == (scope == other)


def test_scope_and_thread_do_not_run_into_each_other() -> None:
    assert action_uuid("ab", "c") != action_uuid("a", "bc")


def test_known_values_do_not_change() -> None:
    scope = "0190a0b0-0000-7000-8000-000000000001"
    assert new_action_uuid(scope, bytes(range(10))) == "00010203-0405-8607-8809-1adfcb4c8511"
    assert action_uuid(scope, "thread-1") == "7ba491c8-5646-8559-9230-052f4c2d632a"


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError):
        new_action_uuid("s", b"123456789")
