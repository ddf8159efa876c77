"""did:peer: numalgo 0, 2 and 4, and the check of 1 (DIF, Peer DID Method Specification). Pure.

Documents of numalgo 2 have the key ids of the current text (`#key-1`, `#key-2` in order of appearance). The ids that
older implementations derived from the key are understood as aliases.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import orjson

from tntcore.dids import key as did_key
from tntcore.dids.build import BOTH, document_body
from tntcore.dids.document import MAX_DID_CHARACTERS, MAX_METHODS, MAX_SERVICES, DidDocument, PublicKey, Version
from tntcore.dids.multiformats import encode_base58, encode_multikey
from tntcore.dids.parse import absolute_id, decode_base64url, parse_document
from tntcore.errors import DidError

Purpose = Literal["A", "E", "V", "I", "D"]
KeyNames = Literal["multikey", "value", "start"]
"""The names of a did:peer:2's keys by older implementations: the Multikey value, with or without its `z`, or the first
eight characters after the `z`."""

_SPELL: Final[Mapping[KeyNames, Callable[[str], str]]] = {
    "multikey": lambda multikey: multikey,
    "value": lambda multikey: multikey[1:],
    "start": lambda multikey: multikey[1:9],
}

_RELATIONSHIPS: Final[dict[str, str]] = {
    "A": "assertionMethod",
    "E": "keyAgreement",
    "V": "authentication",
    "I": "capabilityInvocation",
    "D": "capabilityDelegation",
}
_LONG_WORDS: Final = {"t": "type", "s": "serviceEndpoint", "r": "routingKeys", "a": "accept"}
_SHORT_WORDS: Final = {long: short for short, long in _LONG_WORDS.items()}
_MAX_SERVICE_DEPTH: Final = 8

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58: Final = f"[{_ALPHABET}]"
_NUMALGO_2: Final = re.compile(rf"did:peer:2(?:\.[AEVID]z{_BASE58}+|\.S[A-Za-z0-9_-]+=*)+")
_NUMALGO_4: Final = re.compile(rf"(did:peer:4zQm{_BASE58}{{44}})(?::(z{_BASE58}{{6,}}))?")
_HASHED: Final = re.compile(rf"did:peer:[13]zQm{_BASE58}{{44}}")
_JSON_CODEC: Final = b"\x80\x04"
_SHA256_HASH: Final = b"\x12\x20"


def resolve(did: str) -> DidDocument:
    """Returns the document contained in a did:peer.

    Raises:
        DidError: `malformed-did`, `malformed-document`, `document-too-large`; `not-found` if the DID does not contain
            its document: numalgo 1 and 3, and the short form of 4.
    """
    if len(did) > MAX_DID_CHARACTERS:
        raise DidError("malformed-did", f"a DID of over {MAX_DID_CHARACTERS} characters is not read")
    numalgo = did[len("did:peer:") :][:1]
    if numalgo == "0":
        return resolve_0(did)
    if numalgo == "2":
        return resolve_2(did)
    if numalgo == "4":
        return resolve_4(did)
    if _HASHED.fullmatch(did):
        raise DidError("not-found", f"a did:peer:{numalgo} does not contain its document")
    raise DidError("malformed-did", "not a did:peer of numalgo 0, 1, 2, 3 or 4")


def resolve_0(did: str) -> DidDocument:
    """Returns the document, like that of the same key's did:key. Raises `DidError` `malformed-did`."""
    document = parse_document(did_key.expand(did, did_key.decode(did, "did:peer:0")))
    return replace(document, aliases=_key_aliases(document))


def create_2(keys: Sequence[tuple[Purpose, PublicKey]], services: Sequence[Mapping[str, Any]] = ()) -> str:
    """A did:peer:2.

    Args:
        keys: with the purpose of each, in order: they become `#key-1`, `#key-2`, ...
        services: DID Core services with relative ids.

    Raises:
        DidError: `bad-key`.
    """
    elements = [f".{purpose}{encode_multikey(key)}" for purpose, key in keys]
    elements += [f".S{_base64url(orjson.dumps(_reword(service, _SHORT_WORDS)))}" for service in services]
    return "did:peer:2" + "".join(elements)


