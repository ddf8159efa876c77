"""Base64url for the two DIDComm versions: written padded (v1) or not (v2), read either way (RFC 4648)."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import Any, Final

from tntcore.errors import EnvelopeError

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")


def encode_padded(data: bytes) -> bytes:
    """Encodes for v1: DIDComm-js reads only padded base64url, all others read both."""
    return b2a_base64(data, newline=False).translate(_TO_URL)


def encode(data: bytes) -> bytes:
    """Encodes for v2: RFC 7515 has no padding."""
    return encode_padded(data).rstrip(b"=")


def decode_strict(text: Any) -> bytes:
    """Decodes base64url as RFC 7515 requires: without padding, and only the canonical encoding of the bytes.

    Raises:
        EnvelopeError: `malformed`.
    """
    data = decode(text)
    if encode(data).decode() != text:
        raise EnvelopeError("malformed", "base64url with padding, or with bits that no byte has")
    return data


def decode(text: Any) -> bytes:
    """The bytes of a base64url string, padded or not.

    Raises:
        EnvelopeError: `malformed` if it is not a string, or has any character that does not belong.
    """
    if type(text) is not str:
        raise EnvelopeError("malformed", "base64url is missing where it is expected")
    digits = text.rstrip("=")
    try:
        data = a2b_base64(digits.replace("-", "+").replace("_", "/") + "==")
    except ValueError:
        raise EnvelopeError("malformed", "not base64url") from None
    # a2b_base64 skips what does not belong, which shows in the length; its strict mode costs half as much again.
    if len(data) != len(digits) * 3 // 4 or len(digits) % 4 == 1:
        raise EnvelopeError("malformed", "not base64url")
    return data
