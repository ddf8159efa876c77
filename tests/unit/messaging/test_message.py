import base64
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tntcore.messaging.message import (
    MAX_ATTACHMENTS,
    MAX_KEYS,
    Message,
    attachments,
    decode_base64,
    decorator_keys,
    what_it_says,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


def read(value: Any) -> Message:
    return Message.read(orjson.dumps(value))


def test_v1() -> None:
    message = read({"@type": "t", "@id": "i", "~thread": {"thid": "th", "pthid": "p"}, "comment": "c"})
    assert (message.version, message.type, message.id, message.thid, message.pthid) == ("v1", "t", "i", "th", "p")
    assert message.body == message.fields
    assert message.body["comment"] == "c"


def test_v2() -> None:
    message = read({"type": "t", "id": "i", "thid": "th", "pthid": "p", "body": {"comment": "c"}})
    assert (message.version, message.type, message.id, message.thid, message.pthid) == ("v2", "t", "i", "th", "p")
    assert message.body == {"comment": "c"}


@pytest.mark.parametrize(
    "fields",
    [
        {"@type": "t", "@id": "i"},
        {"@type": "t", "@id": "i", "~thread": {}},
        {"@type": "t", "@id": "i", "~thread": {"pthid": "p"}},
        {"@type": "t", "@id": "i", "~thread": {"thid": ""}},
        {"@type": "t", "@id": "i", "~thread": {"thid": 7}},
        {"@type": "t", "@id": "i", "~thread": "x"},
        {"@type": "t", "@id": "i", "thid": "not v1's"},
        {"type": "t", "id": "i"},
        {"type": "t", "id": "i", "thid": None, "pthid": "p"},
        {"type": "t", "id": "i", "~thread": {"thid": "not v2's"}},
    ],
)
def test_the_thread_defaults_to_the_id(fields: dict[str, Any]) -> None:
    assert read(fields).thid == "i"


def test_a_v1_message_with_members_named_as_in_v2_is_v1() -> None:
    message = read({"@type": "t", "@id": "i", "type": "other", "id": "other", "body": {}})
    assert (message.version, message.type, message.id) == ("v1", "t", "i")


@pytest.mark.parametrize("value", [5, None, [], {}, "", "x" * 1025])
@pytest.mark.parametrize("name", ["@type", "@id", "type", "id"])
def test_an_identifier_of_another_form_counts_as_absent(name: str, value: Any) -> None:
    message = read({name: value})
    assert (message.type, message.id, message.thid, message.is_json) == ("", "", "", True)


@pytest.mark.parametrize("raw", [b"", b"hello", b"\xff\x00", b"[" * 10_000, b'{"@type":"t"', b'{"a":"\\ud800"}'])
def test_what_is_not_json_is_kept_as_it_is(raw: bytes) -> None:
    assert Message.read(raw) == Message(raw)
    assert (Message.read(raw).type, Message.read(raw).id, Message.read(raw).is_json) == ("", "", False)


@pytest.mark.parametrize("raw", [b"[]", b"7", b"null", b'"text"'])
def test_json_that_is_no_object(raw: bytes) -> None:
    assert Message.read(raw) == Message(raw, is_json=True)


def test_a_plaintext_does_not_show_in_a_log() -> None:
    assert "hunter2" not in repr(read({"@type": "t", "@id": "i", "password": "hunter2"}))


def test_decorator_keys_v1() -> None:
    message = read(
        {
            "@type": "t",
            "@id": "i",
            "~please_ack": {},
            "requests~attach": [],
            "~thread": {},
            "a": {"b~c": 1},
            "x~l10n": 1,
        }
    )
    assert decorator_keys(message) == ("~please_ack", "requests~attach", "~thread", "x~l10n")


def test_decorator_keys_v2() -> None:
    message = read(
        {
            "type": "t",
            "id": "i",
            "typ": "application/didcomm-plain+json",
            "from": "did:example:a",
            "to": [],
            "thid": "x",
            "pthid": "x",
            "created_time": 1,
            "expires_time": 2,
            "please_ack": [""],
            "lang": "en",
            "body": {"~timing": {}, "plain": 1},
            "attachments": [{"format": "f1"}, {"format": "f1"}, {"format": 5}, 7, {"format": "f2"}],
        }
    )
    assert decorator_keys(message) == ("please_ack", "lang", "attachments", "~timing", "f1", "f2")


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        ("out-of-band/2.0/invitation", "requests~attach"),
        ("issue-credential/2.0/propose-credential", "filters~attach"),
        ("issue-credential/2.0/offer-credential", "offers~attach"),
        ("issue-credential/3.0/request-credential", "requests~attach"),
        ("issue-credential/2.0/issue-credential", "credentials~attach"),
        ("present-proof/2.0/propose-presentation", "proposals~attach"),
        ("present-proof/2.0/request-presentation", "request_presentations~attach"),
        ("present-proof/3.0/presentation", "presentations~attach"),
    ],
)
def test_decorator_keys_v2_have_what_v1_calls_the_attachments(type_: str, key: str) -> None:
    for prefix in ("https://didcomm.org/", "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/"):
        message = {"type": prefix + type_, "id": "i", "attachments": [{"format": "f"}]}
        assert decorator_keys(read(message)) == ("attachments", key, "f")
        assert key not in decorator_keys(read({**message, "attachments": []}))
        assert key not in decorator_keys(read({**message, "type": f"{prefix}{type_}s"}))
        assert key not in decorator_keys(read({"@type": prefix + type_, "attachments": [{}]}))


