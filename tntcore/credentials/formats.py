"""The interfaces of credential formats and proof formats, for the protocols that carry their attachments.

A protocol knows nothing of an attachment's content, and a format nothing of messages: it gets the parsed values of the
attachments exchanged so far, and returns the value of the next. Each test of such a value (signature, expiry, status,
...) is a `Check`; a credential or presentation is verified only if every check that its format requires was made and
passed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tntcore.dids.document import DidDocument, PublicKey

if TYPE_CHECKING:
    # For types only: this interface must not import the code that reaches storage.
    from tntcore.storage.repository import Repository

CredentialStep = Literal["propose", "offer", "request", "issue"]
ProofStep = Literal["propose", "request", "present"]
Resolve = Callable[[str], Awaitable[DidDocument]]
"""A DID's document. Raises `DidError`; code `unresolvable` may be over the next time."""


class FormatError(Exception):
    """The other side's attachment is unusable.

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
    """One test of a credential or a presentation.

    Attributes:
        name: `signature`, `issuer`, `holder-binding`, `challenge`, `domain`, `schema`, `expiry`, `status`, `request`
            (the requested content is there), or a format's own.
        passed: None if it could not be made (a status list that cannot be fetched, for example): then nothing is
            verified.
        detail: why it failed, or what was found. For the tenant.
        subject: which part of a presentation, e.g. `credential 0`; "" for the whole.
    """

    name: str
    passed: bool | None
    detail: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class NotYetValid(Check):
    """An `expiry` check that fails only because the credential is not valid yet: no reason to refuse it."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The checks made.

    Attributes:
        required: (name, subject) of every check that must have been made and passed.
    """

    checks: Sequence[Check]
    required: frozenset[tuple[str, str]]

    @property
    def verified(self) -> bool:
        """Whether every required check was made, and all checks passed."""
        made = {(check.name, check.subject) for check in self.checks}
        return bool(self.required) and self.required <= made and all(check.passed is True for check in self.checks)


class Signer(Protocol):
    """Signs for a DID with a key that may be kept elsewhere."""

    @property
    def kid(self) -> str:
        """DID URL of the verification method."""

    @property
    def key(self) -> PublicKey:
        """The public key: Ed25519."""

    async def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes. Raises `SigningError`."""


class SigningError(Exception):
    """The holder of the key did not sign. `detail` is for the tenant."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


async def _no_other(did: str) -> Party | None:
    return None


@dataclass(frozen=True, slots=True)
class Party:
    """An acting identity of a tenant.

    Attributes:
        did: the identity's. signer: with its key.
        records: the tenant's, for a format's own data (link secrets, credential definitions).
        find: another identity of the same tenant, by any of its DIDs; None if there is none.
    """

    did: str
    signer: Signer
    records: Repository
    find: Callable[[str], Awaitable[Party | None]] = _no_other


@dataclass(frozen=True, slots=True)
class Draft:
    """An outgoing attachment.

    Attributes:
        value: JSON; text if it is not JSON (a JWT).
        format: its identifier in `formats` (RFC 0453, RFC 0454) or `format` (DIDComm v2).
        secret: data that the format needs at a later step, kept private.
        preview: of an offer or a proposal: the attributes for its message, if `content` named them.
        summary: of a credential: see `HeldCredential`.
    """

    value: Any
    format: str
    mime_type: str = "application/json"
    secret: bytes = field(default=b"", repr=False)
    preview: Sequence[Attribute] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a credential preview (RFC 0036, RFC 0453). `value` is text; with `mime_type` it is base64."""

    name: str
    value: str
    mime_type: str = ""


@dataclass(frozen=True, slots=True)
class Issuing:
    """The attachment values exchanged in one format so far; None for steps that did not happen.

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
class HeldCredential:
    """A credential that was received, or is stored.

    Attributes:
        format: of the attachment it came in. value: as it came.
        secret: further data that the holder needs to present it.
        summary: for a tenant's list: `{issuer, subject?, type?, schemaId?, credentialDefinitionId?, claims}`.
        expires_at: milliseconds since 1970; 0 if never.
    """

    uuid: str
    format: str
    value: Any
    secret: bytes = field(default=b"", repr=False)
    summary: Mapping[str, Any] = field(default_factory=dict)
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class ReceivedCredential:
    """The holder's result for an issued credential. `held.uuid` is "" here."""

    held: HeldCredential
    verification: Verification


