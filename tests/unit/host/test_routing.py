import pytest

from devtools.host.routing import BadTarget, RouteTable, compile_route, server_path
from devtools.host.settings import SettingsError


def table(**templates: str) -> RouteTable[str]:
    return RouteTable(compile_route(name, f"api/{template}", [], name) for name, template in templates.items())


@pytest.mark.parametrize(
    ("path", "template", "params"),
    [
        ("/api/contact", "contact", {}),
        ("/API/Contact/", "contact", {}),
        ("/api/contact/AbC", "contact/{id}", {"id": "AbC"}),
        ("/api/contact/12", "contact/{number:int}", {"number": "12"}),
        ("/api/contact/did%3Aweb%3Aa%253A1", "contact/{id}", {"id": "did:web:a%3A1"}),
        ("/api/contact/a%2Fb", "contact/{id}", {"id": "a%2Fb"}),
        ("/api/page", "page/{n:int?}", {}),
        ("/api/page/7", "page/{n:int?}", {"n": "7"}),
        ("/api/identity/x/did.json", "identity/{id}/did.json", {"id": "x"}),
        ("/api/files/a/b/c", "files/{*rest}", {"rest": "a/b/c"}),
        ("/api/files", "files/{*rest}", {}),
        ("/api/image.png", "{name}.png", {"name": "image"}),
        ("/api/else/where", "{*everything}", {"everything": "else/where"}),
    ],
)
def test_a_route_matches_and_reads_its_parameters(path: str, template: str, params: dict[str, str]) -> None:
    assert table(one=template).find("GET", server_path(path)) == ("one", params)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/contact?limit=1", "/api/contact"),
        ("http://127.0.0.1:7071/api/contact?x=/y", "/api/contact"),
        ("http://127.0.0.1", "/"),
        ("/a/../b/./c", "/b/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/b/..", "/a/"),
        ("/../../a", "/a"),
        ("/a/.b/..c", "/a/.b/..c"),
        ("/a//b", "/a//b"),
        ("/%61%2F%2f%C3%A9", "/a%2F%2fé"),
        ("/%ffx%C3%A9%e2%82", "/%ffxé%e2%82"),
        ("/%2561", "/%61"),
        ("/%zz%", "/%zz%"),
        ("/" + "%ff" * 3000, "/" + "%ff" * 3000),
    ],
)
def test_the_path_that_is_matched(target: str, path: str) -> None:
    assert server_path(target) == path


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(BadTarget):
        server_path("/a%00")


def test_the_first_function_by_name_wins_however_general_its_route() -> None:
    routes = table(z="contact", B="contact/{id}", a="{*rest}")
    assert routes.find("GET", "/api/contact") == ("a", {"rest": "contact"})
    routes = table(z="{*rest}", contacts="contact/{id}", B="contact/{id}/{*more}", self="contact/self")
    assert routes.find("GET", "/api/contact/self") == ("B", {"id": "self"})
    assert routes.find("GET", "/api/else") == ("z", {"rest": "else"})


def test_names_are_ordered_without_case_and_by_code_unit() -> None:
    # In upper case, where "_" comes after every letter.
    assert table(a_b="{*rest}", aB="{*rest}").find("GET", "/api/x") == ("aB", {"rest": "x"})
    assert table(b="{*rest}", A="{*rest}").find("GET", "/api/x") == ("A", {"rest": "x"})


@pytest.mark.parametrize("path", ["/api/page/x", "/api/page/1/2", "/contact", "/api", "/", "", "*", "/api//contact"])
def test_no_route(path: str) -> None:
    assert table(page="page/{n:int}", contact="contact").find("GET", path) is None


def test_the_method_is_part_of_the_match() -> None:
    routes = RouteTable(
        [
            compile_route("1", "a", ["get"], "literal"),
            compile_route("2", "{x}", ["POST"], "param"),
            compile_route("3", "b", [], "all"),
        ]
    )
    assert routes.find("GET", "/a") == ("literal", {})
    assert routes.find("POST", "/a") == ("param", {"x": "a"})
    assert routes.find("PUT", "/a") is None
    assert routes.find("PATCH", "/b") == ("all", {})


@pytest.mark.parametrize("template", ["a/{id:regex(x)}", "a/{*rest}/b", "a/{id?}/b", "a/{id", "a/x{id?}", "a/{i-d}"])
def test_what_is_not_understood_is_refused(template: str) -> None:
    with pytest.raises(SettingsError, match="route"):
        compile_route("name", template, [], None)
