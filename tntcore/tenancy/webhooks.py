"""A tenant's webhooks: the checks on saved entries, the entries that match a message, and signed calls.

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
from yarl import URL

from tntcore.envelope.keys import PrivateKey
from tntcore.envelope.signatures import sign_bytes
from tntcore.errors import Problem
from tntcore.messaging.message import Message, decorator_keys
from tntcore.messaging.types import spellings
from tntcore.strict_json import no_deeper, write_json

# The effects of a message must fit in one transaction: one row per entry, for up to four events.
MAX_ENTRIES = 20
MAX_TASK_ENTRIES = 8
MAX_MATCH = 1_000
MAX_SUCCESSORS = 50
MAX_URL = 2_048
MAX_HEADERS = 20
MAX_HEADERS_SIZE = 8_192
METHODS = ("POST", "PUT", "PATCH")
# Bytes that a compiled expression may take: its program, and the states that it keeps while it searches. The second
# are enough for nearly all.
_MATCH_MEMORY, _USUAL_MEMORY = 1 << 20, 1 << 16
_MATCH_WORK = 4_000_000  # an expression's instructions times characters; so many take up to 20 ms
MATCH_SECONDS = 0.5
"""The processor time after which an expression that is tried in another process counts as matching a message."""

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
        """Whether this entry matches `message`. The expression is tried on its type in both spellings, and on each
        decorator and attachment key.
        """
        return _matches(self.match, matched_texts(message))

    def saved(self) -> dict[str, Any]:
        """Returns the entry in the form that `read_entries` reads."""
        return {
            "id": self.id,
            "url": self.url,
            "method": self.method,
            "match": self.match,
            "headers": dict(self.headers),
        }


def select(entries: Iterable[WebhookEntry], message: Message) -> list[WebhookEntry]:
    """Returns the entries that match `message`, each once, in the setting's order."""
    texts = matched_texts(message)
    return [entry for entry in entries if _matches(entry.match, texts)]


def takes_long(entries: Iterable[WebhookEntry], message: Message) -> bool:
    """Whether `select` may take longer than other messages should wait. RE2 takes time for each character and each
    instruction of the expression, and `(a?){500}` has a thousand.
    """
    size = sum(map(len, matched_texts(message)))
    instructions: int = sum(_compile(entry.match).programsize for entry in entries)
    return size * instructions > _MATCH_WORK


def matched_texts(message: Message) -> tuple[str, ...]:
    """Returns the texts that expressions are tried on."""
    return (*spellings(message.type), *decorator_keys(message))


def _matches(match: str, texts: tuple[str, ...]) -> bool:
    # Only short texts are cached: a sender could fill the memory with many long keys.
    if len(texts) <= 20 and sum(map(len, texts)) <= 1_000:
        return _remembered_match(match, texts)
    return search(match, texts)


def search(match: str, texts: tuple[str, ...]) -> bool:
    """Whether an expression is found in one of the texts. `takes_long` says where this may run."""
    pattern = _compile(match)
    return any(pattern.search(text) is not None for text in texts)


_remembered_match = lru_cache(maxsize=8_192)(search)


def _compile(match: str) -> Any:
    return _usual(match) or _large(match)


# A tenant can save any number of large expressions, one after the other, so only a few are kept.
@lru_cache(maxsize=1_024)
def _usual(match: str) -> Any:
    try:
        return _compile_in(match, _USUAL_MEMORY)
    except re2.error:
        return None


@lru_cache(maxsize=32)
def _large(match: str) -> Any:
    return _compile_in(match, _MATCH_MEMORY)


def _compile_in(match: str, memory: int) -> Any:
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    return re2.compile(match, options)  # type: ignore[no-untyped-call]


def read_entries(value: Any, *, new_id: Callable[[], str] | None = None, most: int = MAX_ENTRIES) -> list[WebhookEntry]:
    """Checks what a tenant saves under `DIDCOMM_WEBHOOK` or `TASK_WEBHOOK`.

    Args:
        value: a list of up to `most` `{url, method?, match?, headers?, id?}`. `method` is POST, PUT or PATCH (default
            POST); `match` defaults to `.*`. Other members are ignored.
        new_id: makes the id of an entry that has none.

    Raises:
        Problem: 400 `setting-match-invalid` for an expression that RE2 refuses, else 400 `setting-invalid`; `detail`
            names the entry, counted from 1.
    """
    if not isinstance(value, list):
        raise _invalid("The setting must be a list of entries such as {url, method, match, headers}.")
    check_number(value, most)
    entries = [_entry(f"Entry {number}", item, new_id) for number, item in enumerate(value, 1)]
    ids = [entry.id for entry in entries if entry.id]
    if len(set(ids)) != len(ids):
        raise _invalid("Two entries have the same id; leave the id of a new entry out.")
    return entries