def resolve_2(did: str) -> DidDocument:
    """The document of a did:peer:2.

    Raises:
        DidError: `malformed-did`, `malformed-document`, `document-too-large`.
    """
    if len(did) > MAX_DID_CHARACTERS or not _NUMALGO_2.fullmatch(did):
        raise DidError("malformed-did", "not a did:peer:2")
    elements = did.split(".")[1:]
    keys = [element for element in elements if element[0] != "S"]
    if len(keys) > MAX_METHODS:
        raise DidError("document-too-large", f"a DID document has at most {MAX_METHODS} verification methods")
    raw: dict[str, Any] = {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": [
            {"id": f"#key-{n}", "type": "Multikey", "controller": did, "publicKeyMultibase": element[1:]}
            for n, element in enumerate(keys, start=1)
        ],
    }
    for n, element in enumerate(keys, start=1):
        raw.setdefault(_RELATIONSHIPS[element[0]], []).append(f"#key-{n}")
    services = [service for element in elements if element[0] == "S" for service in _decode_services(element[1:])]
    if len(services) > MAX_SERVICES:
        raise DidError("document-too-large", f"a DID document has at most {MAX_SERVICES} services")
    unnamed = 0
    for service in services:
        if "id" not in service:
            service["id"] = f"#service-{unnamed}" if unnamed else "#service"
            unnamed += 1
    if services:
        raw["service"] = services
    document = parse_document(raw)
    return replace(document, aliases=_key_aliases(document))


def input_document(
    keys: Mapping[str, PublicKey],
    endpoint: str | None,
    *,
    routing_keys: Sequence[str] = (),
    versions: Collection[Version] = BOTH,
) -> dict[str, Any]:
    """Returns the input document for `create_4`, with these keys by fragment and one endpoint; see `document_body`."""
    return document_body("", keys, endpoint, routing_keys=routing_keys, versions=versions)


def create_4(document: Mapping[str, Any]) -> str:
    """Returns the long form of the did:peer:4 of an input document: no root id, relative ids only.

    Raises:
        DidError: `malformed-document` if it has an id.
    """
    if "id" in document:
        raise DidError("malformed-document", "the input document of a did:peer:4 has no id")
    encoded = "z" + _encode_long(_JSON_CODEC + orjson.dumps(document))
    return f"did:peer:4{_hash(encoded.encode())}:{encoded}"


def short_form(did: str) -> str:
    """The short form of a did:peer:4 in either form.

    Raises:
        DidError: `malformed-did`.
    """
    return _parts_4(did)[0]


def resolve_4(did: str, *, short: bool = False) -> DidDocument:
    """The document of a did:peer:4, from its long form.

    Args:
        short: the document of the short form instead. In either, keys are found by ids of both forms.

    Raises:
        DidError: `not-found` if `did` is the short form; `malformed-did`, `malformed-document`, `document-too-large`.
    """
    hashed, inner = _inner_4(did)
    return _document_4(inner, hashed, did) if short else _document_4(inner, did, hashed)


def resolve_4_forms(did: str) -> tuple[DidDocument, DidDocument]:
    """Returns both documents of a did:peer:4 in its long form: that of the long form, and that of the short. Errors:
    see `resolve_4`.
    """
    hashed, inner = _inner_4(did)
    return _document_4(inner, did, hashed), _document_4(inner, hashed, did)


def check_1(did: str, raw: Mapping[str, Any]) -> DidDocument:
    """Parses the document attached for a did:peer:1, and checks the hash in the DID: over all members but `id`, in
    their order, without white space, as agents attach it.

    Raises:
        DidError: `malformed-did`; `document-mismatch` if the hash is wrong; those of `parse_document`.
    """
    if not (did.startswith("did:peer:1") and _HASHED.fullmatch(did)):
        raise DidError("malformed-did", "not a did:peer:1")
    document = parse_document(raw, did)
    genesis = orjson.dumps({name: value for name, value in raw.items() if name != "id"})
    if did != f"did:peer:1{_hash(genesis)}":
        raise DidError("document-mismatch", "the hash of a did:peer:1 is not that of the document")
    return document


def key_names(document: DidDocument, kid: str) -> KeyNames | None:
    """Returns the naming scheme of the owner of a did:peer:2 who called one of its keys `kid`; None for the current
    one.
    """
    if not document.id.startswith("did:peer:2"):
        return None
    method = document.method(kid)
    multikey = encode_multikey(method.key) if method is not None else ""
    fragment = kid.partition("#")[2]
    return next((names for names, spell in _SPELL.items() if fragment and fragment == spell(multikey)), None)


def named(document: DidDocument, names: KeyNames) -> DidDocument:
    """Returns the document of a did:peer:2 with its keys named in an older way; the current names are understood
    too.
    """
    spell = _SPELL[names]
    new = {id_: f"{document.id}#{spell(encode_multikey(method.key))}" for id_, method in document.methods.items()}
    return replace(
        document,
        methods={new[id_]: replace(method, id=new[id_]) for id_, method in document.methods.items()},
        authentication=tuple(new[id_] for id_ in document.authentication),
        assertion=tuple(new[id_] for id_ in document.assertion),
        key_agreement=tuple(new[id_] for id_ in document.key_agreement),
        aliases={**{alias: new[id_] for alias, id_ in document.aliases.items()}, **new},
    )


def named_both_ways(document: DidDocument) -> DidDocument:
    """Returns the document of a did:peer:2 with each key for key agreement under its current name and the commonest
    older one. A message encrypted for both names can be read by software that knows only one of them.
    """
    old = named(document, "value")
    both = (kid for pair in zip(document.key_agreement, old.key_agreement, strict=True) for kid in pair)
    return replace(document, methods={**document.methods, **old.methods}, key_agreement=tuple(both))


