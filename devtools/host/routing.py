"""Route templates of HTTP triggers (the syntax of ASP.NET Core routing that Functions takes), and which one wins."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

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

    def find(self, method: str, path: str) -> tuple[Target, Mapping[str, str]] | None:
        """The target of the first route that has this method and path (see `server_path`), with its parameters."""
        if "//" in path:
            return None
        if len(path) > 1 and path[-1] == "/":
            path = path[:-1]
        for route in self._routes:
            if route.methods and method not in route.methods:
                continue
            found = route.pattern.fullmatch(path)
            if found:
                return route.target, {name: value for name, value in found.groupdict().items() if value}
        return None


class BadTarget(ValueError):
    """A request target that the real host's server answers 400."""


def server_path(target: str) -> str:
    """The path of a request target, as the real host's server hands it on.

    It is percent-decoded once, but for `%2F` and for bytes that are no UTF-8; then dot segments are removed. An
    absolute target's scheme and host are cut off. Raises `BadTarget` for NUL.
    """
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?]*", "", target).partition("?")[0] or "/"
    if "%" in path:
        path = re.sub(r"(?:%(?!2[fF])[0-9A-Fa-f]{2})+", lambda run: _decode(run[0]), path)
    if "\0" in path:
        raise BadTarget("the path has a NUL")
    return _without_dots(path) if "/." in path else path


def _decode(quoted: str) -> str:
    """A run of `%xx`, decoded where it is UTF-8."""
    raw, decoded, start = bytes.fromhex(quoted.replace("%", "")), "", 0
    while start < len(raw):
        try:
            return decoded + raw[start:].decode()
        except UnicodeDecodeError as error:
            valid, end = start + error.start, start + error.end
            decoded += raw[start:valid].decode() + quoted[3 * valid : 3 * end]
            start = end
    return decoded


def _without_dots(path: str) -> str:
    """RFC 3986, section 5.2.4."""
    kept: list[str] = []
    *segments, last = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last == "..":
        del kept[-1:]
    kept.append("" if last in (".", "..") else last)
    return "/" + "/".join(kept)
