"""did:web (W3C CCG, did:web Method Specification): the URLs of documents, and the documents published here. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tntcore.dids.build import BOTH, document_body
from tntcore.dids.document import PublicKey, Version
from tntcore.errors import DidError

_LOOPBACK: Final = ("localhost", "127.0.0.1")
# The last label begins with a letter: no address in any of its spellings.
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_PORT: Final = re.compile("[1-9][0-9]{0,4}")
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f/\\?#]")


def document_url(did: str, *, allow_http: bool = False) -> str:
    """Returns the URL of a did:web's document: `https://host[:port]/path/did.json`, or under `/.well-known` without a
    path.

    Args:
        allow_http: development only: a did:web of `localhost` or `127.0.0.1` is then fetched by http.

    Raises:
        DidError: `malformed-did`; IP addresses in place of host names are refused.
    """
    prefix, _, rest = did.partition("did:web:")
    authority, *segments = rest.split(":")
    host, separator, port = re.sub("%3a", "%3A", authority).partition("%3A")
    loopback = allow_http and host in _LOOPBACK
    well_formed = (
        not prefix
        and len(host) <= 253
        and (loopback or _HOST.fullmatch(host))
        and (not separator or (_PORT.fullmatch(port) and int(port) < 65536))
        and all(map(_safe_segment, segments))
    )
    if not well_formed:
        raise DidError("malformed-did", "not a did:web of a host name, optional port and plain path")
    path = "/".join(segments) or ".well-known"
    return f"{'http' if loopback else 'https'}://{host}{':' + port if separator else ''}/{path}/did.json"


def did_web_for(public_base_url: str, *segments: str) -> str:
    """The did:web whose document is at `<public_base_url>/<segments>/did.json`.

    Raises:
        DidError: `malformed-did` if the URL or a segment cannot be in one.
    """
    try:
        url = urlsplit(public_base_url)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise DidError("malformed-did", "the public base URL is not a URL") from error
    path = [segment for segment in url.path.split("/") if segment]
    did = ":".join([f"did:web:{host or ''}{f'%3A{port}' if port else ''}", *path, *segments])
    document_url(did, allow_http=True)
    return did


def identity_document(
    did: str,
    keys: Mapping[str, PublicKey],
    endpoint: str | None,
    *,
    routing_keys: Sequence[str] = (),
    versions: Collection[Version] = BOTH,
    also_known_as: Sequence[str] = (),
) -> dict[str, Any]:
    """The document served for an identity: its keys and how to reach it by either version of DIDComm.

    Args:
        keys: by fragment without `#`, e.g. `{"key-1": Ed25519, "key-2": X25519}`; see `document_body`.
        endpoint: this service's DIDComm URL.
    """
    body = document_body(did, keys, endpoint, routing_keys=routing_keys, versions=versions)
    aliases = {"alsoKnownAs": list(also_known_as)} if also_known_as else {}
    return {"@context": body.pop("@context"), "id": did, **aliases, **body}


def _safe_segment(segment: str) -> bool:
    plain = unquote(segment)
    return bool(_SEGMENT.fullmatch(segment)) and plain not in (".", "..") and not _UNSAFE.search(plain)
