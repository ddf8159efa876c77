import base64
import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tntcore.delivery.retry import SEND_LADDER, WEBHOOK_LADDER, read_retry_after, retry_delay, send_delay
from tntcore.errors import Problem
from tntcore.messaging.message import Message
from tntcore.messaging.types import DID_SOV, DIDCOMM_ORG
from tntcore.tenancy import webhooks
from tntcore.tenancy.webhooks import (
    OVERLAP,
    EntryHealth,
    EntrySecrets,
    WebhookEntry,
    after_failure,
    delivery_body,
    new_secret,
    new_secrets,
    public_key,
    read_entries,
    select,
    sign,
    successors,
)

URL = "https://example.com/hook"
ACK = "notification/1.0/ack"


def read(value: Any) -> Message:
    return Message.read(orjson.dumps(value))


def refused(value: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        read_entries(value)
    assert caught.value.status == 400
    return caught.value


def test_an_entry_and_its_defaults() -> None:
    assert read_entries([]) == []
    assert read_entries([{"url": URL}]) == [WebhookEntry("", URL, "POST", ".*", {})]
    full = {"id": "e-1", "url": URL, "method": "PUT", "match": "ack$", "headers": {"x-key": "k"}}
    (entry,) = read_entries([{**full, "method": "put", "unknown": 1}])
    assert entry.saved() == full
    assert read_entries([entry.saved()]) == [entry]


def test_ids_are_kept_or_made() -> None:
    made = iter(["n1", "n2"])
    value = [{"url": URL}, {"id": "mine", "url": URL}, {"id": None, "url": URL}]
    assert [entry.id for entry in read_entries(value, new_id=lambda: next(made))] == ["n1", "mine", "n2"]


def test_what_follows_an_entry_that_was_removed() -> None:
    def entry(id: str, url: str = "u", match: str = ".*") -> dict[str, Any]:
        return {"id": id, "url": url, "match": match}

    a, b = entry("a"), entry("b", match="x")
    assert successors([a, b], [b, a], {}) == {}
    assert successors([a, b], [entry("c", match="x"), entry("d")], {}) == {"a": "d", "b": "c"}
    # The same URL with another expression counts only if it is new: who removes one of two entries means it.
    assert successors([a, b], [a], {}) == {}
    assert successors([a, b], [a, entry("c", match="y")], {}) == {"b": "c"}
    assert successors([a, entry("c")], [entry("c")], {}) == {"a": "c"}
    assert successors([a], [entry("c", url="v")], {}) == {}
    # Through several savings, and as long as what followed is there.
    assert successors([b], [entry("c", match="x")], {"a": "b"}) == {"a": "c", "b": "c"}
    assert successors([b], [], {"a": "b"}) == {}
    assert successors([b], [b, a], {"a": "b"}) == {}
    many = {str(number): "a" for number in range(60)}
    assert list(successors([a], [a], many)) == [str(number) for number in range(10, 60)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"url": URL}, "list"),
        ("x", "list"),
        (None, "list"),
        ([{"url": URL}] * 21, "21"),
        ([{"url": URL}, "x"], "Entry 2"),
        ([{"url": URL, "id": "a"}, {"url": URL, "id": "a"}], "same id"),
        ([{"url": URL, "id": "a b"}], "id"),
        ([{"url": URL, "id": 5}], "id"),
        ([{}], "url"),
        ([{"url": 5}], "url"),
        ([{"url": ""}], "url"),
        ([{"url": "ftp://example.com/"}], "url"),
        ([{"url": "https://"}], "url"),
        ([{"url": "https://example.com/a b"}], "url"),
        ([{"url": "https://example.com/\r\nx"}], "url"),
        ([{"url": "https://example.com/ü"}], "url"),
        ([{"url": "https://example.com:port/"}], "url"),
        ([{"url": "https://[::1/"}], "url"),
        ([{"url": "https://user:hunter2@example.com/"}], "url"),
        ([{"url": "https://example.com/" + "a" * 2048}], "url"),
        ([{"url": URL, "method": "GET"}], "method"),
        ([{"url": URL, "method": 5}], "method"),
        ([{"url": URL, "match": 5}], "match"),
        ([{"url": URL, "match": "a" * 1001}], "match"),
        ([{"url": URL, "headers": []}], "headers"),
        ([{"url": URL, "headers": {f"h{n}": "" for n in range(21)}}], "headers"),
        ([{"url": URL, "headers": {"a": "x" * 8200}}], "headers"),
        ([{"url": URL, "headers": {"a b": "x"}}], "header"),
        ([{"url": URL, "headers": {"": "x"}}], "header"),
        ([{"url": URL, "headers": {"a": 5}}], "header"),
        ([{"url": URL, "headers": {"a": "x\r\ny: z"}}], "header"),
        ([{"url": URL, "headers": {"a": "x\n"}}], "header"),
        ([{"url": URL, "headers": {"a\n": "x"}}], "header"),
        ([{"url": URL, "headers": {"a": "1", "A": "2"}}], "twice"),
        *(
            ([{"url": URL, "headers": {name: "x"}}], name)
            for name in ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "webhook-id", "Webhook-Signature",
                         "Proxy-Authorization", "Upgrade", "Expect")
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_saved(value: Any, said: str) -> None:
    problem = refused(value)
    assert problem.code == "setting-invalid"
    assert said in problem.detail
    assert "hunter2" not in problem.detail


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("(?=a)b", "invalid perl operator: (?="),
        ("(?<!a)b", "invalid perl operator: (?<!"),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(", "missing )"),
        (r"\pN{900}", "too large"),
        ("((a{100}){100}){10}", "repetition"),
        ("\ud800", "not valid text"),
    ],
)
def test_what_re2_does_not_take(match: str, said: str) -> None:
    problem = refused([{"url": URL}, {"url": URL, "match": match}])
    assert problem.code == "setting-match-invalid"
    assert problem.detail.startswith("Entry 2: ")
    assert said in problem.detail
    assert "Lookaround" in problem.detail
    assert "backreferences" in problem.detail


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda s: st.lists(s) | st.dictionaries(st.sampled_from(["id", "url", "method", "match", "headers"]), s),
    )
)
def test_whatever_is_saved_is_read_or_refused(value: Any) -> None:
    try:
        entries = read_entries(value)
    except Problem:
        return
    assert read_entries([entry.saved() for entry in entries]) == entries


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        (".*", True),
        ("", True),
        ("ack$", True),
        ("^https://didcomm.org/notification/", True),
        ("^did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/notification/1.0/ack$", True),
        ("~please_ack", True),
        ("^ack~attach$", True),
        ("^attach", False),
        ("problem", False),
        ("^status$", False),
        ("OK", False),
    ],
)
@pytest.mark.parametrize("prefix", [DIDCOMM_ORG, DID_SOV])
def test_match_is_searched_for_in_type_and_keys(match: str, matches: bool, prefix: str) -> None:
    message = read({"@type": prefix + ACK, "@id": "i", "status": "OK", "~please_ack": {}, "ack~attach": {}})
    (entry,) = read_entries([{"url": URL, "match": match}])
    assert entry.matches(message) is matches
    assert select([entry], message) == [entry] * matches


