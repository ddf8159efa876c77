"""`listen`: brings webhook calls to a system without a public address."""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from tntcore.cli import show
from tntcore.cli.base import Session, ToolCommand, contact_uuid, pass_session
from tntcore.cli.errors import Wrong
from tntcore.cli.follow import OVERLAP, Hit, News, follow_pages, time_of

if TYPE_CHECKING:
    from nacl.signing import SigningKey

_PAGE = 50  # messages
_TIMEOUT = (5, 15)  # seconds: to connect, and for the answer, as the service's own calls have
_TRIES, _FIRST_WAIT = 4, 1.0  # calls of one message, and seconds
_VARIABLE = "TNT_WEBHOOK_SECRET"
# Prefixes of Standard Webhooks 1.0.0: a secret, and the two halves of a key pair.
_PREFIX, _PRIVATE_PREFIX, _PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
_SHORTEST, _LONGEST, _SEED = 24, 64, 32  # bytes of a secret, and of a private key


@click.command("listen", cls=ToolCommand)
@click.option("--forward-to", "target", metavar="URL", required=True, help="The system to call.")
@click.option("--since", metavar="TIME", help="Also messages since a time, or of the last 10m, 2h, 3d.")
@click.option("--type", "type_", metavar="PREFIX", help="Only types that begin with this, such as basicmessage.")
@click.option("--contact", metavar="CONTACT", help="Only from this contact: uuid, DID or name.")
@pass_session
def listen(session: Session, target: str, since: str | None, type_: str | None, contact: str | None) -> None:
    """Call URL for each message that arrives, as a webhook does, until Ctrl-C.

    The calls have the body, headers and both signatures of calls for DIDCOMM_WEBHOOK. The secret, for `v1`, and the
    public key, for `v1a`, are shown at the start; set TNT_WEBHOOK_SECRET to keep them. A call that fails is made four
    times within some seconds, and then given up.
    """
    target = _checked(target)
    signer = EntrySigner.of(session.environ.get(_VARIABLE, ""), os.urandom)
    service = session.tenant
    query = {
        "direction": "IN",
        "status": "RECEIVED",
        "type": show.long_type(type_ or ""),
        "contact": contact_uuid(service, contact) if contact else None,
        "limit": _PAGE,
    }
    now = service.now
    begun = _begin(show.since(since, now)) if since else now

    def fetch(at: float, following: str | None) -> Mapping[str, Any]:
        page: Mapping[str, Any] = service.get("message", {**query, "since": show.iso(at), "next": following})
        return page

    news = News(begun)
    if not since:
        # Messages that are there already are not forwarded, although the first look overlaps with the time before.
        following = None
        while True:
            page = fetch(news.since, following)
            news.among(page["hits"])
            following = page["next"]
            if following is None:
                break
    both = f"{signer.secret} {signer.private_key}"
    session.say(*show.details([("secret", signer.secret), ("public key", signer.public_key)]))
    session.line({"secret": signer.secret, "publicKey": signer.public_key, "both": both, "forwardTo": target})
    if session.environ.get(_VARIABLE) != both:
        session.note(f"{_VARIABLE}='{both}' keeps both")
    session.note(f"forwarding to {target}; Ctrl-C stops")
    for hit in follow_pages(fetch, news, session.sleep, session.note):
        if "message" in hit:
            _forward(session, target, signer, hit)


def _begin(text: str) -> float:
    """Reads a time or a `sequence`, in seconds since 1970. Adds what looks overlap, so that none is left out."""
    try:
        at = datetime.fromisoformat(text)
        seconds = at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except ValueError:
        seconds = time_of({"uuid": text})
    if not seconds:
        raise Wrong(f"{show.safe(text)!r} is not a time. Give one like 2026-01-31T12:00:00Z, 10m or 2h.")
    return seconds + OVERLAP


