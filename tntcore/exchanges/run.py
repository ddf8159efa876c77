"""An exchange while one message of it, or one step of its tenant, is handled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tntcore.connections.sender import Author
from tntcore.credentials.formats import Draft, FormatError, Party, Signer, SigningError
from tntcore.credentials.registry import F, Format, FormatRegistry, Formats
from tntcore.dids import key
from tntcore.dids.document import PublicKey
from tntcore.errors import Problem
from tntcore.exchanges.outcome import Outcome, Reply
from tntcore.identities.signing import signer_for
from tntcore.messaging.ids import random_uuid
from tntcore.messaging.message import Message
from tntcore.protocols.interface import CredentialProtocol
from tntcore.services import Services
from tntcore.storage.records import Connection, Exchange, Identity
from tntcore.storage.records import Message as StoredMessage
from tntcore.storage.states import ExchangeStatus
from tntcore.tenancy.tenants import Tenant

MAX_IDENTITIES = 200  # of a tenant, among which a DID is looked for
MAX_ERROR = 1000  # characters
MAX_KEPT = 500  # credentials, or presentations, of one exchange: their uuids are in one column


class Rules(Protocol):
    """The consequences of a protocol's messages and of the tenant's steps: `issuance`, `proving`."""

    async def conditions(self, run: Run, kind: str) -> Mapping[str, bool]:
        """Returns the conditions that the protocol's `move` needs for a message of this kind."""

    async def received(self, run: Run, kind: str, author: Author) -> None:
        """Handles a message that has just moved the exchange. Raises `FormatError`, `DidError`."""

    async def acknowledged(self, run: Run) -> None:
        """Handles the other side's acknowledgement of our latest message."""

    async def abandoned(self, run: Run) -> None:
        """Handles the end of the exchange without a result."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One of the two kinds of exchange.

    Attributes:
        name: of the protocol, in its URIs.
        formats: selects from all formats those for its attachments.
        given_up: the code of our problem report.
    """

    name: str
    protocol: CredentialProtocol
    rules: Rules
    formats: Callable[[Formats], FormatRegistry[Any]]
    given_up: str


