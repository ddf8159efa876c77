from __future__ import annotations

import json
import re
import unicodedata

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.cli.errors import Wrong
from tntcore.cli.qr import lines, matrix
from tntcore.cli.show import (
    Column,
    details,
    field,
    measure,
    moment,
    preview,
    safe,
    seconds,
    short_did,
    short_type,
    since,
    table,
    written,
)

JOINERS = "\u200c\u200d"


def acts(text: str) -> list[str]:
    """What in it is a control or format character, or ends a line elsewhere than a line feed does."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\u202e\u2066\ufeff"]


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Lu", "Mn", "So"])))
def test_nothing_that_acts_is_left(text: str) -> None:
    assert acts(safe(text)) == []
    formatting = [c for c in safe(text) if unicodedata.category(c) == "Cf" and c not in JOINERS]
    assert all(c in "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
               or 0x13430 <= ord(c) <= 0x1345F or 0x1BCA0 <= ord(c) <= 0x1D17A for c in formatting)  # fmt: skip
    shown = written({text: [text]})
    assert acts(shown.replace("\n", "")) == []
    assert json.loads(shown) == json.loads(json.dumps({text: [text]}))


def test_emoji_and_scripts_stay() -> None:
    assert safe("👩‍👩‍👧 naïve 東京 שלום") == "👩‍👩‍👧 naïve 東京 שלום"
    assert safe("a\n\tb\x1b[0m\U000e0041") == "a b\\u001b[0m\\udb40\\udc41"


def test_tables() -> None:
    rows = [{"name": "東京", "status": "ACTIVE", "none": None}, {"name": "x" * 30, "status": "FAILED", "none": None}]
    columns = [field("NAME", "name", cut=True), Column("STATUS", lambda row: str(row["status"])), field("NONE", "none")]
    plain = [click.unstyle(line) for line in table(rows, columns)]
    assert plain == ["NAME" + " " * 28 + "STATUS", "東京" + " " * 28 + "ACTIVE", "x" * 30 + "  FAILED"]
    narrow = [click.unstyle(line) for line in table(rows, columns, 22)]
    assert max(measure(line) for line in narrow) == 22
    assert narrow[2] == "x" * 13 + "…  FAILED"
    assert [click.unstyle(line) for line in details([("a", "1"), ("long", "2"), ("not", "")])] == ["a     1", "long  2"]


def test_short_forms() -> None:
    assert short_type("https://didcomm.org/basicmessage/1.0/message") == "basicmessage/1.0/message"
    assert short_type("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/trust_ping/1.0/ping") == "trust_ping/1.0/ping"
    assert short_did("did:web:a.example") == "did:web:a.example"
    assert len(short_did("did:peer:4" + "z" * 900)) < 48
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", moment("2026-01-31T12:00:00.000Z"))
    assert (moment(None), moment("\x1b")) == ("", "\\u001b")


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ({"message": {"@type": "t", "content": "a\nb"}}, "a b"),
        ({"message": {"type": "t", "id": "1", "body": {"content": "v2"}}}, "v2"),
        ({"message": {"@type": "t", "@id": "1", "comment": "c", "x": 1}}, "c"),
        ({"message": {"@type": "t", "@id": "1", "~thread": {}, "x": 1}}, '{"x": 1}'),
        ({"message": {"@type": "t", "@id": "1"}}, ""),
        ({"message": "no JSON \x9b"}, "no JSON \\u009b"),
        ({"envelope": {}, "error": "wrong-key"}, "(could not be opened: wrong-key)"),
    ],
)
def test_what_a_message_says(view: dict[str, object], expected: str) -> None:
    assert preview(view) == expected
    assert measure(preview({"message": {"x": "y" * 1000}})) == 120


def test_times() -> None:
    assert since("10m", 1_000_000) == "1970-01-12T13:36:40.000Z"
    assert since("2d", 10) == "1970-01-01T00:00:00.000Z"
    assert since("2026-01-31T12:00:00Z", 0) == "2026-01-31T12:00:00Z"
    assert seconds("2h") == 7200
    sequence = "01a2275c-fb9a-7037-b49a-b35c9419fb0a"
    assert since(sequence, 0) == sequence
    assert seconds("36500d") == 36500 * 86_400


@pytest.mark.parametrize("text", ["soon", "90", "7days", "0d", "36501d", "999999w"])
def test_a_wrong_duration_is_refused(text: str) -> None:
    with pytest.raises(Wrong, match=text):
        seconds(text)


@pytest.mark.parametrize("text", ["10min", "yesterday", "2026-13-01", "0123", "m"])
def test_a_wrong_time_is_refused_with_the_forms_it_may_have(text: str) -> None:
    with pytest.raises(Wrong, match=f"'{text}' is not a time.*sequence.*10m"):
        since(text, 0)


def test_a_qr_code_with_an_odd_number_of_rows_has_a_border_all_around() -> None:
    modules = matrix("https://example.com")
    assert len(modules) % 2 == 1
    drawn = lines(modules, colour=False)
    assert len(drawn) == len(modules) // 2 + 1
    assert set(drawn[-1]) == set(drawn[0]) == {"█"}