def test_decorator_keys_are_bounded() -> None:
    message = read({"@type": "t"} | {f"~{n}": 1 for n in range(1000)} | {"~" * 2000: 1})
    assert len(decorator_keys(message)) == MAX_KEYS
    assert decorator_keys(read({"@type": "t", "~" * 2000: 1, "~a": 1})) == ("~a",)
    assert decorator_keys(Message.read(b"nothing")) == ()


def test_attachments_v1() -> None:
    message = read(
        {
            "@type": "t",
            "@id": "i",
            "formats": [{"attach_id": "one", "format": "f"}, {"attach_id": 5}, "x"],
            "requests~attach": [
                {"@id": "one", "mime-type": "application/json", "data": {"json": {"a": 1}}},
                {"@id": "two", "data": {"base64": "eyJhIjoyfQ"}},
                {"@id": "three", "data": {"links": ["https://example.com/a"], "sha256": "00"}},
            ],
            "ack~attach": {"data": {"serial": 7}},
        }
    )
    one, two, three, four = attachments(message)
    assert (one.id, one.key, one.mime_type, one.format, one.kind, one.data) == (
        "one",
        "requests~attach",
        "application/json",
        "f",
        "json",
        {"a": 1},
    )
    assert (two.kind, two.data, two.json_value()) == ("base64", b'{"a":2}', {"a": 2})
    assert (three.kind, three.data) == ("links", ("https://example.com/a",))
    assert (four.id, four.key, four.kind, four.json_value()) == ("", "ack~attach", "json", {"serial": 7})
    assert [a.error for a in (one, two, three, four)] == [None] * 4


def test_attachments_v2() -> None:
    message = read(
        {
            "type": "t",
            "id": "i",
            "attachments": [{"id": "a", "media_type": "text/plain", "format": "f", "data": {"base64": "aGk="}}],
            "x~attach": {"data": {"json": 1}},
        }
    )
    (found,) = attachments(message)
    assert (found.id, found.key, found.mime_type, found.format, found.data) == (
        "a",
        "attachments",
        "text/plain",
        "f",
        b"hi",
    )


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "text",
        [],
        {"base64": 7},
        {"base64": "*"},
        {"base64": "a"},
        {"base64": "ä"},
        {"base64": "aa\naa"},
        {"links": "x"},
    ],
)
def test_an_attachment_that_cannot_be_read_says_so(data: Any) -> None:
    (found,) = attachments(read({"@type": "t", "x~attach": [{"@id": "a", "data": data}, 7, None]}))
    assert found.id == "a"
    assert found.error
    with pytest.raises(ValueError):
        found.json_value()


