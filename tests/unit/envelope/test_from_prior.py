"""`from_prior` against the `didcomm` library's own, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from didcomm.common.resolvers import ResolversConfig
from didcomm.core.from_prior import pack_from_prior_in_place, unpack_from_prior_in_place
from didcomm.did_doc.did_resolver_in_memory import DIDResolverInMemory
from didcomm.secrets.secrets_resolver_in_memory import SecretsResolverInMemory

from tests.unit.envelope.samples import b64, document
from tests.unit.envelope.test_v2 import _library_document, _library_secret
from tntcore.dids import peer
from tntcore.dids.document import Curve, DidDocument
from tntcore.envelope import EnvelopeError, PrivateKey, base64url, from_prior, pack_v2, unpack
from tntcore.envelope.v2 import sign_bytes

OLD, NEW = "did:example:a", "did:example:new"
CURVES: tuple[Curve, ...] = ("Ed25519", "P-256", "secp256k1")
KEYS = {f"{OLD}#{curve}": PrivateKey.generate(curve) for curve in CURVES}
AGREEMENT = {f"{OLD}#agree": PrivateKey.generate("P-256")}
DOCUMENT = document(
    OLD,
    {kid: key.public for kid, key in AGREEMENT.items()},
    {kid: key.public for kid, key in KEYS.items()},
)
KID = f"{OLD}#Ed25519"


def made(curve: Curve = "Ed25519", **changes: str) -> str:
    kid = f"{OLD}#{curve}"
    return from_prior.sign(**{"iss": OLD, "sub": NEW, "kid": kid, **changes}, key=KEYS[kid], issued_at=1_700_000_000)


def signed(header: dict[str, Any], claims: Any, key: PrivateKey = KEYS[KID]) -> str:
    parts = b".".join(base64url.encode(orjson.dumps(part)) for part in (header, claims))
    return (parts + b"." + base64url.encode(sign_bytes(parts, key))).decode()


def refused(value: Any, document: DidDocument = DOCUMENT) -> str:
    with pytest.raises(EnvelopeError) as error:
        from_prior.verify(from_prior.read(value), document, 1_700_000_000)
    return error.value.code


@pytest.mark.parametrize("curve", CURVES)
def test_what_is_written(curve: Curve) -> None:
    jwt = made(curve)
    header, claims, _ = jwt.split(".")
    assert json.loads(b64(header)) == {
        "typ": "JWT",
        "alg": {"Ed25519": "EdDSA", "P-256": "ES256", "secp256k1": "ES256K"}[curve],
        "kid": f"{OLD}#{curve}",
    }
    assert json.loads(b64(claims)) == {"iss": OLD, "sub": NEW, "iat": 1_700_000_000}
    prior = from_prior.read(jwt)
    assert (prior.iss, prior.sub, prior.kid) == (OLD, NEW, f"{OLD}#{curve}")
    from_prior.verify(prior, DOCUMENT, 1_700_000_000)


@pytest.mark.parametrize("curve", CURVES)
def test_the_library_reads_ours_and_is_read(curve: Curve) -> None:
    resolvers = ResolversConfig(
        SecretsResolverInMemory([_library_secret(kid, key) for kid, key in KEYS.items()]),
        DIDResolverInMemory([_library_document_of_keys()]),
    )
    message: dict[str, Any] = {"from_prior": made(curve)}
    assert asyncio.run(unpack_from_prior_in_place(message, resolvers)) == f"{OLD}#{curve}"
    assert (message["from_prior"]["iss"], message["from_prior"]["sub"]) == (OLD, NEW)
    kid: Any = f"{OLD}#{curve}"
    theirs: dict[str, Any] = {"from": NEW, "from_prior": {"iss": OLD, "sub": NEW, "exp": 1_700_000_100}}
    asyncio.run(pack_from_prior_in_place(theirs, resolvers, kid))
    prior = from_prior.read(theirs["from_prior"])
    from_prior.verify(prior, DOCUMENT, 1_700_000_100)
    with pytest.raises(EnvelopeError, match="from-prior-expired"):
        from_prior.verify(prior, DOCUMENT, 1_700_000_101)


def _library_document_of_keys() -> Any:
    built = _library_document(KEYS)
    built.authentication = list(KEYS)
    return built


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        {},
        "",
        "a.b",
        "a.b.c.d",
        "!.e30.e30",
        made() + ".",
        signed({"alg": "EdDSA"}, {"iss": OLD, "sub": NEW}),
        signed({"alg": "EdDSA", "kid": OLD}, {"iss": OLD, "sub": NEW}),
        signed({"alg": "EdDSA", "kid": KID, "crit": ["b64"]}, {"iss": OLD, "sub": NEW}),
        signed({"kid": KID}, {"iss": OLD, "sub": NEW}),
        signed({"alg": "EdDSA", "kid": KID}, {"iss": OLD, "sub": 0}),
        signed({"alg": "EdDSA", "kid": KID}, {"sub": NEW}),
        signed({"alg": "EdDSA", "kid": KID}, {"iss": OLD, "sub": [NEW]}),
        signed({"alg": "EdDSA", "kid": KID}, {"iss": OLD, "sub": NEW, "exp": "tomorrow"}),
        signed({"alg": "EdDSA", "kid": KID}, [OLD, NEW]),
        signed({"alg": "EdDSA", "kid": KID}, {"iss": "did:example:else", "sub": NEW}),
        "a" * 70_000 + ".b.c",
    ],
)
def test_malformed(value: Any) -> None:
    assert refused(value) == "from-prior-malformed"


def _other_sub(jwt: str) -> str:
    header, _, signature = jwt.split(".")
    claims = base64url.encode(orjson.dumps({"iss": OLD, "sub": "did:example:mallory"})).decode()
    return ".".join((header, claims, signature))


def _none(jwt: str) -> str:
    header = base64url.encode(orjson.dumps({"alg": "none", "kid": KID})).decode()
    return ".".join((header, jwt.split(".")[1], ""))


@pytest.mark.parametrize(
    "forge",
    [
        _other_sub,
        _none,
        lambda jwt: jwt.rpartition(".")[0] + ".",
        lambda jwt: jwt.rpartition(".")[0] + "." + "A" * 86,
        lambda jwt: signed({"alg": "EdDSA", "kid": KID}, {"iss": OLD, "sub": NEW}, PrivateKey.generate("Ed25519")),
        lambda jwt: signed({"alg": "EdDSA", "kid": f"{OLD}#none"}, {"iss": OLD, "sub": NEW}),
        # Another algorithm than its key is for, and a key that is for agreement only.
        lambda jwt: signed({"alg": "ES256", "kid": KID}, {"iss": OLD, "sub": NEW}),
        lambda jwt: signed(
            {"alg": "ES256", "kid": f"{OLD}#agree"}, {"iss": OLD, "sub": NEW}, AGREEMENT[f"{OLD}#agree"]
        ),
    ],
)
def test_forged(forge: Callable[[str], str]) -> None:
    assert refused(forge(made())) == "from-prior-signature"


def test_a_key_that_cannot_sign() -> None:
    for kid, key in ((KID, PrivateKey.generate("X25519")), (OLD, KEYS[KID])):
        with pytest.raises(EnvelopeError, match="bad-key"):
            from_prior.sign(iss=OLD, sub=NEW, kid=kid, key=key, issued_at=0)


def test_the_forms_and_the_old_key_ids_of_a_peer_did() -> None:
    signing, agreeing = PrivateKey.generate("Ed25519"), PrivateKey.generate("X25519")
    did_2 = peer.create_2([("E", agreeing.public), ("V", signing.public)])
    did_4 = peer.create_4(peer.input_document({"key-1": signing.public, "key-2": agreeing.public}, None))
    old_id = did_2 + "#" + did_2.rpartition(".Vz")[2]
    short = peer.short_form(did_4)
    for iss, kid in (
        (did_2, f"{did_2}#key-2"),
        (did_2, old_id),
        (did_4, f"{did_4}#key-1"),
        (did_4, f"{short}#key-1"),
        (short, f"{short}#key-1"),
    ):
        jwt = from_prior.sign(iss=iss, sub=NEW, kid=kid, key=signing, issued_at=0)
        from_prior.verify(from_prior.read(jwt), peer.resolve(did_2 if iss == did_2 else did_4), 0)


def test_an_envelope_names_the_senders_key_by_its_old_id_or_the_short_form() -> None:
    """A resolved document knows its keys by every name; what a packer calls them by is told by its own document."""
    signing, agreeing, ours = (PrivateKey.generate(curve) for curve in ("Ed25519", "X25519", "X25519"))
    recipient = document("did:example:b", {"did:example:b#1": ours.public})
    did_2 = peer.create_2([("E", agreeing.public), ("V", signing.public)])
    did_4 = peer.create_4(peer.input_document({"key-1": signing.public, "key-2": agreeing.public}, None))
    short = peer.short_form(did_4)
    multikey = did_2.partition(".Ez")[2].partition(".")[0]
    for did, agreement, signer, known in (
        (did_2, f"{did_2}#{multikey}", did_2 + "#" + did_2.rpartition(".Vz")[2], peer.resolve(did_2)),
        (short, f"{short}#key-2", f"{short}#key-1", peer.resolve(did_4)),
    ):
        sender = document(did, {agreement: agreeing.public}, {signer: signing.public})
        packed = pack_v2(
            {"id": "1", "type": "t", "from": did, "to": [recipient.id], "body": {}},
            to=recipient,
            from_=(sender, {agreement: agreeing}),
            sign_with=(signer, signing),
        )
        opened = unpack(packed, {"did:example:b#1": ours}, {did: known})
        assert (opened.sender_kid, opened.signer_kid) == (agreement, signer)  # type: ignore[union-attr]


@pytest.mark.parametrize("claims", [{}, {"sub": ""}, {"sub": None}])
def test_without_a_new_did_it_ends_the_relationship(claims: Any) -> None:
    prior = from_prior.read(signed({"alg": "EdDSA", "kid": KID}, {"iss": OLD, **claims}))
    assert (prior.iss, prior.sub) == (OLD, "")
    from_prior.verify(prior, DOCUMENT, 0)