def test_each_matching_entry_once_and_in_order() -> None:
    entries = read_entries(
        [{"url": f"{URL}/{n}", "match": m} for n, m in enumerate(["ack", "~", "nil", "ack|~", "ack"])]
    )
    message = read({"@type": DIDCOMM_ORG + ACK, "~please_ack": {}, "ack~attach": {}})
    assert [entry.url[-1] for entry in select(entries, message)] == ["0", "1", "3", "4"]


@pytest.mark.parametrize("raw", [b"no json", b"[]", b"{}", b"\xff"])
def test_what_has_no_type_is_for_those_who_take_everything(raw: bytes) -> None:
    entries = read_entries([{"url": URL, "match": ".*"}, {"url": URL, "match": "."}])
    assert select(entries, Message.read(raw)) == entries[:1]


def test_a_hostile_expression_meets_a_hostile_message() -> None:
    entries = read_entries([{"url": URL, "match": "^(a+)+$"}, {"url": URL, "match": "(.*)(.*)(.*)(.*)(.*)x$"}] * 10)
    message = read({"@type": "a" * 1000 + "!"} | {f"~{n}" + "a" * 1000: 1 for n in range(400)})
    started = time.process_time()
    assert select(entries, message) == []
    assert time.process_time() - started < 5


def test_remembered_decisions_are_bounded() -> None:
    entries = read_entries([{"url": URL, "match": "nothing"}])
    webhooks._remembered_match.cache_clear()
    select(entries, read({"@type": "a" * 1000, **{f"~{n}": 1 for n in range(20)}}))
    select(entries, read({"@type": "t", **{f"~{n}" * 100: 1 for n in range(10)}}))
    assert webhooks._remembered_match.cache_info().currsize == 0
    for _ in range(2):
        select(entries, read({"@type": "t", "~please_ack": 1}))
    assert webhooks._remembered_match.cache_info().hits == 1


def test_headers_do_not_show_in_a_log() -> None:
    assert "hunter2" not in repr(read_entries([{"url": URL, "headers": {"authorization": "hunter2"}}]))