def check_number(entries: Sequence[Any], most: int) -> None:
    """Raises `Problem` 400 `setting-invalid` for more than `most` entries."""
    if len(entries) > most:
        raise _invalid(f"The setting has {len(entries)} entries; at most {most} are allowed.")


def read_entry(value: Mapping[str, Any], entry_id: str) -> WebhookEntry:
    """Checks a single entry, which gets the id `entry_id`. Raises `Problem`, see `read_entries`."""
    return _entry("The entry", {**value, "id": entry_id}, None)


def successors(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], known: Mapping[str, str]
) -> dict[str, str]:
    """Returns, by the id of an entry that is no longer saved, the id of the one that gets its pending deliveries: one
    with the same URL and expression, or else a new one with the same URL.

    Args:
        before, after: the saved entries, in the form of `WebhookEntry.saved`.
        known: the result of the last time. At most `MAX_SUCCESSORS` are kept, the latest.
    """
    old, now = {entry["id"] for entry in before}, {entry["id"] for entry in after}
    found: dict[str, str] = {}
    for gone in before:
        if gone["id"] in now:
            continue
        fitting = [
            entry
            for entry in after
            if entry["url"] == gone["url"] and (entry["match"] == gone["match"] or entry["id"] not in old)
        ]
        fitting.sort(key=lambda entry: (entry["match"] != gone["match"], entry["id"] in old))
        if fitting:
            found[gone["id"]] = fitting[0]["id"]
    earlier = {gone: found.get(entry, entry) for gone, entry in known.items() if gone not in now}
    kept = {gone: entry for gone, entry in {**earlier, **found}.items() if entry in now}
    return dict(list(kept.items())[-MAX_SUCCESSORS:])


def check_loops(entries: Iterable[WebhookEntry], public_url: str) -> None:
    """Refuses entries that would make the service call itself. Entries saved before this check existed are kept.

    Args:
        public_url: the service's own: an entry may call only its DIDComm endpoint.

    Raises:
        Problem: 400 `setting-invalid`.
    """
    for number, entry in enumerate(entries, 1):
        if is_own_api(entry.url, public_url):
            raise _invalid(f"Entry {number}: url points to this service itself. Use the URL of your own system.")
        for header in entry.headers:
            if header.lower().startswith("tnt-"):
                raise _invalid(f"Entry {number}: the header {header} is reserved for the service. Leave it out.")


def is_own_api(url: str, public_url: str) -> bool:
    """Whether a URL leads to the service at `public_url`, other than to its public DIDComm endpoint."""
    try:
        called, own = URL(url), URL(public_url)
    except ValueError:
        return False
    same = [((one.host or "").rstrip("."), one.port) for one in (called, own)]
    return same[0] == same[1] and called.path.rstrip("/").lower() != "/api/didcomm"


def _entry(name: str, item: Any, new_id: Callable[[], str] | None) -> WebhookEntry:
    if not isinstance(item, dict):
        raise _invalid(f"{name} must be an object such as {{url, method, match, headers}}.")
    entry_id = item.get("id")
    if entry_id is None or (entry_id == "" and new_id is None):
        entry_id = new_id() if new_id else ""
    elif not (isinstance(entry_id, str) and _ID.fullmatch(entry_id)):
        raise _invalid(f"{name}: id must be 1 to 64 letters, digits, '-' or '_'.")
    method = "POST" if item.get("method") is None else item["method"]
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise _invalid(f"{name}: method must be one of {', '.join(METHODS)}.")
    return WebhookEntry(
        entry_id, _url(name, item.get("url")), method.upper(), _match(name, item.get("match")), _headers(name, item)
    )


