from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.errors import Problem
from tntcore.messaging.compose import PLAINTEXT_TYP, introduced, prefill_v1, to_v2
from tntcore.messaging.message import Message, attachments
from tntcore.messaging.types import DIDCOMM_ORG

ACK = DIDCOMM_ORG + "notification/1.0/ack"
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def convert(message: dict[str, Any]) -> dict[str, Any]:
    return to_v2(message, from_did="did:example:a", to_did="did:example:b", created_time=17)


def test_prefill_adds_what_is_missing() -> None:
    given = {"@type": ACK, "status": "OK"}
    assert prefill_v1(given, thid="th", new_id="new") == {**given, "@id": "new", "~thread": {"thid": "th"}}
    assert given == {"@type": ACK, "status": "OK"}


def test_prefill_keeps_what_is_there() -> None:
    given = {"@type": ACK, "@id": "mine", "~thread": {"thid": "mine too", "pthid": "p"}}
    assert prefill_v1(given, thid="th", new_id="new") == given


def test_prefill_adds_the_thread_id_to_a_thread_without_one() -> None:
    thread = {"pthid": "p"}
    filled = prefill_v1({"@type": ACK, "~thread": thread}, thid="th", new_id="new")
    assert filled["~thread"] == {"pthid": "p", "thid": "th"}
    assert thread == {"pthid": "p"}


@pytest.mark.parametrize(
    "message", [{"@type": ACK, "@id": "", "~thread": None}, {"@type": ACK, "~thread": {"thid": ""}}]
)
def test_empty_counts_as_missing(message: dict[str, Any]) -> None:
    filled = prefill_v1(message, thid="th", new_id="new")
    assert (filled["@id"], filled["~thread"]) == ("new", {"thid": "th"})


def test_prefill_of_a_v2_shaped_message() -> None:
    assert prefill_v1({"type": "t", "body": {}}, thid="th", new_id="new") == {
        "type": "t",
        "body": {},
        "id": "new",
        "thid": "th",
    }
    given = {"type": "t", "id": "i", "thid": "x", "body": {}}
    assert prefill_v1(given, thid="th", new_id="new") == given


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({}, "@type"),
        ({"@id": "i"}, "@type"),
        ({"@type": ""}, "@type"),
        ({"@type": 5}, "@type"),
        ({"@type": "t" * 1025}, "@type"),
        ({"@type": "t", "@id": 5}, "@id"),
        ({"@type": "t", "~thread": "x"}, "~thread"),
        ({"@type": "t", "~thread": []}, "~thread"),
        ({"@type": "t", "~thread": {"thid": 5}}, "~thread.thid"),
        ({"id": "i"}, "type"),
        ({"type": "t", "id": ["i"]}, "id"),
        ({"type": "t", "thid": {"a": 1}}, "thid"),
    ],
)
def test_prefill_refuses_what_no_agent_could_read(message: dict[str, Any], named: str) -> None:
    with pytest.raises(Problem) as caught:
        prefill_v1(message, thid="th", new_id="new")
    assert (caught.value.status, caught.value.code) == (400, "message-invalid")
    assert caught.value.detail.startswith(named + " ")


@pytest.mark.parametrize(
    ("message", "filled"),
    [
        ({"@type": "t"}, {"@type": "t", "@id": "new", "~thread": {"pthid": "p", "thid": "th"}}),
        (
            {"@type": "t", "@id": "i", "~thread": {"pthid": "own"}},
            {"@type": "t", "@id": "i", "~thread": {"pthid": "own", "thid": "th"}},
        ),
        ({"type": "t"}, {"type": "t", "id": "new", "thid": "th", "pthid": "p"}),
        ({"type": "t", "pthid": "own"}, {"type": "t", "id": "new", "thid": "th", "pthid": "own"}),
    ],
)
def test_prefill_under_a_parent_thread(message: dict[str, Any], filled: dict[str, Any]) -> None:
    before = deepcopy(message)
    assert prefill_v1(message, thid="th", new_id="new", pthid="p") == filled
    assert message == before


def test_introduced() -> None:
    service = {"recipientKeys": ["k"], "serviceEndpoint": "https://a.example"}

    def introduce(message: dict[str, Any]) -> Any:
        return orjson.loads(introduced(orjson.dumps(message), service=service, pthid="p"))

    plain = {"@type": "t", "@id": "i", "~thread": {"thid": "th", "sender_order": 1}, "content": "c"}
    assert introduce(plain) == {
        **plain,
        "~service": service,
        "~thread": {"thid": "th", "sender_order": 1, "pthid": "p"},
    }
    assert introduce({"@type": "t"}) == {"@type": "t", "~service": service, "~thread": {"pthid": "p"}}
    own = {"@type": "t", "~service": {"own": 1}, "~thread": {"pthid": "own"}}
    assert introduce(own) == own
    v2 = {"type": "t", "id": "i", "body": {}}
    assert introduce(v2) == v2