@given(st.binary(max_size=200))
def test_every_secret_verifies_its_signature(body: bytes) -> None:
    text = base64.b64encode(body)
    secrets = [new_secret(os.urandom) for _ in range(3)]
    headers = sign(secrets, "msg_1", int(time.time()), text)
    for secret in secrets:
        Webhook(secret).verify(text, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secrets[0]).verify(text + b" ", headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret(os.urandom)).verify(text, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secrets[0]).verify(text, {**headers, "webhook-id": "msg_2"}, json_parse=False)


def test_the_same_signature_as_an_independent_signer() -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    body = '{"ü": 1}'
    headers = sign([secret], "msg_2", 1_700_000_000, body.encode())
    expected = Webhook(secret).sign("msg_2", datetime.fromtimestamp(1_700_000_000, UTC), body)
    assert headers == {
        "webhook-id": "msg_2",
        "webhook-timestamp": "1700000000",
        "webhook-signature": expected,
    }


def test_a_new_secret_is_of_the_specified_form() -> None:
    assert new_secret(lambda size: b"\x01" * size) == "whsec_" + base64.b64encode(b"\x01" * 32).decode()


@pytest.mark.parametrize(
    ("secrets", "msg_id"),
    [
        ([], "m"),
        (["whsec_" + base64.b64encode(b"x" * 23).decode()], "m"),
        (["whsec_" + base64.b64encode(b"x" * 65).decode()], "m"),
        (["whsec_*"], "m"),
        ([base64.b64encode(b"x" * 32).decode()], "m"),
        (["whsec_" + base64.b64encode(b"x" * 32).decode()], ""),
        (["whsec_" + base64.b64encode(b"x" * 32).decode()], "a.b"),
    ],
)
def test_what_cannot_sign(secrets: list[str], msg_id: str) -> None:
    with pytest.raises(ValueError) as caught:
        sign(secrets, msg_id, 1, b"")
    assert not any(secret in str(caught.value) for secret in secrets)


def body_of(message: Message, **changed: Any) -> bytes:
    known: dict[str, Any] = {
        "from_did": "did:example:a",
        "to_did": "did:example:b",
        "action_uuid": "ac",
        "event_uuid": "ev",
        "asset_uuid": "as",
        "asset_data_uuids": ["d1"],
        "contact_uuid": "co",
        "connection_uuid": "cn",
        "sequence": "0001",
        "authenticated": True,
    }
    return delivery_body(message, **{**known, **changed})


def test_the_body_carries_the_message_byte_for_byte() -> None:
    raw = b'{ "@type":"t",\n "@id": "i", "n": 1.0, "big": 12345678901234567890123, "a": 1, "a": 2, "u": "\\u00fc" }'
    body = body_of(Message.read(raw))
    assert raw in body
    assert json.loads(body) == {
        "message": json.loads(raw),
        "from": "did:example:a",
        "to": "did:example:b",
        "type": "t",
        "actionUuid": "ac",
        "eventUuid": "ev",
        "assetUuid": "as",
        "assetDataUuids": ["d1"],
        "contactUuid": "co",
        "connectionUuid": "cn",
        "sequence": "0001",
        "authenticated": True,
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"hello \xc3\xbc", "hello ü"),
        (b"", ""),
        (b"\xff\x00", {"base64": "/wA="}),
        (b"[1]", [1]),
        (b"[" * 300 + b"]" * 300, "[" * 300 + "]" * 300),
        (b'{"a":1}, "authenticated": true', '{"a":1}, "authenticated": true'),
    ],
)
def test_the_body_of_what_is_no_message(raw: bytes, expected: Any) -> None:
    body = json.loads(body_of(Message.read(raw), from_did=None, authenticated=False))
    assert (body["message"], body["type"], body["from"], body["authenticated"]) == (expected, "", None, False)


@given(st.binary(max_size=100))
def test_the_body_is_json_whatever_came(raw: bytes) -> None:
    body = json.loads(body_of(Message.read(raw), authenticated=False))
    assert list(body)[-1] == "authenticated"
    assert body["authenticated"] is False


@pytest.mark.parametrize(("delay", "ladder"), [(retry_delay, WEBHOOK_LADDER), (send_delay, SEND_LADDER)])
def test_the_ladder_is_climbed_and_ends(delay: Any, ladder: tuple[int, ...]) -> None:
    assert [delay(attempt, 0.0) for attempt in range(len(ladder) + 2)] == [*ladder, None, None]
    for attempt, seconds in enumerate(ladder):
        assert seconds <= delay(attempt, 0.999) <= seconds * 1.2 + 1
    assert delay(0, 0.999) == 0


def test_a_receiver_may_ask_for_more_time_but_not_for_less_or_for_ever() -> None:
    assert retry_delay(1, 0.0, retry_after=60) == 60
    assert retry_delay(2, 0.0, retry_after=60) == 300
    assert send_delay(1, 0.0, retry_after=10**9) == 86_400
    assert retry_delay(10, 0.0, retry_after=60) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120),
        (" 0 ", 0),
        ("9" * 5000, 10**9),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: int | None) -> None:
    assert read_retry_after(value, 1_700_000_000) == seconds


