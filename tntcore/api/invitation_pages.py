"""`/i`: an invitation as its link shows it to anybody: a page for people, JSON for agents (Aries RFC 0434,
"Standard Out-of-Band Message Encoding" and "URL Shortening").

Only invitations made here are shown, from their stored records, so a link cannot put words on a page. A link's code is
the invitation's random `@id`, which nobody can guess. Wrong guesses count against the limits of `POST /didcomm`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache, lru_cache
from html import escape
from string import Template
from typing import Annotated, Any, TypedDict
from urllib.parse import urlencode, urlsplit

import orjson

from tntcore.api.http import JSON, Body, Call, Response, Route, client_address, problem
from tntcore.api.page_files import PageFiles
from tntcore.connections.invitations import Invitations, OpenedInvitation, id_of_code, short_url
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.messaging.invitations import qr_markup, read_invitation, read_invitation_url
from tntcore.rate_limits import Pace
from tntcore.services import Services
from tntcore.storage.states import InvitationStatus

_MISS = 20  # an unknown link counts as so many requests
_FILES = PageFiles("pages", {"invitation.css": "text/css", "invitation.js": "text/javascript"})
_SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "vary": "accept"}
_PAGE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    **_SAFE,
}
_OVER = {
    InvitationStatus.EXPIRED: "has expired",
    InvitationStatus.USED: "was used already",
    InvitationStatus.REVOKED: "was withdrawn",
}
_drawn = lru_cache(256)(qr_markup)


class UrlQuery(TypedDict, total=False):
    oob: Annotated[str, "an out-of-band/1 invitation, in base64url"]
    _oob: Annotated[str, "an out-of-band/2 invitation, in base64url"]
    c_i: Annotated[str, "a connections/1 invitation, in base64url"]
    id: Annotated[str, "the invitation's `@id`"]


class InvitationPages:
    """
    Args:
        now: monotonic seconds.
    """

    def __init__(self, services: Services, invitations: Invitations, now: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._invitations = invitations
        self._addresses = Pace(now)
        self._base = f"{urlsplit(services.config.public_url).path}/api/i"
        shown = {200: Body("*/*")}
        errors = ("404 invitation-unknown", "410 invitation-gone", "429 too-many-requests")
        self.routes = [
            Route(
                "GET",
                "i",
                self.by_url,
                "public",
                summary="Open an invitation's URL",
                answers=shown,
                query=UrlQuery,
                errors=errors,
            ),
            Route(
                "GET",
                "i/{code}",
                self.by_code,
                "public",
                summary="Open an invitation's short URL",
                answers=shown,
                errors=errors,
            ),
            Route(
                "GET",
                "i/page/{file}",
                _FILES.load,
                "public",
                summary="Load a file of the invitation's page",
                answers={200: Body("*/*")},
            ),
        ]

    async def by_url(self, call: Call) -> Response:
        """Shows the invitation in the URL (`oob`, `_oob`, `c_i`), if it was made here, or the one that `id` names."""
        query = call.request.query
        if "id" in query:
            return await self._show(call, lambda: id_of_code(query["id"]))
        value = next((query[name] for name in ("oob", "_oob", "c_i") if query.get(name)), "")
        return await self._show(call, lambda: _id_in(value))

    async def by_code(self, call: Call) -> Response:
        """Shows a page to a browser, and the invitation as JSON to everybody else, by the header Accept."""
        return await self._show(call, lambda: id_of_code(call.arguments["code"]))

    async def _show(self, call: Call, read_id: Callable[[], str]) -> Response:
        for_people = _prefers_html(call.request.headers.get("accept", ""))
        try:
            opened = await self._open(call, read_id)
        except Problem as error:
            if not for_people:
                told = problem(error, call.trace or self._services.uuid7())
                return Response(told.status, told.body, told.content_type, {**told.headers, **_SAFE})
            headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
            return self._page("Invitation", error.detail, "", error.status, headers)
        if not for_people:
            return Response(200, orjson.dumps(opened.content), JSON, {"cache-control": "no-store", **_SAFE})
        return self._invitation(opened)

    async def _open(self, call: Call, read_id: Callable[[], str]) -> OpenedInvitation:
        """Raises `Problem` 404, 410 or 429."""
        limits = self._services.config.limits
        address = client_address(call.request.headers, limits.forwarded_hops)
        if address and (wait := self._addresses.take(address, limits.address)):
            seconds = math.ceil(wait)
            detail = f"Too many requests from your address. Retry in {seconds} s."
            raise Problem(429, "too-many-requests", detail, retry_after=seconds)
        invitation_id = read_id()
        opened = await self._invitations.open(invitation_id) if invitation_id else None
        if opened is None:
            if address:
                self._addresses.reserve(address, limits.address, _MISS - 1)
            raise Problem(404, "invitation-unknown", "There is no such invitation. Ask the sender for a new link.")
        if opened.status != InvitationStatus.ACTIVE:
            detail = f"The invitation {_OVER[opened.status]}. Ask the sender for a new one."
            raise Problem(410, "invitation-gone", detail)
        return opened

    def _invitation(self, opened: OpenedInvitation) -> Response:
        read = read_invitation(opened.content)
        url = short_url(self._services.config.public_url, opened.invitation)
        goal = f'<p class="goal">{escape(read.goal)}</p>' if read.goal else ""
        expires = opened.invitation.expires_at
        until = times.iso_seconds(expires) if expires else ""
        valid = f'<p>Valid until <time datetime="{until}">{until.replace("T", " ").rstrip("Z")} UTC</time>.</p>'
        content = (
            f"{goal}\n<p>Scan the code with your agent, or copy the link into it.</p>\n"
            f'<figure role="img" aria-label="QR code of the link">{_drawn(url)}</figure>\n'
            f'<p class="link"><code id="link">{escape(url)}</code> '
            '<button id="copy" type="button" hidden>Copy link</button></p>\n'
            f'<p>With an account here, <a href="{escape(self._console(url))}">accept it in the console</a>.'
            "</p>\n" + (valid if until else "")
        )
        label = (read.label or "").strip()
        heading = f"{label} invites you to connect" if label else "You are invited to connect"
        return self._page(label or "Invitation", heading, content, 200, {})

    def _console(self, url: str) -> str:
        """Returns the link to the console's screen that accepts the invitation with this URL."""
        return f"{self._base.removesuffix('i')}console#/accept?{urlencode({'invitation': url})}"

    def _page(self, title: str, heading: str, content: str, status: int, headers: dict[str, Any]) -> Response:
        """`title` and `heading` are text, `content` is HTML."""
        body = _template().substitute(
            title=escape(title), heading=escape(heading), content=content, base=escape(self._base)
        )
        return Response(status, body.encode(), "text/html", {**_PAGE, **headers})


def _id_in(value: str) -> str:
    try:
        return read_invitation_url(value).id
    except Problem:
        return ""


def _prefers_html(accept: str) -> bool:
    """Whether a header Accept (RFC 9110, section 12.5.1) names HTML before JSON. Agents name
    neither.
    """
    weights: dict[str, float] = {}
    for entry in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            weights.setdefault(media_type, float(weight))
        except ValueError:
            continue
    html = max(weights.get("text/html", 0.0), weights.get("application/xhtml+xml", 0.0))
    return html > weights.get(JSON, 0.0)


@cache
def _template() -> Template:
    return Template(_FILES.read("invitation.html").decode())
