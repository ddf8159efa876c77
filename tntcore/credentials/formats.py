"""What a credential format and a proof format are, to the protocols that carry their attachments.

A protocol knows nothing of what is inside an attachment, and a format nothing of messages: it is handed the values of
the attachments that were exchanged so far, already read, and hands back the value of the next. What is tried on such a
value (signatures, expiry, status, ...) is a `Check`; a credential or presentation is verified only if every check that
its format names was made and passed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tntcore.dids.document import DidDocument, PublicKey

if TYPE_CHECKING:
    # Only the name of a type: what an attachment is must not need the code that reaches the storage.
    from tntcore.storage.repository import Repository

CredentialStep = Literal["propose", "offer", "request", "issue"]
ProofStep = Literal["propose", "request", "present"]
Resolve = Callable[[str], Awaitable[DidDocument]]
"""A DID's document. Raises `DidError`; code `unresolvable` may be over the next time."""


class FormatError(Exception):
    """An attachment of the other side's that cannot be worked with.

    Args:
        code: for the tenant and the other side, in kebab-case.
        detail: what is wrong with it. Never contains a secret.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried on a credential or a presentation.

    Attributes:
        name: `signature`, `issuer`, `holder-binding`, `challenge`, `domain`, `schema`, `expiry`, `status`, `request`
            (what was asked for is there), or a format's own.
        passed: None if it could not be made (say, a status list that cannot be fetched): then nothing is verified.
        detail: why it failed, or what was found. For the tenant.
        subject: which part of a presentation, e.g. `credential 0`; "" for the whole.
    """

    name: str
    passed: bool | None
    detail: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class NotYetValid(Check):
    """An `expiry` that fails only because the credential's time has not come: nothing to refuse it for."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The checks made.

    Attributes:
        required: (name, subject) of every check without which nothing is verified.
    """

    checks: Sequence[Check]
    required: frozenset[tuple[str, str]]

    @property
    def verified(self) -> bool:
        """Each required check ran, and no check at all did other than pass."""
        made = {(check.name, check.subject) for check in self.checks}
        return bool(self.required) and self.required <= made and all(check.passed is True for check in self.checks)


class Signer(Protocol):
    """Signs for a DID with a key that may be held elsewhere."""

    @property
    def kid(self) -> str:
        """DID URL of the verification method."""

    @property
    def key(self) -> PublicKey:
        """The public key: Ed25519."""

    async def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes. Raises `SigningError`."""


class SigningError(Exception):
    """Who holds the key did not sign. `detail` is for the tenant."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


async def _no_other(did: str) -> Party | None:
    return None


@dataclass(frozen=True, slots=True)
class Party:
    """Who acts: an identity of a tenant.

    Attributes:
        did: the identity's. signer: with its key.
        records: the tenant's, for what a format keeps itself (link secrets, credential definitions).
        find: another identity of the same tenant, by any of its DIDs; None if there is none.
    """

    did: str
    signer: Signer
    records: Repository
    find: Callable[[str], Awaitable[Party | None]] = _no_other


@dataclass(frozen=True, slots=True)
class Draft:
    """An attachment on its way out.

    Attributes:
        value: JSON; text for what is not JSON (a JWT).
        format: its identifier in `formats` (RFC 0453, RFC 0454) or `format` (DIDComm v2).
        secret: what the format will need again at a later step, for nobody but us.
        preview: of an offer or a proposal: the attributes that its message shows, where `content` named them.
    """

    value: Any
    format: str
    mime_type: str = "application/json"
    secret: bytes = field(default=b"", repr=False)
    preview: Sequence[Attribute] = ()


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a credential preview (RFC 0036, RFC 0453). `value` is text, of `mime_type` in base64 where that
    is given."""

    name: str
    value: str
    mime_type: str = ""


@dataclass(frozen=True, slots=True)
class Issuing:
    """What has been exchanged in one format so far: attachment values, None for steps that did not happen.

    Attributes:
        preview: the attributes of the latest offer (issuer) or proposal.
        secret: of our own latest draft.
    """

    proposal: Any = None
    offer: Any = None
    request: Any = None
    preview: Sequence[Attribute] = ()
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A credential that was received, or is kept.

    Attributes:
        format: of the attachment it came in. value: as it came.
        secret: what else the holder needs to present it.
        summary: what a tenant's list shows: `{issuer, subject?, type?, schemaId?, credentialDefinitionId?, claims}`.
        expires_at: milliseconds since 1970; 0 if never.
    """

    uuid: str
    format: str
    value: Any
    secret: bytes = field(default=b"", repr=False)
    summary: Mapping[str, Any] = field(default_factory=dict)
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class Received:
    """What a holder makes of an issued credential. `held.uuid` is "" here."""

    held: Held
    verification: Verification


