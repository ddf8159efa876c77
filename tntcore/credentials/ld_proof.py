"""Credentials with linked-data proofs (RFC 0593, revision of 2021-04-15): data models 1.1 and 2.0.

A tenant gives `{credential: {...}, options: {proofType, ...}}`; both may be incomplete. Members that the data model and
the RFC require are filled in as early as possible by the side that knows them, because other agents compare offer,
request and credential literally. `proofType` is `Ed25519Signature2018` or `Ed25519Signature2020`, or `eddsa-rdfc-2022`
or `eddsa-jcs-2022`, which are written as `DataIntegrityProof` with a `cryptosuite`.

Ed25519Signature2020 is the default: ACA-Py and Credo both support it, it works with either data model (ACA-Py refuses
2018 for 2.0), and our own DID documents have keys of its type, which verifiers of 2018 refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from tntcore.credentials.checking import (
    Fetch,
    Listed,
    check_dates,
    check_schema,
    check_status,
    dids_of,
    end_of,
    identifier,
    listed,
    owner_of,
    subjects,
    summary,
    wrong_date,
    wrong_to_issue,
)
from tntcore.credentials.formats import (
    Check,
    CredentialStep,
    Draft,
    FormatError,
    HeldCredential,
    Issuing,
    Party,
    ReceivedCredential,
    Verification,
)
from tntcore.credentials.linked_data import LinkedData, Proof
from tntcore.credentials.proof_suites import BASE_CONTEXTS, Suite, suite_of, with_context
from tntcore.errors import Problem, sentence
from tntcore.messaging import times
from tntcore.nearest import MAX_SHOWN, by_lower_case, check_members, hint, names

DETAIL: Final = "aries/ld-proof-vc-detail@v1.0"
ISSUED: Final = "aries/ld-proof-vc@v1.0"
DEFAULT_SUITE: Final[Suite] = "Ed25519Signature2020"
_V1: Final = "https://www.w3.org/2018/credentials/v1"
_V2: Final = "https://www.w3.org/ns/credentials/v2"
_BEGINS: Final = ("issuanceDate", "validFrom")
_STATUS_CONTEXTS: Final[Mapping[str, Sequence[str]]] = {
    "BitstringStatusListEntry": ("https://www.w3.org/ns/credentials/status/v1", _V2),
    "StatusList2021Entry": ("https://w3id.org/vc/status-list/2021/v1",),
}
# Members that a request, or an issuer, may still add to a credential and to the options.
_ADDED: Final = frozenset({"id", "issuer", *_BEGINS, "credentialStatus", "credentialSchema"})
_LEFT_OPEN: Final = frozenset({"proofPurpose", "created", "challenge", "domain"})
_OPTIONS: Final = _LEFT_OPEN | {"proofType", "cryptosuite", "credentialStatus"}

Detail = dict[str, dict[str, Any]]
"""`{credential, options}`."""


class StatusAllocator(Protocol):
    """Allocates places in an issuer's lists of revoked credentials."""

    async def revoke(self, party: Party, credential: Mapping[str, Any]) -> None: ...

    async def allocate(self, party: Party, type_: str) -> dict[str, Any]:
        """Returns a `credentialStatus` for one new credential. Raises `Problem`, `SigningError`."""


