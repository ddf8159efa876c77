"""Registries of schemas, credential definitions and revocation status: publishing and reading.

An AnonCreds identifier belongs to a method, as a DID does (AnonCreds Specification 1.0, "AnonCreds Methods"). In the
method of this service, whatever an issuer publishes is a resource beside its did:web document,

    <did>/resources/<SHA-256 of the content, hexadecimal>

at `<directory of did.json>/resources/<digest>`. So an identifier is bound to its content, and `issuerId` in it is the
DID before the slash. A registry's status at a time (seconds since 1970) is at `<url of its definition>/status/<time>`:
the newest list that is not younger. Other methods are plugged in beside it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import base58

from tntcore.caching import SharedCache
from tntcore.credentials.formats import FormatError
from tntcore.dids.web import document_url
from tntcore.egress import Egress, EgressError
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.fetches import Fetches
from tntcore.plugins import find_factory
from tntcore.shares import Busy
from tntcore.strict_json import JsonError, read_json

T = TypeVar("T")
Json = Mapping[str, Any]
FetchBounded = Callable[[str, int], Awaitable[bytes]]

MAX_ATTRIBUTES = 125
MAX_DEFINITION = 256 * 1024  # bytes; one of 125 attributes has 100 KiB
MAX_CREDENTIALS = 32_768  # of a registry that is read
_RESOURCE = re.compile(r"(did:web:[^/?#\s]{1,1000})/resources/([0-9a-f]{64})")
# Codes of `EgressError` for which a retry is pointless.
_FOR_GOOD = frozenset({"invalid-url", "refused-address", "too-large", "tls"})


class Registry(Protocol):
    """One AnonCreds method. Methods raise `FormatError` for anything unpublished or malformed, and `DidError`
    `unresolvable` if trying again may help. A definition's `schemaId` is always the schema's identifier.
    """

    def reads(self, identifier: str) -> bool:
        """Whether identifiers of this form belong to this method."""

    async def schema(self, identifier: str) -> Json:
        """`{issuerId, name, version, attrNames}`"""

    async def credential_definition(self, identifier: str) -> Json:
        """`{issuerId, schemaId, type, tag, value}`"""

    async def revocation_registry_definition(self, identifier: str) -> Json:
        """`{issuerId, revocDefType, credDefId, tag, value}`"""

    async def revocation_status_list(self, identifier: str, timestamp: int) -> Json:
        """The list of a registry in force at a time (seconds since 1970): `{issuerId, revRegDefId, revocationList,
        currentAccumulator, timestamp}`
        """


@runtime_checkable
class Publisher(Protocol):
    """A registry to which identities can also publish, if the operator has set it up: a ledger, for example. So far,
    nothing can be revoked there.

    The last two may raise `Problem`: it cannot be published, or trying again later may help.
    """

    async def issuer_id(self, did: str) -> str:
        """Returns the issuer id of the identity with this DID in this method; "" if it has none."""

    async def publish_schema(self, schema: Json) -> str:
        """Publishes a schema. Returns its identifier, as `Registry.schema` then reads it."""

    async def publish_credential_definition(self, definition: Json) -> str:
        """Publishes a credential definition. Returns its identifier, as `Registry.credential_definition` then reads
        it.
        """


class Registries:
    """All registries, as one."""

    def __init__(self, registries: Sequence[Registry]) -> None:
        self._registries = registries

    def reads(self, identifier: str) -> bool:
        return any(registry.reads(identifier) for registry in self._registries)

    def _of(self, identifier: str) -> Registry:
        for registry in self._registries:
            if registry.reads(identifier):
                return registry
        raise FormatError("identifier-unsupported", f"nothing here can look up {identifier[:200]!r}")

    async def schema(self, identifier: str) -> Json:
        return read_schema(await self._of(identifier).schema(identifier))

    async def credential_definition(self, identifier: str) -> Json:
        return read_credential_definition(await self._of(identifier).credential_definition(identifier))

    async def revocation_registry_definition(self, identifier: str) -> Json:
        return read_registry_definition(await self._of(identifier).revocation_registry_definition(identifier))

    async def revocation_status_list(self, identifier: str, timestamp: int) -> Json:
        found = await self._of(identifier).revocation_status_list(identifier, timestamp)
        return read_status_list(found, identifier, timestamp)


class WebRegistry:
    """Reads the definitions of issuers with a did:web.

    Args:
        fetch: the body at a URL, of at most so many bytes; raises `FormatError`, `DidError`.
        now: a clock in seconds that never goes back.
        allow_http: see `document_url`.
    """

    def __init__(self, fetch: FetchBounded, now: Callable[[], float], *, allow_http: bool = False) -> None:
        self._fetch = fetch
        self._allow_http = allow_http
        self._found: SharedCache[Json] = SharedCache(now, 256)
        self._fetches = Fetches()

    def reads(self, identifier: str) -> bool:
        return is_resource(identifier)

    async def schema(self, identifier: str) -> Json:
        return await self._resource(identifier)

    async def credential_definition(self, identifier: str) -> Json:
        return await self._resource(identifier)

    async def revocation_registry_definition(self, identifier: str) -> Json:
        return await self._resource(identifier)

    async def revocation_status_list(self, identifier: str, timestamp: int) -> Json:
        did, _ = split_resource(identifier)
        url = f"{resource_url(identifier, allow_http=self._allow_http)}/status/{timestamp}"
        return _issued_by(did, _object(await self._bounded(self._content(url))))

    async def _resource(self, identifier: str) -> Json:
        return await self._bounded(self._found.get(identifier, lambda: self._load(identifier)))

    async def _load(self, identifier: str) -> tuple[Json, float]:
        did, digest = split_resource(identifier)
        content = await self._content(resource_url(identifier, allow_http=self._allow_http))
        if hashlib.sha256(content).hexdigest() != digest:
            raise FormatError("definition-mismatch", "the published content does not match the identifier")
        return _issued_by(did, _object(content)), float("inf")

    async def _bounded(self, loading: Awaitable[T]) -> T:
        try:
            return await self._fetches.wait(loading)
        except (Busy, TimeoutError):
            detail = "a definition came too slowly, or too many documents are being waited for"
            raise DidError(UNRESOLVABLE, detail) from None

    async def _content(self, url: str) -> bytes:
        async with self._fetches.fetching():
            return await self._fetch(url, MAX_DEFINITION)


class TailsFiles:
    """Tails files, which a holder needs to prove that a credential is not revoked; caches those used last."""

    def __init__(self, fetch: FetchBounded, now: Callable[[], float]) -> None:
        self._fetch = fetch
        self._found: SharedCache[bytes] = SharedCache(now, 8)

    async def get(self, definition: Json) -> bytes:
        """Returns the tails file of a revocation registry definition. Raises `FormatError` if its hash is wrong, and
        the errors of `fetch`.
        """
        value = definition["value"]
        expected = str(value["tailsHash"])

        async def load() -> tuple[bytes, float]:
            size = tails_size(value["maxCredNum"])
            content = await self._fetch(str(value["tailsLocation"]), size)
            if base58.b58encode(hashlib.sha256(content).digest()).decode() != expected:
                raise FormatError("tails-mismatch", "the tails file is not the one that the registry names")
            return content, 3600.0

        return await self._found.get(expected, load)


def egress_fetch(egress: Egress) -> FetchBounded:
    """Returns a function that fetches definitions and tails files: GET, status 200, public addresses only, within 20
    seconds.
    """

    async def fetch(url: str, maximum: int) -> bytes:
        try:
            answer = await egress.request("GET", url, max_answer=maximum, timeout=20.0)
        except EgressError as error:
            if error.code in _FOR_GOOD:
                raise FormatError("definition-unreachable", f"{url[:200]}: {error.detail}") from None
            raise DidError(UNRESOLVABLE, f"fetching {url[:200]} failed: {error.code}") from None
        if answer.status in (404, 410):
            raise FormatError("not-published", f"there is nothing at {url[:200]}")
        if answer.status != 200:
            raise DidError(UNRESOLVABLE, f"fetching {url[:200]} was answered {answer.status}")
        if answer.truncated:
            raise FormatError("definition-too-large", f"the content of {url[:200]} has more than {maximum} bytes")
        return answer.body

    return fetch


def load_registries(names: Sequence[str]) -> list[Registry]:
    """Returns the registries that the operator named, each as `module:factory`. Raises any error of their import."""
    return [find_factory(name)() for name in names]


def resource_id(did: str, content: bytes) -> str:
    return f"{did}/resources/{hashlib.sha256(content).hexdigest()}"


def is_resource(identifier: str) -> bool:
    """Whether the identifier belongs to this service's method."""
    return _RESOURCE.fullmatch(identifier) is not None