class CredentialFormat(Protocol):
    """Issues and receives credentials of one format.

    Attributes:
        name: the tenants' name for it: `ld-proof`, `jwt-vc`, `anoncreds`, `plain`.
        identifiers: for each step, the attachment formats that are read; the first is written.
    """

    @property
    def name(self) -> str: ...
    @property
    def identifiers(self) -> Mapping[CredentialStep, Sequence[str]]: ...

    def reads(self, step: CredentialStep, value: Any) -> bool:
        """Whether an attachment without a format identifier (1.0) has this format's shape."""

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        """Makes the holder's proposal. `content` is the tenant's, format by format; raises `Problem` 400."""

    async def offer(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        """Makes the issuer's offer: of `content`, or without one of the proposal. Raises `Problem`, `FormatError`."""

    async def request(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        """Makes the holder's request: of the offer, or of `content`. Raises `Problem`, `FormatError`."""

    async def issue(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        """Makes the credential. Raises `FormatError` (the request differs from the offer), `Problem`,
        `SigningError`.
        """

    async def receive(self, party: Party, issuing: Issuing, value: Any) -> ReceivedCredential:
        """Makes the holder's checks of the credential, among them that it is as offered and requested.

        Raises:
            FormatError: it is not a credential of this format. DidError: `unresolvable`: try again later.
        """

    async def verify(self, held: HeldCredential) -> Verification:
        """Repeats the checks of a stored credential as of now. Raises the errors of `receive`."""

    async def revoke(self, party: Party, held: HeldCredential) -> None:
        """Publishes that a credential that `party` issued is revoked. Does nothing if it is revoked already.

        Raises:
            Problem: 409 `credential-not-revocable`. SigningError.
        """


@dataclass(frozen=True, slots=True)
class Candidate:
    """The credentials that fit one requested item of a proof request.

    Attributes:
        name: the referent or input descriptor id. credentials: their uuids, the best first.
    """

    name: str
    credentials: Sequence[str]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """The verifier's result for a presentation.

    Attributes:
        summary: `{credentials: [...], claims: {...}}`, the content.
        mark: identifies copies, however they are encoded; b"" if nobody signed.
    """

    verification: Verification
    summary: Mapping[str, Any]
    mark: bytes = b""


class ProofFormat(Protocol):
    """Requests and gives proofs of one format. Attributes and `reads`: see `CredentialFormat`."""

    @property
    def name(self) -> str: ...
    @property
    def identifiers(self) -> Mapping[ProofStep, Sequence[str]]: ...

    def reads(self, step: ProofStep, value: Any) -> bool: ...

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        """Makes the prover's proposal. Raises `Problem` 400."""

    async def request(self, party: Party, proposal: Any, content: Mapping[str, Any] | None) -> Draft:
        """Makes the verifier's request: of `content`, or without one of the proposal. Adds a nonce or challenge if none
        is given. Raises `Problem`, `FormatError`.
        """

    async def candidates(
        self, request: Any, held: Sequence[HeldCredential], party: Party | None = None
    ) -> Sequence[Candidate]:
        """Returns the fitting credentials for each requested item; with `party`, only those that its `present` accepts.
        Raises `FormatError`.
        """

    async def present(
        self, party: Party, request: Any, held: Sequence[HeldCredential], chosen: Mapping[str, Any] | None
    ) -> Draft:
        """Makes the presentation, of the first candidates or of those `chosen` (name: credential uuid, or a format's
        own).

        Raises:
            Problem: 409 `nothing-to-present` if a requested item is not held, 400 `choice-invalid`.
            FormatError, SigningError, DidError.
        """

    async def verify(self, party: Party, request: Any, presentation: Any) -> Verified:
        """Makes every check of the presentation and of each credential in it. Raises the errors of
        `CredentialFormat.receive`.
        """
