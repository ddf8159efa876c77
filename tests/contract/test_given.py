"""Nothing that a caller types is passed over: a table over every route, made of the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict
from urllib.parse import quote

import pytest

from tests.scenarios.common import assert_problem
from tests.stack import Answer, Client, Stack
from tntcore.api.given import Shape, body_shape
from tntcore.api.http import Body, Route
from tntcore.api.json_schema import ERASED_BY_NULL, JsonSchema, example_of, is_required, schema_of
from tntcore.errors import Problem

UUID = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"
STRAY = "zzzStray"


@pytest.fixture(scope="module")
async def tenant(stack: Stack) -> Client:
    return await stack.register("Typist")


def typed(stack: Stack) -> Iterator[Route]:
    """Routes of callers who type; other people's agents add what they like to public paths."""
    yield from (route for route in stack.app.routes if route.access != "public")


def with_bodies(stack: Stack) -> Iterator[tuple[Route, Shape]]:
    for route in typed(stack):
        if route.request is not None and not isinstance(route.request, Body):
            yield route, body_shape(route.request)


async def call(tenant: Client, route: Route, body: Any = None, query: str = "") -> Answer:
    names = {"uuid": UUID, "id": UUID, "key": "TASK_WEBHOOK", "queue": "inbound"}
    path = re.sub(r"\{(\w+)\}", lambda name: names.get(name[1], "x"), route.path) + query
    headers = {"tnt-subscription-key": tenant.key, "x-functions-key": "operator", **tenant.stack.operator}
    with tenant.stack.described.whatever_is_asked():
        return await tenant.stack.call(route.method, path, body, **headers)


def example(route: Route) -> Any:
    """A body that the route takes."""
    if route.example is not None:
        return route.example
    named: dict[str, JsonSchema] = {}
    return example_of(schema_of(route.request, named, given=True), named)


