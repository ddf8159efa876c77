"""Reads DID documents in every form that agents send: DID Core 1.0 with each of its key formats, and the older form of
RFC 0023 and RFC 0160 with `publicKey`, unqualified DIDs and ids without fragment. Pure.

Unknown keys and services are left out, so that one of them does not make the rest unusable. A document is refused if it
would speak for another DID, or cost too much to read.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tntcore.dids.document import (
    MAX_DID_CHARACTERS,
    MAX_DOCUMENT_BYTES,
    MAX_KEYS,
    MAX_METHODS,
    MAX_SERVICES,
    Curve,
    DidDocument,
    DidService,
    PublicKey,
    VerificationMethod,
)
from tntcore.dids.multiformats import EC_CURVES, decode_base58, decode_multikey
from tntcore.errors import DidError

SERVICE_TYPES: Final = ("did-communication", "IndyAgent", "DIDCommMessaging")

_CURVE_OF_TYPE: Final[dict[str, Curve]] = {
    "Ed25519VerificationKey2018": "Ed25519",
    "Ed25519VerificationKey2020": "Ed25519",
    "Ed25519SignatureAuthentication2018": "Ed25519",
    "ED25519SignatureVerification": "Ed25519",
    "X25519KeyAgreementKey2019": "X25519",
    "X25519KeyAgreementKey2020": "X25519",
    "EcdsaSecp256k1VerificationKey2019": "secp256k1",
}
_COORDINATE_BYTES: Final[dict[Curve, int]] = {"P-256": 32, "P-384": 48, "P-521": 66, "secp256k1": 32}
_RELATIONSHIPS: Final = (
    "authentication",
    "keyAgreement",
    "assertionMethod",
    "capabilityInvocation",
    "capabilityDelegation",
)
_URL_ALPHABET: Final = str.maketrans("-_", "+/")
# Agents pad the services of a did:peer:2, though neither DIDs nor its specification allow for that.
_DID: Final = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]|did:peer:2[A-Za-z0-9._=-]+")
_UNQUALIFIED: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{20,23}")


def check_did(did: str) -> str:
    """Returns the text if it is a DID (DID Core 1.0, section 3.1): no fragment, path or query. A did:peer:2 may be
    padded.

    Raises:
        DidError: `malformed-did`.
    """
    if len(did) > MAX_DID_CHARACTERS or not _DID.fullmatch(did):
        raise DidError("malformed-did", "not a DID, or longer than is read here")
    return did


def qualify(did: str) -> str:
    """Returns an unqualified DID (base58 of 16 bytes, the legacy form of did:sov) with `did:sov:`; others unchanged."""
    return f"did:sov:{did}" if _UNQUALIFIED.fullmatch(did) else did


def read_document(data: bytes, did: str | None = None) -> DidDocument:
    """Parses a document from JSON text. Arguments and errors: see `parse_document`."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise DidError("document-too-large", f"a DID document has at most {MAX_DOCUMENT_BYTES} bytes, not {len(data)}")
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DidError("malformed-document", "a DID document is JSON") from error
    if not isinstance(raw, dict):
        raise DidError("malformed-document", "a DID document is a JSON object")
    return parse_document(raw, did)


def parse_document(raw: Mapping[str, Any], did: str | None = None) -> DidDocument:
    """Parses a document from its JSON object.

    Args:
        raw: as received.
        did: the DID that the document must belong to; a document without an id (possible when attached for a
            did:peer:1) is taken to be this DID's.

    Raises:
        DidError: `malformed-document`, `document-too-large`, `malformed-did`, or `document-mismatch` if it has an id
            and that is not `did`.
    """
    _check_size(raw)
    claimed = raw.get("id")
    if claimed is None and did is not None:
        claimed = did
    if not isinstance(claimed, str):
        raise DidError("malformed-document", "a DID document has an id")
    document_did = check_did(qualify(claimed))
    if did is not None and document_did != qualify(did):
        raise DidError("document-mismatch", "the document's id is not the DID that was asked for")
    reader = _Reader(document_did)
    relationships = reader.read_methods(raw)
    return DidDocument(
        id=document_did,
        methods=reader.methods,
        authentication=reader.known(relationships["authentication"]),
        assertion=reader.known(relationships["assertionMethod"]),
        key_agreement=reader.known(relationships["keyAgreement"]),
        services=tuple(sorted(_services(document_did, raw), key=lambda service: service.priority)),
        also_known_as=_strings(raw.get("alsoKnownAs")),
        raw=raw,
    )


