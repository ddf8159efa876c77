from __future__ import annotations

from dataclasses import replace

import pytest

from tntcore.delivery.attempted import Attempted, Delivered, Failed, Retry
from tntcore.delivery.outbound import _is_unproven, _may_be_strangers, _within
from tntcore.storage.items import SendItem
from tntcore.storage.records import Connection


@pytest.mark.parametrize(
    ("uuid", "role", "state", "unproven"),
    [
        ("", "", "start", True),
        ("1", "responder", "request-received", True),
        ("1", "responder", "response-sent", True),
        ("1", "responder", "completed", False),
        ("1", "requester", "request-sent", False),
        ("1", "requester", "completed", False),
    ],
)
def test_an_endpoint_is_unproven_while_a_strangers_request_is_all_that_is_known(
    uuid: str, role: str, state: str, unproven: bool
) -> None:
    connection = Connection(uuid=uuid, role=role, state=state)
    assert _is_unproven(connection) is _may_be_strangers(connection) is unproven


def test_in_v2_an_endpoint_may_be_anybodys_until_our_did_was_written_to() -> None:
    connection = Connection(
        uuid="1", role="responder", state="completed", version="v2", introduction={"from_prior": "x"}
    )
    assert not _is_unproven(connection)
    assert _may_be_strangers(connection)
    assert not _may_be_strangers(replace(connection, introduction={}))
    # A later DID of ours is introduced to somebody who has written to an earlier one.
    assert not _may_be_strangers(replace(connection, former_did="did:peer:4zQm"))
    assert not _may_be_strangers(replace(connection, role="requester"))


@pytest.mark.parametrize(
    ("attempted", "made", "outcome"),
    [
        (Retry("http-422", 422, 5, b"not that", None, True), 1, Retry),
        (Retry("http-422", 422, 5, b"not that", None, True), 2, Failed),
        (Retry("timeout"), 2, Failed),
        (Delivered(202, 5), 2, Delivered),
        (Failed("x"), 0, Failed),
    ],
)
def test_the_last_of_a_few_attempts_fails_for_good(attempted: Attempted, made: int, outcome: type) -> None:
    item = SendItem(principal="p", delivery="d", message="m", action="a", connection="c", attempts=made)
    result = _within(3, item, attempted)
    assert type(result) is outcome
    if isinstance(attempted, Retry):
        assert isinstance(result, Retry | Failed)
        assert (result.error, result.status, result.answer) == (attempted.error, attempted.status, attempted.answer)