def revocable(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the tenant's content of an offer, with a status if it has none: of the kind for the credential's data
    model.
    """
    options = content.get("options", {})
    credential = content.get("credential")
    if not isinstance(options, dict) or not isinstance(credential, dict) or "credentialStatus" in options:
        return content
    kind = "BitstringStatusListEntry" if _V2 in listed(credential.get("@context")) else "StatusList2021Entry"
    return {**content, "options": {**options, "credentialStatus": {"type": kind}}}


class LdProof:
    """The `CredentialFormat` of credentials with linked-data proofs.

    Args:
        fetch: for schemas and status lists.
        read_jwt: for status lists that are a JWT; without it, such a list cannot be read.
        lists: without it, credentials with a status cannot be issued.
    """

    name = "ld-proof"
    identifiers: Mapping[CredentialStep, tuple[str, ...]] = {
        "propose": (DETAIL,),
        "offer": (DETAIL,),
        "request": (DETAIL,),
        "issue": (ISSUED,),
    }

    def __init__(
        self,
        linked_data: LinkedData,
        fetch: Fetch,
        *,
        read_jwt: Listed | None = None,
        lists: StatusAllocator | None = None,
        suite: Suite = DEFAULT_SUITE,
    ) -> None:
        self._linked_data = linked_data
        self._fetch = fetch
        self._read_jwt = read_jwt
        self._lists = lists
        self._suite = suite

    def reads(self, step: CredentialStep, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        if step == "issue":
            return "proof" in value and "@context" in value
        options = value.get("options")
        return isinstance(value.get("credential"), dict) and isinstance(options, dict) and "proofType" in options

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        return _draft(_about(self._wanted(content), _own(party)))

    async def offer(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        detail = self._wanted(content) if content is not None else _received(issuing.proposal, "proposal")
        if content is None:
            _refuse_status(detail)
        party = await _issuer(party, detail)
        detail = await self._complete(party, detail, own=content is not None)
        try:
            await self._linked_data.check_signable(detail["credential"], suite=_suite_of(detail["options"]))
        except FormatError as error:
            raise _mine(error, content is not None) from None
        return _draft(detail)

    async def request(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        detail = self._wanted(content) if content is not None else _received(issuing.offer, "offer")
        return _draft(_about(detail, _own(party)))

    async def issue(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        requested = _received(issuing.request, "request") if issuing.request is not None else None
        if content is not None:
            detail = self._wanted(content)
            if requested is not None:
                detail = _about(detail, subjects(requested["credential"])[0])
        elif requested is None:
            raise Problem(400, "credential-invalid", "The request names no credential. Give the credential to issue.")
        else:
            detail = requested
            if issuing.offer is None:
                _refuse_status(detail)
            elif wrong := _departs(_received(issuing.offer, "offer"), requested):
                raise FormatError("request-differs", f"The requested credential differs from the offer: {wrong}.")
        party = await _issuer(party, detail)
        detail = await self._complete(party, detail, own=content is not None)
        options = detail["options"]
        try:
            signed = await self._linked_data.sign(
                detail["credential"],
                party.signer,
                suite=_suite_of(options),
                purpose="assertionMethod",
                created_ms=times.read(options["created"]) if "created" in options else self._linked_data.now(),
                challenge=options.get("challenge"),
                domain=options.get("domain"),
            )
        except FormatError as error:
            raise _mine(error, content is not None) from None
        return Draft(signed, ISSUED, "application/ld+json", summary=summary(signed))

    async def receive(self, party: Party, issuing: Issuing, value: Any) -> ReceivedCredential:
        verification = await self.verify_credential(value)
        asked = issuing.request if issuing.request is not None else issuing.offer
        detail = _received(asked, "request") if asked is not None else None
        checks = [*verification.checks, _as_asked(detail, value)]
        required = {("request", "")}
        own = {name for name in subjects(value) if await owner_of(party, name)} | dids_of(party)
        binding = _bound(detail, value, own)
        if binding is not None:
            checks.append(binding)
            required.add((binding.name, ""))
        held = HeldCredential("", ISSUED, value, summary=summary(value), expires_at=end_of(value))
        return ReceivedCredential(held, Verification(checks, verification.required | required))

    async def verify(self, held: HeldCredential) -> Verification:
        return await self.verify_credential(held.value)

    async def revoke(self, party: Party, held: HeldCredential) -> None:
        if self._lists is None:
            raise Problem(
                409, "credential-not-revocable", "Status lists are not available here. Leave credentialStatus out."
            )
        await self._lists.revoke(await _issuer(party, {"credential": held.value}), held.value)

    async def verify_credential(self, value: Any, subject: str = "") -> Verification:
        """Makes every check of a credential except those about its presenter: `signature`, `issuer`, `expiry`, and
        `schema` and `status` if the credential names them.

        Args:
            subject: of the checks.

        Raises:
            FormatError: `credential-invalid`: it is not a credential with a proof. DidError: `unresolvable`: try again
                later.
        """
        return await self._verify(value, subject, status=True)

    async def read_list(self, value: Any) -> tuple[Verification, Mapping[str, Any]]:
        """Reads a status list with a linked-data proof, as `checking.Listed`."""
        return await self._verify(value, "", status=False), value

    async def _verify(self, value: Any, subject: str, *, status: bool) -> Verification:
        credential = _signed(value)
        proof = await self._linked_data.check_proof(credential, purpose="assertionMethod", subject=subject)
        issuer = _issued(credential, proof, subject)
        checks = [*proof.checks, issuer, check_dates(credential, self._linked_data.now(), subject)]
        required = {"signature", "issuer", "expiry"}
        required |= {"schema"} if "credentialSchema" in credential else set()
        required |= {"status"} if status and "credentialStatus" in credential else set()
        # No host is contacted for a credential whose signature failed.
        if issuer.passed:
            workers = self._linked_data.workers
            made = [await check_schema(credential, self._fetch, workers, subject)]
            if status:
                made.append(await check_status(credential, self._fetch, self._read_any_list, workers, subject))
            checks += [check for check in made if check is not None]
        return Verification(checks, frozenset((name, subject) for name in required))

    async def _read_any_list(self, value: Any) -> tuple[Verification, Mapping[str, Any]]:
        if isinstance(value, dict):
            return await self.read_list(value)
        if self._read_jwt is None:
            return Verification((), frozenset()), {}
        return await self._read_jwt(value)

    def _wanted(self, content: Mapping[str, Any]) -> Detail:
        """Returns the detail that a tenant gave, with `options` completed."""
        check_members(content, names("credential", "options"), "data")
        given = content.get("options", {})
        if not isinstance(given, dict):
            raise Problem(400, "credential-invalid", "`options` must be an object.")
        given = {name: value for name, value in given.items() if value is not None}
        options = {"proofType": self._suite, "proofPurpose": "assertionMethod", **given}
        name = options["proofType"]
        if name in ("eddsa-rdfc-2022", "eddsa-jcs-2022"):
            options |= {"proofType": "DataIntegrityProof", "cryptosuite": name}
        if unknown := set(options) - _OPTIONS:
            option, known = min(unknown)[:MAX_SHOWN], ", ".join(sorted(_OPTIONS))
            near = hint(option, by_lower_case(_OPTIONS))
            detail = f"There is no option {option!r}{near}. The options are {known}."
            raise Problem(400, "credential-invalid", detail)
        try:
            return _read({**content, "options": options})
        except ValueError as error:
            raise Problem(400, "credential-invalid", sentence(str(error))) from None

    async def _complete(self, party: Party, detail: Detail, *, own: bool) -> Detail:
        """Returns the detail that this issuer will sign. Raises `Problem` if the tenant is to blame (`own`), else
        `FormatError`.
        """
        credential, options = dict(detail["credential"]), detail["options"]
        issuer = credential.setdefault("issuer", _own(party))
        if identifier(issuer) != _own(party):
            text = f"The issuer in the credential is not {_own(party)}, whose key signs it. Change the issuer."
            raise _mine(FormatError("issuer-differs", text), own)
        suite = _suite_of(options)
        if "created" in options and not _is_second(options["created"]):
            text = "`options.created` must be written like 2030-01-31T12:00:00Z."
            raise _mine(FormatError("created-unsupported", text), own)
        if wrong := wrong_to_issue(credential):
            raise _mine(FormatError("credential-invalid", wrong), own)
        if not any(name in credential for name in _BEGINS):
            is_v2 = listed(credential["@context"])[0] == _V2
            credential["validFrom" if is_v2 else "issuanceDate"] = times.iso_seconds(self._linked_data.now())
        type_ = options.get("credentialStatus", {}).get("type", "")
        if type_ and "credentialStatus" not in credential:
            if self._lists is None or type_ not in _STATUS_CONTEXTS:
                text = f"There are no status lists of type {type_[:60]!r} here."
                raise _mine(FormatError("status-unsupported", text), own)
            contexts = listed(credential["@context"])
            if not any(context in _STATUS_CONTEXTS[type_] for context in contexts if isinstance(context, str)):
                credential["@context"] = [*contexts, _STATUS_CONTEXTS[type_][0]]
            credential["credentialStatus"] = await self._lists.allocate(party, type_)
        return {"credential": with_context(credential, suite), "options": options}


def _draft(detail: Detail) -> Draft:
    return Draft(detail, DETAIL)


def _own(party: Party) -> str:
    """Returns the DID that a proof by this party's key shows."""
    return party.signer.kid.partition("#")[0]


async def _issuer(party: Party, detail: Detail) -> Party:
    """Returns the tenant's identity that the credential names as its issuer; the party itself if it names none of
    them.
    """
    issuer = identifier(detail["credential"].get("issuer"))
    other = await party.find(issuer) if issuer and issuer != _own(party) else None
    return other if other is not None and _own(other) == issuer else party


def _refuse_status(detail: Detail) -> None:
    """Refuses a status in a request: only the issuer chooses where the status is looked up."""
    if "credentialStatus" in detail["credential"]:
        raise FormatError("detail-invalid", "The credential has a status before it was offered.")


def _mine(error: FormatError, own: bool) -> Problem | FormatError:
    return Problem(400, "credential-invalid", sentence(error.detail)) if own else error


def _received(value: Any, step: str) -> Detail:
    try:
        return _read(value)
    except ValueError as error:
        raise FormatError("detail-invalid", f"In the {step}: {error}") from None


def _read(value: Any) -> Detail:
    """Reads a detail. Raises `ValueError`, which says what is wrong."""
    credential = value.get("credential") if isinstance(value, Mapping) else None
    options = value.get("options") if isinstance(value, Mapping) else None
    if not isinstance(credential, dict) or not isinstance(options, dict):
        raise ValueError("A credential is asked for as {credential: {...}, options: {proofType: ...}}.")  # noqa: TRY004
    if wrong := _wrong(credential):
        raise ValueError(wrong)
    if "proof" in credential:
        raise ValueError("The credential already has a proof. Send it without one.")
    if _suite(options) is None:
        raise ValueError("`options.proofType` must be Ed25519Signature2018 or 2020, eddsa-rdfc-2022 or eddsa-jcs-2022.")
    if options.get("proofPurpose", "assertionMethod") != "assertionMethod":
        raise ValueError("`options.proofPurpose` of a credential is assertionMethod.")
    for name in ("challenge", "domain", "created"):
        if not isinstance(options.get(name, ""), str):
            raise ValueError(f"`options.{name}` must be a text.")  # noqa: TRY004
    status = options.get("credentialStatus", {"type": ""})
    if not isinstance(status, dict) or not isinstance(status.get("type"), str):
        raise ValueError("`options.credentialStatus` must be {type: ...}.")  # noqa: TRY004
    return {"credential": credential, "options": options}


def _wrong(credential: Mapping[str, Any]) -> str:
    """Returns why this is not a credential of the data models; "" if it is one."""
    first = next(iter(listed(credential.get("@context"))), None)
    if not isinstance(first, str) or first not in BASE_CONTEXTS:
        return f"The credential's `@context` must begin with {_V1} or {_V2}."
    if "VerifiableCredential" not in listed(credential.get("type")):
        return 'The credential\'s `type` must be a list with "VerifiableCredential".'
    about = listed(credential.get("credentialSubject"))
    if not about or not all(isinstance(subject, dict) for subject in about):
        return "The credential's `credentialSubject` must be an object, or a list of them."
    if "issuer" in credential and not identifier(credential["issuer"]):
        return "The credential's `issuer` must be a DID, or an object with one as `id`."
    return wrong_date(credential)


def _signed(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError("credential-invalid", "A credential is a JSON object.")
    if wrong := _wrong(value):
        raise FormatError("credential-invalid", wrong)
    return value


def _suite(options: Mapping[str, Any]) -> Suite | None:
    return suite_of({"type": options.get("proofType"), "cryptosuite": options.get("cryptosuite")})


def _suite_of(options: Mapping[str, Any]) -> Suite:
    suite = _suite(options)
    if suite is None:
        raise FormatError("detail-invalid", "The options name no supported proofType.")
    return suite


def _is_second(text: Any) -> bool:
    try:
        return bool(times.iso_seconds(times.read(text)) == text)
    except ValueError:
        return False


def _about(detail: Detail, did: str) -> Detail:
    """Returns the detail, with `did` as the credential's subject if it names none."""
    about = detail["credential"]["credentialSubject"]
    if not did or not isinstance(about, dict) or "id" in about:
        return detail
    return {**detail, "credential": {**detail["credential"], "credentialSubject": {**about, "id": did}}}


def _departs(offered: Detail, requested: Detail) -> str:
    """Returns the part of a request that was not offered; "" if there is none: only the subject, and open options, may
    be added.
    """
    offered = _about(offered, subjects(requested["credential"])[0])
    for part, may_add in (("credential", frozenset[str]()), ("options", _LEFT_OPEN)):
        before, after = offered[part], requested[part]
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name) and not (name in may_add and name not in before):
                return f"its {name[:60]!r}"
    return ""


def _as_asked(detail: Detail | None, credential: Mapping[str, Any]) -> Check:
    """Makes the check `request`: an issuer may add to the requested credential, not change it."""
    if detail is None:
        return Check("request", False, "Nothing was requested or offered.")
    asked, options = detail["credential"], detail["options"]
    wrong = ""
    for name in sorted({*asked, *credential} - {"proof"}):
        before, after = asked.get(name), credential.get(name)
        if name == "@context":
            same = listed(after)[: len(listed(before))] == listed(before)
        elif name == "credentialStatus" and name not in asked:
            same = "credentialStatus" in options
        elif name == "issuer" and name in asked:
            same = identifier(before) == identifier(after)
        else:
            same = before == after or (name not in asked and name in _ADDED)
        wrong = wrong or ("" if same else f"its {name[:60]!r}")
    if status := options.get("credentialStatus"):
        types = [entry.get("type") for entry in listed(credential.get("credentialStatus")) if isinstance(entry, dict)]
        wrong = wrong or ("" if any(status["type"] in listed(type_) for type_ in types) else "its 'credentialStatus'")
    for proof in listed(credential.get("proof")):
        for name in ("created", "challenge", "domain"):
            if name in options and (not isinstance(proof, dict) or proof.get(name) != options[name]):
                wrong = wrong or f"the proof's {name}"
        if not isinstance(proof, dict) or suite_of(proof) != _suite(options):
            wrong = wrong or "the proof's type"
    return Check("request", not wrong, f"The credential is not what was requested: {wrong}." if wrong else "")


def _bound(detail: Detail | None, credential: Mapping[str, Any], own: set[str]) -> Check | None:
    """Makes the check `holder-binding`; None if the credential was requested about somebody else."""
    asked = subjects(detail["credential"]) if detail is not None else [""]
    if not own & set(asked) and all(asked):
        return None
    if own & set(subjects(credential)):
        return Check("holder-binding", True)
    return Check("holder-binding", False, "The subject of the credential is not the identity that requested it.")


def _issued(credential: Mapping[str, Any], proof: Proof, subject: str) -> Check:
    """Makes the check `issuer`: one of the keys that signed is the issuer's."""
    issuer = identifier(credential.get("issuer"))
    if not proof.signers:
        return Check("issuer", None, "The signer is unknown.", subject)
    if not issuer or issuer not in proof.signers:
        return Check("issuer", False, f"The credential is by {issuer[:200]!r}, and signed by {proof.signer}.", subject)
    return Check("issuer", True, issuer, subject)