def _url(name: str, url: Any) -> str:
    if not isinstance(url, str) or len(url) > MAX_URL or not _URL.fullmatch(url):
        raise _invalid(f"{name}: url must be a text of at most {MAX_URL} characters, with non-ASCII ones escaped.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _invalid(f"{name}: url is not a URL.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _invalid(f"{name}: url must begin with https:// (or http://) and name a host.")
    if "@" in parts.netloc:
        raise _invalid(f"{name}: url contains a user name or password. Send them in a header instead.")
    return url


def _match(name: str, match: Any) -> str:
    if match is None:
        return ".*"
    if not isinstance(match, str) or len(match) > MAX_MATCH:
        raise _invalid(f"{name}: match must be a text of at most {MAX_MATCH} characters.")
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
        raise _invalid(f"{name}: headers must be an object of at most {MAX_HEADERS} members.")
    for header, value in headers.items():
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise _invalid(f"{name}: a header's name is invalid. It must be an HTTP token of at most 100 characters.")
        lower = header.lower()
        if lower in _FORBIDDEN_HEADERS or lower.startswith(_FORBIDDEN_PREFIXES):
            raise _invalid(f"{name}: the header {header} is set by the service. Leave it out.")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise _invalid(f"{name}: the header {header} must be a text of printable ASCII characters.")
    if len({header.lower() for header in headers}) != len(headers):
        raise _invalid(f"{name}: a header is given twice.")
    if sum(len(header) + len(value) for header, value in headers.items()) > MAX_HEADERS_SIZE:
        raise _invalid(f"{name}: headers are longer than {MAX_HEADERS_SIZE} characters together.")
    return dict(headers)


def _invalid(detail: str) -> Problem:
    return Problem(400, "setting-invalid", detail)


_HOUR = 3_600_000  # milliseconds
_DISABLED_AFTER = 5 * 24 * _HOUR
_LONGEST_GAP = 36 * _HOUR


@dataclass(frozen=True, slots=True)
class EntryHealth:
    """The health of an entry whose calls fail; nothing is stored while they succeed. Times in milliseconds since 1970.

    Attributes:
        since: of the first failure after the last success.
        last: of the latest failure, to the hour.
        disabled_at: 0 while it is called. reason: `http-410`, or `failing`.
    """

    since: int
    last: int
    disabled_at: int = 0
    reason: str = ""


def after_failure(before: EntryHealth | None, status: int, now: int) -> EntryHealth | None:
    """Returns an entry's health after a failed call; None if it need not be stored.

    Five days of nothing but failures disable the entry, and the answer 410 at once. Failures more than 36 hours apart,
    longer than between two attempts at one delivery, do not count as one period.
    """
    if before is not None and before.disabled_at:
        return None
    if status == 410:
        return EntryHealth(before.since if before else now, now, now, "http-410")
    if before is None or now - before.last > _LONGEST_GAP:
        return EntryHealth(now, now)
    if now - before.since >= _DISABLED_AFTER:
        return EntryHealth(before.since, now, now, "failing")
    return EntryHealth(before.since, now) if now - before.last > _HOUR else None


# Prefixes of Standard Webhooks 1.0.0, each followed by base64: a secret, and the two halves of a key pair.
_SECRET_PREFIX, _PRIVATE_PREFIX, _PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
OVERLAP = 24 * 3_600_000  # milliseconds that a secret stays valid after another has taken its place
_MAX_FORMER = 3


@dataclass(frozen=True, slots=True)
class EntrySecrets:
    """The secrets that sign an entry's calls.

    Attributes:
        current: a `whsec_...`, and a `whsk_...` if there are `v1a` signatures.
        former: the sets before, latest first, each with the time until which it is valid.
    """

    current: Sequence[str] = field(repr=False)
    former: Sequence[tuple[int, Sequence[str]]] = field(default=(), repr=False)

    @staticmethod
    def read(stored: Mapping[str, Any], name: str) -> EntrySecrets:
        """Returns the secrets of the entry `name` from a stored setting."""
        former = stored.get("former", {}).get(name, ())
        return EntrySecrets(stored["secrets"].get(name, ()), tuple((old["until"], old["secrets"]) for old in former))

    def valid(self, now: int) -> list[str]:
        """Returns all secrets that sign at `now` (milliseconds)."""
        return [*self.current, *(secret for until, secrets in self.former if until > now for secret in secrets)]

    def rotated(self, random: Callable[[int], bytes], now: int) -> EntrySecrets:
        """Returns new secrets of the same kinds; the current ones stay valid for `OVERLAP`. At most three former sets
        are kept.
        """
        former = [(until, secrets) for until, secrets in self.former if until > now]
        current = [_new(secret.partition("_")[0] + "_", random) for secret in self.current]
        return EntrySecrets(current, ((now + OVERLAP, self.current), *former)[:_MAX_FORMER])

    @property
    def shown(self) -> str:
        """Returns the secret for receivers that check `v1`."""
        return next(secret for secret in self.current if secret.startswith(_SECRET_PREFIX))

    @property
    def public_key(self) -> str | None:
        """Returns the key for receivers that check `v1a`: `whpk_...`."""
        return next((public_key(secret) for secret in self.current if secret.startswith(_PRIVATE_PREFIX)), None)


def new_secret(random: Callable[[int], bytes]) -> str:
    """Makes a signing secret: `whsec_` and 32 random bytes in base64 (Standard Webhooks 1.0.0, "Signature scheme")."""
    return _new(_SECRET_PREFIX, random)


def new_secrets(random: Callable[[int], bytes]) -> list[str]:
    """Makes the secrets of a new entry: a `whsec_...` for `v1`, and a `whsk_...` for `v1a`."""
    return [_new(_SECRET_PREFIX, random), _new(_PRIVATE_PREFIX, random)]


def _new(prefix: str, random: Callable[[int], bytes]) -> str:
    return prefix + base64.b64encode(random(32)).decode()


def public_key(private: str) -> str:
    """Returns `whpk_` and the Ed25519 public key of a `whsk_...`, in base64."""
    return _PUBLIC_PREFIX + base64.b64encode(_private_key(private).public.raw).decode()


def sign(secrets: Sequence[str], msg_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a signed delivery (Standard Webhooks 1.0.0, "Signature scheme"): signatures over
    `msg_id.timestamp.body` by each secret, so that a secret can be exchanged while both are valid.

    Args:
        secrets: one or more: `whsec_...` makes a `v1` signature, HMAC-SHA256, and `whsk_...`, an Ed25519 private key of
            32 bytes, a `v1a` one.
        msg_id: the same at every attempt; without a dot.
        timestamp: of this attempt, in seconds since 1970.

    Raises:
        ValueError: no secret, a `whsec_` that is not 24 to 64 bytes in base64 or a `whsk_` that is not 32, or a dot in
            `msg_id`.
    """
    if not secrets:
        raise ValueError("no secret to sign with")
    if not msg_id or "." in msg_id:
        raise ValueError("a webhook-id is not empty and has no dot")
    signed = f"{msg_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": msg_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    if secret.startswith(_PRIVATE_PREFIX):
        return "v1a," + base64.b64encode(sign_bytes(signed, _private_key(secret))).decode()
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()


def _key(secret: str) -> bytes:
    key = _decoded(secret, _SECRET_PREFIX)
    if not 24 <= len(key) <= 64:
        raise ValueError("a webhook secret is whsec_ and 24 to 64 bytes in base64")
    return key


def _private_key(secret: str) -> PrivateKey:
    key = _decoded(secret, _PRIVATE_PREFIX)
    if len(key) != 32:
        raise ValueError("a webhook's private key is whsk_ and 32 bytes in base64")
    return PrivateKey("Ed25519", key)


def _decoded(secret: str, prefix: str) -> bytes:
    """Decodes the text after the prefix; b"" if it is malformed."""
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True) if secret.startswith(prefix) else b""
    except ValueError:
        return b""


def delivery_body(
    message: Message,
    *,
    from_did: str | None,
    to_did: str | None,
    action_uuid: str | None,
    event_uuid: str,
    asset_uuid: str | None,
    asset_data_uuids: Sequence[str],
    contact_uuid: str | None,
    connection_uuid: str | None,
    sequence: str,
    authenticated: bool,
) -> bytes:
    """Returns the JSON body of a webhook call.

    `message` in it is the plaintext byte for byte if that is JSON, else its text, or `{"base64": ...}` if it is not
    UTF-8. Values nested too deep in it are text, see `no_deeper`.

    Args:
        from_did, to_did: of the contact and of the identity; None if the sender is not known.
        event_uuid: of this delivery event; asset_uuid: of the stored message.
        sequence: sorts, as text, in order of receipt.
        authenticated: whether the sender proved its identity.
    """
    body = write_json(
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
    return no_deeper(body)


def _spliced(message: Message) -> Any:
    if message.is_json:
        return orjson.Fragment(message.raw)
    try:
        return message.raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(message.raw).decode()}
