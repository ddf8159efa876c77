"""Queue messages as deployed services have put them: the vectors were made by the code of commit 7234cd7."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tntcore.delivery.outbox import attached_item, message_call, send_item
from tntcore.delivery.tasks import task_call
from tntcore.maintenance.poison import Given
from tntcore.storage.items import (
    Drain,
    InboundItem,
    Item,
    MessageCall,
    ReplayPart,
    SendItem,
    TaskCall,
    items_of,
    queue_message,
    relay_item,
)
from tntcore.storage.records import AttachedMessage, Delivery, Message
from tntcore.storage.tables import Row

VECTORS = Path(__file__).parents[2] / "vectors" / "stored"
PUT: dict[str, dict[str, str]] = json.loads((VECTORS / "queue-messages-7234cd7.json").read_text())
ROWS: dict[str, dict[str, Any]] = json.loads((VECTORS / "rows-7234cd7.json").read_text())
READERS: dict[str, Callable[[Mapping[str, Any]], Item]] = {
    "inbound": InboundItem.read,
    "outbound": SendItem.read,
    "relay": relay_item,
}
OTHERS = ("drain", "part of a replay")
TENANT = "0193a000-0000-7000-8000-0000000000aa"


def said(body: bytes | str) -> list[dict[str, Any]]:
    """What items say; `t`, the number of attempts, is 0 where it is left out."""
    found: list[dict[str, Any]] = json.loads(body)["items"]
    return [{name: value for name, value in item.items() if (name, value) != ("t", 0)} for item in found]


def row(kind: str) -> Row:
    columns = {
        name: value["bytes"].encode() if isinstance(value, dict) else value for name, value in ROWS[kind]["new"].items()
    }
    return Row("p", ROWS[kind]["key"], columns, "")


@pytest.mark.parametrize("name", sorted(PUT.keys() - OTHERS))
def test_items_are_read_and_put_back_as_they_were(name: str) -> None:
    items = items_of(PUT[name]["body"].encode(), READERS[PUT[name]["queue"]])
    assert all(item.rest == {} for item in items)
    assert said(queue_message(items)) == said(PUT[name]["body"])


@pytest.mark.parametrize("name", sorted(PUT.keys() - OTHERS))
def test_members_that_a_newer_process_has_written_are_kept(name: str) -> None:
    value = {**json.loads(PUT[name]["body"])["items"][0], "later": {"x": [1]}}
    assert READERS[PUT[name]["queue"]](value).write()["later"] == {"x": [1]}


def test_what_is_made_of_the_same_rows_says_the_same() -> None:
    delivery, message = Delivery.read(row("delivery")), Message.read(row("message"))
    attached = AttachedMessage(uuid="the connection.the request")
    straight = Delivery.read(row("delivery"))
    straight.to_previous = None
    made: dict[str, Item] = {
        "relay with body": message_call(TENANT, delivery, message, b"sealed"),
        "relay without body": message_call(TENANT, delivery, message, b""),
        "task": task_call(TENANT, delivery),
        "send with body": send_item(TENANT, straight, b"sealed"),
        "send to the previous DID": send_item(TENANT, delivery, b""),
        "attached": attached_item(TENANT, attached, "the message"),
    }
    assert {name: item.write() for name, item in made.items()} == {
        name: json.loads(PUT[name]["body"])["items"][0] for name in made
    }


def test_a_drain_and_a_part_of_a_replay() -> None:
    drain, part = Drain(TENANT, "the connection"), ReplayPart(TENANT, "the replay", "the position")
    assert drain.data() == PUT["drain"]["body"].encode()
    assert part.data() == PUT["part of a replay"]["body"].encode()
    assert Drain.read(drain.data()) == drain
    assert ReplayPart.read(part.data()) == part
    assert Drain.read(PUT["send with body"]["body"].encode()) is None
    assert ReplayPart.read(PUT["task"]["body"].encode()) is None


def test_receivers_are_told_apart() -> None:
    call = message_call(TENANT, Delivery(uuid="d", entry_id="e"), Message(uuid="m"), b"")
    task = task_call(TENANT, Delivery(uuid="d", entry_id="e"))
    send = send_item(TENANT, Delivery(uuid="d", connection_uuid="c"), b"")
    stranger = send_item(TENANT, Delivery(uuid="d"), b"")
    assert (call.endpoint, task.endpoint) == (f"{TENANT}/e", f"{TENANT}/e")
    assert (send.endpoint, stranger.endpoint) == (f"{TENANT}/c", f"{TENANT}/d")
    assert Drain(TENANT, "c").endpoint == send.endpoint


def test_which_call_it_is() -> None:
    assert isinstance(relay_item({"p": "p", "d": "d", "e": "e", "k": {}}), TaskCall)
    assert isinstance(relay_item({"p": "p", "d": "d", "e": "e", "u": "u"}), MessageCall)


@pytest.mark.parametrize("value", [{}, {"p": "p"}, {"d": "d", "e": "e", "u": "u"}])
def test_an_item_that_lacks_something_is_refused(value: dict[str, Any]) -> None:
    for read in READERS.values():
        with pytest.raises(TypeError):
            read(value)


@pytest.mark.parametrize("name", sorted(PUT))
@pytest.mark.parametrize("form", [2, "2", None])
def test_a_queue_message_of_a_newer_form_is_not_read(name: str, form: Any) -> None:
    body = orjson.dumps({**json.loads(PUT[name]["body"]), "v": form})
    queue = PUT[name]["queue"]
    for read in (Drain.read, ReplayPart.read, lambda body: items_of(body, READERS[queue])):
        with pytest.raises(ValueError, match="form"):
            read(body)
    given = Given(queue, "the message", 0, body)
    assert not given.items
    assert not given.replayable


def test_an_envelope_in_a_blob_is_known_by_its_metadata() -> None:
    item = InboundItem(uuid="m", principal="p", owner="connection", owner_uuid="c", envelope="{}")
    assert not item.in_blob
    found = InboundItem.of_blob("m", item.metadata())
    assert found is not None
    assert found.in_blob
    assert found.write() == {"id": "m", "p": "p", "o": "connection", "u": "c"}
    assert InboundItem.of_blob("m", {"p": "p"}) is None
