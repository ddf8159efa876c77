import orjson
import pytest

from tntcore.jsonio import MAX_DEPTH, JsonError, JsonTooDeepError, read_json


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