class CredentialFormat(Protocol):
    """How credentials of one format are issued.

    Attributes:
        name: as tenants write it: `ld-proof`, `jwt-vc`, `anoncreds`, `plain`.
        identifiers: of each step's attachments, those that are read; the first is written.
    """

    @property
    def name(self) -> str: ...
    @property
    def identifiers(self) -> Mapping[CredentialStep, Sequence[str]]: ...

    def reads(self, step: CredentialStep, value: Any) -> bool:
        """Whether an attachment that names no format (1.0) has the shape of this one's."""

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        """The holder's wish. `content` is the tenant's, format by format; raises `Problem` 400."""

    async def offer(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        """The issuer's offer: of `content`, or without one of what was proposed. Raises `Problem`, `FormatError`."""

    async def request(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        """The holder's request: of what was offered, or of `content`. Raises `Problem`, `FormatError`."""

    async def issue(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        """The credential. Raises `FormatError` (the request is not for what was offered), `Problem`, `SigningError`."""

    async def receive(self, party: Party, issuing: Issuing, value: Any) -> Received:
        """The holder's look at the credential: every check, and that it is what was offered and requested.

        Raises:
            FormatError: it is no credential of this format. DidError: `unresolvable`: try again later.
        """

    async def verify(self, held: Held) -> Verification:
        """The checks again, as of now, of a credential that is kept. Raises as `receive`."""

    async def revoke(self, party: Party, held: Held) -> None:
        """Publishes that a credential that `party` issued is revoked; nothing happens where it is already.

        Raises:
            Problem: 409 `credential-not-revocable`. SigningError.
        """


@dataclass(frozen=True, slots=True)
class Candidate:
    """Credentials that would do for one thing that a proof request asks for.

    Attributes:
        name: the referent or input descriptor id. credentials: their uuids, the best first.
    """

    name: str
    credentials: Sequence[str]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verifier makes of a presentation.

    Attributes:
        summary: `{credentials: [...], claims: {...}}`, what was shown.
        mark: by which a copy is known again, in whatever way it is written; b"" where nobody signed.
    """

    verification: Verification
    summary: Mapping[str, Any]
    mark: bytes = b""


class ProofFormat(Protocol):
    """How proofs of one format are asked for and given. Attributes and `reads` as `CredentialFormat` has them."""

    @property
    def name(self) -> str: ...
    @property
    def identifiers(self) -> Mapping[ProofStep, Sequence[str]]: ...

    def reads(self, step: ProofStep, value: Any) -> bool: ...

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        """What the prover would show. Raises `Problem` 400."""

    async def request(self, party: Party, proposal: Any, content: Mapping[str, Any] | None) -> Draft:
        """The verifier's request: of `content`, or without one of what was proposed. Adds what makes it fresh (nonce,
        challenge) where it is not given. Raises `Problem`, `FormatError`."""

    async def candidates(self, request: Any, held: Sequence[Held], party: Party | None = None) -> Sequence[Candidate]:
        """Which credentials would do, for each thing asked for; of `party`, those that its `present` takes. Raises
        `FormatError`."""

    async def present(
        self, party: Party, request: Any, held: Sequence[Held], chosen: Mapping[str, Any] | None
    ) -> Draft:
        """The presentation, of the first candidates or of those `chosen` (name: credential uuid, or a format's own).

        Raises:
            Problem: 409 `nothing-to-present` if something asked for is not held, 400 `choice-invalid`.
            FormatError, SigningError, DidError.
        """

    async def verify(self, party: Party, request: Any, presentation: Any) -> Verified:
        """Every check on the presentation and on each credential in it. Raises as `CredentialFormat.receive`."""
