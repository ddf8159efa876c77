"""Credentials as JSON Web Tokens: VC-JWT (VC Data Model 1.1, section 6.3.1), which can also carry data model 2.0.

Issue-credential (RFC 0453) registers no attachment for them. The exchange here follows RFC 0593, made for the same
credentials with linked-data proofs, step by step:

- propose, offer, request: `aries/jwt-vc-detail@v1.0`, `{credential, options}`: the credential without a signature, and
  `options` with `proofFormat: "jwt"`, which distinguishes it from RFC 0593 in 1.0, where messages name no format;
- issue: `aries/jwt-vc@v1.0`, the token as text, `application/jwt` (RFC 7519, section 10.3.1). `application/vc+jwt` is
  for tokens whose payload is the credential itself ("Securing Verifiable Credentials using JOSE and COSE"), which
  openvc does not read.

Signing uses EdDSA; verification supports EdDSA, ES256, ES384 and ES256K. openvc checks signatures and values that a
token states twice (`iss` and `vc.issuer`, ...). The issuer's key and times are checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from openvc.errors import OpenvcError
from openvc.proof.vc_jwt import VcJwtProofSuite

from tntcore.credentials.checking import (
    Fetch,
    Listed,
    check_schema,
    check_status,
    check_time,
    end_of,
    identifier,
    listed,
    owner_of,
    resolve_signer,
    subjects,
    summary,
    wrong_date,
    wrong_to_issue,
)
from tntcore.credentials.compact import ALGORITHMS, Token, choose_method, is_signed, read_token, sign_token
from tntcore.credentials.formats import (
    Check,
    CredentialStep,
    Draft,
    FormatError,
    HeldCredential,
    Issuing,
    Party,
    ReceivedCredential,
    Resolve,
    Verification,
)
from tntcore.errors import Problem, sentence
from tntcore.messaging import times
from tntcore.nearest import check_members, names
from tntcore.strict_json import write_json
from tntcore.workers import Workers

DETAIL: Final = "aries/jwt-vc-detail@v1.0"
ISSUED: Final = "aries/jwt-vc@v1.0"
V1: Final = "https://www.w3.org/2018/credentials/v1"
V2: Final = "https://www.w3.org/ns/credentials/v2"
MAX_CREDENTIAL: Final = 128 * 1024  # bytes of JSON

TYPES: Final = frozenset({"vc+jwt"})
_BEGINS: Final = ("validFrom", "issuanceDate")
# Members that an issuer may add to the requested credential.
_ISSUERS: Final = frozenset({"@context", "id", "issuer", *_BEGINS, "credentialStatus", "credentialSchema"})


@dataclass(frozen=True, slots=True)
class OpenedCredential:
    """A token's credential and its checks.

    Attributes:
        credential: the `vc` claim, with the values that the data model allows in other claims instead.
        claims: all of them.
    """

    credential: Mapping[str, Any]
    claims: Mapping[str, Any]
    verification: Verification


class JwtVc:
    """The `CredentialFormat` of JWT credentials.

    Args:
        now: milliseconds since 1970.
        read_list: for status lists that are not a JWT; without it, such a list cannot be read.
    """

    name = "jwt-vc"
    identifiers: Mapping[CredentialStep, tuple[str, ...]] = {
        "propose": (DETAIL,),
        "offer": (DETAIL,),
        "request": (DETAIL,),
        "issue": (ISSUED,),
    }

    def __init__(
        self, workers: Workers, resolve: Resolve, fetch: Fetch, now: Callable[[], int], read_list: Listed | None = None
    ) -> None:
        self._workers = workers
        self._resolve = resolve
        self._fetch = fetch
        self._now = now
        self._linked_data_list = read_list

    def reads(self, step: CredentialStep, value: Any) -> bool:
        if step != "issue":
            options = value.get("options") if isinstance(value, dict) else None
            return isinstance(options, dict) and options.get("proofFormat") == "jwt"
        try:
            return bool(peek(value))
        except FormatError:
            return False

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        return _detail(_wanted(content))

    async def offer(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        credential = _wanted(content) if content is not None else _received(issuing.proposal, "proposal")
        return _detail(_issued_by(await _issuer(party, credential), credential, own=content is not None))

    async def request(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        credential = _wanted(content) if content is not None else _received(issuing.offer, "offer")
        return _detail(_about(credential, _own(party)))

    async def issue(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        requested = _received(issuing.request, "request") if issuing.request is not None else None
        if content is not None:
            credential = _wanted(content)
            if requested is not None:
                credential = _about(credential, identifier(requested["credentialSubject"]))
        elif requested is None:
            raise Problem(400, "credential-invalid", "The request names no credential. Give the credential to issue.")
        else:
            credential = requested
            if issuing.offer is not None:
                offered = _about(_received(issuing.offer, "offer"), identifier(credential["credentialSubject"]))
                if difference := _difference(offered, credential):
                    raise FormatError(
                        "request-differs", f"The requested credential differs from the offer: {difference}."
                    )
        party = await _issuer(party, credential)
        credential = _complete(_issued_by(party, credential, own=content is not None), self._now())
        signed = await self._sign(party, credential)
        return Draft(signed, ISSUED, "application/jwt", summary=summary(credential))

    async def receive(self, party: Party, issuing: Issuing, value: Any) -> ReceivedCredential:
        opened = await self.open(value)
        credential = opened.credential
        own = {name for name in subjects(credential) if await owner_of(party, name)}
        checks = [*opened.verification.checks, _bound(credential, own), _as_asked(credential, issuing)]
        required = opened.verification.required | {("holder-binding", ""), ("request", "")}
        ends = end_of(credential, _seconds(opened.claims.get("exp")))
        held = HeldCredential("", ISSUED, value, summary=summary(credential), expires_at=ends)
        return ReceivedCredential(held, Verification(checks, required))

    async def verify(self, held: HeldCredential) -> Verification:
        return await self.verify_credential(held.value)

    async def revoke(self, party: Party, held: HeldCredential) -> None:
        raise Problem(
            409,
            "credential-not-revocable",
            "The credential has a credentialStatus, which is not supported in a JWT. Leave it out.",
        )

    async def verify_credential(self, token: Any, subject: str = "") -> Verification:
        """Makes every check of a credential except those about its presenter. Raises the errors of `open`."""
        return (await self.open(token, subject)).verification

    async def open(self, value: Any, subject: str = "", *, status: bool = True) -> OpenedCredential:
        """Returns the credential in a token with every check of it: `signature`, `issuer`, `expiry`, and `schema` and
        `status` if the credential names them.

        Args:
            subject: of the checks.
            status: False for status lists, whose own status is not checked.

        Raises:
            FormatError: `jwt-invalid`, it is not a credential in a JWT. DidError: `unresolvable`: try again later.
        """
        token = read_token(value, TYPES)
        credential = _credential(token)
        issuer, signature = await self._signature(token, subject)
        checks = [signature, issuer, check_time(token.claims, credential, self._now(), subject)]
        # No host is contacted for a credential whose signature failed.
        if signature.passed:
            made = [await check_schema(credential, self._fetch, self._workers, subject)]
            if status:
                made.append(await check_status(credential, self._fetch, self._read_list, self._workers, subject))
            checks += [check for check in made if check is not None]
        required = {"signature", "issuer", "expiry"}
        required |= {"schema"} if "credentialSchema" in credential else set()
        required |= {"status"} if status and "credentialStatus" in credential else set()
        return OpenedCredential(
            credential, token.claims, Verification(checks, frozenset((name, subject) for name in required))
        )

    async def read_list(self, value: Any) -> tuple[Verification, Mapping[str, Any]]:
        """Reads a status list in a JWT, as `checking.Listed`."""
        opened = await self.open(value, status=False)
        return opened.verification, opened.credential

    async def _read_list(self, value: Any) -> tuple[Verification, Mapping[str, Any]]:
        if isinstance(value, str):
            return await self.read_list(value)
        if self._linked_data_list is None:
            raise FormatError("status-list-unknown", "The status list is not a JWT.")
        return await self._linked_data_list(value)

    async def _signature(self, token: Token, subject: str) -> tuple[Check, Check]:
        issuer = token.claims.get("iss")
        document = await resolve_signer(self._resolve, issuer)
        if isinstance(document, str):
            return Check("issuer", False, document, subject), _untried(subject)
        method = choose_method(document, token.kid, document.assertion)
        if method is None:
            detail = "The issuer has no such key for credentials."
            return Check("issuer", False, detail, subject), _untried(subject)
        passed = Check("issuer", True, str(issuer), subject)
        if token.header.get("alg") not in ALGORITHMS[method.key.curve]:
            return passed, Check("signature", False, "The algorithm is not one for the issuer's key.", subject)
        try:
            # The suite's `verify` would treat a credential that is not valid yet as unsigned.
            holds = is_signed(token, method.key)
            VcJwtProofSuite._reconcile(dict(token.claims), token.claims["vc"])
        except OpenvcError as error:
            return passed, Check("signature", False, str(error)[:300], subject)
        return passed, Check("signature", holds, "" if holds else "The signature is not one by this key.", subject)

    async def _sign(self, party: Party, credential: Mapping[str, Any]) -> str:
        begins = [times.read(credential[name]) for name in _BEGINS if name in credential]
        claims: dict[str, Any] = {
            "iss": _own(party),
            "nbf": min(begins) // 1000,
            "iat": self._now() // 1000,
            "vc": credential,
        }
        if about := identifier(credential["credentialSubject"]):
            claims["sub"] = about
        if "id" in credential:
            claims["jti"] = credential["id"]
        if ends := end_of(credential):
            claims["exp"] = ends // 1000
        return await sign_token(claims, party.signer, party.signer.kid)


def _own(party: Party) -> str:
    """Returns the DID that a signature by this party's key shows."""
    return party.signer.kid.partition("#")[0]


