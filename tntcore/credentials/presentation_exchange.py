"""Presentations by DIF Presentation Exchange (RFC 0510): what is asked for is a definition, what is shown a verifiable
presentation with a `presentation_submission`.

Decisions where the specifications leave one:

- The presentation is signed by the subject of each credential in it. A credential about nobody, or about another than
  who signed, does not pass `holder-binding`: nothing shows that it was given to who shows it.
- `challenge` is a UUID, made here for every request: ACA-Py reads no other, and one that the prover proposes would let
  it show the same presentation again.
- A proposal is a whole definition: Credo reads none without an `id`, which RFC 0510 leaves out.
- `domain`: a presentation for another domain than was asked for fails, as does one for a domain where none was asked
  for. One that names none passes if its challenge is right: RFC 0510 leaves both out to the wallet's discretion, ACA-Py
  leaves the domain out, and the challenge already belongs to this request of this verifier alone. A domain adds
  nothing to that here: a wallet copies it from the request, whoever sent that.
- `schema` of a descriptor is compared with what a credential's signature covers: its expanded types and its schemas'
  ids; the names of contexts only where they are signed too.
- Whether the presentation is JSON-LD or a JWT is as was asked for; the suite that it is signed with is any that is
  known here, because ACA-Py signs with that of the credentials whatever was asked for. That of a credential counts.
- `descriptor_map` is a claim: each of its entries has to point at a credential that satisfies its descriptor, by our
  own look at it. Every credential in the presentation is verified, whether it is pointed at or not.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tntcore.credentials import jwt_vc, ld_proof
from tntcore.credentials.checking import (
    SECONDS,
    check_dates,
    identifier,
    listed,
    owner_of,
    subjects,
    summary,
)
from tntcore.credentials.compact import read_token
from tntcore.credentials.definition_members import DEFINITION_MEMBERS
from tntcore.credentials.definitions import (
    Definition,
    DefinitionError,
    Matchable,
    check_definition,
    choose,
    fit,
    is_required,
    read_definition,
    unmet,
)
from tntcore.credentials.formats import (
    Candidate,
    Check,
    Draft,
    FormatError,
    HeldCredential,
    NotYetValid,
    Party,
    ProofStep,
    Signer,
    Verification,
    Verified,
)
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.presentations import TYPES, OpenedPresentation, Presentations
from tntcore.credentials.proof_suites import SUITES, Suite, suite_of
from tntcore.dids import key
from tntcore.dids.document import PublicKey
from tntcore.errors import Problem, sentence
from tntcore.nearest import check_members, names
from tntcore.strict_json import write_json
from tntcore.workers import TooLongError, Workers, WorkTimeout

DEFINITION: Final = "dif/presentation-exchange/definitions@v1.0"
SUBMISSION: Final = "dif/presentation-exchange/submission@v1.0"
MAX_MAP: Final = 500  # ACA-Py repeats its entries

_REQUEST_MEMBERS: Final = {
    "presentation_definition": DEFINITION_MEMBERS,
    "options": names("challenge", "domain"),
}
_DEFINED: Final = ("name", "purpose", "format", "submission_requirements")
# Read, not evaluated: a path of the prover's has nothing else to point at.
_PLACE: Final = re.compile(r"\$(\.vp)?\.(verifiableCredential|verifiable_credential)(\.?\[(\d{1,3})\])?")


@dataclass(frozen=True, slots=True)
class _Aliased:
    """A party's signer, under its key's id in another of its DIDs."""

    signer: Signer
    kid: str

    @property
    def key(self) -> PublicKey:
        return self.signer.key

    async def sign(self, data: bytes) -> bytes:
        return await self.signer.sign(data)


class PresentationExchange:
    """The `ProofFormat` of presentation definitions and submissions.

    Args:
        verify_document: makes every check of a JSON-LD credential except those about its presenter; takes the subject
            of the checks.
        now: milliseconds since 1970.
        new_uuid: a random UUID (version 4).
    """

    name = "dif"
    identifiers: Mapping[ProofStep, tuple[str, ...]] = {
        "propose": (DEFINITION, "dif/presentation-exchange/definition@v1.0"),
        "request": (DEFINITION, "dif/presentation-exchange/definition@v1.0"),
        "present": (SUBMISSION,),
    }

    def __init__(
        self,
        workers: Workers,
        presentations: Presentations,
        linked_data: LinkedData,
        verify_document: Callable[[Any, str], Awaitable[Verification]],
        jwt: jwt_vc.JwtVc,
        now: Callable[[], int],
        new_uuid: Callable[[], str],
    ) -> None:
        self._workers = workers
        self._presentations = presentations
        self._linked_data = linked_data
        self._verify_document = verify_document
        self._jwt_vc = jwt
        self._now = now
        self._new_uuid = new_uuid

    def reads(self, step: ProofStep, value: Any) -> bool:
        if step == "present" and isinstance(value, str):
            try:
                return "vp" in read_token(value, TYPES).claims
            except FormatError:
                return False
        member = {"propose": "input_descriptors", "request": "presentation_definition"}
        return isinstance(value, dict) and member.get(step, "presentation_submission") in value

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        definition = content.get("presentation_definition", content)
        if "presentation_definition" in content:
            check_members(content, {"presentation_definition": DEFINITION_MEMBERS}, "data")
        else:
            check_members(content, DEFINITION_MEMBERS, "data")
        await self._own(definition)
        proposed = {name: definition[name] for name in ("input_descriptors", *_DEFINED) if name in definition}
        return Draft({"id": definition.get("id") or self._new_uuid(), **proposed}, DEFINITION)

    async def request(self, party: Party, proposal: Any, content: Mapping[str, Any] | None) -> Draft:
        options: Any = {}
        definition: Any
        if content is not None:
            check_members(content, _REQUEST_MEMBERS, "data")
            definition, options = content.get("presentation_definition"), content.get("options", {})
            await self._own(definition)
        else:
            proposed: Any = proposal.get("presentation_definition", proposal) if isinstance(proposal, dict) else None
            await self._definition(proposed)
            definition = {name: proposed[name] for name in ("input_descriptors", *_DEFINED) if name in proposed}
        asked = {"challenge": self._new_uuid(), **_options(options)}
        return Draft({"options": asked, "presentation_definition": {"id": self._new_uuid(), **definition}}, DEFINITION)

    async def candidates(
        self, request: Any, held: Sequence[HeldCredential], party: Party | None = None
    ) -> Sequence[Candidate]:
        definition, _, _ = await self._read(request)
        fitting = await self._fitting(definition, held)
        if party is not None:
            owners = await _owners(party, held, fitting)
            fitting = {name: [uuid for uuid in uuids if uuid in owners] for name, uuids in fitting.items()}
        return [Candidate(name, found, is_required(definition, name)) for name, found in fitting.items()]

    async def present(
        self, party: Party, request: Any, held: Sequence[HeldCredential], chosen: Mapping[str, Any] | None
    ) -> Draft:
        definition, challenge, domain = await self._read(request)
        fitting = await self._fitting(definition, held)
        owners = await _owners(party, held, fitting)
        usable = {name: [found for found in uuids if found in owners] for name, uuids in fitting.items()}
        for name, choice in (chosen or {}).items():
            if choice not in usable.get(name, []):
                raise Problem(400, "choice-invalid", _why_no_choice(name, choice, fitting))
            usable[name] = [choice]
        if not choose(definition, {name for name, uuids in usable.items() if uuids}, chosen or ()):
            raise Problem(409, "nothing-to-present", _why_nothing(definition, usable, fitting))
        # One presentation is signed by one DID, and all that is in it must be about that.
        holder, answers = next(_of_one(definition, usable, owners, chosen or ()), ("", {}))
        if not answers:
            detail = (
                "The credentials are about different DIDs, but one DID signs a presentation. Choose "
                "credentials about one DID."
            )
            raise Problem(409, "nothing-to-present", detail)
        ours = {one.uuid: one for one in held}
        shown = {name: ours[uuid] for name, uuid in answers.items()}
        signing = next(owner for did, owner in owners.values() if did == holder)
        signer = _Aliased(signing.signer, _kid(signing, holder))
        values = list({one.uuid: one.value for one in shown.values()}.values())
        submission = self._submission(definition, shown, values)
        kind = _kind(definition, values)
        if kind == "jwt_vp":
            token = await self._presentations.sign_token(values, submission, signer, holder, challenge, domain)
            return Draft(token, SUBMISSION, "application/jwt")
        suite = _suite(definition, values)
        document = await self._presentations.sign_document(values, submission, signer, suite, challenge, domain)
        return Draft(document, SUBMISSION)

    async def verify(self, party: Party, request: Any, presentation: Any) -> Verified:
        definition, challenge, domain = await self._read(request)
        opened = await self._presentations.open(presentation, challenge, domain)
        checks = list(opened.checks)
        required = {(name, "") for name in ("signature", "holder-binding", "challenge", "request")}
        required |= {("domain", "")} if domain is not None else set()
        if not opened.holder:
            # No host is contacted for a credential whose signature failed.
            return Verified(Verification(checks, frozenset(required)), {"credentials": [], "claims": {}})
        checks.append(Check("holder-binding", True, opened.holder))
        shown: list[Matchable | None] = []
        for number, value in enumerate(opened.credentials):
            subject = f"credential {number}"
            verification, found = await self._inner(value, subject, in_token=isinstance(presentation, str))
            bound = found is not None and set(found.subjects) == {opened.holder}
            detail = "" if bound else "The credential is not about the DID that signed the presentation."
            checks += [*verification.checks, Check("holder-binding", bound, detail, subject)]
            required |= {*verification.required, ("holder-binding", subject), ("signature", subject)}
            shown.append(found)
        detail, claims = await self._as_asked(definition, opened.submission, shown)
        detail = detail or _why_not_form(definition, opened)
        checks.append(Check("request", not detail, detail))
        summaries = [summary(one.documents[-1]) for one in shown if one is not None]
        summary_ = {"credentials": summaries, "claims": claims}
        return Verified(Verification(checks, frozenset(required)), summary_, opened.mark)

    async def _read(self, request: Any) -> tuple[Definition, str, str | None]:
        """Returns the definition, challenge and domain of a request. Raises `FormatError`."""
        if not isinstance(request, dict):
            raise FormatError("definition-invalid", "The request is not an object with a presentation_definition.")
        definition = await self._definition(request.get("presentation_definition"))
        options = request.get("options") or {}
        if not isinstance(options, dict):
            raise FormatError("definition-invalid", "`options` of the request is not an object.")
        challenge, domain = options.get("challenge"), options.get("domain")
        challenge = self._new_uuid() if challenge is None else challenge
        if (
            not isinstance(challenge, str)
            or not isinstance(domain, str | None)
            or len(challenge + (domain or "")) > 2_000
        ):
            raise FormatError("definition-invalid", "`challenge` and `domain` of the request must be texts.")
        return definition, challenge, domain

    async def _own(self, value: Any) -> Definition:
        try:
            return await self._definition(value)
        except FormatError as error:
            raise Problem(400, error.code, sentence(error.detail)) from None

    async def _definition(self, value: Any) -> Definition:
        try:
            definition = read_definition(value)
        except DefinitionError as error:
            raise FormatError("definition-invalid", str(error)) from None
        await self._work(check_definition, definition)
        return definition

    async def _work(self, function: Callable[..., Any], *args: object) -> Any:
        try:
            return await self._workers.run(function, *args, SECONDS)
        except DefinitionError as error:
            raise FormatError("definition-invalid", str(error)) from None
        except TooLongError:
            raise FormatError("definition-invalid", "Comparing the definition takes too long.") from None
        except WorkTimeout as error:
            raise FormatError("too-expensive", str(error)) from None

    async def _fitting(self, definition: Definition, held: Sequence[HeldCredential]) -> dict[str, list[str]]:
        """Returns for each descriptor the uuids of the credentials that satisfy it and are valid now."""
        now = self._now()
        known = [
            one for one in held if one.format in (jwt_vc.ISSUED, ld_proof.ISSUED) and not 0 < one.expires_at <= now
        ]
        known = [one for one in known if not _is_early(one.value, now)]
        shown = await self._all_shown(definition, [one.value for one in known], contexts=True)
        usable = [(one, found) for one, found in zip(known, shown, strict=True) if found is not None]
        table = await self._work(fit, definition, [found for _, found in usable])
        return {
            descriptor.id: [one.uuid for (one, _), why in zip(usable, row, strict=True) if not why]
            for descriptor, row in zip(definition.descriptors, table, strict=True)
        }

    async def _all_shown(
        self, definition: Definition, values: Sequence[Any], *, contexts: bool
    ) -> list[Matchable | None]:
        """Returns the credentials in the form for matching. Args: contexts: whether contexts may be requested even
        where they are not signed.
        """
        typed: dict[bytes, frozenset[str]] = {}
        asked = any(descriptor.schemas for descriptor in definition.descriptors)
        found = []
        for value in values:
            credential = _credential(value)
            names: frozenset[str] = frozenset()
            if credential is not None and asked:
                kinds = {name: credential[name] for name in ("@context", "type") if name in credential}
                kept = write_json(kinds)
                if kept not in typed:
                    typed[kept] = await self._linked_data.types(kinds)
                names = typed[kept]
            found.append(None if credential is None else _shown(value, credential, names, contexts=contexts))
        return found

    def _submission(
        self, definition: Definition, shown: Mapping[str, HeldCredential], values: list[Any]
    ) -> dict[str, Any]:
        entries = [
            {
                "id": name,
                "format": "jwt_vc" if isinstance(one.value, str) else "ldp_vc",
                "path": f"$.verifiableCredential[{values.index(one.value)}]",
            }
            for name, one in shown.items()
        ]
        submission = {"id": self._new_uuid(), "definition_id": definition.id, "descriptor_map": entries}
        return submission if definition.id else {**submission, "definition_id": self._new_uuid()}

    async def _inner(self, value: Any, subject: str, *, in_token: bool) -> tuple[Verification, Matchable | None]:
        failed = Check("signature", False, "", subject)
        nothing = frozenset({("signature", subject)})
        if isinstance(value, str) and not in_token:
            # In JSON-LD a text is the id of a credential elsewhere, so the signature would not cover its content.
            return Verification([replace(failed, detail="A JWT inside a JSON-LD presentation.")], nothing), None
        try:
            if isinstance(value, str):
                verification = await self._jwt_vc.verify_credential(value, subject)
            elif isinstance(value, dict):
                verification = await self._verify_document(value, subject)
            else:
                return Verification([replace(failed, detail="It is no credential.")], nothing), None
        except FormatError as error:
            return Verification([replace(failed, detail=error.detail)], nothing), None
        credential = _credential(value)
        if credential is None:
            return verification, None
        return verification, _shown(value, credential, frozenset(), contexts=False)

    async def _as_asked(
        self, definition: Definition, submission: Any, shown: Sequence[Matchable | None]
    ) -> tuple[str, dict[str, Any]]:
        """Returns the unmet part of the request, and the shown claims by descriptor."""
        entries = submission.get("descriptor_map") if isinstance(submission, dict) else None
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_MAP:
            return f"The presentation has no presentation_submission with 1 to {MAX_MAP} entries.", {}
        if submission.get("definition_id", definition.id) != definition.id and definition.id:
            return "The presentation_submission is for another definition.", {}
        kinds = [None if one is None else {k: one.documents[-1].get(k) for k in ("@context", "type")} for one in shown]
        typed = [frozenset() if kind is None else await self._linked_data.types(kind) for kind in kinds]
        known = [
            None if one is None else replace(one, names=one.names | names)
            for one, names in zip(shown, typed, strict=True)
        ]
        usable = [number for number, one in enumerate(known) if one is not None]
        table = await self._work(fit, definition, [known[number] for number in usable])
        rows = {descriptor.id: row for descriptor, row in zip(definition.descriptors, table, strict=True)}
        claims: dict[str, Any] = {}
        for entry in entries:
            name = entry.get("id") if isinstance(entry, dict) else None
            name = name if isinstance(name, str) else ""
            number = _place(entry)
            if name in rows and number is not None and number >= len(shown):
                # ACA-Py leaves credentials out whose subject did not sign, and forgets their entries.
                continue
            if name not in rows or number is None or number not in usable:
                return "The presentation_submission points at something else than a credential that was asked for.", {}
            if why := rows[name][usable.index(number)]:
                return f"Credential {number} was shown for {name[:100]!r}, but {why}.", {}
            one = known[number]
            claims[name] = one.documents[-1].get("credentialSubject") if one is not None else None
        why = unmet(definition, claims.keys())
        return (f"In the presentation {why}." if why else ""), claims


def _options(value: Any) -> dict[str, Any]:
    options = (
        {name: value[name] for name in ("challenge", "domain") if name in value} if isinstance(value, dict) else None
    )
    if options is None:
        raise Problem(400, "options-invalid", "`options` is an object such as {challenge, domain}.")
    if "challenge" in options and not _is_uuid(options["challenge"]):
        raise Problem(400, "options-invalid", "`options.challenge` must be a random UUID (version 4), or left out.")
    domain = options.get("domain", "-")
    if not isinstance(domain, str) or not 1 <= len(domain) <= 1_000:
        raise Problem(400, "options-invalid", "`options.domain` must be a text of at most 1,000 characters.")
    return options


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and uuid.UUID(value).version == 4 and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def _credential(value: Any) -> Mapping[str, Any] | None:
    """Returns the credential in a value, without verifying it."""
    if isinstance(value, dict):
        return value if "credentialSubject" in value and "proof" in value else None
    try:
        return jwt_vc.peek(value)
    except FormatError:
        return None


def _is_early(value: Any, now_ms: int) -> bool:
    credential = _credential(value)
    return credential is not None and isinstance(check_dates(credential, now_ms, ""), NotYetValid)


def _shown(value: Any, credential: Mapping[str, Any], types: frozenset[str], *, contexts: bool) -> Matchable:
    schemas = {identifier(schema) for schema in listed(credential.get("credentialSchema"))}
    urls = {url for url in listed(credential.get("@context")) if isinstance(url, str)}
    about = tuple(subjects(credential))
    issuer = identifier(credential.get("issuer"))
    if isinstance(value, str):
        token = read_token(value, jwt_vc.TYPES)
        algorithm = frozenset({str(token.header.get("alg"))})
        return Matchable("jwt_vc", algorithm, (token.claims, credential), types | schemas | urls, issuer, about)
    proofs = [proof for proof in listed(value.get("proof")) if isinstance(proof, dict)]
    suites = {proof[name] for proof in proofs for name in ("type", "cryptosuite") if isinstance(proof.get(name), str)}
    signed = bool(proofs) and all(proof.get("cryptosuite") == "eddsa-jcs-2022" for proof in proofs)
    names = types | schemas | (urls if contexts or signed else set())
    return Matchable("ldp_vc", frozenset(suites), (credential,), names, issuer, about)


def _subject(held: HeldCredential) -> str:
    credential = _credential(held.value)
    about = set(subjects(credential)) if credential is not None else set()
    return about.pop() if len(about) == 1 else "several" if about else ""


async def _owners(
    party: Party, held: Sequence[HeldCredential], fitting: Mapping[str, Collection[str]]
) -> dict[str, tuple[str, Party]]:
    """Returns for each fitting credential about one of the tenant's identities: that DID and the identity. The
    credentials about `party` come first.
    """
    wanted = {uuid for uuids in fitting.values() for uuid in uuids}
    about = {one.uuid: _subject(one) for one in held if one.uuid in wanted}
    known = {did: await owner_of(party, did) for did in set(about.values())}
    found = {uuid: (did, owner) for uuid, did in about.items() if (owner := known[did]) is not None}
    return dict(sorted(found.items(), key=lambda item: item[1][1] is not party))


def _of_one(
    definition: Definition,
    usable: Mapping[str, Sequence[str]],
    owners: Mapping[str, tuple[str, Party]],
    chosen: Collection[str],
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields for each DID that can answer alone: the DID, and the credentials it would show, by descriptor."""
    for did in dict.fromkeys(did for did, _ in owners.values()):
        own = {name: [uuid for uuid in uuids if owners[uuid][0] == did] for name, uuids in usable.items()}
        names = choose(definition, {name for name, uuids in own.items() if uuids}, chosen)
        if names and set(chosen) <= set(names):
            yield did, {name: own[name][0] for name in names}


