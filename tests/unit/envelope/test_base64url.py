from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.envelope import EnvelopeError
from tntcore.envelope.base64url import decode, decode_strict, encode, encode_padded


@given(st.binary(max_size=70))
def test_written_and_read_either_way(data: bytes) -> None:
    assert encode_padded(data) == base64.urlsafe_b64encode(data)
    assert encode(data) == encode_padded(data).rstrip(b"=")
    assert decode(encode(data).decode()) == decode(encode_padded(data).decode()) == data


@given(st.binary(min_size=1, max_size=70), st.data())
def test_a_character_that_does_not_belong_is_not_skipped(data: bytes, draw: st.DataObject) -> None:
    text = encode(data).decode()
    at = draw.draw(st.integers(0, len(text) - 1))
    stranger = draw.draw(st.sampled_from("= \n.!é\0"))
    with pytest.raises(EnvelopeError, match="malformed"):
        decode(text[:at] + stranger + text[at:])


@pytest.mark.parametrize("text", [None, 7, b"AAAA", "A", "AAAAA", ["AAAA"]])
def test_what_is_no_base64url(text: Any) -> None:
    with pytest.raises(EnvelopeError, match="malformed"):
        decode(text)


@given(st.binary(min_size=1, max_size=70))
def test_strictly_there_is_one_spelling(data: bytes) -> None:
    text = encode(data).decode()
    assert decode_strict(text) == data
    others = {text + "=", text + "==", encode_padded(data).decode(), text + "\n", text[:-1] + chr(ord(text[-1]) + 1)}
    for other in others - {text}:
        try:
            assert decode_strict(other) != data
        except EnvelopeError:
            continue