class _Reader:
    """Collects the methods of one document."""

    def __init__(self, did: str) -> None:
        self.did = did
        self.methods: dict[str, VerificationMethod] = {}
        self._seen = 0

    def read_methods(self, raw: Mapping[str, Any]) -> dict[str, list[str]]:
        for name in ("verificationMethod", "publicKey"):
            for entry in _objects(raw.get(name)):
                self._add(entry)
        return {name: list(self._relationship(raw.get(name))) for name in _RELATIONSHIPS}

    def known(self, ids: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(id_ for id_ in ids if id_ in self.methods))

    def _relationship(self, entries: object) -> Iterator[str]:
        for entry in _items(entries):
            # RFC 0160 writes a reference as {"type": ..., "publicKey": id}.
            reference = entry.get("publicKey") if isinstance(entry, Mapping) else entry
            if isinstance(reference, str):
                yield absolute_id(self.did, reference)
            elif isinstance(entry, Mapping) and (added := self._add(entry)):
                yield added

    def _add(self, entry: Mapping[str, Any]) -> str | None:
        self._seen += 1
        if self._seen > MAX_METHODS:
            raise DidError("document-too-large", f"a DID document has at most {MAX_METHODS} verification methods")
        name = entry.get("id")
        if not isinstance(name, str) or not name:
            return None
        id_ = absolute_id(self.did, name)
        # A document speaks for its own DID alone: a key under another's id would be found as if it were the other's.
        if not (id_.startswith(self.did) and id_[len(self.did) : len(self.did) + 1] in ("#", ";", "")):
            return None
        key = _key(entry)
        if key is None:
            return None
        controller = entry.get("controller")
        method = VerificationMethod(id_, qualify(controller) if isinstance(controller, str) else self.did, key)
        known = self.methods.setdefault(id_, method)
        if known.key != key:
            raise DidError("malformed-document", "two keys of a DID document have one id")
        return id_


def absolute_id(did: str, name: str) -> str:
    """Returns the DID URL that `name` means in the document of `did`: absolute already, relative (`#1`), of an
    unqualified DID (`WgWx...#1`), or bare (`1`, as in some legacy documents).
    """
    if name.startswith("did:"):
        return name
    if name.startswith("#"):
        return did + name
    subject = re.split("[#;]", name, maxsplit=1)[0]
    qualified = qualify(subject)
    return qualified + name[len(subject) :] if qualified != subject else f"{did}#{name}"


def _key(entry: Mapping[str, Any]) -> PublicKey | None:
    type_ = entry.get("type")
    expected = _CURVE_OF_TYPE.get(type_) if isinstance(type_, str) else None
    try:
        key = _key_material(entry, expected)
    except DidError:
        return None
    return key if key is None or expected in (None, key.curve) else None


def _key_material(entry: Mapping[str, Any], expected: Curve | None) -> PublicKey | None:
    multibase, base58, jwk = (entry.get(f"publicKey{form}") for form in ("Multibase", "Base58", "Jwk"))
    if isinstance(multibase, str):
        try:
            return decode_multikey(multibase)
        except DidError:
            # Early writers of the 2020 suites left out the multicodec.
            return _raw_key(expected, decode_base58(multibase[1:])) if multibase.startswith("z") else None
    if isinstance(base58, str):
        return _raw_key(expected, decode_base58(base58))
    if isinstance(jwk, Mapping):
        return _key_of_jwk(jwk)
    return None