def split_resource(identifier: str) -> tuple[str, str]:
    """Returns the DID and the digest. Raises `FormatError`."""
    match = _RESOURCE.fullmatch(identifier)
    if match is None:
        raise FormatError("identifier-unsupported", f"{identifier[:200]!r} is no resource of a did:web")
    return match[1], match[2]


def resource_url(identifier: str, *, allow_http: bool = False) -> str:
    """Returns the URL of a resource. Raises `FormatError` if the DID is malformed, or names an IP address."""
    did, digest = split_resource(identifier)
    try:
        url = document_url(did, allow_http=allow_http)
    except DidError as error:
        raise FormatError("identifier-unsupported", error.detail) from None
    return f"{url.removesuffix('did.json')}resources/{digest}"


def tails_size(credentials: int) -> int:
    """Returns the bytes of a registry's tails file: a version, and two points for each credential and one more."""
    return 2 + 128 * (2 * credentials + 1)


def is_unqualified(identifier: str) -> bool:
    """Whether an identifier has the old form of Indy ledgers, without a DID."""
    return re.match(r"[1-9A-HJ-NP-Za-km-z]{21,22}:[1-4]:", identifier) is not None


def read_schema(value: Json) -> Json:
    """Returns the schema. Raises `FormatError` if a member that is used is malformed. The other readers do the same."""
    names = value.get("attrNames")
    if not (
        _texts(value, "issuerId", "name", "version")
        and isinstance(names, list)
        and 0 < len(names) <= MAX_ATTRIBUTES
        and all(isinstance(name, str) and 0 < len(name) <= 256 for name in names)
        and len({same_name(name) for name in names}) == len(names)
    ):
        raise FormatError("schema-invalid", "the schema is not one of AnonCreds")
    return value