def _kid(party: Party, holder: str) -> str:
    did = key.create(party.signer.key)
    if holder != did or party.signer.kid.startswith(did):
        return party.signer.kid
    return f"{did}#{did.removeprefix('did:key:')}"


def _kind(definition: Definition, values: Sequence[Any]) -> str:
    """Returns the form of the presentation: JSON-LD if that can carry all credentials, and is allowed."""
    asked = [name for name in ("ldp_vp", "jwt_vp") if name in definition.formats]
    tokens = any(isinstance(value, str) for value in values)
    if not tokens and (not asked or "ldp_vp" in asked):
        return "ldp_vp"
    if not asked or "EdDSA" in (definition.formats.get("jwt_vp", frozenset({""})) or {"EdDSA"}):
        return "jwt_vp"
    raise Problem(
        409,
        "nothing-to-present",
        "The request asks for a JSON-LD presentation, but the matching credential is a JWT, which "
        "cannot be part of one.",
    )


def _suite(definition: Definition, values: Sequence[Any]) -> Suite:
    wanted = definition.formats.get("ldp_vp", frozenset())
    own = next((suite for value in values for proof in listed(value["proof"]) if (suite := suite_of(proof))), SUITES[0])
    order = sorted(SUITES, key=lambda suite: suite != own)
    allowed = [suite for suite in order if not wanted or suite in wanted]
    if not allowed and "DataIntegrityProof" in wanted:
        allowed = ["eddsa-rdfc-2022"]
    if not allowed:
        raise FormatError(
            "definition-invalid", f"Presentations are signed with {', '.join(SUITES)}; none was asked for."
        )
    return allowed[0]