def _raw_key(curve: Curve | None, raw: bytes) -> PublicKey | None:
    if curve in ("Ed25519", "X25519"):
        return PublicKey(curve, raw) if len(raw) == 32 else None
    return _point(curve, raw) if curve else None


def _key_of_jwk(jwk: Mapping[str, Any]) -> PublicKey | None:
    curve, x, y = jwk.get("crv"), jwk.get("x"), jwk.get("y")
    if not isinstance(x, str):
        return None
    if curve == "Ed25519" or curve == "X25519":
        return _raw_key(curve, _coordinate(x, 32))
    if curve == "P-256" or curve == "P-384" or curve == "P-521" or curve == "secp256k1":
        size = _COORDINATE_BYTES[curve]
        return _point(curve, b"\x04" + _coordinate(x, size) + _coordinate(y, size)) if isinstance(y, str) else None
    return None


def _coordinate(text: str, size: int) -> bytes:
    data = decode_base64url(text)
    if len(data) != size:
        raise DidError("bad-key", f"a coordinate of {size} bytes has {len(data)}")
    return data


def _point(curve: Curve, raw: bytes) -> PublicKey:
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(EC_CURVES[curve], raw)
    except ValueError as error:
        raise DidError("bad-key", f"not a point of {curve}") from error
    return PublicKey(curve, point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def decode_base64url(text: str) -> bytes:
    """Base64url (RFC 4648, section 5), with or without padding.

    Raises:
        DidError: `malformed-document`.
    """
    try:
        bare = text.rstrip("=").translate(_URL_ALPHABET)
        return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError as error:
        raise DidError("malformed-document", "not base64url") from error


def _services(did: str, raw: Mapping[str, Any]) -> Iterator[DidService]:
    seen = 0
    for entry in _objects(raw.get("service")):
        type_ = _service_type(entry.get("type"))
        for endpoint in _endpoints(entry):
            seen += 1
            if seen > MAX_SERVICES:
                raise DidError("document-too-large", f"a DID document has at most {MAX_SERVICES} services")
            uri = endpoint.get("uri")
            if type_ is None or not isinstance(uri, str):
                continue
            name, priority = entry.get("id"), entry.get("priority")
            yield DidService(
                id=absolute_id(did, name) if isinstance(name, str) and name else did,
                type=type_,
                endpoint=uri,
                recipient_keys=_keys(entry.get("recipientKeys")),
                routing_keys=_keys(endpoint.get("routingKeys", entry.get("routingKeys"))),
                accept=_strings(endpoint.get("accept", entry.get("accept"))),
                priority=priority if isinstance(priority, int) else 0,
            )


def _service_type(type_: object) -> str | None:
    return next((name for name in _items(type_) if name in SERVICE_TYPES), None)


def _endpoints(service: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for endpoint in _items(service.get("serviceEndpoint")):
        if isinstance(endpoint, str):
            yield {"uri": endpoint}
        elif isinstance(endpoint, Mapping):
            yield endpoint


def _keys(value: object) -> tuple[str, ...]:
    keys = _strings(value)
    if len(keys) > MAX_KEYS:
        raise DidError("document-too-large", f"a service has at most {MAX_KEYS} keys, not {len(keys)}")
    return keys


def _items(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    return (item for item in _items(value) if isinstance(item, Mapping))


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in _items(value) if isinstance(item, str))


def _check_size(raw: Mapping[str, Any]) -> None:
    try:
        size = len(orjson.dumps(raw))
    except TypeError as error:
        raise DidError("malformed-document", "a DID document is a JSON object, not deeply nested") from error
    if size > MAX_DOCUMENT_BYTES:
        raise DidError("document-too-large", f"a DID document has at most {MAX_DOCUMENT_BYTES} bytes, not {size}")
