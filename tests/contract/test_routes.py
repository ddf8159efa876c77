"""Each HTTP function is reached at its own route, though the host tries functions in the order of their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import azure.functions as func
import pytest

import function_app
from devtools.host import Host
from devtools.host.functions import load
from devtools.host.http import HttpFunction
from devtools.host.routing import Route, RouteTable

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def routes_of(app: func.FunctionApp) -> list[Route[HttpFunction]]:
    return Host(app, {}, "unused").routes


def samples(template: str) -> Iterator[str]:
    """Paths that a template is for."""
    base = "/" + re.sub(r"/?\{\*\w+\}$", "", template)
    base = re.sub(r"\{\w+[^}]*\}", "1", base)
    yield base
    if template.endswith("}") and "{*" in template:
        yield from (f"{base}/x", f"{base}/x/y")


def hidden(app: func.FunctionApp) -> set[tuple[str, str]]:
    """Functions that another takes calls from, each with that other."""
    routes = routes_of(app)
    table = RouteTable(routes)
    found = set()
    for route in routes:
        for path in samples(route.template):
            for method in route.methods or {"GET"}:
                reached = table.find(method, path)
                assert reached is not None
                if reached[0].function.name != route.name:
                    found.add((route.name, reached[0].function.name))
    return found


def test_no_function_hides_another() -> None:
    assert hidden(function_app.app) == set()


def test_a_function_that_hides_others_is_noticed() -> None:
    app = func.FunctionApp()

    @app.route("{*rest}")
    def api(req: func.HttpRequest) -> str:
        raise NotImplementedError

    @app.route("principal/{*rest}")
    def principal(req: func.HttpRequest) -> str:
        raise NotImplementedError

    @app.route("{a}/{b}")
    def Between(req: func.HttpRequest) -> str:
        raise NotImplementedError

    assert hidden(app) == {("principal", "api"), ("Between", "api")}


def test_a_method_that_one_function_lacks_reaches_no_other() -> None:
    """The host would look at the next function, whose callers are others."""
    methods = [route.methods for route in routes_of(function_app.app)]
    assert methods == [frozenset(function_app.METHODS)] * len(methods)


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/api", "web_api"),
        ("/api/contact/x", "web_api"),
        ("/api/i", "web_api"),
        ("/api/i/BmJxAAAAAAAAAAAAAAAAAA", "web_api"),
        ("/api/console", "web_api"),
        ("/api/console/console.js", "web_api"),
        ("/api/principalx", "web_api"),
        ("/api/didcomm", "didcomm"),
        ("/API/DIDCOMM/", "didcomm"),
        ("/api/didcomm/x", "web_api"),
        ("/api/principal/x/rewrap", "web_api"),
        ("/api/operator", "web_api"),
        ("/api/operator/first", "first_operator"),
        ("/api/OPERATOR/First/", "first_operator"),
        ("/api/operator/first/x", "web_api"),
    ],
)
def test_which_function_is_called(path: str, function: str) -> None:
    found = RouteTable(routes_of(function_app.app)).find("POST", path)
    assert found is not None
    assert found[0].function.name == function


def test_the_docs_name_functions_that_exist() -> None:
    """Lists such as "each queue function (`inbound`, `outbound`)"."""
    functions = {function.name for function in load(function_app.app)}
    lists = [
        (page.name, names)
        for page in DOCS
        for names in re.findall(r"functions?(?:'s name)? \(((?:`\w+`(?:, | and )?)+)", page.read_text())
    ]
    assert {page for page, _ in lists} == {"deploy.md", "telemetry.md"}
    assert {name for _, names in lists for name in re.findall(r"`(\w+)`", names)} <= functions