def test_attachments_without_json() -> None:
    message = read({"@type": "t", "x~attach": [{"data": {"jws": {}}}, {"data": {"base64": "/w=="}}]})
    signed, binary = attachments(message)
    assert (signed.kind, signed.data, binary.kind, binary.data, binary.error) == ("none", None, "base64", b"\xff", None)
    for found in (signed, binary):
        with pytest.raises(ValueError):
            found.json_value()


def test_attachments_are_bounded() -> None:
    message = read({"@type": "t", "a~attach": [{"data": {}}] * 99, "b~attach": [{"data": {}}] * 99})
    assert len(attachments(message)) == MAX_ATTACHMENTS
    assert attachments(Message.read(b"[" * 10_000)) == []


@given(st.binary(max_size=60))
def test_base64_is_read_in_every_spelling(data: bytes) -> None:
    for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        assert decode_base64(text) == data
        assert decode_base64(text.rstrip("=")) == data


HEADERS = ["@type", "@id", "~thread", "type", "id", "thid", "body", "attachments", "x~attach", "formats", "~please_ack"]


@given(st.dictionaries(st.sampled_from(HEADERS), JSON))
@example({"@type": "t", "x~attach": {"data": {"base64": None}}})
@example({"type": "t", "attachments": [{"data": {"links": [1]}}], "body": {"formats": {"a": 1}}})
def test_nothing_is_ever_raised_and_nothing_changed(fields: dict[str, Any]) -> None:
    raw = orjson.dumps(fields)
    message = Message.read(raw)
    assert message.raw == raw
    assert message.fields == fields
    assert message.is_json
    assert (message.id == "") <= (message.thid == "" or message.thid != message.id)
    for attachment in attachments(message):
        assert attachment.key in fields
    assert all(isinstance(key, str) for key in decorator_keys(message))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message(raw: bytes) -> None:
    message = Message.read(raw)
    assert message.raw == raw
    attachments(message)
    decorator_keys(message)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"@id": "1", "a": 1, "b": 2}, {"b": 2, "a": 1, "@id": "1"}, True),
        (
            {"@id": "1", "~service": {"x": 1}, "~thread": {"thid": "t", "pthid": "p"}},
            {"@id": "1", "~thread": {"thid": "t"}},
            True,
        ),
        ({"@id": "1", "~thread": {"thid": "t"}}, {"@id": "1", "~thread": {"thid": "u"}}, False),
        ({"@id": "1", "a": 1}, {"@id": "1", "a": 2}, False),
        (
            {"id": "1", "body": {}, "created_time": 1, "from_prior": "x", "pthid": "p"},
            {"id": "1", "body": {}, "created_time": 2},
            True,
        ),
        ({"id": "1", "body": {}}, {"id": "1", "body": {"a": 1}}, False),
        ({"id": "1", "body": {}}, {"id": "1", "body": {}, "attachments": []}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
    ],
)
def test_copies_of_a_message_say_the_same(one: dict[str, object], other: dict[str, object], same: bool) -> None:
    said = [what_it_says(Message.read(orjson.dumps(message))) for message in (one, other)]
    assert (said[0] == said[1]) is same


def test_what_cannot_be_written_again_says_what_it_says() -> None:
    number, surrogate = b'{"@id": "1", "n": 123456789012345678901234567890}', b'{"@id": "1", "s": "\\ud800"}'
    for raw in (b"no json", b"[]", number, surrogate):
        assert what_it_says(Message.read(raw))
