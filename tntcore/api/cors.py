"""Cross-origin calls by browsers (the Fetch standard, section "CORS protocol"), from the origins in a setting.

Callers authenticate by a key in a header, never by a cookie, so credentials are not allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request, Response

_ASKED_HEADERS = (
    "authorization, content-type, idempotency-key, if-match, if-none-match, "
    f"{KEY_HEADER}, {OPERATOR_HEADER}, traceparent"
)
_EXPOSED_HEADERS = "allow, etag, retry-after"
_PREFLIGHT_SECONDS = "600"


class Cors:
    """Decides by the header `Origin`. Without configured origins, browsers of other sites get no CORS headers.

    Args:
        origins: such as `https://console.example.com`, in lower case.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self, request: Request, methods: Iterable[str]) -> Response | None:
        """Answers a preflight request; returns None if `request` is not a preflight from one of the origins.

        Args:
            methods: the methods that the path supports.
        """
        asks = request.method == "OPTIONS" and "access-control-request-method" in request.headers
        if not asks or not self._is_allowed(request):
            return None
        headers = {
            "access-control-allow-methods": ", ".join(methods),
            "access-control-allow-headers": _ASKED_HEADERS,
            "access-control-max-age": _PREFLIGHT_SECONDS,
        }
        return Response(204, content_type="", headers=headers)

    def share(self, request: Request, response: Response) -> Response:
        """Returns the response, with CORS headers if the request's origin is allowed to read it."""
        if not self._origins:
            return response
        headers: dict[str, str] = {**response.headers, "vary": _with(response.headers, "origin")}
        if self._is_allowed(request):
            headers["access-control-allow-origin"] = request.headers["origin"]
            headers["access-control-expose-headers"] = _EXPOSED_HEADERS
        return replace(response, headers=headers)

    def _is_allowed(self, request: Request) -> bool:
        return request.headers.get("origin", "").lower() in self._origins


def _with(headers: Mapping[str, str], name: str) -> str:
    return f"{headers['vary']}, {name}" if "vary" in headers else name
