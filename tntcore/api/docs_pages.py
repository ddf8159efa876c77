"""`/`, `/openapi.json` and `/docs`: what there is, described for programs and on a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict
from urllib.parse import urlsplit

from tntcore.api.http import Body, Call, Response, Route, answer
from tntcore.api.openapi import document
from tntcore.api.openapi_3_0 import to_3_0
from tntcore.api.page_files import PageFiles
from tntcore.api.views import JsonObject
from tntcore.strict_json import write_json

_FILES = PageFiles(
    "viewer",
    {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript"},
)


class EntryPoints(TypedDict):
    """URLs of the API's documentation page, its OpenAPI description and the health check."""

    docs: str
    openapi: str
    health: str


class DocsPages:
    """Routes that describe the given routes and themselves."""

    def __init__(self, routes: Sequence[Route], public_url: str) -> None:
        self._written: bytes | None = None
        self._written_3_0: bytes | None = None
        self._public_url = public_url
        url = urlsplit(public_url)
        self._base, self._origin = f"{url.path}/api/", f"{url.scheme}://{url.netloc}"
        self.routes = [
            Route("GET", "", self.index, "public", summary="List the entry points", answers={200: EntryPoints}),
            Route(
                "GET",
                "openapi.json",
                self.read,
                "public",
                summary="Read this description, in OpenAPI 3.1",
                answers={200: JsonObject},
            ),
            Route(
                "GET",
                "openapi-3.0.json",
                self.read_3_0,
                "public",
                summary="Read this description, in OpenAPI 3.0",
                answers={200: JsonObject},
            ),
            Route(
                "GET",
                "docs",
                self.page,
                "public",
                summary="Open a page to read and try the API",
                answers={200: Body("text/html")},
            ),
            Route(
                "GET",
                "docs/{file}",
                _FILES.load,
                "public",
                summary="Load a file of the page",
                answers={200: Body("*/*")},
            ),
        ]
        self._all = [*routes, *self.routes]

    async def index(self, call: Call) -> Response:
        base = f"{self._public_url}/api"
        return answer(EntryPoints(docs=f"{base}/docs", openapi=f"{base}/openapi.json", health=f"{base}/health"))

    async def read(self, call: Call) -> Response:
        if self._written is None:
            self._written = write_json(document(self._all, self._public_url))
        return Response(200, self._written)

    async def read_3_0(self, call: Call) -> Response:
        """For generators of clients that do not read 3.1. Webhooks are left out: 3.0 cannot describe them."""
        if self._written_3_0 is None:
            self._written_3_0 = write_json(to_3_0(document(self._all, self._public_url)))
        return Response(200, self._written_3_0)

    async def page(self, call: Call) -> Response:
        """Shows the API. All files of the page are served here. Keys typed into it are not stored."""
        headers = {
            # Swagger UI uses inline styles and data: images.
            "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data:; connect-src 'self' {self._origin}; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return Response(200, _FILES.read("index.html").replace(b"{base}", self._base.encode()), "text/html", headers)
