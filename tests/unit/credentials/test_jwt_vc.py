"""Credentials as JWTs: issued, received, and attacked."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from openvc.keys import P256SigningKey
from openvc.proof.vc_jwt import VcJwtProofSuite

from tests.unit.credentials.ld import V1, V2, Dids, Key
from tntcore.credentials.compact import jwk, sign_token
from tntcore.credentials.formats import Check, FormatError, HeldCredential, Issuing, Party, SigningError, Verification
from tntcore.credentials.jwt_vc import JwtVc
from tntcore.dids import key as did_key
from tntcore.dids.document import DidDocument, PublicKey, VerificationMethod
from tntcore.egress import EgressError
from tntcore.errors import DidError, Problem
from tntcore.messaging import times
from tntcore.storage.repository import Repository
from tntcore.workers import Workers

# The library reads the clock itself where a token has dates.
NOW = int(time.time()) * 1000
DEGREE = {
    "@context": [V1],
    "type": ["VerifiableCredential", "UniversityDegree"],
    "credentialSubject": {"degree": {"name": "Bachelor"}},
}
ISSUER, HOLDER, OTHER = Key(1), Key(2), Key(3)


def party(key: Key) -> Party:
    return Party(key.did, key, cast(Repository, None))


@pytest.fixture
def dids() -> Dids:
    return Dids()


@pytest.fixture
def web() -> dict[str, bytes]:
    return {}


@pytest.fixture
def jwt_vc(workers: Workers, dids: Dids, web: dict[str, bytes]) -> JwtVc:
    async def fetch(url: str) -> bytes:
        if url not in web:
            raise EgressError("status", "answered 404")
        return web[url]

    return JwtVc(workers, dids.resolve, fetch, lambda: NOW)


async def issued(
    jwt_vc: JwtVc, credential: Mapping[str, Any] = DEGREE, *, issuer: Key = ISSUER, holder: Key = HOLDER
) -> tuple[Issuing, str]:
    offer = (await jwt_vc.offer(party(issuer), Issuing(), {"credential": credential})).value
    request = (await jwt_vc.request(party(holder), Issuing(offer=offer), None)).value
    issuing = Issuing(offer=offer, request=request)
    return issuing, (await jwt_vc.issue(party(issuer), issuing, None)).value


def claims(**more: Any) -> dict[str, Any]:
    vc = {**DEGREE, "issuer": ISSUER.did, "credentialSubject": {"id": HOLDER.did, "degree": {"name": "Bachelor"}}}
    return {"iss": ISSUER.did, "sub": HOLDER.did, "nbf": NOW // 1000, "vc": vc, **more}


def encode(part: Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = token.split(".")
    read = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload)]
    return read[0], read[1], signature


def forge(header: Mapping[str, Any], payload: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    data = f"{encode(header)}.{encode(payload)}"
    return f"{data}.{encode(sign(data.encode()))}"


def by(key: Key) -> Callable[[bytes], bytes]:
    return lambda data: bytes(key.private.sign(data).signature)


HEADER = {"alg": "EdDSA", "typ": "JWT", "kid": ISSUER.kid}


def failed(verification: Verification) -> dict[str, str]:
    assert not verification.verified
    return {check.name: check.detail for check in verification.checks if check.passed is not True}


async def test_a_credential_is_proposed_offered_requested_issued_and_kept(jwt_vc: JwtVc) -> None:
    proposal = (await jwt_vc.propose(party(HOLDER), {"credential": DEGREE})).value
    offer = await jwt_vc.offer(party(ISSUER), Issuing(proposal=proposal), None)
    assert offer.value["credential"]["issuer"] == ISSUER.did
    request = await jwt_vc.request(party(HOLDER), Issuing(offer=offer.value), None)
    assert request.value["credential"]["credentialSubject"]["id"] == HOLDER.did
    assert request.format == "aries/jwt-vc-detail@v1.0"
    issuing = Issuing(proposal, offer.value, request.value)
    draft = await jwt_vc.issue(party(ISSUER), issuing, None)
    assert (draft.format, draft.mime_type) == ("aries/jwt-vc@v1.0", "application/jwt")
    received = await jwt_vc.receive(party(HOLDER), issuing, draft.value)
    assert received.verification.verified
    assert {check.name for check in received.verification.checks} == {
        "signature", "issuer", "expiry", "holder-binding", "request",
    }  # fmt: skip
    assert received.held.summary == {
        "issuer": ISSUER.did,
        "subject": HOLDER.did,
        "type": ["UniversityDegree"],
        "claims": {"id": HOLDER.did, "degree": {"name": "Bachelor"}},
    }
    assert (await jwt_vc.verify(received.held)).verified


async def test_another_library_reads_what_is_issued(jwt_vc: JwtVc) -> None:
    # The library goes by the wall clock, and the time here is that of the import.
    ends = times.iso_seconds(NOW + 100_000_000)
    _, token = await issued(jwt_vc, {**DEGREE, "id": "urn:x:1", "expirationDate": ends})
    found = VcJwtProofSuite().verify(token, public_key_jwk=jwk(ISSUER.key), expected_types=["UniversityDegree"])
    assert (found.issuer, found.subject) == (ISSUER.did, HOLDER.did)
    assert found.claims["jti"] == "urn:x:1"
    assert found.claims["exp"] == NOW // 1000 + 100_000
    assert found.credential["expirationDate"] == ends
    assert found.credential["issuanceDate"] == times.iso_seconds(found.claims["nbf"] * 1000)


async def test_data_model_2_and_the_end_of_a_credential(jwt_vc: JwtVc) -> None:
    ends = times.iso_seconds(NOW + 5_000)
    issuing, token = await issued(jwt_vc, {**DEGREE, "@context": [V2], "validUntil": ends})
    received = await jwt_vc.receive(party(HOLDER), issuing, token)
    assert received.verification.verified
    assert received.held.expires_at == NOW + 5_000
    assert "validFrom" in parts(token)[1]["vc"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"credential": "text"},
        {"credential": {**DEGREE, "type": ["UniversityDegree"]}},
        {"credential": {**DEGREE, "credentialSubject": None}},
        {"credential": {**DEGREE, "expirationDate": "next year"}},
        {"credential": {**DEGREE, "proof": {}}},
        {"credential": {**DEGREE, "issuer": OTHER.did}},
        {"credential": {**DEGREE, "credentialSubject": {"much": "x" * 200_000}}},
    ],
)
async def test_what_cannot_be_offered_is_refused(jwt_vc: JwtVc, content: Any) -> None:
    with pytest.raises(Problem, match="credential-invalid"):
        await jwt_vc.offer(party(ISSUER), Issuing(), content)


async def test_a_request_for_something_else_than_was_offered_is_not_issued(jwt_vc: JwtVc) -> None:
    issuing, _ = await issued(jwt_vc)
    asked = json.loads(json.dumps(issuing.request))
    asked["credential"]["credentialSubject"]["degree"]["name"] = "Doctor"
    with pytest.raises(FormatError, match="request-differs"):
        await jwt_vc.issue(party(ISSUER), Issuing(offer=issuing.offer, request=asked), None)
    asked = {"credential": {**issuing.request["credential"], "evidence": [{"id": "x"}]}}
    with pytest.raises(FormatError, match="request-differs"):
        await jwt_vc.issue(party(ISSUER), Issuing(offer=issuing.offer, request=asked), None)


async def test_the_issuer_may_decide_what_it_issues_to_who_asked(jwt_vc: JwtVc) -> None:
    request = (await jwt_vc.request(party(HOLDER), Issuing(), {"credential": DEGREE})).value
    better = {**DEGREE, "credentialSubject": {"degree": {"name": "Master"}}}
    draft = await jwt_vc.issue(party(ISSUER), Issuing(request=request), {"credential": better})
    assert parts(draft.value)[1]["vc"]["credentialSubject"] == {"id": HOLDER.did, "degree": {"name": "Master"}}
    received = await jwt_vc.receive(party(HOLDER), Issuing(request=request), draft.value)
    assert "credentialSubject" in failed(received.verification)["request"]


async def test_a_credential_that_nobody_asked_for_is_not_verified(jwt_vc: JwtVc) -> None:
    _, token = await issued(jwt_vc)
    assert set(failed((await jwt_vc.receive(party(HOLDER), Issuing(), token)).verification)) == {"request"}


async def test_a_credential_about_another_is_not_the_holders(jwt_vc: JwtVc) -> None:
    issuing, token = await issued(jwt_vc, holder=OTHER)
    assert set(failed((await jwt_vc.receive(party(HOLDER), issuing, token)).verification)) == {"holder-binding"}


async def test_a_signer_that_does_not_sign(jwt_vc: JwtVc) -> None:
    class Unwilling(Key):
        async def sign(self, data: bytes) -> bytes:
            raise SigningError("the signer answered 500")

    with pytest.raises(SigningError):
        await issued(jwt_vc, issuer=Unwilling(1))


@pytest.mark.parametrize(
    "payload",
    [
        claims(exp=NOW // 1000 - 1),
        claims(nbf=NOW // 1000 + 3_600),
        claims(exp="9999999999"),
        claims(exp=None),
        claims(exp=True),
        claims(vc={**claims()["vc"], "expirationDate": "2020-01-01T00:00:00Z"}),
        claims(exp=NOW // 1000 + 60, vc={**claims()["vc"], "expirationDate": "2020-01-01T00:00:00Z"}),
        claims(vc={**claims()["vc"], "validFrom": "2100-01-01T00:00:00Z"}),
        claims(vc={**claims()["vc"], "validUntil": "whenever"}),
    ],
)
async def test_dates_in_either_place_are_kept_to(jwt_vc: JwtVc, payload: dict[str, Any]) -> None:
    assert "expiry" in failed(await jwt_vc.verify_credential(forge(HEADER, payload, by(ISSUER))))


async def test_a_credential_without_an_end_does_not_end(jwt_vc: JwtVc) -> None:
    assert (await jwt_vc.verify_credential(forge(HEADER, claims(), by(ISSUER)))).verified
    huge = claims(exp=1e308)
    assert (await jwt_vc.verify_credential(forge(HEADER, huge, by(ISSUER)))).verified


async def test_an_altered_claim(jwt_vc: JwtVc) -> None:
    _, token = await issued(jwt_vc)
    header, payload, signature = parts(token)
    payload["vc"]["credentialSubject"]["degree"]["name"] = "Doctor"
    altered = f"{encode(header)}.{encode(payload)}.{signature}"
    assert set(failed(await jwt_vc.verify_credential(altered))) == {"signature"}


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (claims(sub=OTHER.did), "signature"),
        (claims(vc={**claims()["vc"], "issuer": OTHER.did}), "signature"),
        (claims(vc={**claims()["vc"], "issuer": {"id": OTHER.did}}), "signature"),
        (claims(jti="a", vc={**claims()["vc"], "id": "b"}), "signature"),
        ({name: value for name, value in claims().items() if name != "iss"}, "issuer"),
        (claims(iss="https://issuer.example"), "issuer"),
        (claims(iss=["did:example:x"]), "issuer"),
    ],
)
async def test_what_a_token_says_twice_has_to_agree(jwt_vc: JwtVc, payload: dict[str, Any], name: str) -> None:
    assert name in failed(await jwt_vc.verify_credential(forge(HEADER, payload, by(ISSUER))))


async def test_a_signature_by_another_key(jwt_vc: JwtVc) -> None:
    assert "signature" in failed(await jwt_vc.verify_credential(forge(HEADER, claims(), by(OTHER))))


@pytest.mark.parametrize("kid", [OTHER.kid, "#other", f"{ISSUER.did}#other"])
async def test_a_key_of_another_did_is_not_the_issuers(jwt_vc: JwtVc, kid: str) -> None:
    token = forge({**HEADER, "kid": kid}, claims(), by(OTHER))
    assert set(failed(await jwt_vc.verify_credential(token))) == {"issuer", "signature"}


async def test_a_key_that_is_not_for_credentials(jwt_vc: JwtVc, dids: Dids) -> None:
    issuer = Key(1, "did:example:issuer", "key")
    dids.put(issuer, assertion=False)
    token = forge({**HEADER, "kid": issuer.kid}, claims(iss=issuer.did, vc=DEGREE), by(issuer))
    assert "issuer" in failed(await jwt_vc.verify_credential(token))
    dids.put(issuer)
    assert (await jwt_vc.verify_credential(token)).verified
    relative = forge({"alg": "EdDSA", "kid": "#key"}, claims(iss=issuer.did, vc=DEGREE), by(issuer))
    assert (await jwt_vc.verify_credential(relative)).verified
    unnamed = forge({"alg": "EdDSA"}, claims(iss=issuer.did, vc=DEGREE), by(issuer))
    assert (await jwt_vc.verify_credential(unnamed)).verified
    dids.put(issuer, others=[Key(3, "did:example:issuer", "second")])
    assert "issuer" in failed(await jwt_vc.verify_credential(unnamed))


@pytest.mark.parametrize(
    "kid", [ISSUER.did, ISSUER.did.removeprefix("did:key:"), "#" + ISSUER.did.removeprefix("did:key:")]
)
async def test_a_kid_as_other_libraries_write_it(jwt_vc: JwtVc, kid: str) -> None:
    assert (await jwt_vc.verify_credential(forge({**HEADER, "kid": kid}, claims(), by(ISSUER)))).verified
    forged = forge({**HEADER, "kid": kid}, claims(), by(OTHER))
    assert "signature" in failed(await jwt_vc.verify_credential(forged))


async def test_a_did_that_names_no_key_among_several(jwt_vc: JwtVc, dids: Dids) -> None:
    issuer = Key(1, "did:example:issuer", "key")
    token = forge({**HEADER, "kid": issuer.did}, claims(iss=issuer.did, vc=DEGREE), by(issuer))
    dids.put(issuer)
    assert (await jwt_vc.verify_credential(token)).verified
    dids.put(issuer, others=[Key(3, issuer.did, "second")])
    assert "issuer" in failed(await jwt_vc.verify_credential(token))


async def test_a_key_that_another_controls(jwt_vc: JwtVc, dids: Dids) -> None:
    issuer = Key(1, "did:example:issuer", "key")
    dids.put(issuer, controller="did:example:mallory")
    for kid in (issuer.kid, "#key", "key", issuer.did, ""):
        token = forge({**HEADER, "kid": kid}, claims(iss=issuer.did, vc=DEGREE), by(issuer))
        assert "issuer" in failed(await jwt_vc.verify_credential(token))


async def test_a_document_of_another_did(jwt_vc: JwtVc, dids: Dids) -> None:
    other = Key(1, "did:example:other", "key")
    dids.put(other)
    dids.documents["did:example:issuer"] = dids.documents[other.did]
    token = forge({"alg": "EdDSA"}, claims(iss="did:example:issuer", vc=DEGREE), by(other))
    assert "issuer" in failed(await jwt_vc.verify_credential(token))


def respelled(token: str) -> list[str]:
    """The same bytes in other base64url, each signed by whoever has the key."""
    header, payload, signature = token.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 64 bytes leave 4 bits of the last digit that stand for nothing.
    other = signature[:-1] + last[last.index(signature[-1]) + 1]
    spellings = [signature + "==", signature + "=", other, signature[:40] + "\n" + signature[40:], signature + " "]
    return [f"{header}.{payload}.{one}" for one in spellings]


async def test_one_token_has_one_spelling(jwt_vc: JwtVc) -> None:
    token = forge(HEADER, claims(), by(ISSUER))
    assert (await jwt_vc.verify_credential(token)).verified
    for other in respelled(token):
        with pytest.raises(FormatError, match="jwt-invalid"):
            await jwt_vc.verify_credential(other)
    # Nor where the issuer itself signs it so.
    for padded in (encode(HEADER) + "==", encode(HEADER) + "="):
        data = f"{padded}.{encode(claims())}"
        with pytest.raises(FormatError, match="jwt-invalid"):
            await jwt_vc.verify_credential(f"{data}.{encode(by(ISSUER)(data.encode()))}")


async def test_no_algorithm_and_one_with_the_public_key_as_secret(jwt_vc: JwtVc) -> None:
    public = ISSUER.key.raw
    none = f"{encode({'alg': 'none', 'kid': ISSUER.kid})}.{encode(claims())}."
    assert "signature" in failed(await jwt_vc.verify_credential(none))
    secret = forge({**HEADER, "alg": "HS256"}, claims(), lambda data: hmac.digest(public, data, "sha256"))
    assert "signature" in failed(await jwt_vc.verify_credential(secret))
    for name in ("ES256", "Ed448", ["EdDSA"], None):
        token = forge({**HEADER, "alg": name}, claims(), by(ISSUER))
        assert "signature" in failed(await jwt_vc.verify_credential(token))


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ({**HEADER, "typ": "dpop+jwt"}, claims()),
        ({**HEADER, "typ": "vp+jwt"}, claims()),
        ({**HEADER, "crit": ["exp"]}, claims()),
        ({**HEADER, "crit": ["b64"], "b64": False}, claims()),
        (HEADER, claims(vp={"verifiableCredential": []})),
        (HEADER, {"iss": ISSUER.did, "vp": {"type": ["VerifiablePresentation"], "verifiableCredential": []}}),
        (HEADER, {"iss": ISSUER.did}),
        (HEADER, claims(vc="text")),
    ],
)
async def test_a_token_of_another_kind_is_no_credential(
    jwt_vc: JwtVc, header: dict[str, Any], payload: dict[str, Any]
) -> None:
    token = forge(header, payload, by(ISSUER))
    with pytest.raises(FormatError, match="jwt-invalid"):
        await jwt_vc.verify_credential(token)
    assert not jwt_vc.reads("issue", token)


@pytest.mark.parametrize(
    "token",
    [None, {}, "", "a.b", "a.b.c.d", "..", "e30.e30", "e30.W10.e30", "é.e30.e30", "e30\n.e30.e30", "e30." + "e30=" * 9,
     "x" * 5_000_000, "e30." + encode(b"[" * 5_000 + b"]" * 5_000) + ".e30"],
)  # fmt: skip
async def test_what_is_no_token(jwt_vc: JwtVc, token: Any) -> None:
    with pytest.raises(FormatError, match="jwt-invalid"):
        await jwt_vc.verify_credential(token)


async def test_an_issuer_that_cannot_be_asked_now_is_asked_again_later(jwt_vc: JwtVc, dids: Dids) -> None:
    dids.documents[ISSUER.did] = DidError("unresolvable", "timeout")
    with pytest.raises(DidError):
        await jwt_vc.verify_credential(forge(HEADER, claims(), by(ISSUER)))
    dids.documents[ISSUER.did] = DidError("not-found", "nobody has shown it")
    assert "issuer" in failed(await jwt_vc.verify_credential(forge(HEADER, claims(), by(ISSUER))))


@pytest.mark.parametrize(("curve", "alg"), [(ec.SECP256R1(), "ES256"), (ec.SECP256K1(), "ES256K")])
async def test_keys_of_other_curves_verify(jwt_vc: JwtVc, dids: Dids, curve: ec.EllipticCurve, alg: str) -> None:
    private = ec.generate_private_key(curve)
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    public = PublicKey("P-256" if alg == "ES256" else "secp256k1", point)

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    did = did_key.create(public)
    method = VerificationMethod(f"{did}#key", did, public)
    dids.documents[did] = DidDocument(did, {method.id: method}, assertion=(method.id,))
    header = {"alg": alg, "kid": method.id}
    assert (await jwt_vc.verify_credential(forge(header, claims(iss=did, vc=DEGREE), sign))).verified
    wrong = forge({**header, "alg": "EdDSA"}, claims(iss=did, vc=DEGREE), sign)
    assert "signature" in failed(await jwt_vc.verify_credential(wrong))


async def test_a_token_of_another_library_verifies(workers: Workers, dids: Dids) -> None:
    async def fetch(url: str) -> bytes:
        raise EgressError("status", "answered 404")

    # The library's clock is the real one, by which the tests may have begun long ago.
    jwt_vc = JwtVc(workers, dids.resolve, fetch, lambda: time.time_ns() // 1_000_000)
    key = P256SigningKey.generate("did:example:p256#key")
    public = key.public_jwk()
    x, y = (base64.urlsafe_b64decode(public[name] + "==") for name in "xy")
    method = VerificationMethod(key.kid, "did:example:p256", PublicKey("P-256", b"\x04" + x + y))
    dids.documents["did:example:p256"] = DidDocument("did:example:p256", {key.kid: method}, assertion=(key.kid,))
    token = VcJwtProofSuite().sign({**DEGREE, "issuer": "did:example:p256"}, signing_key=key, expires_in_s=60)
    assert (await jwt_vc.verify_credential(token, "credential 3")).verified


async def test_a_revoked_credential_and_one_that_is_not_as_its_schema_says(
    jwt_vc: JwtVc, web: dict[str, bytes]
) -> None:
    from openvc.status import build_status_list_credential, build_status_list_entry, new_bitstring, set_status_bit

    url, schema_url = "https://issuer.example/list", "https://issuer.example/schema"
    bits = new_bitstring(131_072)
    set_status_bit(bits, 7, 1)
    status_list = build_status_list_credential(id=url, bitstring=bytes(bits), issuer=ISSUER.did)
    del status_list["@context"]
    web[url] = (await sign_token({"iss": ISSUER.did, "vc": status_list}, ISSUER, ISSUER.kid)).encode()
    draft = "https://json-schema.org/draft/2020-12/schema"
    web[schema_url] = json.dumps({"$schema": draft, "required": ["evidence"]}).encode()

    def token(index: int, **more: Any) -> str:
        entry = build_status_list_entry(status_list_credential=url, index=index)
        return forge(HEADER, claims(vc={**claims()["vc"], "credentialStatus": entry, **more}), by(ISSUER))

    assert (await jwt_vc.verify_credential(token(8))).verified
    assert failed(await jwt_vc.verify_credential(token(7)))["status"] == "The credential was revoked."
    schema = {"credentialSchema": {"id": schema_url, "type": "JsonSchema"}}
    assert set(failed(await jwt_vc.verify_credential(token(8, **schema)))) == {"schema"}
    # A list that another signed, in the issuer's name.
    web[url] = forge(HEADER, {"iss": ISSUER.did, "vc": status_list}, by(OTHER)).encode()
    assert set(failed(await jwt_vc.verify_credential(token(8)))) == {"status"}
    del web[url]
    assert set(failed(await jwt_vc.verify_credential(token(8)))) == {"status"}


async def test_nothing_is_fetched_for_what_nobody_signed(workers: Workers, dids: Dids) -> None:
    async def fetch(url: str) -> bytes:
        raise AssertionError(url)

    jwt_vc = JwtVc(workers, dids.resolve, fetch, lambda: NOW)
    asking = claims(vc={**claims()["vc"], "credentialSchema": {"id": "https://x.example", "type": "JsonSchema"}})
    assert "signature" in failed(await jwt_vc.verify_credential(forge(HEADER, asking, by(OTHER))))


async def test_what_is_kept_is_looked_at_again(jwt_vc: JwtVc) -> None:
    held = HeldCredential("1", "aries/jwt-vc@v1.0", forge(HEADER, claims(exp=NOW // 1000 - 1), by(ISSUER)))
    assert await jwt_vc.verify(held) == await jwt_vc.verify_credential(held.value)
    assert Check("expiry", False, "The JWT has expired.") in (await jwt_vc.verify(held)).checks


async def test_steps_that_name_no_format_are_known_by_their_shape(jwt_vc: JwtVc) -> None:
    _, token = await issued(jwt_vc)
    assert jwt_vc.reads("issue", token)
    assert jwt_vc.reads("offer", (await jwt_vc.offer(party(ISSUER), Issuing(), {"credential": DEGREE})).value)
    assert not jwt_vc.reads("offer", {"credential": DEGREE, "options": {"proofType": "Ed25519Signature2018"}})
    assert not jwt_vc.reads("issue", {"proof": {}})
