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
    """One template: `methods` upper case, empty for all; `precedence` sorts the more specific first."""

    template: str
    methods: frozenset[str]
    target: Target
    pattern: re.Pattern[str]
    precedence: tuple[int, ...]

    @property
    def is_literal(self) -> bool:
        return "{" not in self.template


def compile_route(template: str, methods: Iterable[str], target: Target) -> Route[Target]:
    """A route from a template such as `api/contact/{id:int?}` or `files/{*rest}`.

    Raises `SettingsError` for syntax and constraints that are not among those understood here.
    """
    pattern, precedence = "", []
    segments = [segment for segment in template.split("/") if segment]
    for index, segment in enumerate(segments):
        whole = _PARAMETER.fullmatch(segment)
        if whole and whole["stars"]:
            if index != len(segments) - 1:
                raise SettingsError(f"route {template}: {segment} takes all the rest, so it must be the last")
            pattern += f"(?:/(?P<{whole['name']}>.*))?"
            precedence.append(5)
        elif whole and whole["optional"]:
            if index != len(segments) - 1:
                raise SettingsError(f"route {template}: only the last segment may be optional")
            pattern += f"(?:/{_parameter(whole, template)})?"
            precedence.append(2 if whole["constraint"] else 3)
        else:
            pattern += "/" + _segment(segment, template)
            precedence.append(1 if "{" not in segment else 2 if not whole or whole["constraint"] else 3)
    return Route(
        template="/".join(segments),
        methods=frozenset(method.upper() for method in methods),
        target=target,
        pattern=re.compile(pattern, re.IGNORECASE | re.DOTALL),
        precedence=tuple(precedence),
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
    """All routes of an app. Literal ones are found by one lookup."""

    def __init__(self, routes: Iterable[Route[Target]]) -> None:
        self._literal: dict[str, list[Route[Target]]] = {}
        self._patterns: list[Route[Target]] = []
        for route in routes:
            if route.is_literal:
                self._literal.setdefault("/" + route.template.lower(), []).append(route)
            else:
                self._patterns.append(route)
        self._patterns.sort(key=lambda route: route.precedence)

    def find(self, method: str, raw_path: str) -> tuple[Target, Mapping[str, str]] | None:
        """The target of the most specific route for this method and undecoded path, with its parameters; else None.

        The real host makes the method part of the match: a known path with another method is unknown, too.
        """
        path = decode_path(raw_path)
        if len(path) > 1 and path[-1] == "/":
            path = path[:-1]
        for route in self._literal.get(path.lower(), ()):
            if not route.methods or method in route.methods:
                return route.target, {}
        for route in self._patterns:
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
