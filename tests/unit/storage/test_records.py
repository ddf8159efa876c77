from __future__ import annotations

import pytest

from tntcore.storage.records import MAX_TEXT, Action, Connection, Delivery, Message
from tntcore.storage.states import DeliveryStatus
from tntcore.storage.tables import Row


def test_a_new_row_leaves_out_what_is_empty_and_a_change_writes_it() -> None:
    connection = Connection(uuid="u", state="completed", next_thid="", named=True)
    assert "nextThid" not in connection.values()
    changes = connection.changes()
    assert changes["nextThid"] == ""
    assert {name: value for name, value in changes.items() if value != ""} == connection.values()
    assert Connection.read(Row("p", connection.key, changes, "")) == connection


@pytest.mark.parametrize("text", ["x" * (MAX_TEXT + 1), "😀" * (MAX_TEXT // 2 + 1), "\ud800" * (MAX_TEXT + 1)])
def test_a_text_that_no_column_holds_is_refused_by_its_columns_name(text: str) -> None:
    with pytest.raises(ValueError, match="message: column contactDid") as refused:
        Message(uuid="u", contact_did=text).values()
    assert text[:10] not in str(refused.value)


def test_so_is_json() -> None:
    with pytest.raises(ValueError, match="connection: column theirDocument"):
        Connection(uuid="u", their_document={"id": "x" * MAX_TEXT}).changes()


def test_what_just_fits_is_taken() -> None:
    values = Message(
        uuid="u", contact_did="x" * MAX_TEXT, identity_did="😀" * (MAX_TEXT // 2), body=bytes(50_000)
    ).values()
    assert len(str(values["contactDid"])) == MAX_TEXT


def test_how_a_thread_began_is_not_written_again() -> None:
    action = Action(uuid="u", reference_id="t", direction="IN", created_at=5, updated_at=6)
    assert action.values_of_any_thread() == {"referenceId": "t", "updatedAt": 6}


def test_a_state_is_kept_as_text_and_read_as_one_of_its_kind() -> None:
    delivery = Delivery(uuid="u", status=DeliveryStatus.WITHHELD)
    assert type(delivery.values()["status"]) is str
    read = Delivery.read(Row("p", delivery.key, delivery.values(), ""))
    assert read.status is DeliveryStatus.WITHHELD


def test_a_state_of_a_newer_process_stays_the_text_that_it_is() -> None:
    read = Delivery.read(Row("p", "delivery~u", {"status": "PAUSED"}, ""))
    assert read.values()["status"] == "PAUSED"
