import copy
import json
import pickle
import time

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
    Number,
    is_deep,
    no_deeper,
    read_json,
    read_leniently,
    reread_json,
    write_json,
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


LITERALS = [
    "12.50", "1E+2", "1e16", "-0", "-0.0", "0.00001", "1.10", "12345678901234567.89", "12345678901234567890123",
    "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "0.1", "1.0", "7",
]  # fmt: skip


@pytest.mark.parametrize("literal", LITERALS)
def test_a_number_is_written_as_it_was_read(literal: str) -> None:
    text = f'{{"n":[{literal},true,{{"m":{literal}}}],"s":"12.50 \\\\\\" 1e5"}}'.encode()
    value = read_json(text)
    assert write_json(value) == text
    assert write_json(reread_json(write_json(copy.deepcopy(pickle.loads(pickle.dumps(value)))))) == text
    assert float(value["n"][0]) == float(literal)


def test_numbers_that_survive_anyway_are_plain() -> None:
    for literal in ("7", "1.5", "-0.25", "18446744073709551615", "1.0"):
        assert not isinstance(read_json(b"[12.50," + literal.encode() + b"]")[1], Number)


@given(
    st.recursive(
        st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
        lambda inner: st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
    )
)
def test_any_number_is_written_as_it_was_read(text: str) -> None:
    assert write_json(read_json(text.encode())) == text.encode()


def test_a_repeated_member_is_refused_where_that_is_asked_for() -> None:
    assert read_json(b'{"a":1,"a":2}') == {"a": 2}
    with pytest.raises(JsonError, match="'a' is given more than once"):
        read_json(b'{"b":[{"a":1,"a":1}]}', unique=True)
    assert read_json(b'{"a":{"a":1.50}}', unique=True) == {"a": {"a": 1.5}}


def test_the_last_of_many_members_is_repeated() -> None:
    """Each name was compared with all others: a call of 2.5 MB took minutes of the event loop."""
    names = [*map(str, range(190_000)), "189999"]
    begun = time.process_time()
    with pytest.raises(JsonError, match="'189999' is given more than once"):
        read_json(b"{" + b",".join(b'"%s":1' % name.encode() for name in names) + b"}", unique=True)
    assert time.process_time() - begun < 60  # it takes less than one


_names = st.sampled_from(["a", "a:", '"', '\\"', "b"]) | st.text(max_size=3)
_pairs: st.SearchStrategy[object] = st.recursive(
    st.none() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.lists(st.tuples(_names, inner), max_size=3),
)


@given(_pairs)
def test_a_member_that_is_given_more_than_once_is_refused_wherever_it_stands(value: object) -> None:
    """An object is a list of pairs here, an array is a tuple."""
    repeated = False

    def written(part: object) -> str:
        nonlocal repeated
        if isinstance(part, tuple):
            return f"[{', '.join(map(written, part))}]"
        if isinstance(part, list):
            repeated |= len({name for name, _ in part}) < len(part)
            return "{" + " , ".join(f"{json.dumps(name)} : {written(inner)}" for name, inner in part) + "}"
        return json.dumps(part)

    data = written(value).encode()
    if repeated:
        with pytest.raises(JsonError):
            read_json(data, unique=True)
    else:
        assert read_json(data, unique=True) == json.loads(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":"\\ud83d"}', {"a": "\ufffd"}),
        (b'{"\\ude00":["\\ud83d\\ude00\\ud83d"]}', {"\ufffd": ["\U0001f600\ufffd"]}),
        (b'{"a":"\xed\xa0\xbd"}', {"a": "\ufffd"}),
        (b'{"a":"x\ny\x00"}', {"a": "x\ny\x00"}),
        ('{"a":"\xe9"}'.encode("latin-1"), {"a": "\xe9"}),
        ('{"a":"\xe9"}'.encode("utf-16"), {"a": "\xe9"}),
        (b'{"a":[NaN,-Infinity,12.50]}', {"a": [None, None, 12.5]}),
    ],
)
def test_what_others_write_though_it_is_no_json_is_read(data: bytes, value: object) -> None:
    with pytest.raises(JsonError):
        read_json(data)
    assert read_leniently(data) == value


@pytest.mark.parametrize(
    "data", [b"", b"text", b"{", b"\xff\xfe", b'{"a":1}}', b"{'a':1}", b"[" * 200, nested(5000) + b"]"]
)
def test_other_texts_are_no_json_however_leniently_they_are_read(data: bytes) -> None:
    with pytest.raises(JsonError):
        read_leniently(data)


def test_what_costs_too_much_is_not_read_leniently_either() -> None:
    for data in (b"[" + b"1.50," * 300_000 + b"1]", b"[NaN," + b"1.50," * 300_000 + b"1]"):
        for read in (read_json, read_leniently):
            with pytest.raises(JsonError):
                read(data)
    with pytest.raises(JsonTooManyError):
        read_leniently(b"[NaN," + b"1.50," * 300_000 + b"1]")
    with pytest.raises(JsonTooManyError):
        read_json(b"[" + b"1," * 300_000 + b"1]", unique=True)
    with pytest.raises(JsonTooManyError):
        read_leniently(b"[NaN," + b"[" * 60_000 + b"]" * 60_000 + b"]")


def test_what_is_nested_too_deep_becomes_text() -> None:
    text = b'{"before":[{}],"a":' + nested(10) + b',"q\\"[":"[[[[[[{","after":[[["x"]]]}'
    assert no_deeper(text, 11) == text
    shallow = no_deeper(text, 6)
    assert not is_deep(shallow, 6)
    value = orjson.loads(shallow)
    assert value["a"] == [[[[{"tooDeep": "[[[[[[]]]]]]"}]]]]
    assert {**value, "a": None} == {**orjson.loads(text), "a": None}


@given(
    st.recursive(
        st.none() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    st.integers(2, 5),
)
def test_nothing_is_lost_that_is_nested_too_deep(value: object, limit: int) -> None:
    def whole(part: object) -> object:
        if isinstance(part, dict):
            if part.keys() == {"tooDeep"}:
                return whole(json.loads(part["tooDeep"]))
            return {name: whole(item) for name, item in part.items()}
        return [whole(item) for item in part] if isinstance(part, list) else part

    shallow = no_deeper(orjson.dumps(value), limit)
    assert not is_deep(shallow, limit)
    assert whole(orjson.loads(shallow)) == value
