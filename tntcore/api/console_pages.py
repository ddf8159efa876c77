"""`/console`: the console, a web page on the API for people. Its source is in devtools/console."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

from tntcore.api.http import Call, Content, Response, Route
from tntcore.errors import Problem

_FILES: Mapping[str, str] = {"console.css": "text/css", "console.js": "text/javascript"}
# Scripts, styles and calls come from and go to this service alone. With `trusted-types 'none'` the browser itself
# refuses every string that a script would have it read as HTML.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGE: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # The page names its files with their hashes, so that after an upgrade the new ones are loaded.
    "cache-control": "no-cache",
}


class ConsolePages:
    def __init__(self, public_url: str) -> None:
        self._base = f"{urlsplit(public_url).path}/api/console/"
        shown = {200: Content("text/html")}
        self.routes = [
            Route("GET", "console", self.page, "public", summary="Open the console", answers=shown),
            Route(
                "GET",
                "console/{file}",
                _asset,
                "public",
                summary="Load a file of the console",
                answers={200: Content("*/*")},
            ),
        ]

    async def page(self, call: Call) -> Response:
        """Shows the console: sign in with a subscription key or an operator's key. Its files all come from here, and
        the browser keeps a key in the tab alone."""
        page = _file("index.html").replace(b"{base}", self._base.encode())
        for name in _FILES:
            page = page.replace(f"{{{name}}}".encode(), f"{self._base}{name}?{_digest(name)}".encode())
        return Response(200, page, "text/html", _PAGE)


async def _asset(call: Call) -> Response:
    name = call.arguments["file"]
    if name not in _FILES:
        raise Problem(404, "no-such-path", "There is nothing at this path. Check the path.")
    headers = {
        "cache-control": "public, max-age=86400",
        "x-content-type-options": "nosniff",
        "vary": "accept-encoding",
    }
    if "gzip" in call.request.headers.get("accept-encoding", ""):
        return Response(200, _compressed(name), _FILES[name], {**headers, "content-encoding": "gzip"})
    return Response(200, _file(name), _FILES[name], headers)


@cache
def _file(name: str) -> bytes:
    return resources.files("tntcore.api").joinpath("console", name).read_bytes()


@cache
def _digest(name: str) -> str:
    return hashlib.sha256(_file(name)).hexdigest()[:12]


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(_file(name), mtime=0)