def read_credential_definition(value: Json) -> Json:
    content = value.get("value")
    if not (
        _texts(value, "issuerId", "schemaId", "tag")
        and value.get("type") == "CL"
        and isinstance(content, dict)
        and isinstance(content.get("primary"), dict)
        and isinstance(content.get("revocation", {}), dict | None)
    ):
        raise FormatError("credential-definition-invalid", "the credential definition is not one of AnonCreds")
    return value


def read_registry_definition(value: Json) -> Json:
    content = value.get("value")
    if not (
        _texts(value, "issuerId", "credDefId", "tag")
        and value.get("revocDefType") == "CL_ACCUM"
        and isinstance(content, dict)
        and _texts(content, "tailsHash", "tailsLocation")
        and isinstance(content.get("publicKeys"), dict)
        and is_number(content.get("maxCredNum"))
        and 0 < content["maxCredNum"] <= MAX_CREDENTIALS
    ):
        raise FormatError("revocation-registry-invalid", "the revocation registry is not one of AnonCreds")
    return value


def read_status_list(value: Json, registry_id: str, timestamp: int) -> Json:
    flags = value.get("revocationList")
    if not (
        _texts(value, "issuerId", "currentAccumulator")
        and value.get("revRegDefId") == registry_id
        and is_number(value.get("timestamp"))
        and 0 <= value["timestamp"] <= timestamp
        and isinstance(flags, list)
        and len(flags) <= MAX_CREDENTIALS
        and all(flag in (0, 1) for flag in flags)
    ):
        raise FormatError("status-list-invalid", "it is no status list of that registry and time")
    return value


def is_revoked(status: Json, index: int) -> bool:
    flags = status["revocationList"]
    return not 0 < index < len(flags) or flags[index] != 0


def same_name(name: str) -> str:
    """Normalises an attribute name for comparison: case and spaces do not matter (as in the cryptography)."""
    return name.replace(" ", "").lower()


def is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _texts(value: Json, *names: str) -> bool:
    return all(isinstance(value.get(name), str) and value[name] for name in names)


def _object(content: bytes) -> Json:
    try:
        value = read_json(content)
    except JsonError as error:
        raise FormatError("definition-invalid", f"the published content is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError("definition-invalid", "the published content is not a JSON object")
    return value


def _issued_by(did: str, value: Json) -> Json:
    if value.get("issuerId") != did:
        raise FormatError("issuer-mismatch", "its issuerId is not the DID that publishes it")
    return value