def _key_aliases(document: DidDocument) -> dict[str, str]:
    """Returns the aliases of keys, in the naming schemes of `KeyNames`."""
    aliases: dict[str, str] = {}
    for entry in document.raw["verificationMethod"]:
        id_, multikey = absolute_id(document.id, entry["id"]), entry["publicKeyMultibase"]
        if id_ in document.methods:
            for spell in _SPELL.values():
                aliases.setdefault(f"{document.id}#{spell(multikey)}", id_)
    return aliases


def _decode_services(encoded: str) -> Iterator[dict[str, Any]]:
    try:
        decoded = orjson.loads(decode_base64url(encoded))
    except orjson.JSONDecodeError as error:
        raise DidError("malformed-did", "a service of a did:peer:2 is not JSON") from error
    # Early implementations put a list into one element.
    for service in decoded if isinstance(decoded, list) else [decoded]:
        if not isinstance(service, dict):
            raise DidError("malformed-did", "a service of a did:peer:2 is a JSON object")
        yield _reword(service, _LONG_WORDS)


def _reword(value: Any, words: Mapping[str, str], depth: int = 0) -> Any:
    if depth > _MAX_SERVICE_DEPTH:
        raise DidError("malformed-did", "a service of a did:peer:2 is nested too deep")
    if isinstance(value, list):
        return [_reword(item, words, depth + 1) for item in value]
    if not isinstance(value, Mapping):
        return value
    reworded = {words.get(name, name): _reword(item, words, depth + 1) for name, item in value.items()}
    if reworded.get("type") == "dm":
        reworded["type"] = "DIDCommMessaging"
    elif reworded.get("t") == "DIDCommMessaging":
        reworded["t"] = "dm"
    return reworded


def _parts_4(did: str) -> tuple[str, str | None]:
    match = _NUMALGO_4.fullmatch(did) if len(did) <= MAX_DID_CHARACTERS else None
    if match is None:
        raise DidError("malformed-did", "not a did:peer:4")
    return match[1], match[2]


def _inner_4(did: str) -> tuple[str, dict[str, Any]]:
    """Returns the short form, and the input document, after checking its hash."""
    hashed, encoded = _parts_4(did)
    if encoded is None:
        raise DidError("not-found", "the short form of a did:peer:4 does not contain its document")
    if hashed != f"did:peer:4{_hash(encoded.encode())}":
        raise DidError("malformed-did", "the hash of a did:peer:4 is not that of its document")
    data = _decode_long(encoded[1:])
    try:
        inner = orjson.loads(data.removeprefix(_JSON_CODEC))
    except orjson.JSONDecodeError as error:
        raise DidError("malformed-document", "a did:peer:4 contains a JSON object") from error
    if not data.startswith(_JSON_CODEC) or not isinstance(inner, dict):
        raise DidError("malformed-document", "a did:peer:4 contains a JSON object")
    return hashed, inner


def _document_4(inner: Mapping[str, Any], subject: str, other: str) -> DidDocument:
    document = parse_document(_contextualise(inner, subject, other))
    aliases = {other + id_.removeprefix(subject): id_ for id_ in document.methods}
    return replace(document, aliases=aliases)


def _contextualise(inner: Mapping[str, Any], subject: str, other: str) -> dict[str, Any]:
    known = inner.get("alsoKnownAs")
    raw = {**inner, "id": subject, "alsoKnownAs": [*(known if isinstance(known, list) else ()), other]}
    for name in ("verificationMethod", *_RELATIONSHIPS.values()):
        if isinstance(raw.get(name), list):
            raw[name] = [{"controller": subject, **each} if isinstance(each, dict) else each for each in raw[name]]
    return raw


def _hash(data: bytes) -> str:
    return "z" + encode_base58(_SHA256_HASH + hashlib.sha256(data).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# A document is long for base58, whose usual implementation takes a step of whole-number arithmetic per character.
# Ten characters at a time are below 2**63 and take one.
_STEP: Final = 10
_STEP_BASE: Final = 58**_STEP
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_DIGITS: Final = {character: value for value, character in enumerate(_ALPHABET)}


def _encode_long(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    pairs: list[str] = []
    while number:
        number, step = divmod(number, _STEP_BASE)
        for _ in range(_STEP // 2):
            step, pair = divmod(step, 58 * 58)
            pairs.append(_PAIRS[pair])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(pairs)).lstrip("1")


def _decode_long(text: str) -> bytes:
    first = len(text) % _STEP
    number = 0
    for start in range(first - _STEP if first else 0, len(text), _STEP):
        step = 0
        for character in text[max(start, 0) : start + _STEP]:
            step = step * 58 + _DIGITS[character]
        number = number * _STEP_BASE + step
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