@dataclass(slots=True)
class Run:
    """An exchange being handled.

    Attributes:
        exchange: a copy to change, which is in `outcome`: the changes to commit.
        said: contents by step, of messages that are not stored yet.
        name: returns the uuid for storing our message of a step.
    """

    services: Services
    formats: Formats
    tenant: Tenant
    connection: Connection
    exchange: Exchange
    flow: Flow
    name: Callable[[str], str]
    now: int
    outcome: Outcome
    said: dict[str, Any] = field(default_factory=dict)

    async def move(self, kind: str, *, sent: bool) -> None:
        """Moves the exchange by its protocol's table. Raises `OutOfTurn`."""
        exchange = self.exchange
        conditions = await self.flow.rules.conditions(self, kind)
        event = self.flow.protocol.event(kind, received=not sent)
        exchange.state = self.flow.protocol.move(exchange.role, exchange.state, event, **conditions)
        self.settle()

    def settle(self) -> None:
        state = self.exchange.state
        self.exchange.status = {"done": ExchangeStatus.DONE, "abandoned": ExchangeStatus.ABANDONED}.get(
            state, ExchangeStatus.ACTIVE
        )

    def wait(self, reason: str = "") -> None:
        """Makes the exchange wait for the tenant's decision."""
        self.exchange.status, self.exchange.error = ExchangeStatus.WAITING, reason[:MAX_ERROR]

    def asked_to_wait(self, content: Any) -> bool:
        """Whether the other side wants no answer yet (RFC 0032): then there is no automatic one."""
        if not content.delay and content.delay_until <= self.now:
            return False
        self.wait("the other side asked to be answered later")
        return True

    async def content(self, step: str) -> Any:
        """Returns the content of the latest message of a step (`Content` of its protocol), or None if there was
        none.
        """
        if step not in self.said and step in self.exchange.messages:
            records = self.tenant.records
            stored = await records.get(StoredMessage, self.exchange.messages[step])
            body = await records.body(stored) if stored is not None else b""
            if body:
                message = Message.read(body, "v2" if stored is not None and stored.version == "v2" else None)
                read = self.flow.protocol.read_step(message)
                if read is not None:
                    self.said[step] = self.flow.protocol.read(message, read)
        return self.said.get(step)

    async def value(self, step: str, registry: FormatRegistry[F]) -> Any:
        """Returns the value of a step's attachment in the exchange's format, or None."""
        content = await self.content(step)
        if content is None:
            return None
        try:
            return registry.choose(step, content, begun=self.exchange.format)[1]
        except FormatError:
            # A proposal in one format may have been answered in another.
            return None

    async def answering(self, step: str, draft: Draft, answered: str, format_: Format) -> Draft:
        """Returns the draft under the identifier at the same position as the one it answers: some formats have several
        families of identifiers, and an agent expects its own.
        """
        content = await self.content(answered)
        theirs, ours = format_.identifiers.get(answered, ()), format_.identifiers.get(step, ())
        for attached in content.attachments if content is not None else ():
            if attached.format in theirs[: len(ours)]:
                return replace(draft, format=ours[theirs.index(attached.format)])
        return draft

    async def party(self) -> Party:
        """Returns the acting identity. Raises `Problem` 409 if it is gone."""
        identity = await self.tenant.records.get(Identity, self.exchange.identity_uuid)
        if identity is None:
            raise Problem(409, "identity-gone", "The identity of this exchange was deleted. Start a new exchange.")
        return await self._party_of(identity)

    async def _party_of(self, identity: Identity) -> Party:
        signer: Signer
        try:
            signer = await signer_for(self.services, self.tenant, identity)
        except SigningError as error:
            signer = _Nobody(error)
        return Party(identity.did, signer, self.tenant.records, self._other)

    async def _other(self, did: str) -> Party | None:
        """Returns the tenant's identity that has a DID: its own, the one bound to it, or the did:key of its key."""
        known = await self.tenant.records.list(Identity, limit=MAX_IDENTITIES)
        for identity in known.records:
            if did in (identity.did, identity.own_did):
                return await self._party_of(identity)
        if not did.startswith("did:key:"):
            return None
        for identity in known.records:
            if not identity.is_external:
                party = await self._party_of(identity)
                if not isinstance(party.signer, _Nobody) and key.create(party.signer.key) == did:
                    return party
        return None

    @property
    def secret(self) -> bytes:
        sealed = self.exchange.secret
        return self.tenant.records.open(sealed, f"{self.exchange.key}/secret") if sealed else b""

    async def say(self, kind: str, drafts: Sequence[Draft] = (), **members: Any) -> None:
        """Sends the next message of the exchange, and moves it. Raises `OutOfTurn`."""
        exchange = self.exchange
        await self.move(kind, sent=True)
        first = not exchange.messages
        for draft in drafts:
            if draft.secret:
                exchange.secret = self.tenant.records.seal(draft.secret, f"{exchange.key}/secret")
        message_id = exchange.thid if first else random_uuid(self.services.random)
        message = self._build(kind, message_id, drafts, members)
        exchange.error = ""
        self.outcome.replies.append(Reply(self.name(kind), message))
        if kind != "ack":
            exchange.messages = {**exchange.messages, kind: self.name(kind)}

    def _build(
        self, kind: str, message_id: str, drafts: Sequence[Draft], members: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        exchange, version, protocol = self.exchange, self.connection.version, self.flow.protocol
        message: Mapping[str, Any]
        if kind == "ack":
            message = self.flow.protocol.ack(
                exchange.protocol, message_id=message_id, thid=exchange.thid, version=version
            )
        else:
            message = protocol.build(
                exchange.protocol,
                kind,
                message_id=message_id,
                thid=exchange.thid,
                attachments=[(f"{kind}-{number}", draft) for number, draft in enumerate(drafts)],
                version=version,
                **members,
            )
        return message

    def keep(self, kept: Sequence[str], uuid: str) -> list[str]:
        """Returns the exchange's uuids with one more. Raises `FormatError` if there are too many."""
        if len(kept) >= MAX_KEPT:
            raise FormatError("too-many", f"one exchange may have {MAX_KEPT} credentials or presentations")
        return [*kept, uuid]

    def give_up(self, explain: str, *, detail: str) -> None:
        """Abandons the exchange and tells the other side.

        Args:
            explain: for the other side. detail: for the tenant.
        """
        exchange = self.exchange
        exchange.state, exchange.status, exchange.error = "abandoned", ExchangeStatus.ABANDONED, detail[:MAX_ERROR]
        report: Mapping[str, Any] = self.flow.protocol.problem_report(
            exchange.protocol,
            message_id=random_uuid(self.services.random),
            thid=exchange.thid,
            code=self.flow.given_up,
            explain=explain,
            version=self.connection.version,
        )
        self.outcome.replies.append(Reply(self.name("problem-report"), report))


@dataclass(frozen=True, slots=True)
class _Nobody:
    """The signer of an identity that has none now: signing raises the reason."""

    error: SigningError

    @property
    def kid(self) -> str:
        raise self.error

    @property
    def key(self) -> PublicKey:
        raise self.error

    async def sign(self, data: bytes) -> bytes:
        raise self.error
