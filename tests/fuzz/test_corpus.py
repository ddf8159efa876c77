"""The fuzzing targets on what they are seeded with, on what once broke them, and on some thousand changes to that: the
same ones each time. `make fuzz` goes on from here."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, seeds

CORPUS = Path(__file__).parent / "corpus"
_CHANGES = 400
_DIGITS = b'{}[]",:\\0159aAzZ-_=~@#. \x00\x7f\xff'


def changed(raw: bytes, chance: random.Random) -> bytes:
    """With a few bytes changed, doubled or gone."""
    data = bytearray(raw)
    for _ in range(chance.randint(1, 5)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 8, 40)))
        with_ = (
            b"",
            bytes([chance.choice(_DIGITS)]),
            bytes(data[start:end]) * 2,
            b"[" * chance.choice((1, 200)),
            bytes(data[: chance.randrange(40)]),
        )
        data[start:end] = chance.choice(with_)
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    target, good = TARGETS[name], seeds()[name]
    assert len(good) >= 4
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    chance = random.Random(name)
    for raw in (b"", b"{}", b"[]", b"\xff", *good, *kept):
        target(raw)
    for _ in range(_CHANGES):
        target(changed(chance.choice([*good, *kept]), chance))


def test_what_is_kept_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.glob("*")} <= {*TARGETS, "README.md"}
