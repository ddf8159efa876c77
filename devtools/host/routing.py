"""Route templates of HTTP triggers (the syntax of ASP.NET Core routing that Functions takes), and which one wins."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote

from devtools.host.settings import SettingsError

Target = TypeVar("Target")

_CONSTRAINTS = {
    "int": r"-?\d+",
    "long": r"-?\d+",
    "bool": r"true|false",
    "alpha": r"[a-z]+",
    "guid": r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}",
}
_PARAMETER = re.compile(r"\{(?P<stars>\*{0,2})(?P<name>[A-Za-z_]\w*)(?::(?P<constraint>[^{}?]+))?(?P<optional>\?)?\}")


@dataclass(frozen=True)
class Route(Generic[Target]):
    """The template of one function; `methods` are in upper case, empty for all."""

    name: str
    template: str
    methods: frozenset[str]
    target: Target
    pattern: re.Pattern[str]


def compile_route(name: str, template: str, methods: Iterable[str], target: Target) -> Route[Target]:
    """A route of the function `name` from a template such as `api/contact/{id:int?}` or `files/{*rest}`.

    Raises `SettingsError` for syntax and constraints that are not among those understood here.
    """
    pattern = ""
    segments = [segment for segment in template.split("/") if segment]
    for index, segment in enumerate(segments):
        whole = _PARAMETER.fullmatch(segment)
        if whole and whole["stars"]:
            if index != len(segments) - 1:
                raise SettingsError(f"route {template}: {segment} takes all the rest, so it must be the last")
            pattern += f"(?:/(?P<{whole['name']}>.*))?"
        elif whole and whole["optional"]:
            if index != len(segments) - 1:
                raise SettingsError(f"route {template}: only the last segment may be optional")
            pattern += f"(?:/{_parameter(whole, template)})?"
        else:
            pattern += "/" + _segment(segment, template)
    return Route(
        name=name,
        template="/".join(segments),
        methods=frozenset(method.upper() for method in methods),
        target=target,
        pattern=re.compile(pattern, re.IGNORECASE | re.DOTALL),
    )


def _segment(segment: str, template: str) -> str:
    pieces, end = [], 0
    for found in _PARAMETER.finditer(segment):
        if found["stars"] or found["optional"]:
            raise SettingsError(f"route {template}: {found[0]} must be a segment of its own")
        pieces += [_literal(segment[end : found.start()], template), _parameter(found, template)]
        end = found.end()
    return "".join([*pieces, _literal(segment[end:], template)])


def _literal(text: str, template: str) -> str:
    if "{" in text or "}" in text:
        raise SettingsError(f"route {template}: cannot read {text!r}")
    return re.escape(text)


def _parameter(found: re.Match[str], template: str) -> str:
    name, constraint = found["name"], found["constraint"]
    if constraint is None:
        return f"(?P<{name}>[^/]+)"
    if constraint not in _CONSTRAINTS:
        raise SettingsError(f"route {template}: the constraint {constraint!r} is not one of {', '.join(_CONSTRAINTS)}")
    return f"(?P<{name}>{_CONSTRAINTS[constraint]})"


class RouteTable(Generic[Target]):
    """All routes of an app, in the order in which the host tries them: by the functions' names, without case.

    Nothing else counts: `{*rest}` of the function `a` hides the literal route of the function `b`.
    """

    def __init__(self, routes: Iterable[Route[Target]]) -> None:
        self._routes = sorted(routes, key=lambda route: route.name.upper())

    def find(self, method: str, raw_path: str) -> tuple[Target, Mapping[str, str]] | None:
        """The target of the first route that has this method and undecoded path, with its parameters; else None."""
        path = decode_path(raw_path)
        if len(path) > 1 and path[-1] == "/":
            path = path[:-1]
        for route in self._routes:
            if route.methods and method not in route.methods:
                continue
            found = route.pattern.fullmatch(path)
            if found:
                return route.target, {name: value for name, value in found.groupdict().items() if value}
        return None


def decode_path(raw_path: str) -> str:
    """A path percent-decoded once, but for `%2F`: as the real host's server hands it on, it separates nothing."""
    if "%" not in raw_path:
        return raw_path
    return "%2F".join(unquote(piece) for piece in re.split("%2[fF]", raw_path))