def _checked(url: str) -> str:
    """Returns the URL. Raises `Wrong`."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None:
        raise Wrong("--forward-to needs a URL like http://127.0.0.1:8000/didcomm, without user name and password.")
    return url


@dataclass(frozen=True, slots=True)
class EntrySigner:
    """The keys that sign calls, a `whsec_...` and a `whsk_...`, as the service has for each webhook."""

    secret: str = field(repr=False)
    private_key: str = field(repr=False)

    @staticmethod
    def of(given: str, random: Callable[[int], bytes]) -> EntrySigner:
        """Reads a secret and a private key, in any order; makes what is missing. Raises `Wrong`, whose text has none of
        them in it.
        """
        known = dict.fromkeys((_PREFIX, _PRIVATE_PREFIX), "")
        for text in given.split():
            prefix = text.partition("_")[0] + "_"
            if known.get(prefix) != "" or not _is_key(text, prefix):
                raise Wrong(
                    f"{_VARIABLE} must be {_PREFIX} and {_SHORTEST} to {_LONGEST} bytes in base64, with or without a "
                    f"{_PRIVATE_PREFIX} and {_SEED} bytes after it. Unset it for new ones."
                )
            known[prefix] = text
        return EntrySigner(
            *(text or prefix + base64.b64encode(random(_SEED)).decode() for prefix, text in known.items())
        )

    @property
    def public_key(self) -> str:
        """The `whpk_...` for receivers that check `v1a`."""
        return _PUBLIC_PREFIX + base64.b64encode(bytes(self._signing_key.verify_key)).decode()

    def headers(self, name: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Returns the headers of a signed call (Standard Webhooks 1.0.0, "Signature scheme").

        Args:
            timestamp: of this attempt, in seconds since 1970.
        """
        signed = f"{name}.{timestamp}.".encode() + body
        digest = hmac.digest(_decoded(self.secret), signed, "sha256")
        pair = (("v1", digest), ("v1a", self._signing_key.sign(signed).signature))
        return {
            "webhook-id": name,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(f"{version},{base64.b64encode(made).decode()}" for version, made in pair),
        }

    @property
    def _signing_key(self) -> SigningKey:
        from nacl.signing import SigningKey  # no other command needs it

        return SigningKey(_decoded(self.private_key))


def _is_key(text: str, prefix: str) -> bool:
    try:
        size = len(_decoded(text))
    except ValueError:
        return False
    return _SHORTEST <= size <= _LONGEST if prefix == _PREFIX else size == _SEED


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.partition("_")[2], validate=True)


def call_body(hit: Hit) -> dict[str, Any]:
    """Returns the body of a call for a message, with a call id that is the same whenever the message is forwarded."""
    names = ("message", "from", "to", "type", "actionUuid")
    more = ("assetDataUuids", "contactUuid", "connectionUuid", "sequence", "authenticated")
    return {
        **{name: hit[name] for name in names},
        "eventUuid": str(uuid.uuid5(uuid.UUID(str(hit["uuid"])), "listen")),
        "assetUuid": hit["uuid"],
        **{name: hit[name] for name in more},
    }


def _forward(session: Session, target: str, signer: EntrySigner, hit: Hit) -> None:
    """Calls the target for a message, up to four times, and prints the last outcome."""
    called = call_body(hit)
    body = json.dumps(called, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
    wait = _FIRST_WAIT
    for left in reversed(range(_TRIES)):
        begun = time.monotonic()
        status, error = _call(target, body, signer.headers(called["eventUuid"], int(time.time()), body))
        took = round((time.monotonic() - begun) * 1000)
        if not error or not left:
            break
        session.sleep(wait)
        wait *= 2
    outcome = {"uuid": hit["uuid"], "type": hit["type"], "eventUuid": called["eventUuid"], "attempts": _TRIES - left}
    session.line({**outcome, "responseStatus": status, "duration": took, "error": error})
    word = click.style(error, fg="red") if error else click.style(str(status), fg="green")
    session.say(
        f"{click.style(show.short_moment(hit['createdAt']), dim=True)}  {word}  {took} ms  "
        f"{show.short_type(hit['type'])}  {show.short_id(hit['uuid'])}"
    )


def _call(target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int | None, str | None]:
    """Makes one call. Returns the status of the answer, and what was wrong, in the words of a delivery's `error`."""
    import requests  # importing it takes a fifth of a second

    try:
        with requests.post(
            target,
            data=body,
            headers={"content-type": "application/json", **headers},
            timeout=_TIMEOUT,
            allow_redirects=False,
            stream=True,
            auth=lambda request: request,  # passwords in ~/.netrc are not meant for this
        ) as answer:
            status = answer.status_code
    except requests.exceptions.SSLError:
        return None, "tls"
    except requests.ConnectionError as error:
        return None, "timeout" if isinstance(error, requests.Timeout) else "connect"
    except requests.Timeout:
        return None, "timeout"
    except requests.RequestException:
        return None, "protocol"
    return status, None if 200 <= status < 300 else f"http-{status}"
