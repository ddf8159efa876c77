"""Proofs of JSON-LD documents (W3C VC Data Integrity 1.0, and the older Linked Data signatures): makes them, and checks
them against the DID document of the alleged signer.

`proof_suites` decides which documents can be signed and which bytes are signed. It runs in other processes: a context
takes milliseconds, and a document may be built to take for ever. Contexts are bundled. Others are fetched only from
hosts that the operator trusts to define a credential's terms: a holder may name another context than the issuer did,
and the signature would still be right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from tntcore.credentials.formats import Check, FormatError, Resolve, Signer, SigningError
from tntcore.credentials.names import UnsafeContext, read_contexts
from tntcore.credentials.proof_suites import (
    BASE_CONTEXTS,
    Contexts,
    NotSignable,
    Suite,
    bundled_contexts,
    expanded_types,
    is_bundled,
    suite_of,
    to_sign,
    why_not,
    with_context,
    with_signature,
)
from tntcore.dids.document import PublicKey
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.messaging import times
from tntcore.nearest import by_lower_case, hint
from tntcore.strict_json import JsonError, is_deep, write_json
from tntcore.workers import TooLongError, Workers, WorkTimeout, within

ProofPurpose = Literal["assertionMethod", "authentication"]
SECONDS: Final = 5.0  # of processor time, for one proof
MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 48
_MANY = 200  # values: 1,000 take 0.2 s, 4,000 take 3 s
MAX_PROOFS: Final = 4
MAX_CONTEXTS: Final = 32  # mentioned in a document
_NEAR: Final = 0.9  # URLs of contexts that differ in a few characters
CLOCK_SKEW_MS: Final = 5 * 60 * 1000
FindContext = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""The context document of a URL; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The result for a document's proofs.

    Attributes:
        checks: `signature`, and `challenge`, `domain` if they were requested, of each proof.
        kids: the verification methods, if every check passed: all of these keys signed.
    """

    checks: Sequence[Check]
    kids: Sequence[str] = ()

    @property
    def signers(self) -> Sequence[str]:
        """The DIDs of `kids`."""
        return tuple(kid.partition("#")[0] for kid in self.kids)

    @property
    def signer(self) -> str | None:
        """The DID that signed, the first if there are several; None if a check failed."""
        return next(iter(self.signers), None)

    @property
    def kid(self) -> str | None:
        return next(iter(self.kids), None)


class _Refused(Exception):
    """A proof or document fails; `passed` as in `Check`."""

    def __init__(self, detail: str, name: str = "signature", passed: bool | None = False) -> None:
        super().__init__(detail)
        self.check = Check(name, passed, detail)


