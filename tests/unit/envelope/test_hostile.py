"""Whatever arrives, `peek` and `unpack` answer or raise `EnvelopeError`."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.envelope.samples import BOBS_SECRETS, DOCUMENTS, SEEDS, VERKEYS, b64, v1_vectors, v2_vectors
from tntcore.envelope import MAX_WIRE, EnvelopeError, parse_json, peek, unpack
from tntcore.strict_json import MAX_DEPTH

GOOD = [vector["packed"].encode() for _, vector in (*v1_vectors(), *v2_vectors())]
SECRETS = {**BOBS_SECRETS, **{VERKEYS[name]: SEEDS[name] for name in VERKEYS}}

JSON = st.recursive(
    st.sampled_from(["", "AAAA", "e30"])
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
# fmt: off
MEMBERS = [
    "protected", "recipients", "header", "kid", "encrypted_key", "sender", "iv", "tag", "ciphertext", "payload",
    "signatures", "signature", "unprotected", "aad", "alg", "enc", "apu", "apv", "skid", "epk", "crv", "x", "y", "typ",
    "zip", "crit", "@type", "type", "id", "from", "to",
]
# fmt: on


def answers(raw: bytes) -> None:
    with suppress(EnvelopeError):
        peek(raw)
    with suppress(EnvelopeError):
        unpack(raw, SECRETS, DOCUMENTS)


@given(st.binary(max_size=300))
def test_random_bytes(raw: bytes) -> None:
    answers(raw)


@given(st.sampled_from(GOOD), st.data())
def test_bytes_changed(good: bytes, data: st.DataObject) -> None:
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(("flip", "cut", "insert"))):
            case "flip":
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del raw[at : at + data.draw(st.integers(1, 20))]
            case _:
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=4))
        if not raw:
            break
    answers(bytes(raw))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        children = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [path, *(place for key, child in children for place in _places(child, (*path, key)))]


def _replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], by)
    return copy


@settings(max_examples=300)
@given(st.sampled_from([raw for raw in GOOD if raw.startswith(b"{")]), st.data())
def test_members_replaced_in_body_or_protected_header(good: bytes, data: st.DataObject) -> None:
    envelope = json.loads(good)
    in_header = "protected" in envelope and data.draw(st.booleans())
    target = json.loads(b64(envelope["protected"])) if in_header else envelope
    place = data.draw(st.sampled_from(_places(target)))
    changed = _replaced(target, place, data.draw(JSON))
    if isinstance(changed, dict):
        changed.update(data.draw(st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=1)))
    if in_header:
        changed = {**envelope, "protected": urlsafe_b64encode(json.dumps(changed).encode()).decode()}
    answers(json.dumps(changed).encode())


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_objects_that_look_like_envelopes(envelope: dict[str, Any]) -> None:
    answers(json.dumps(envelope).encode())


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not-json"),
        (b"hello", "not-json"),
        (b"\xff\xfe", "not-json"),
        (b'{"a":NaN}', "not-json"),
        (b"7", "not-an-envelope"),
        (b"[]", "not-an-envelope"),
        (b"{}", "not-an-envelope"),
        (b'{"hello":"world"}', "not-an-envelope"),
        (b'{"ciphertext":"AAAA"}', "malformed"),
        (b'{"ciphertext":"AAAA","protected":"e30"}', "not-an-envelope"),
        (b'{"ciphertext":"AAAA","protected":"W10"}', "malformed"),
        (b'{"ciphertext":"AAAA","protected":"e3"}', "not-json"),
        (b'{"ciphertext":"AAAA","protected":"e 30"}', "malformed"),
        (b'{"ciphertext":"AAAA","protected":"\xc3\xa9"}', "malformed"),
        (b"[" * 10_000 + b"]" * 10_000, "too-deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too-deep"),
        (b'{"@type":"t","x":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "too-deep"),
        (b" " * (MAX_WIRE + 1), "too-large"),
        (b'{"@type":"' + b"x" * 4 * 1024 * 1024 + b'"}', "too-large"),
    ],
    ids=range(19),
)
def test_each_refusal_has_its_code(raw: bytes, code: str) -> None:
    for read in (peek, lambda raw: unpack(raw, SECRETS, DOCUMENTS)):
        with pytest.raises(EnvelopeError) as refused:
            read(raw)
        assert refused.value.code == code


def test_text_that_is_not_unicode() -> None:
    with pytest.raises(EnvelopeError, match="not-json"):
        unpack('{"a":"\ud800"}', {}, {})


def test_depth_is_exact() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert parse_json(b"[" + b"[]," * 1000 + b"{}]")
    with pytest.raises(EnvelopeError, match="too-deep"):
        parse_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_a_refusal_carries_nothing_of_the_text() -> None:
    with pytest.raises(EnvelopeError) as refused:
        parse_json(b'{"secret": "plaintext"')
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    assert "plaintext" not in str(refused.value)
