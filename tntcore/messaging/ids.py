"""Identifiers: sortable by time, UUID version 7 (RFC 9562, section 5.7), derived from those, or random."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

_COUNTER_BITS = 74
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1


class UuidFactory:
    """Makes UUIDv7 texts, each greater than the one before (RFC 9562, section 6.2, method 2: the 74 bits after the time
    are one counter, seeded at random in each millisecond and raised by a random step within it).

    Args:
        now: milliseconds since 1970. When it goes back, the last time seen is used on.
        random: gives so many random bytes.
    """

    def __init__(self, now: Callable[[], int], random: Callable[[int], bytes]) -> None:
        self._now = now
        self._random = random
        self._time = -1
        self._counter = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """The next identifier, in lower case with hyphens."""
        with self._lock:
            now = self._now()
            if now > self._time:
                self._time = now
                # The highest bit starts clear, so that a millisecond never runs out of numbers.
                self._counter = int.from_bytes(self._random(10), "big") & (_COUNTER_MASK >> 1)
            else:
                self._counter += 1 + int.from_bytes(self._random(4), "big")
                if self._counter > _COUNTER_MASK:
                    self._time += 1
                    self._counter &= _COUNTER_MASK >> 1
            time, counter = self._time, self._counter
        high, low = counter >> 62, counter & ((1 << 62) - 1)
        return str(uuid.UUID(int=(time & (1 << 48) - 1) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


class Stream:
    """Bytes derived from a seed (SHAKE256): the same seed gives the same bytes in the same order.

    Args:
        seed: secret, because the bytes follow from it.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._taken = 0

    def __call__(self, size: int) -> bytes:
        self._taken += 1
        return hashlib.shake_256(self._seed + self._taken.to_bytes(8, "big")).digest(size)


@dataclass(frozen=True, slots=True)
class Ids:
    """Identifiers and random bytes for what one call creates. A call that is repeated draws the same ones again, and
    so finds what an earlier attempt created.

    Attributes:
        uuid7: returns the next identifier. random: returns so many bytes; fit for secrets.
        since: time of the first attempt, in milliseconds since 1970.
    """

    uuid7: Callable[[], str]
    random: Callable[[int], bytes]
    since: int


def time_of(uuid7: str) -> int:
    """The time in a UUIDv7, in milliseconds since 1970.

    Raises:
        ValueError: not the text of a UUIDv7.
    """
    value = uuid.UUID(uuid7)
    if value.version != 7:
        raise ValueError("not a UUID of version 7")
    return value.int >> 80


def seconds_since(uuid7: str, now: int) -> float:
    """Returns the seconds from a UUIDv7 to `now`, in milliseconds since 1970; 0 if that is before it."""
    return max(now - time_of(uuid7), 0) / 1000


def first_uuid(milliseconds: int) -> str:
    """Returns a text that sorts before every UUIDv7 of that millisecond, and after those of the one before."""
    hexadecimal = f"{milliseconds:012x}"
    return f"{hexadecimal[:8]}-{hexadecimal[8:]}"


def delivery_uuid(message_uuid: str, name: str) -> str:
    """Returns the uuid for the delivery of a message to the webhook entry, or contact, `name`: always the same, a
    UUIDv7 of the message's millisecond, so that deliveries sort as their messages do.
    """
    return uuid_at(time_of(message_uuid), f"{message_uuid}/{name}")


def uuid_at(milliseconds: int, name: str) -> str:
    """Returns a UUIDv7 of this millisecond, derived from a name: always the same."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:10], "big")
    high, low = digest >> 62 & 0xFFF, digest & (1 << 62) - 1
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low))


def random_uuid(random: Callable[[int], bytes]) -> str:
    """Returns a UUID of version 4, for a message's `@id`."""
    return str(uuid.UUID(bytes=random(16), version=4))