def peek(value: Any) -> dict[str, Any]:
    """Returns the credential in a token without verifying anything. Raises `FormatError` `jwt-invalid`."""
    return _credential(read_token(value, TYPES))


def _untried(subject: str) -> Check:
    return Check("signature", None, "There is no key to try it with.", subject)


def _credential(token: Token) -> dict[str, Any]:
    """Returns the credential (data model 1.1, section 6.3.1, "JWT decoding")."""
    claims, vc = token.claims, token.claims.get("vc")
    if not isinstance(vc, dict) or "vp" in claims:
        raise FormatError("jwt-invalid", "The JWT is not a credential.")
    found = dict(vc)
    for name, claim in (("issuer", "iss"), ("id", "jti")):
        if claim in claims:
            found.setdefault(name, claims[claim])
    about = found.get("credentialSubject")
    if isinstance(about, dict) and "sub" in claims:
        found["credentialSubject"] = {"id": claims["sub"], **about}
    return found


def _seconds(value: Any) -> float | None:
    """Converts seconds since 1970 to milliseconds; None if the value is not a number."""
    return value * 1000 if isinstance(value, int | float) and not isinstance(value, bool) else None


async def _issuer(party: Party, credential: Mapping[str, Any]) -> Party:
    """Returns the tenant's identity that the credential names as its issuer; the party itself if it names none of
    them.
    """
    issuer = identifier(credential.get("issuer"))
    other = await party.find(issuer) if issuer and issuer != _own(party) else None
    return other if other is not None and _own(other) == issuer else party