def _verifies(public: str, headers: dict[str, str], body: bytes) -> list[bool]:
    """For each `v1a` signature, by an implementation that is not the one that signs, whether the key made it."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"), validate=True))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    found = []
    for version, _, value in (part.partition(",") for part in headers["webhook-signature"].split(" ")):
        if version == "v1a":
            try:
                key.verify(base64.b64decode(value, validate=True), signed)
                found.append(True)
            except InvalidSignature:
                found.append(False)
    return found


def test_both_kinds_of_signature() -> None:
    one, other = new_secrets(os.urandom), new_secrets(os.urandom)
    headers = sign([*one, *other], "m", 1, b"body")
    versions = [part.partition(",")[0] for part in headers["webhook-signature"].split(" ")]
    assert versions == ["v1", "v1a", "v1", "v1a"]
    assert _verifies(public_key(one[1]), headers, b"body") == [True, False]
    assert _verifies(public_key(other[1]), headers, b"body") == [False, True]
    assert _verifies(public_key(one[1]), headers, b"Body") == [False, False]


def test_an_ed25519_signature_of_a_known_key() -> None:
    """RFC 8032, section 7.1, test 1: the public key of a private one."""
    private = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    secret = "whsk_" + base64.b64encode(private).decode()
    assert public_key(secret) == "whpk_" + base64.b64encode(public).decode()


@pytest.mark.parametrize("secret", ["whsk_", "whsk_*", "whsk_" + base64.b64encode(b"x" * 31).decode(), "whpk_x"])
def test_a_private_key_that_is_none(secret: str) -> None:
    with pytest.raises(ValueError, match=r"whsk_|whsec_") as caught:
        sign([secret], "m", 1, b"")
    assert secret == "whsk_" or secret not in str(caught.value)


def test_secrets_are_rotated() -> None:
    first = EntrySecrets(new_secrets(os.urandom))
    second = first.rotated(os.urandom, 1_000)
    third = second.rotated(os.urandom, 2_000)
    assert [secret.partition("_")[0] for secret in third.current] == ["whsec", "whsk"]
    assert len({*first.current, *second.current, *third.current}) == 6
    assert third.valid(2_000) == [*third.current, *second.current, *first.current]
    assert third.valid(1_000 + OVERLAP) == [*third.current, *second.current]
    assert third.valid(2_000 + OVERLAP) == list(third.current)
    assert third.rotated(os.urandom, 2_000 + OVERLAP).former == ((2_000 + 2 * OVERLAP, third.current),)
    for _ in range(10):
        third = third.rotated(os.urandom, 3_000)
    assert len(third.valid(3_000)) == 8
    assert "whs" not in repr(third)


HOUR, DAY = 3_600_000, 24 * 3_600_000


def test_five_days_of_failures() -> None:
    health = after_failure(None, 503, 0)
    assert health == EntryHealth(0, 0)
    assert after_failure(health, 503, HOUR) is None
    for hour in range(2, 120, 2):
        health = after_failure(health, 0, hour * HOUR)
        assert health == EntryHealth(0, hour * HOUR)
    assert after_failure(health, 503, 5 * DAY - 1) is not None
    disabled = after_failure(health, 503, 5 * DAY)
    assert disabled == EntryHealth(0, 5 * DAY, 5 * DAY, "failing")
    assert after_failure(disabled, 410, 6 * DAY) is None


def test_a_gap_that_says_nothing() -> None:
    assert after_failure(EntryHealth(0, DAY), 503, DAY + 36 * HOUR) == EntryHealth(0, DAY + 36 * HOUR)
    late = 4 * DAY + 36 * HOUR + 1
    assert after_failure(EntryHealth(0, 4 * DAY), 503, late) == EntryHealth(late, late)


def test_gone() -> None:
    assert after_failure(None, 410, 5) == EntryHealth(5, 5, 5, "http-410")
    assert after_failure(EntryHealth(1, 2), 410, 5) == EntryHealth(1, 5, 5, "http-410")


def test_no_wait_on_the_ladder_is_a_gap() -> None:
    longest = max(retry_delay(attempt, 0.999, retry_after=10**9) or 0 for attempt in range(10))
    assert longest * 1000 + HOUR < 36 * HOUR


def test_only_a_few_large_expressions_are_kept() -> None:
    large = r"(?:\pL?\pN?){45}"
    for number in range(40):
        assert read_entries([{"url": URL, "match": f"{large}{number}"}])
    assert webhooks._large.cache_info().currsize == 32
    assert webhooks._compile("basicmessage|ack~attach").programsize < webhooks._compile(large).programsize / 100
