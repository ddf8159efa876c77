"""`/console`: the console, a web page on the API for people. Its source is in devtools/console."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from tntcore.api.http import Body, Call, Response, Route
from tntcore.api.page_files import PageFiles

_TYPES: Mapping[str, str] = {"console.css": "text/css", "console.js": "text/javascript"}
_FILES = PageFiles("console", _TYPES)
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
        shown = {200: Body("text/html")}
        self.routes = [
            Route("GET", "console", self.page, "public", summary="Open the console", answers=shown),
            Route(
                "GET",
                "console/{file}",
                _FILES.load,
                "public",
                summary="Load a file of the console",
                answers={200: Body("*/*")},
            ),
        ]

    async def page(self, call: Call) -> Response:
        """Shows the console: sign in with a subscription key or an operator's key. Its files all come from here, and
        the browser keeps a key in the tab alone."""
        page = _FILES.read("index.html").replace(b"{base}", self._base.encode())
        for name in _TYPES:
            page = page.replace(f"{{{name}}}".encode(), f"{self._base}{name}?{_FILES.digest(name)}".encode())
        return Response(200, page, "text/html", _PAGE)