def places(hint: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each `TypedDict` of a body, and where it is; `[]` is an item of a list."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        yield path, hint
        for name, of in get_type_hints(hint).items():
            yield from places(of, (*path, name))
    elif origin in (Union, UnionType, NotRequired, Required):
        for one in arguments:
            yield from places(one, path)
    elif origin is list:
        yield from places(arguments[0], (*path, "[]"))


def put(body: Any, path: tuple[str, ...], name: str, value: Any) -> Any:
    """The body with a member more at this place."""
    if not path:
        return {**(body if isinstance(body, dict) else {}), name: value}
    if path[0] == "[]":
        items = body if isinstance(body, list) and body else [{}]
        return [put(items[0], path[1:], name, value)]
    return {**(body if isinstance(body, dict) else {}), path[0]: put((body or {}).get(path[0]), path[1:], name, value)}


async def test_an_unknown_member_of_a_body_is_named(stack: Stack, tenant: Client) -> None:
    checked = 0
    for route, _ in with_bodies(stack):
        for path, hint in places(route.request):
            answer = await call(tenant, route, put(example(route), path, STRAY, "x"))
            detail = assert_problem(answer, 400, "member-unknown")["detail"]
            assert STRAY in detail, (route.path, path, detail)
            assert all(name in detail for name in get_type_hints(hint)), (route.path, path, detail)
            checked += 1
    assert checked > 40


async def test_a_missing_member_is_described(stack: Stack) -> None:
    answer = await stack.call("POST", "operator", {"name": "Rex"}, **stack.operator)
    detail = assert_problem(answer, 400, "role-invalid")["detail"]
    assert detail.startswith("role is missing. It must be a text: `read` may read;")


async def test_a_body_where_none_is_taken(stack: Stack, tenant: Client) -> None:
    checked = 0
    for route in typed(stack):
        if route.request is None:
            answer = await call(tenant, route, {STRAY: "x"})
            assert STRAY in assert_problem(answer, 400, "member-unknown")["detail"]
            checked += 1
    assert checked > 50


async def test_a_name_in_another_case_is_unknown_and_its_spelling_is_said(stack: Stack, tenant: Client) -> None:
    checked = 0
    for route, _ in with_bodies(stack):
        for path, hint in places(route.request):
            for name in get_type_hints(hint):
                answer = await call(tenant, route, put(example(route), path, name.swapcase(), None))
                detail = assert_problem(answer, 400, "member-unknown")["detail"]
                assert f"{name.swapcase()!r} (did you mean {name!r}?)" in detail, (route.path, path, name, detail)
                checked += 1
    assert checked > 150


async def test_an_unknown_parameter_of_the_query_is_named(stack: Stack, tenant: Client) -> None:
    for route in typed(stack):
        detail = assert_problem(await call(tenant, route, query=f"?{STRAY}=1"), 400, "parameter-unknown")["detail"]
        assert STRAY in detail, (route.path, detail)
        for name in get_type_hints(route.query) if route.query is not None else ():
            answer = await call(tenant, route, query=f"?{name.swapcase()}=x")
            assert f"did you mean {name!r}?" in assert_problem(answer, 400, "parameter-unknown")["detail"], route.path


def test_null_is_the_same_as_leaving_out(stack: Stack) -> None:
    """But where a PUT says that it erases."""
    checked, erased = 0, []
    for route, shape in with_bodies(stack):
        for path, hint in places(route.request):
            for name, of in get_type_hints(hint, include_extras=True).items():
                if is_required(hint, name, of):
                    continue
                without, given = (put(example(route), path, name, None) for _ in range(2))
                _delete(without, (*path, name))
                if ERASED_BY_NULL in getattr(of, "__metadata__", ()):
                    assert _at(shape.read(given, ""), (*path, name)) is None
                    assert route.method == "PUT"
                    erased.append(name)
                    continue
                assert _read(shape, given) == _read(shape, without), (route.path, path, name)
                checked += 1
    assert checked > 120
    assert sorted(set(erased)) == ["displayName", "email", "internalRef"]


async def test_nulls_for_all_that_may_be_left_out(stack: Stack, tenant: Client) -> None:
    """As serialisers write them: the answer is the same as without."""
    for route, _ in with_bodies(stack):
        optional = {
            name: None
            for name, of in get_type_hints(route.request, include_extras=True).items()
            if not is_required(route.request, name, of) and ERASED_BY_NULL not in getattr(of, "__metadata__", ())
        }
        needed = {name: value for name, value in example(route).items() if name not in optional}
        if route.path in ("principal/rewrap", "operator/first", "poison/replay") or not (needed or route.bodiless):
            continue  # they change what the other tests need, or have nothing without
        one, other = await call(tenant, route, needed), await call(tenant, route, {**needed, **optional})
        codes = [answer.json().get("type") for answer in (one, other)]
        created = (one.status, other.status) == (201, 200) and route.method == "PUT"
        assert (one.status, codes[0]) == (other.status, codes[1]) or other.status == 409 or created, (route.path, codes)


async def test_uuids_in_paths_in_any_form(stack: Stack, tenant: Client) -> None:
    for form in ("{}", "urn:uuid:{}"):
        for uuid in (tenant.identity["uuid"], tenant.identity["uuid"].upper()):
            assert (await tenant.get(f"identity/{form.format(uuid)}"))["uuid"] == tenant.identity["uuid"]
    for route in typed(stack):
        if "{uuid}" in route.path:
            headers = {"tnt-subscription-key": tenant.key, **stack.operator}
            path = re.sub(r"\{\w+\}", "1234", route.path)
            detail = assert_problem(await stack.call(route.method, path, None, **headers), 400, "uuid-invalid")
            assert "'1234'" in detail["detail"], route.path


async def test_a_parameter_that_is_repeated_is_refused(stack: Stack, tenant: Client) -> None:
    for route in typed(stack):
        for name in get_type_hints(route.query) if route.query is not None else ():
            detail = assert_problem(await call(tenant, route, query=f"?{name}=&{name}=x"), 400, "query-invalid")
            assert f"{name!r} is given more than once" in detail["detail"]


async def test_a_parameter_without_value_is_as_left_out_but_must_be_known(stack: Stack, tenant: Client) -> None:
    for route in typed(stack):
        assert_problem(await call(tenant, route, query=f"?{STRAY}="), 400, "parameter-unknown")
        if route.method == "GET" and route.query is not None:
            names = "&".join(f"{name}=" for name in get_type_hints(route.query))
            assert (await call(tenant, route, query=f"?{names}")).status == (await call(tenant, route)).status


async def test_bodies_that_are_no_objects(stack: Stack, tenant: Client) -> None:
    for route in typed(stack):
        if isinstance(route.request, Body):
            continue
        for body in (b"[]", b"1", b'"x"', b"true"):
            assert_problem(await call(tenant, route, body), 400, "body-not-an-object")
        assert_problem(await call(tenant, route, b'{"a":1,"a":2}'), 400, "body-not-json")


WRONG: list[Any] = [1.5, -1, 10**12, True, "", "\x00", "x" * 5000, [], [[]], {}, {"did": None}, [None]]


def test_no_value_of_a_member_breaks_a_call_or_its_words(stack: Stack) -> None:
    refused = 0
    for route, shape in with_bodies(stack):
        for path, hint in places(route.request):
            for name in get_type_hints(hint):
                for value in WRONG:
                    problem = _refused(shape, put(example(route), path, name, value))
                    if problem is not None:
                        assert problem.status == 400
                        assert problem.detail.endswith(".")
                        assert not problem.detail.endswith("..")
                        assert "has to" not in problem.detail
                        assert problem.code in shape.codes, (route.path, name, problem.code)
                        refused += 1
    assert refused > 1000


def test_words_of_a_list_are_read_in_any_case_and_are_in_the_document(stack: Stack) -> None:
    checked = 0
    for route, shape in with_bodies(stack):
        named: dict[str, JsonSchema] = {}
        schema_of(route.request, named, given=True)
        for schema in named.values():
            for name, member in schema["properties"].items():
                for word in member.get("enum") or ():
                    if word is not None and shape.members is not None and name in shape.members:
                        read = shape.members[name].read(word.swapcase(), name)
                        assert read == word
                        checked += 1
    assert checked > 10


@pytest.mark.parametrize("did", ["did:xyz", "did:", "did:web", "xyz", "did:web:a b", "did:key:z6Mk#x"])
async def test_what_is_no_did_is_refused(tenant: Client, did: str) -> None:
    with tenant.stack.described.whatever_is_asked():
        answer = await tenant.call("POST", "contact", {"contact": {"did": did}})
        assert_problem(answer, 400, "contact-invalid")
        for path in (f"contact?did={quote(did)}", f"connection?contactDid={quote(did)}"):
            assert (await tenant.call("GET", path)).status == 400


@pytest.mark.parametrize("email", ["not an email", "a@", "@b", "a@b@c", "a@b\n", "x"])
async def test_what_is_no_address_is_refused(tenant: Client, email: str) -> None:
    with tenant.stack.described.whatever_is_asked():
        assert_problem(await tenant.call("POST", "contact", {"contact": {"email": email}}), 400, "email-invalid")
        assert_problem(await tenant.call("GET", f"contact?email={quote(email)}"), 400, "email-invalid")


def _refused(shape: Shape, given: Any) -> Problem | None:
    try:
        shape.read(given, "")
    except Problem as problem:
        return problem
    return None


def _read(shape: Shape, body: Any) -> Any:
    try:
        return shape.read(body, "")
    except Problem as problem:
        return str(problem)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value[0 if name == "[]" else name]
    return value


def _delete(body: Any, path: tuple[str, ...]) -> None:
    del _at(body, path[:-1])[path[-1]]


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\x1b[31m", "\x7f", "\x85", "\u2028"])
async def test_control_characters_in_names_are_refused(tenant: Client, name: str) -> None:
    for path, body, code in (
        ("contact", {"contact": {"displayName": name, "email": "a@partner.example"}}, "display-name-invalid"),
        ("invitation", {"label": name}, "label-invalid"),
        ("identity", {"displayName": name}, "display-name-invalid"),
        ("api-token", {"name": name}, "name-invalid"),
    ):
        assert "control characters" in assert_problem(await tenant.call("POST", path, body), 400, code)["detail"]


@pytest.mark.parametrize("name", ["Zoë & Söhne", "\u0915\u094d\u200d\u0937", "a\u00a0b"])
async def test_other_characters_in_names_are_taken(tenant: Client, name: str) -> None:
    assert (await tenant.post("invitation", {"label": name}))["invitation"]["label"] == name


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("contact", {"contact": {"displayName": "A", "email": ""}}, "email-invalid"),
        ("settings/DIDCOMM_WEBHOOK", {"setting": [{"url": "https://a.example", "id": ""}]}, "setting-invalid"),
        ("settings/DIDCOMM_WEBHOOK", {"setting": [{"url": "https://a.example", "method": ""}]}, "setting-invalid"),
        ("settings/DIDCOMM_WEBHOOK", {"setting": [{"url": "https://a.example", "status": 1}]}, "setting-invalid"),
        ("settings/DIDCOMM_WEBHOOK", {"setting": [{"url": "https://a.example", "status": "?"}]}, "setting-invalid"),
    ],
)
async def test_an_empty_text_is_not_the_same_as_leaving_out(
    tenant: Client, path: str, body: dict[str, Any], code: str
) -> None:
    assert_problem(await tenant.call("POST", path, body), 400, code)