def _bound(credential: Mapping[str, Any], own: set[str]) -> Check:
    if set(subjects(credential)) <= own:
        return Check("holder-binding", True)
    return Check("holder-binding", False, "The subject of the credential is not the identity that requested it.")


def _as_asked(credential: Mapping[str, Any], issuing: Issuing) -> Check:
    asked = issuing.request if issuing.request is not None else issuing.offer
    if asked is None:
        return Check("request", False, "Nothing was requested or offered.")
    difference = _difference(_received(asked, "request"), credential)
    return Check(
        "request", not difference, f"The credential is not what was requested: {difference}." * bool(difference)
    )


def _difference(asked: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Returns the difference between the requested and the issued credential; "" if there is none. An issuer may add to
    it, not change it.
    """
    for name in sorted({*asked, *given}):
        if name not in asked and name in _ISSUERS:
            continue
        if name in _BEGINS and name in given:
            continue
        if name == "issuer" and identifier(asked["issuer"]) == identifier(given.get("issuer")):
            continue
        if name not in asked or asked[name] != given.get(name):
            return f"its {name[:60]!r}"
    return ""


def _wanted(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the credential in a tenant's content."""
    check_members(content, {"credential": None, "options": names("proofFormat")}, "data")
    try:
        return _read(content)
    except ValueError as error:
        raise Problem(400, "credential-invalid", sentence(str(error))) from None


def _received(value: Any, step: str) -> dict[str, Any]:
    try:
        return _read(value)
    except ValueError as error:
        raise FormatError("detail-invalid", f"In the {step}: {error}") from None


def _read(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not isinstance(value.get("credential"), dict):
        raise ValueError("A JWT credential is asked for as {credential: {...}}.")  # noqa: TRY004
    credential: dict[str, Any] = value["credential"]
    if len(write_json(credential)) > MAX_CREDENTIAL:
        raise ValueError(f"A credential has at most {MAX_CREDENTIAL} bytes.")
    if "VerifiableCredential" not in listed(credential.get("type")):
        raise ValueError('The credential\'s `type` must be a list with "VerifiableCredential".')
    about = listed(credential.get("credentialSubject"))
    if not about or not all(isinstance(subject, dict) for subject in about):
        raise ValueError("The credential's `credentialSubject` must be an object, or a list of them.")
    if "proof" in credential:
        raise ValueError("The credential already has a proof. Send it without one.")
    if not isinstance(credential.get("id", ""), str):
        raise ValueError("The credential's `id` must be a text.")  # noqa: TRY004
    if wrong := wrong_date(credential):
        raise ValueError(wrong)
    return credential


def _detail(credential: Mapping[str, Any]) -> Draft:
    return Draft({"credential": credential, "options": {"proofFormat": "jwt"}}, DETAIL)


def _issued_by(party: Party, credential: Mapping[str, Any], *, own: bool) -> dict[str, Any]:
    issuer = credential.get("issuer", _own(party))
    if identifier(issuer) != _own(party):
        detail = "The issuer in the credential is not the identity that signs it. Change the issuer, or leave it out."
        raise Problem(400, "credential-invalid", detail) if own else FormatError("issuer-differs", detail)
    if wrong := wrong_to_issue(credential):
        raise Problem(400, "credential-invalid", wrong) if own else FormatError("credential-invalid", wrong)
    return {**credential, "issuer": issuer}


def _about(credential: Mapping[str, Any], did: str) -> dict[str, Any]:
    """Returns the credential, with `did` as its subject if it names none."""
    about = credential["credentialSubject"]
    if did and isinstance(about, dict) and "id" not in about:
        return {**credential, "credentialSubject": {"id": did, **about}}
    return dict(credential)


def _complete(credential: Mapping[str, Any], now: int) -> dict[str, Any]:
    complete = {"@context": [V1], **credential}
    if not any(name in complete for name in _BEGINS):
        complete["validFrom" if V2 in listed(complete["@context"]) else "issuanceDate"] = times.iso_seconds(now)
    return complete
