import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.strict_json import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_STRINGS,
    JsonError,
    JsonTooDeepError,
    JsonTooManyError,
    is_deep,
    read_json,
)


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


def test_reads_up_to_the_bound_and_no_deeper() -> None:
    assert orjson.dumps(read_json(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(JsonTooDeepError):
        read_json(nested(MAX_DEPTH + 1))
    assert read_json(b'{"a":[1]}', max_depth=2) == {"a": [1]}
    with pytest.raises(JsonTooDeepError):
        read_json(b'{"a":[1]}', max_depth=1)
    assert read_json(b"1", max_depth=0) == 1


@pytest.mark.parametrize("depth", [1024, 1025, 10_000, 500_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused_without_a_recursion_error(depth: int, opening: bytes, closing: bytes) -> None:
    closing = b"1" + closing if opening.endswith(b":") else closing
    with pytest.raises(JsonError):
        read_json(opening * depth + closing * depth)


def test_many_brackets_side_by_side_or_inside_text_are_not_deep() -> None:
    assert len(read_json(b"[" + b",".join([b"[]"] * 1000) + b"]")) == 1000
    assert read_json(b'"' + b"[" * 10_000 + b'"') == "[" * 10_000


def listed(unit: bytes, count: int) -> bytes:
    return b"[" + b",".join([unit] * count) + b"]"


@pytest.mark.parametrize(
    "data",
    [
        listed(b"[]", MAX_CONTAINERS),
        listed(b"{}", MAX_CONTAINERS),
        listed(b"[[]]", MAX_CONTAINERS // 2 + 1),
        listed(b'{"":0}', MAX_CONTAINERS),
        listed(b'""', MAX_STRINGS + 1),
        listed(rb'"\\\""', MAX_STRINGS + 1),
        b"{" + b",".join(b'"%x":0' % number for number in range(MAX_STRINGS + 1)) + b"}",
    ],
    ids=["lists", "objects", "nested", "members", "strings", "escapes", "names"],
)
def test_a_text_of_too_many_parts_is_refused_before_it_is_parsed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orjson, "loads", lambda _: pytest.fail("was parsed"))
    with pytest.raises(JsonTooManyError):
        read_json(data)


@pytest.mark.parametrize(
    "data",
    [
        listed(b"[]", MAX_CONTAINERS - 1),
        listed(b'""', MAX_STRINGS),
        listed(b"1", 1_000_000),
        orjson.dumps('[{"a": "\\' * 300_000),
        orjson.dumps(["\\", "[" * MAX_CONTAINERS, '"' * MAX_STRINGS]),
    ],
    ids=["lists", "strings", "numbers", "code", "escapes"],
)
def test_what_is_inside_a_string_is_not_counted(data: bytes) -> None:
    assert orjson.dumps(read_json(data)) == data


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


json_values = st.recursive(
    st.none() | st.integers(0, 9) | st.text('[]{}"\\a', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\a', max_size=3), inner, max_size=3),
)


@given(json_values, st.integers(0, 6), st.booleans())
def test_depth_is_what_a_parser_finds(value: object, limit: int, indented: bool) -> None:
    data = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else 0)
    assert is_deep(data, limit) == (depth_of(value) > limit)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nope",
        b"{} {}",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b"\xff",
        b'"\xff"',
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b"{'a':1}",
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(JsonError):
        read_json(data)


def test_the_error_does_not_repeat_what_was_read() -> None:
    with pytest.raises(JsonError) as caught:
        read_json(b'{"secret": hunter2}')
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
