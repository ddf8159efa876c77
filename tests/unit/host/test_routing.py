import pytest

from devtools.host.routing import RouteTable, compile_route
from devtools.host.settings import SettingsError


def table(*templates: str) -> RouteTable[str]:
    return RouteTable(compile_route(f"api/{template}", [], template) for template in templates)


@pytest.mark.parametrize(
    ("path", "template", "params"),
    [
        ("/api/contact", "contact", {}),
        ("/API/Contact/", "contact", {}),
        ("/api/contact/AbC", "contact/{id}", {"id": "AbC"}),
        ("/api/contact/12", "contact/{number:int}", {"number": "12"}),
        ("/api/contact/self", "contact/self", {}),
        ("/api/contact/did%3Aweb%3Aa%253A1", "contact/{id}", {"id": "did:web:a%3A1"}),
        ("/api/contact/a%2Fb", "contact/{id}", {"id": "a%2Fb"}),
        ("/api/page", "page/{n:int?}", {}),
        ("/api/page/7", "page/{n:int?}", {"n": "7"}),
        ("/api/identity/x/did.json", "identity/{id}/did.json", {"id": "x"}),
        ("/api/files/a/b/c", "files/{*rest}", {"rest": "a/b/c"}),
        ("/api/files", "files/{*rest}", {}),
        ("/api/files/index", "files/index", {}),
        ("/api/image.png", "{name}.png", {"name": "image"}),
        ("/api/else/where", "{*everything}", {"everything": "else/where"}),
    ],
)
def test_the_most_specific_route_wins(path: str, template: str, params: dict[str, str]) -> None:
    routes = table(
        "{*everything}",
        "files/{*rest}",
        "contact/{id}",
        "contact/{number:int}",
        "page/{n:int?}",
        "identity/{id}/did.json",
        "{name}.png",
        "files/index",
        "contact/self",
        "contact",
    )
    assert routes.find("GET", path) == (template, params)


@pytest.mark.parametrize("path", ["/api/page/x", "/api/page/1/2", "/contact", "/api", "/", "", "*", "/api//contact"])
def test_no_route(path: str) -> None:
    assert table("page/{n:int}", "contact").find("GET", path) is None


def test_the_method_is_part_of_the_match() -> None:
    routes = RouteTable(
        [compile_route("a", ["get"], "literal"), compile_route("{x}", ["POST"], "param"), compile_route("b", [], "all")]
    )
    assert routes.find("GET", "/a") == ("literal", {})
    assert routes.find("POST", "/a") == ("param", {"x": "a"})
    assert routes.find("PUT", "/a") is None
    assert routes.find("PATCH", "/b") == ("all", {})


@pytest.mark.parametrize("template", ["a/{id:regex(x)}", "a/{*rest}/b", "a/{id?}/b", "a/{id", "a/x{id?}", "a/{i-d}"])
def test_what_is_not_understood_is_refused(template: str) -> None:
    with pytest.raises(SettingsError, match="route"):
        compile_route(template, [], None)