def _place(entry: Any) -> int | None:
    """Returns the index of the credential that an entry of a descriptor map points at."""
    if not isinstance(entry, dict):
        return None
    path, nested = entry.get("path"), entry.get("path_nested")
    if path == "$" and isinstance(nested, dict):
        path = nested.get("path")
    match = _PLACE.fullmatch(path) if isinstance(path, str) else None
    return int(match[4] or 0) if match else None


def _why_not_form(definition: Definition, opened: OpenedPresentation) -> str:
    forms = [name for name in definition.formats if name.endswith("_vp")]
    return "" if not forms or opened.form in forms else "The presentation is not in a form that was asked for."


def _why_no_choice(name: str, choice: Any, fitting: Mapping[str, Collection[str]]) -> str:
    if name not in fitting:
        return f"The request has no input descriptor {name[:100]!r}. Use the names from its candidates."
    if choice in fitting[name]:
        return f"The credential for {name[:100]!r} is about another DID than the presenting identity."
    return f"The credential for {name[:100]!r} is not one of its candidates."


def _why_nothing(
    definition: Definition, usable: Mapping[str, Collection[str]], fitting: Mapping[str, Collection[str]]
) -> str:
    missing = [descriptor.id for descriptor in definition.descriptors if not usable[descriptor.id]]
    if not missing:
        return "The held credentials do not meet the submission requirements."
    if fitting[missing[0]]:
        return f"The held credentials for {missing[0][:100]!r} are about another DID than the presenting identity."
    return f"No held credential matches {missing[0][:100]!r}."
