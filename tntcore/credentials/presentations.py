"""Verifiable presentations: signs one, and checks its own proof; not the credentials in it, nor the request.

As JSON-LD with a proof, or as a JWT (VC Data Model 1.1, section 6.3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from openvc.errors import OpenvcError

from tntcore.credentials.checking import check_time, identifier, listed, resolve_signer
from tntcore.credentials.compact import ALGORITHMS, Token, choose_method, is_signed, read_token, sign_token
from tntcore.credentials.formats import Check, FormatError, Resolve, Signer
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.proof_suites import Suite, signature_of

CREDENTIALS_V1: Final = "https://www.w3.org/2018/credentials/v1"
SUBMISSION_V1: Final = "https://identity.foundation/presentation-exchange/submission/v1"
MAX_SHOWN: Final = 32  # credentials in a presentation
TYPES: Final = frozenset({"vp+jwt"})


@dataclass(frozen=True, slots=True)
class OpenedPresentation:
    """A presentation whose own proof was checked.

    Attributes:
        holder: the DID that signed; "" if nobody did.
        form: in the words of definitions.
        mark: see `Verified`.
    """

    form: str
    checks: list[Check]
    holder: str
    credentials: list[Any]
    submission: Any
    mark: bytes = b""


class Presentations:
    """Signs and opens presentations.

    Args:
        now: milliseconds since 1970.
        new_uuid: a random UUID (version 4).
    """

    def __init__(
        self, resolve: Resolve, linked_data: LinkedData, now: Callable[[], int], new_uuid: Callable[[], str]
    ) -> None:
        self._resolve = resolve
        self._linked_data = linked_data
        self._now = now
        self._new_uuid = new_uuid

    async def sign_document(
        self,
        credentials: list[Any],
        submission: Mapping[str, Any],
        signer: Signer,
        suite: Suite,
        challenge: str,
        domain: str | None,
    ) -> dict[str, Any]:
        document = {
            "@context": [CREDENTIALS_V1, SUBMISSION_V1],
            "type": ["VerifiablePresentation", "PresentationSubmission"],
            "verifiableCredential": credentials,
            "presentation_submission": submission,
        }
        return await self._linked_data.sign(
            document,
            signer,
            suite=suite,
            purpose="authentication",
            created_ms=self._now(),
            challenge=challenge,
            domain=domain,
        )

    async def sign_token(
        self,
        credentials: list[Any],
        submission: Mapping[str, Any],
        signer: Signer,
        holder: str,
        challenge: str,
        domain: str | None,
    ) -> str:
        now = self._now() // 1000
        claims: dict[str, Any] = {
            "iss": holder,
            "jti": f"urn:uuid:{self._new_uuid()}",
            "nbf": now,
            "iat": now,
            "nonce": challenge,
            "vp": {
                "@context": [CREDENTIALS_V1, SUBMISSION_V1],
                "type": ["VerifiablePresentation", "PresentationSubmission"],
                "holder": holder,
                "verifiableCredential": credentials,
                "presentation_submission": submission,
            },
        }
        if domain is not None:
            claims["aud"] = domain
        return await sign_token(claims, signer, signer.kid)

    async def open(self, value: Any, challenge: str, domain: str | None) -> OpenedPresentation:
        """Checks a presentation's own proof. Raises `FormatError` if the value is not a presentation."""
        if isinstance(value, str):
            return await self._open_token(value, challenge, domain)
        return await self._open_document(value, challenge, domain)

    async def _open_document(self, value: Any, challenge: str, domain: str | None) -> OpenedPresentation:
        if not isinstance(value, dict) or "VerifiablePresentation" not in listed(value.get("type")):
            raise FormatError("presentation-invalid", "It is not a verifiable presentation.")
        credentials = _inside(value)
        proof = value.get("proof")
        if not isinstance(proof, dict):
            missing = Check("signature", False, "The presentation has no proof, or several.")
            return OpenedPresentation("ldp_vp", [missing], "", credentials, None)
        found = await self._linked_data.check_proof(value, purpose="authentication", challenge=challenge)
        checks = [*found.checks, *_check_domain(domain, proof.get("domain"), found.checks)]
        holder = found.signer or ""
        if "holder" in value and identifier(value["holder"]) != holder:
            checks.append(Check("holder-binding", False, "The holder that the presentation names did not sign it."))
        # The signature identifies the presentation: nobody else can make another one with these suites' keys.
        mark = signature_of(proof) if holder else b""
        return OpenedPresentation("ldp_vp", checks, holder, credentials, value.get("presentation_submission"), mark)

    async def _open_token(self, value: str, challenge: str, domain: str | None) -> OpenedPresentation:
        token = read_token(value, TYPES)
        vp = token.claims.get("vp")
        if not isinstance(vp, dict) or "vc" in token.claims:
            raise FormatError("presentation-invalid", "The JWT is not a verifiable presentation.")
        same = token.claims.get("nonce") == challenge
        checks = [
            await self._signature(token),
            Check("challenge", same, "" if same else "The presentation has another nonce, or none."),
            check_time(token.claims, {}, self._now(), ""),
        ]
        checks += _check_domain(domain, token.claims.get("aud"), checks)
        holder = token.claims.get("iss")
        if "holder" in vp and identifier(vp["holder"]) != holder:
            checks.append(Check("holder-binding", False, "The holder that the presentation names did not sign it."))
        signed = checks[0].passed and isinstance(holder, str)
        submission = vp.get("presentation_submission", token.claims.get("presentation_submission"))
        # The signed text identifies it: anybody can make another ES256 signature from a given one.
        mark = token.signed if signed else b""
        return OpenedPresentation("jwt_vp", checks, str(holder) if signed else "", _inside(vp), submission, mark)

    async def _signature(self, token: Token) -> Check:
        document = await resolve_signer(self._resolve, token.claims.get("iss"))
        if isinstance(document, str):
            return Check("signature", False, document)
        method = choose_method(document, token.kid, document.authentication)
        if method is None or token.header.get("alg") not in ALGORITHMS[method.key.curve]:
            return Check("signature", False, "The holder has no such key to authenticate with.")
        try:
            passed = is_signed(token, method.key)
        except OpenvcError as error:
            return Check("signature", False, str(error)[:300])
        return Check("signature", passed, "" if passed else "The signature is not one of the holder's key.")


def _inside(presentation: Mapping[str, Any]) -> list[Any]:
    credentials = listed(presentation.get("verifiableCredential"))
    if not 1 <= len(credentials) <= MAX_SHOWN:
        raise FormatError("presentation-invalid", f"A presentation has 1 to {MAX_SHOWN} credentials.")
    return credentials


def _check_domain(asked: str | None, named: Any, checks: Collection[Check]) -> list[Check]:
    if asked is None:
        return (
            []
            if named is None
            else [Check("domain", False, "The presentation is for a domain that was not asked for.")]
        )
    if named is None:
        fresh = any(check.name == "challenge" and check.passed for check in checks)
        return [Check("domain", fresh, "The presentation names no domain; its challenge is of this request alone.")]
    same = named == asked or named == [asked]
    return [Check("domain", same, "" if same else "The presentation is for another domain.")]
