"""did:key (W3C CCG, The did:key Method v0.7): the DID is the key. Pure."""

from __future__ import annotations

from typing import Any

from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519
from nacl.exceptions import CryptoError

from tntcore.dids.document import DidDocument, PublicKey
from tntcore.dids.multiformats import decode_multikey, decode_verkey, encode_multikey, encode_verkey
from tntcore.dids.parse import parse_document
from tntcore.errors import DidError

_PREFIX = "did:key:"


def create(key: PublicKey) -> str:
    """Returns the did:key of a key. Raises `DidError` `bad-key` if it is not a point of its curve."""
    return _PREFIX + encode_multikey(key)


def resolve(did: str) -> DidDocument:
    """Returns the document of a did:key. For an Ed25519 key it has the derived X25519 key for key agreement.

    Raises:
        DidError: `malformed-did`.
    """
    return parse_document(expand(did, decode(did, _PREFIX)))


def did_key_to_verkey(did: str) -> str:
    """The base58 verkey (RFC 0019) of an Ed25519 did:key, with or without its fragment (RFC 0360).

    Raises:
        DidError: `malformed-did`, `bad-key` if the key is not Ed25519, or if the fragment names another key.
    """
    bare, separator, fragment = did.partition("#")
    if separator and fragment != bare.removeprefix(_PREFIX):
        raise DidError("bad-key", "the fragment of a did:key names another key")
    return encode_verkey(decode(bare, _PREFIX))


def verkey_to_did_key(verkey: str, *, fragment: bool = False) -> str:
    """The did:key of a base58 verkey (RFC 0360); as the DID URL of its key if `fragment`.

    Raises:
        DidError: `bad-key`.
    """
    multikey = encode_multikey(decode_verkey(verkey))
    return f"{_PREFIX}{multikey}#{multikey}" if fragment else _PREFIX + multikey


def decode(did: str, prefix: str) -> PublicKey:
    """Returns the key of `prefix` + Multikey. Raises `DidError` `malformed-did`."""
    if not did.startswith(prefix):
        raise DidError("malformed-did", f"not a {prefix} DID")
    try:
        return decode_multikey(did.removeprefix(prefix))
    except DidError as error:
        raise DidError("malformed-did", error.detail) from error


def expand(did: str, key: PublicKey) -> dict[str, Any]:
    """Returns the document of a DID that is one key with every privilege. Raises `DidError` `malformed-did`."""
    multikeys = [encode_multikey(key)]
    if key.curve == "Ed25519":
        try:
            derived = PublicKey("X25519", crypto_sign_ed25519_pk_to_curve25519(key.raw))
        except CryptoError as error:
            raise DidError("malformed-did", "not a point of Ed25519") from error
        multikeys.append(encode_multikey(derived))
    ids = [f"{did}#{multikey}" for multikey in multikeys]
    signing = [] if key.curve == "X25519" else ids[:1]
    document = {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": [
            {"id": id_, "type": "Multikey", "controller": did, "publicKeyMultibase": multikey}
            for id_, multikey in zip(ids, multikeys, strict=True)
        ],
        "authentication": signing,
        "assertionMethod": signing,
        "capabilityInvocation": signing,
        "capabilityDelegation": signing,
        "keyAgreement": [] if key.curve == "secp256k1" else ids[-1:],
    }
    return {name: value for name, value in document.items() if value}
