"""A tenant's webhooks: what may be saved, which entries a message is for, and what is sent, signed.

Signatures follow the Standard Webhooks specification 1.0.0.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson
import re2

from tntcore.errors import Problem
from tntcore.messaging.message import Message, decorator_keys
from tntcore.messaging.types import spellings

MAX_ENTRIES = 20  # what follows from a message has to fit in one transaction, a row for each entry
MAX_MATCH = 1_000
MAX_URL = 2_048
MAX_HEADERS = 20
MAX_HEADERS_SIZE = 8_192
METHODS = ("POST", "PUT", "PATCH")
# What a compiled expression may take, in bytes: its program, and the states remembered while it searches.
_MATCH_MEMORY = 1 << 20

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URL = re.compile(r"[!-~]+")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_FORBIDDEN_HEADERS = frozenset(
    {"host", "content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive", "te", "trailer",
     "upgrade", "expect"}
)  # fmt: skip
_FORBIDDEN_PREFIXES = ("webhook-", "proxy-")


@dataclass(frozen=True, slots=True)
class WebhookEntry:
    """One entry of a webhook setting; made by `read_entries`.

    Attributes:
        id: stable; "" where none was saved and none was made.
        match: an RE2 expression, searched for anywhere in the text.
        headers: sent in addition.
    """

    id: str
    url: str
    method: str = "POST"
    match: str = ".*"
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def matches(self, message: Message) -> bool:
        """Whether this entry is for `message`: tried against its type in both spellings, and each decorator and
        attachment key."""
        return _matches(self.match, _texts(message))

    def saved(self) -> dict[str, Any]:
        """The entry as `read_entries` reads it."""
        return {
            "id": self.id,
            "url": self.url,
            "method": self.method,
            "match": self.match,
            "headers": dict(self.headers),
        }


def select(entries: Iterable[WebhookEntry], message: Message) -> list[WebhookEntry]:
    """The entries that `message` is for, each once, in the setting's order."""
    texts = _texts(message)
    return [entry for entry in entries if _matches(entry.match, texts)]


def _texts(message: Message) -> tuple[str, ...]:
    return (*spellings(message.type), *decorator_keys(message))


def _matches(match: str, texts: tuple[str, ...]) -> bool:
    # A message can be written to have many and long keys: remembering those would let its sender fill the memory.
    if len(texts) <= 20 and sum(map(len, texts)) <= 1_000:
        return _remembered_match(match, texts)
    return _search(match, texts)


def _search(match: str, texts: tuple[str, ...]) -> bool:
    pattern = _compile(match)
    return any(pattern.search(text) is not None for text in texts)


_remembered_match = lru_cache(maxsize=8_192)(_search)


@lru_cache(maxsize=1_024)
def _compile(match: str) -> Any:
    options = re2.Options()
    options.max_mem = _MATCH_MEMORY
    options.log_errors = False
    return re2.compile(match, options)  # type: ignore[no-untyped-call]


def read_entries(value: Any, *, new_id: Callable[[], str] | None = None) -> list[WebhookEntry]:
    """Checks what a tenant saves under `DIDCOMM_WEBHOOK` or `TASK_WEBHOOK`.

    Args:
        value: a list of up to 20 `{url, method?, match?, headers?, id?}`. `method` is POST, PUT or PATCH (default
            POST); `match` defaults to `.*`. Other members are ignored.
        new_id: makes the id of an entry that has none.

    Raises:
        Problem: 400 `setting-match-invalid` for an expression that RE2 refuses, else 400 `setting-invalid`; `detail`
            names the entry, counted from 1.
    """
    if not isinstance(value, list):
        raise _invalid("The setting has to be a list of entries such as {url, method, match, headers}.")
    if len(value) > MAX_ENTRIES:
        raise _invalid(f"The setting has {len(value)} entries; at most {MAX_ENTRIES} are allowed.")
    entries = [_entry(f"Entry {number}", item, new_id) for number, item in enumerate(value, 1)]
    ids = [entry.id for entry in entries if entry.id]
    if len(set(ids)) != len(ids):
        raise _invalid("Two entries have the same id; leave the id of a new entry out.")
    return entries


def _entry(name: str, item: Any, new_id: Callable[[], str] | None) -> WebhookEntry:
    if not isinstance(item, dict):
        raise _invalid(f"{name} has to be an object such as {{url, method, match, headers}}.")
    entry_id = item.get("id") or (new_id() if new_id else "")
    if entry_id and not (isinstance(entry_id, str) and _ID.fullmatch(entry_id)):
        raise _invalid(f"{name}: id has to be 1 to 64 letters, digits, '-' or '_'.")
    method = item.get("method") or "POST"
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise _invalid(f"{name}: method has to be one of {', '.join(METHODS)}.")
    return WebhookEntry(
        entry_id, _url(name, item.get("url")), method.upper(), _match(name, item.get("match")), _headers(name, item)
    )


