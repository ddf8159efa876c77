"""Messages packed by other software, with the keys and documents that open them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tntcore.dids.document import Curve, DidDocument, PublicKey, VerificationMethod
from tntcore.envelope import PrivateKey, Unpacked, unpack

VECTORS = Path(__file__).parents[2] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_bytes())


def b64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public_of(jwk: Mapping[str, str]) -> PublicKey:
    curve: Curve = jwk["crv"]  # type: ignore[assignment]
    return PublicKey(curve, b64(jwk["x"]) if "y" not in jwk else b"\x04" + b64(jwk["x"]) + b64(jwk["y"]))


def private_of(jwk: Mapping[str, str]) -> PrivateKey:
    return PrivateKey(public_of(jwk).curve, b64(jwk["d"]))


def document(
    did: str, key_agreement: Mapping[str, PublicKey], authentication: Mapping[str, PublicKey] | None = None
) -> DidDocument:
    signing = authentication or {}
    return DidDocument(
        did,
        {kid: VerificationMethod(kid, did, key) for kid, key in {**key_agreement, **signing}.items()},
        authentication=tuple(signing),
        key_agreement=tuple(key_agreement),
    )


V1_KEYS = load("v1/keys.json")
PEOPLE = ("alice", "bob", "carol")
VERKEYS = {name: V1_KEYS[name]["verkey"] for name in PEOPLE}
SEEDS = {name: PrivateKey("Ed25519", bytes.fromhex(V1_KEYS[name]["seed_hex"])) for name in PEOPLE}

_V2_KEYS = load("v2/keys.json")
ALICE, BOB = "did:example:alice", "did:example:bob"


def _entries(name: str, purpose: str) -> Sequence[Mapping[str, Any]]:
    entries: Sequence[Mapping[str, Any]] = _V2_KEYS[name].get(purpose, ())
    return entries


SECRETS = {
    entry["kid"]: private_of(entry["jwk"])
    for name in ("alice", "bob")
    for purpose in ("keyAgreement", "authentication")
    for entry in _entries(name, purpose)
}
DOCUMENTS = {
    _V2_KEYS[name]["did"]: document(
        _V2_KEYS[name]["did"],
        {entry["kid"]: public_of(entry["jwk"]) for entry in _entries(name, "keyAgreement")},
        {entry["kid"]: public_of(entry["jwk"]) for entry in _entries(name, "authentication")},
    )
    for name in ("alice", "bob")
}
BOBS_SECRETS = {kid: key for kid, key in SECRETS.items() if kid.startswith(BOB + "#")}
ATTACKS: Mapping[str, str] = load("v2/negative-attack-messages.json")


def open_as_bob(packed: bytes | str) -> Unpacked:
    return unpack(packed, BOBS_SECRETS, DOCUMENTS)


def v1_vectors() -> list[tuple[str, Mapping[str, Any]]]:
    """Every v1 vector with a name that says where it comes from."""
    return [
        (f"{path.stem} {vector['name']}", vector)
        for path in sorted((VECTORS / "v1").glob("*.json"))
        for vector in json.loads(path.read_bytes()).get("vectors", ())
    ]


def v2_vectors() -> list[tuple[str, Mapping[str, Any]]]:
    """Every v2 vector of the two libraries."""
    return [
        (f"{stem} {vector['name']}", vector)
        for stem in ("sicpa-didcomm-python-0.3.2", "didcomm-node-0.4.1")
        for vector in load(f"v2/{stem}.json")["vectors"]
    ]