class LinkedData:
    """Signs documents and checks their proofs.

    Args:
        now: milliseconds since 1970.
        contexts: more context documents, by URL, that the operator trusts.
        find: returns a context document that the tenant has given, by its URL.
    """

    def __init__(
        self,
        workers: Workers,
        resolve: Resolve,
        now: Callable[[], int],
        *,
        contexts: Contexts | None = None,
        find: FindContext | None = None,
    ) -> None:
        self.workers = workers
        self.now = now
        self._resolve = resolve
        self._contexts = dict(contexts or {})
        self._find = find

    async def sign(
        self,
        document: Mapping[str, Any],
        signer: Signer,
        *,
        suite: Suite,
        purpose: ProofPurpose,
        created_ms: int,
        challenge: str | None = None,
        domain: str | None = None,
    ) -> dict[str, Any]:
        """Returns the document with a proof, and with the context that defines the proof if it was missing.

        Args:
            document: has no proof.
            created_ms: milliseconds since 1970; seconds are written.

        Raises:
            FormatError: `not-signable`: the signature would not cover all of it, a context is unknown, or it exceeds a
                bound.
            SigningError: the key's holder did not sign, or not with the signer's key.
        """
        proof = _options(signer, suite, purpose, created_ms, challenge, domain)
        complete, data = await self._prepare(document, proof)
        signature = await signer.sign(data)
        if signer.key.curve != "Ed25519" or not _is_signature(signer.key, data, signature):
            raise SigningError(f"the signer's answer is not a signature by the key {signer.kid}")
        return {**complete, "proof": with_signature(proof, signature)}

    async def check_signable(self, document: Mapping[str, Any], *, suite: Suite) -> None:
        """Checks whether `sign` could sign this, apart from the key. Raises `FormatError` as `sign` does."""
        proof = {**_PLACEHOLDER, **_names(suite)}
        await self._prepare(document, proof)

    async def _prepare(self, document: Mapping[str, Any], proof: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        suite = suite_of(proof)
        assert suite is not None  # noqa: S101
        if "proof" in document:
            raise FormatError("not-signable", "the document has a proof already")
        complete = with_context(document, suite)
        try:
            long = _check_size(complete)
            contexts = await self._load(complete, suite)
            return complete, await self.workers.run(within, SECONDS, to_sign, complete, proof, contexts, long=long)
        except _Refused as error:
            raise FormatError("not-signable", error.check.detail) from None
        except NotSignable as error:
            raise FormatError("not-signable", str(error)) from None
        except (TooLongError, WorkTimeout):
            detail = "the document is too complex: it takes too long to compute what is signed"
            raise FormatError("not-signable", detail) from None

    async def check_proof(
        self,
        document: Mapping[str, Any],
        *,
        purpose: ProofPurpose,
        challenge: str | None = None,
        domain: str | None = None,
        subject: str = "",
    ) -> Proof:
        """Checks every proof of a document: it was made for `purpose`, with a key that the DID document of its
        `verificationMethod` lists for that, covers the whole document, and is not in the future.

        Args:
            challenge, domain: that each proof must be bound to; not checked if None.
            subject: of the checks.

        Raises:
            DidError: `unresolvable`: the signer's document cannot be fetched at the moment.
        """
        try:
            long = _check_size(document)
            proofs = _proofs_of(document)
        except _Refused as error:
            return Proof([replace(error.check, subject=subject)])
        unsecured = {name: value for name, value in document.items() if name != "proof"}
        checks: list[Check] = []
        kids = []
        for proof in proofs:
            checks += _bindings(proof, challenge, domain, subject)
            try:
                kids.append(await self._check(unsecured, proof, purpose, long=long))
                checks.append(Check("signature", True, subject=subject))
            except _Refused as error:
                checks.append(replace(error.check, subject=subject))
        return Proof(checks, kids if all(check.passed is True for check in checks) else ())

    async def types(self, document: Mapping[str, Any]) -> frozenset[str]:
        """Returns the URIs of a document's types, as its contexts define them; an empty set if they cannot be
        determined.
        """
        named = {name: document[name] for name in ("@context", "type") if name in document}
        try:
            _check_size(named)
            return await self.workers.run(expanded_types, named, await self._load(named, "eddsa-rdfc-2022"))
        except (_Refused, WorkTimeout):
            return frozenset()

    async def _check(
        self, document: dict[str, Any], proof: dict[str, Any], purpose: ProofPurpose, *, long: bool
    ) -> str:
        """Returns the verification method of a valid proof. Checks the cheapest things first. Raises `_Refused`,
        `DidError`.
        """
        suite = suite_of(proof)
        if suite is None:
            raise _Refused("the proof is of no suite that is known here")
        if proof.get("proofPurpose") != purpose:
            raise _Refused(f"the proof is not made for {purpose}")
        if "previousProof" in proof:
            raise _Refused("chains of proofs are not supported")
        self._check_times(proof)
        kid, key = await self._key(proof.get("verificationMethod"), purpose)
        contexts = await self._load(document, suite)
        try:
            run = self.workers.run
            detail = await run(within, SECONDS, why_not, document, proof, key.raw, contexts, long=long)
        except (TooLongError, WorkTimeout):
            raise _Refused("the document is too complex: it takes too long to compute what is signed") from None
        if detail:
            raise _Refused(detail)
        return kid

    def _check_times(self, proof: Mapping[str, Any]) -> None:
        now = self.now()
        if "created" in proof and _moment(proof, "created") > now + CLOCK_SKEW_MS:
            raise _Refused("the proof was created in the future")
        if "expires" in proof and _moment(proof, "expires") <= now:
            raise _Refused("the proof is expired", "expiry")

    async def _key(self, name: Any, purpose: ProofPurpose) -> tuple[str, PublicKey]:
        if not isinstance(name, str) or not name.startswith("did:") or "#" not in name:
            raise _Refused("the proof's verificationMethod is not a DID URL with a fragment")
        did = name.partition("#")[0]
        try:
            document = await self._resolve(did)
        except DidError as error:
            if error.code == UNRESOLVABLE:
                raise
            raise _Refused(f"the DID of the proof's verificationMethod cannot be resolved: {error.detail}") from None
        method = document.method(name)
        listed = document.assertion if purpose == "assertionMethod" else document.authentication
        if document.id != did or method is None or method.controller != did or method.id not in listed:
            raise _Refused(f"the proof's verificationMethod is none that its DID document lists for {purpose}")
        if method.key.curve != "Ed25519":
            raise _Refused(f"the proof's verificationMethod is a key of {method.key.curve}, not of Ed25519")
        return name, method.key

    async def _load(self, document: Mapping[str, Any], suite: Suite) -> dict[str, Any]:
        """Returns the contexts that a document mentions and that are not bundled. Raises `_Refused`."""
        if suite == "eddsa-jcs-2022":  # signs the JSON as it is
            return {}
        wanted = list(_mentioned(document))
        if len(wanted) > MAX_CONTEXTS:
            raise _Refused(f"the document mentions more than {MAX_CONTEXTS} contexts")
        try:
            read_contexts(document.get("@context"))
        except UnsafeContext as error:
            raise _Refused(str(error)) from None
        found: dict[str, Any] = dict(self._contexts)
        for name in wanted:
            if isinstance(name, str) and name not in found and not is_bundled(name):
                context = await self._find(name) if self._find is not None else None
                if context is None:
                    near = hint(name, by_lower_case((*BASE_CONTEXTS, *bundled_contexts())), _NEAR)
                    given = "POST /api/context gives the service one of your own"
                    raise _Refused(f"the context {name[:200]} is not known here{near}; {given}")
                found[name] = context
        return found


_PLACEHOLDER: Mapping[str, Any] = {
    "created": "2000-01-01T00:00:00Z",
    "verificationMethod": "did:example:issuer#key",
    "proofPurpose": "assertionMethod",
}


def _moment(proof: Mapping[str, Any], name: str) -> int:
    try:
        return times.read(proof[name])
    except ValueError:
        raise _Refused(f"the proof's {name} is not a date and time") from None


def _proofs_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    raw = document.get("proof")
    proofs = [proof for proof in (raw if isinstance(raw, list) else [raw]) if isinstance(proof, dict)]
    if not proofs or (isinstance(raw, list) and len(proofs) < len(raw)):
        raise _Refused("there is no proof")
    if len(proofs) > MAX_PROOFS:
        raise _Refused(f"there are more than {MAX_PROOFS} proofs")
    return proofs


def _names(suite: Suite) -> dict[str, Any]:
    if suite in ("Ed25519Signature2018", "Ed25519Signature2020"):
        return {"type": suite}
    return {"type": "DataIntegrityProof", "cryptosuite": suite}


def _options(
    signer: Signer, suite: Suite, purpose: ProofPurpose, created_ms: int, challenge: str | None, domain: str | None
) -> dict[str, Any]:
    out = {
        **_names(suite),
        "created": times.iso_seconds(created_ms),
        "verificationMethod": signer.kid,
        "proofPurpose": purpose,
        "challenge": challenge,
        "domain": domain,
    }
    return {name: value for name, value in out.items() if value is not None}


def _bindings(proof: Mapping[str, Any], challenge: str | None, domain: str | None, subject: str) -> Iterator[Check]:
    if challenge is not None:
        same = proof.get("challenge") == challenge
        yield Check("challenge", same, "" if same else "the proof has another challenge, or none", subject)
    if domain is not None:
        found = proof.get("domain")
        same = found == domain or (isinstance(found, list) and domain in found)
        detail = "" if same else f"the proof has {'no' if found is None else 'another'} domain"
        yield Check("domain", same, detail, subject)


def _check_size(document: Mapping[str, Any]) -> bool:
    """Returns whether the document has so many values, by its commas, that it is likely to take long to bring into
    canonical form. Raises `_Refused` if it is too large or too deep.
    """
    try:
        data = write_json(document)
    except TypeError:
        raise _Refused("the document has a number or a text that JSON cannot have, or is too deep") from None
    if len(data) > MAX_BYTES:
        raise _Refused(f"the document has more than {MAX_BYTES} bytes")
    try:
        deep = is_deep(data, MAX_DEPTH)
    except JsonError as error:
        raise _Refused(f"the document has {error}") from None
    if deep:
        raise _Refused(f"the document is nested deeper than {MAX_DEPTH}")
    return data.count(b",") > _MANY


def _mentioned(value: Any) -> Iterator[Any]:
    """Yields each entry of each `@context` and `@import` in a JSON value of bounded depth."""
    if isinstance(value, list):
        for item in value:
            yield from _mentioned(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in ("@context", "@import"):
                yield from item if isinstance(item, list) else [item]
            if isinstance(item, dict | list):
                yield from _mentioned(item)


def _is_signature(key: PublicKey, data: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key.raw).verify(data, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True