def _url(name: str, url: Any) -> str:
    if not isinstance(url, str) or len(url) > MAX_URL or not _URL.fullmatch(url):
        raise _invalid(f"{name}: url has to be a text of at most {MAX_URL} characters, with non-ASCII ones escaped.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _invalid(f"{name}: url is not a URL.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _invalid(f"{name}: url has to begin with https:// (or http://) and name a host.")
    if "@" in parts.netloc:
        raise _invalid(f"{name}: url may hold no user name or password; send them as a header.")
    return url


def _match(name: str, match: Any) -> str:
    if match is None:
        return ".*"
    if not isinstance(match, str) or len(match) > MAX_MATCH:
        raise _invalid(f"{name}: match has to be a text of at most {MAX_MATCH} characters.")
    try:
        _compile(match)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0]
        reason = said.decode(errors="replace") if isinstance(said, bytes) else "not valid text"
        raise Problem(
            400,
            "setting-match-invalid",
            f"{name}: match is not an RE2 regular expression ({reason}). Lookaround such as (?=...) and backreferences "
            "such as \\1 are not supported; see https://github.com/google/re2/wiki/Syntax.",
        ) from None
    return match


def _headers(name: str, item: Mapping[str, Any]) -> Mapping[str, str]:
    headers = item.get("headers")
    if headers is None:
        return {}
    if not isinstance(headers, dict) or len(headers) > MAX_HEADERS:
        raise _invalid(f"{name}: headers has to be an object of at most {MAX_HEADERS} members.")
    for header, value in headers.items():
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise _invalid(f"{name}: a header's name is no HTTP token of at most 100 characters.")
        lower = header.lower()
        if lower in _FORBIDDEN_HEADERS or lower.startswith(_FORBIDDEN_PREFIXES):
            raise _invalid(f"{name}: the header {header} is set by the service and cannot be given.")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise _invalid(f"{name}: the header {header} has to be a text of printable ASCII characters.")
    if len({header.lower() for header in headers}) != len(headers):
        raise _invalid(f"{name}: a header is given twice.")
    if sum(len(header) + len(value) for header, value in headers.items()) > MAX_HEADERS_SIZE:
        raise _invalid(f"{name}: headers are longer than {MAX_HEADERS_SIZE} characters together.")
    return dict(headers)


def _invalid(detail: str) -> Problem:
    return Problem(400, "setting-invalid", detail)


_SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with


def new_secret(random: Callable[[int], bytes]) -> str:
    """A new signing secret: `whsec_` and 32 random bytes in base64 (Standard Webhooks 1.0.0, "Signature scheme")."""
    return _SECRET_PREFIX + base64.b64encode(random(32)).decode()


def sign(secrets: Sequence[str], msg_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a signed delivery (Standard Webhooks 1.0.0, "Signature scheme"): HMAC-SHA256 over
    `msg_id.timestamp.body` by each secret, so that a secret can be exchanged while both are valid.

    Args:
        secrets: `whsec_...`; one or more.
        msg_id: the same at every attempt; without a dot.
        timestamp: of this attempt, in seconds since 1970.

    Raises:
        ValueError: no secret, a secret that is not 24 to 64 bytes in base64, or a dot in `msg_id`.
    """
    if not secrets:
        raise ValueError("no secret to sign with")
    if not msg_id or "." in msg_id:
        raise ValueError("a webhook-id is not empty and has no dot")
    signed = f"{msg_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode() for secret in secrets)
    return {
        "webhook-id": msg_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(_SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("a webhook secret is whsec_ and 24 to 64 bytes in base64")
    return key


def delivery_body(
    message: Message,
    *,
    from_did: str | None,
    to_did: str | None,
    action_uuid: str | None,
    event_uuid: str,
    asset_uuid: str,
    asset_data_uuids: Sequence[str],
    contact_uuid: str | None,
    connection_uuid: str | None,
    sequence: str,
    authenticated: bool,
) -> bytes:
    """The JSON that a webhook is called with.

    `message` is the plaintext byte for byte where it is JSON, else its text, or `{"base64": ...}` where it is not even
    UTF-8.

    Args:
        from_did, to_did: of the contact and of the identity; None where the sender is not known.
        event_uuid: of this delivery event; asset_uuid: of the stored message.
        sequence: sorts, as text, in order of receipt.
        authenticated: whether the sender proved itself.
    """
    return orjson.dumps(
        {
            "message": _spliced(message),
            "from": from_did,
            "to": to_did,
            "type": message.type,
            "actionUuid": action_uuid,
            "eventUuid": event_uuid,
            "assetUuid": asset_uuid,
            "assetDataUuids": list(asset_data_uuids),
            "contactUuid": contact_uuid,
            "connectionUuid": connection_uuid,
            "sequence": sequence,
            "authenticated": authenticated,
        }
    )


def _spliced(message: Message) -> Any:
    if message.is_json:
        return orjson.Fragment(message.raw)
    try:
        return message.raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(message.raw).decode()}
