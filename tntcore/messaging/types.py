"""Message type URIs (Aries RFC 0003, section "Message Type URIs"; DIDComm Messaging v2.1, section "Message Type URI").

Two prefixes are equivalent (RFC 0348). Types are compared in their canonical spelling; a message is answered in the
spelling that it came in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

DIDCOMM_ORG = "https://didcomm.org/"
DID_SOV = "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/"
_PREFIXES = (DIDCOMM_ORG, DID_SOV)

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_VERSION = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class MessageType:
    """The parts of a type URI such as `https://didcomm.org/issue-credential/2.0/offer-credential`. `prefix` ends in the
    slash.
    """

    prefix: str
    protocol: str
    major: int
    minor: int
    name: str

    @property
    def version(self) -> str:
        return f"{self.major}.{self.minor}"


@lru_cache(maxsize=1024)
def parse(message_type: str) -> MessageType | None:
    """Parses a type URI; None for a short type (`request-credential`) or any other form, which is a legal type of a
    general message. A version without a minor number (`/2/`) is read as `2.0`.
    """
    parts = message_type.rsplit("/", 3)
    if len(parts) != 4:
        return None
    prefix, protocol, version, name = parts
    numbers = _VERSION.fullmatch(version)
    if numbers is None or not _NAME.fullmatch(protocol) or not _NAME.fullmatch(name):
        return None
    return MessageType(prefix + "/", protocol, int(numbers[1]), int(numbers[2] or 0), name)


def spellings(message_type: str) -> tuple[str, ...]:
    """Returns all equivalent spellings of this type, the given one first: two under one of the two equal prefixes, else
    one.
    """
    for mine, other in (_PREFIXES, _PREFIXES[::-1]):
        if message_type.startswith(mine):
            return message_type, other + message_type[len(mine) :]
    return (message_type,)


def prefixes(beginning: str) -> tuple[str, ...]:
    """Returns the beginnings of all equivalent spellings of types that begin like this, the given one first. A
    beginning that ends within one of the two equal prefixes matches every type under it.
    """
    for mine, other in (_PREFIXES, _PREFIXES[::-1]):
        if beginning and mine.startswith(beginning):
            return beginning, other
    return spellings(beginning)


def meant(beginning: str) -> tuple[str, ...]:
    """Returns the beginnings of all types that somebody may mean: `prefixes`, and those under both of the two equal
    prefixes if it is a short name such as `basicmessage/1.0`.
    """
    short = ":" not in beginning and not any(prefix.startswith(beginning) for prefix in _PREFIXES)
    return (beginning, *(prefix + beginning for prefix in _PREFIXES)) if short else prefixes(beginning)


def canonical(message_type: str) -> str:
    """Returns the spelling under `https://didcomm.org/`, if there is one; else the type itself."""
    if message_type.startswith(DID_SOV):
        return DIDCOMM_ORG + message_type[len(DID_SOV) :]
    return message_type


def in_prefix_of(message_type: str, like: str) -> str:
    """Returns `message_type` in the spelling of `like`, the type of the answered message (RFC 0348). Changes it only if
    both are under one of the two equal prefixes.
    """
    for prefix in _PREFIXES:
        if like.startswith(prefix):
            return next((text for text in spellings(message_type) if text.startswith(prefix)), message_type)
    return message_type