def test_to_v2() -> None:
    converted = convert(
        {
            "@type": ACK,
            "@id": "i",
            "~thread": {"thid": "th", "pthid": "p", "sender_order": 3, "received_orders": {"did:example:b": 2}},
            "status": "OK",
            "~please_ack": {"on": ["RECEIPT"]},
            "formats": [{"attach_id": "one", "format": "f"}],
            "offers~attach": [
                {
                    "@id": "one",
                    "mime-type": "text/plain",
                    "lastmod_time": "2026-01-02T03:04:05Z",
                    "data": {"base64": "+/+/"},
                }
            ],
            "ack~attach": {"data": {"serial": 7}},
        }
    )
    assert converted == {
        "id": "i",
        "type": ACK,
        "typ": PLAINTEXT_TYP,
        "from": "did:example:a",
        "to": ["did:example:b"],
        "created_time": 17,
        "thid": "th",
        "pthid": "p",
        "sender_order": 3,
        "received_orders": [{"id": "did:example:b", "last": 2, "gaps": []}],
        "body": {
            "status": "OK",
            "~please_ack": {"on": ["RECEIPT"]},
            "formats": [{"attach_id": "one", "format": "f"}],
        },
        "attachments": [
            {
                "id": "one",
                "media_type": "text/plain",
                "lastmod_time": 1767323045,
                "data": {"base64": "-_-_"},
                "format": "f",
            },
            {"data": {"json": {"serial": 7}}, "id": "attachment-1"},
        ],
    }


def test_linked_content_keeps_its_digest() -> None:
    data = {"links": ["https://example.com/a"], "sha256": "AB" * 32}
    (attachment,) = convert({"@type": "t", "@id": "i", "x~attach": {"@id": "a", "data": data}})["attachments"]
    assert attachment["data"] == {"links": ["https://example.com/a"], "hash": "f1220" + "ab" * 32}


@pytest.mark.parametrize("value", ["text", 7, None, [1], [{"data": "x"}], [{"@id": "a"}], {"data": None}])
def test_what_only_looks_like_an_attachment_stays_in_the_body(value: Any) -> None:
    converted = convert({"@type": "t", "@id": "i", "x~attach": value})
    assert converted["body"] == {"x~attach": value}
    assert "attachments" not in converted


def test_a_v2_shaped_message_stays_as_it_is() -> None:
    given = {"type": "t", "id": "i", "thid": "th", "body": {"a": 1}, "custom": [1], "created_time": 5, "from": "x"}
    assert convert(given) == {
        **given,
        "typ": PLAINTEXT_TYP,
        "from": "did:example:a",
        "to": ["did:example:b"],
    }
    assert convert({"type": "t", "id": "i"})["body"] == {}


V1 = st.dictionaries(
    TEXT | st.sampled_from(["x~attach", "y~attach", "formats", "~please_ack", "body", "id", "type"]), JSON
).map(lambda fields: {name: value for name, value in fields.items() if name not in ("@id", "~thread")} | {"@type": "t"})


@given(V1, st.none() | st.dictionaries(st.sampled_from(["thid", "pthid", "sender_order", "other"]), TEXT))
def test_conversion_loses_nothing(fields: dict[str, Any], thread: dict[str, str] | None) -> None:
    message = prefill_v1({**fields, **({"~thread": thread} if thread is not None else {})}, thid="th", new_id="new")
    before = orjson.dumps(message)
    converted = convert(message)
    assert orjson.dumps(message) == before
    left, right = Message.read(before), Message.read(orjson.dumps(converted))
    assert right.version == "v2"
    assert (left.type, left.id, left.thid, left.pthid) == (right.type, right.id, right.thid, right.pthid)
    for key, value in message.items():
        if key not in ("@type", "@id", "~thread") and not key.endswith("~attach"):
            assert converted["body"][key] == value
    if not any(key.endswith("~attach") for key in converted["body"]):
        assert [a.data for a in attachments(left)] == [a.data for a in attachments(right)]


@given(V1)
def test_prefill_twice_is_prefill_once(fields: dict[str, Any]) -> None:
    once = prefill_v1(fields, thid="th", new_id="new")
    assert prefill_v1(once, thid="other", new_id="other") == once


@pytest.mark.parametrize("name", [[], {}, 1, None, True])
def test_an_attachment_whose_id_is_no_text(name: Any) -> None:
    converted = convert(
        {
            "@type": ACK,
            "@id": "1",
            "formats": [{"attach_id": "a", "format": "f"}],
            "x~attach": [{"@id": name, "data": {"json": 1}}],
        }
    )
    assert "format" not in converted["attachments"][0]


def test_every_attachment_in_v2_has_an_id() -> None:
    data: dict[str, Any] = {"json": {}}
    given = [{"data": data}, {"id": "attachment-1", "data": data}, {"id": "", "data": data}]
    converted = convert({"type": "t", "id": "i", "attachments": given})
    assert [item["id"] for item in converted["attachments"]] == ["attachment-2", "attachment-1", "attachment-3"]
    assert convert({"type": "t", "id": "i", "attachments": given}) == converted
    (attachment,) = convert({"@type": "t", "@id": "i", "x~attach": {"data": data}})["attachments"]
    assert attachment["id"] == "attachment-1"
