"""Runs the credential protocols: received messages and the tenant's steps move an exchange.

Each step is worked out on a copy of the exchange and committed together with the message that caused it. After a lost
race, it is worked out again from the stored state.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tntcore.connections.invitations import read_content
from tntcore.connections.sender import Author, Enclosed, OtherSide, Partner
from tntcore.credentials.formats import FormatError
from tntcore.credentials.registry import FormatRegistry, Formats
from tntcore.delivery.outgoing import write
from tntcore.dids.document import Version
from tntcore.errors import UNRESOLVABLE, DidError, Problem
from tntcore.exchanges import revocation
from tntcore.exchanges.flows import flow_of, read
from tntcore.exchanges.outcome import Outcome, Reply, changing
from tntcore.exchanges.run import Flow, Run
from tntcore.messaging.ids import delivery_uuid, random_uuid
from tntcore.messaging.message import Message, attachments
from tntcore.messaging.problems import is_problem_report, reason_given
from tntcore.messaging.threads import action_uuid
from tntcore.protocols import revocation_notification
from tntcore.protocols.revocation_notification import RevocationNotice
from tntcore.protocols.transition import OutOfTurn
from tntcore.services import Services
from tntcore.storage.commit import Unit
from tntcore.storage.records import Action, Connection, Exchange, Identity, Invitation, Record, Sent, sent_id
from tntcore.storage.repository import Repository
from tntcore.storage.states import InvitationStatus, MessageStatus
from tntcore.strict_json import write_json
from tntcore.tenancy.tenants import Tenant

log = logging.getLogger(__name__)

_SURPRISES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class TakesLong(Exception):
    """The message may take long. It issues or proves: others may have to be asked about it, and signatures to be
    computed. Or its tenant's webhooks try slow expressions on it.
    """


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A received message, for an exchange.

    Attributes:
        flow, step: its protocol and step; None for a generic acknowledgement or problem report.
        uuid: under which it is stored.
        author: its sender. Only a `Partner` causes automatic answers.
    """

    message: Message
    flow: Flow | None
    step: Any
    kind: str
    uuid: str
    author: Author


@dataclass(frozen=True, slots=True)
class _Begun:
    """The exchange of a message.

    Attributes:
        said: contents by step, and stored: records, of a message sent in an invitation: both are stored with the first
            answer to it, so that nothing is visible before.
    """

    exchange: Exchange
    said: Mapping[str, Any] = field(default_factory=dict)
    stored: Sequence[Record] = ()


@dataclass(frozen=True, slots=True)
class _Unusable:
    """The message cannot be used: its exchange ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Undecided:
    """The message cannot be worked with now: its exchange waits for the tenant."""

    reason: str


class Exchanges:
    """Finds and moves exchanges.

    Args:
        formats_of: returns the formats of a tenant, given its records.
    """

    def __init__(self, services: Services, formats_of: Callable[[Repository], Formats]) -> None:
        self._services = services
        self.formats_of = formats_of

    async def receive(
        self, tenant: Tenant, author: Author, message: Message, *, uuid: str, last: bool, long: bool
    ) -> Outcome | None:
        """Returns the outcome of a connection's message for its exchange; None if it belongs to none. An `Enclosed`
        message can only begin an exchange.

        Args:
            uuid: under which the message is stored.
            last: it is not put off any more.
            long: it may take long.

        Raises:
            TakesLong: it would, and may not.
            DidError: `unresolvable`, unless `last`.
        """
        known = read(message)
        if known is None:
            notice = revocation_notification.read(message)
            return await self._noticed(tenant, author, notice, message, uuid) if notice is not None else None
        flow, step, kind = known
        if flow is not None and not long:
            raise TakesLong
        if not message.thid:
            return Outcome(error="thread-missing") if flow is not None else None
        connection = author.connection
        incoming = _Incoming(message, flow, step, kind, uuid, author)
        exchange = await self._find(tenant, connection, incoming)
        if exchange is not None and isinstance(author, Enclosed):
            return Outcome(error="sender-unproven")
        if exchange is not None and flow not in (None, flow_of(exchange)):
            return Outcome(error="out-of-turn")
        begun = _Begun(exchange) if exchange is not None else None
        if begun is None:
            if flow is None:
                return None
            if isinstance(author, OtherSide):
                begun = await self._invited(tenant, connection, message, flow)
            if begun is None:
                try:
                    role = flow.protocol.begins(kind, received=True)
                except OutOfTurn:
                    return Outcome(error="out-of-turn")
                begun = _Begun(_new(connection, step.prefix, role, message.thid, self._services.now()))
        outcome = await self._move(tenant, connection, begun, incoming, last=last)
        if outcome.exchange is not None:
            outcome.stored = begun.stored
        return outcome

    async def _noticed(
        self, tenant: Tenant, author: Author, notice: RevocationNotice, message: Message, uuid: str
    ) -> Outcome:
        if isinstance(author, Enclosed):
            return Outcome(error="sender-unproven")
        outcome = await revocation.noticed(tenant.records, author.connection, notice, self._services.now())
        if notice.wants_ack and isinstance(author, Partner) and not outcome.error:
            answer = revocation_notification.ack(message, random_uuid(self._services.random))
            outcome.replies.append(Reply(delivery_uuid(uuid, "notice/ack"), answer))
        return outcome

    async def _move(
        self, tenant: Tenant, connection: Connection, begun: _Begun, incoming: _Incoming, *, last: bool
    ) -> Outcome:
        async def moved() -> Run:
            run = self._run(tenant, connection, begun.exchange, incoming.uuid)
            run.said |= begun.said
            if content is not None:
                run.said[incoming.kind] = content
            await run.move(incoming.kind, sent=False)
            if incoming.kind not in ("ack", "problem-report"):
                run.exchange.messages = {**run.exchange.messages, incoming.kind: incoming.uuid}
            return run

        content, wrong = _content_of(incoming)
        try:
            run = await moved()
        except OutOfTurn:
            return Outcome(error="out-of-turn")
        if incoming.kind == "problem-report":
            failed = not is_problem_report(incoming.message.type)
            run.exchange.error = "ack: FAIL" if failed else reason_given(incoming.message)
            await run.flow.rules.abandoned(run)
            return run.outcome
        if content is not None and incoming.kind != "ack" and 0 < content.expires_at < run.now:
            wrong = _Unusable("expired: the message had expired when it came")
        match wrong or await self._followed(run, incoming, last=last):
            case _Undecided(reason):
                run = await moved()
                run.wait(reason)
            case _Unusable(reason):
                run = await moved()
                self._refuse(run, incoming, reason)
        if not isinstance(incoming.author, Partner):
            run.outcome.replies.clear()
        return run.outcome

    async def _followed(self, run: Run, incoming: _Incoming, *, last: bool) -> _Unusable | _Undecided | None:
        """Lets follow what the protocol's rules say; returns why it cannot."""
        try:
            await run.flow.rules.received(run, incoming.kind, incoming.author)
        except FormatError as error:
            return _Unusable(f"{error.code}: {error.detail}")
        except DidError as error:
            reason = f"{error.code}: {error.detail}"
            if error.code != UNRESOLVABLE:
                return _Unusable(reason)
            if not last:
                raise
            return _Undecided(reason)
        except Problem as error:
            return _Undecided(error.detail)
        except _SURPRISES as error:
            # A stranger's value met a fault in its reader, which must not hold up the message. The error's text is not
            # logged, because it may quote the value.
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            log.error("a %s message could not be worked with: %s", incoming.kind, where)  # noqa: TRY400
            self._services.meter.count("exchanges.surprised")
            return _Undecided("the message could not be worked with here")
        return None

    def _refuse(self, run: Run, incoming: _Incoming, reason: str) -> None:
        """Ends the exchange because of an unusable message, and tells the other side."""
        code = reason.partition(":")[0]
        log.info("exchange %s is given up: %s", run.exchange.uuid, code)
        run.give_up(f"The {incoming.kind} message cannot be worked with: {code}.", detail=reason)

    async def _find(self, tenant: Tenant, connection: Connection, incoming: _Incoming) -> Exchange | None:
        """Returns the exchange of a message. A problem report may name a message of ours instead of the thread."""
        threads = [incoming.message.thid]
        if incoming.kind == "problem-report":
            threads.append(incoming.message.pthid or "")
        for thid in filter(None, threads):
            exchange = await tenant.records.get(Exchange, action_uuid(connection.uuid, thid))
            if exchange is None and incoming.kind == "problem-report":
                sent = await tenant.records.get(Sent, sent_id(connection.uuid, thid))
                exchange = await tenant.records.get(Exchange, sent.action_uuid) if sent is not None else None
            if exchange is not None:
                return exchange
        return None

    async def _invited(self, tenant: Tenant, connection: Connection, message: Message, flow: Flow) -> _Begun | None:
        """Returns the exchange that our own invitation began, with an attached offer or request."""
        invitation = None
        if connection.invitation_uuid:
            invitation = await tenant.records.get(Invitation, connection.invitation_uuid)
        if invitation is None or invitation.status == InvitationStatus.REVOKED:
            return None
        protocol = flow.protocol
        content = Message.read(write_json(read_content(tenant.records, invitation)))
        for attached in attachments(content):
            plaintext = write_json(attached.data) if attached.kind == "json" else b""
            asked = Message.read(plaintext)
            step = protocol.read_step(asked) if asked.id == message.thid else None
            if step is None:
                continue
            now = self._services.now()
            exchange = _new(connection, step.prefix, protocol.begins(step.kind, received=False), message.thid, now)
            exchange.state = protocol.move(exchange.role, "start", protocol.event(step.kind, received=False))
            said = protocol.read(asked, step)
            exchange.format = self._registry(tenant, flow).choose(step.kind, said)[0].name
            name = delivery_uuid(invitation.uuid, f"{connection.uuid}/{asked.id}")
            action = Action(uuid=exchange.uuid)
            sent = await write(tenant.records, connection, action, plaintext, message_uuid=name, now=now)
            sent.message.status = MessageStatus.SENT
            exchange.messages = {step.kind: name}
            return _Begun(exchange, {step.kind: said}, [sent.message, sent.entry])
        return None

    def _registry(self, tenant: Tenant, flow: Flow) -> FormatRegistry[Any]:
        return flow.formats(self.formats_of(tenant.records))

    # The tenant's steps.

    async def open(self, tenant: Tenant, uuid: str) -> Run:
        """Returns an exchange for its tenant's next step, in the shard that it is in. Raises `Problem` 404."""
        exchange = await tenant.records.get(Exchange, uuid)
        connection = await tenant.records.get(Connection, exchange.connection_uuid) if exchange else None
        if exchange is None or connection is None:
            raise Problem(404, "exchange-unknown", f"There is no exchange {uuid[:200]!r}. Check the uuid.")
        return self._run(tenant.at(connection), connection, exchange, self._services.uuid7())

    def begin(
        self, tenant: Tenant, connection: Connection, action: Action, prefix: str, role: str, format_name: str
    ) -> Run:
        """Makes a new exchange on the thread of a new action.

        Args:
            prefix: the protocol's URI. format_name: the tenants' name for it.

        Raises:
            Problem: 400 `format-unsupported`.
        """
        exchange = _new(connection, prefix, role, action.reference_id, self._services.now())
        exchange.uuid = action.uuid
        run = self._run(tenant, connection, exchange, self._services.uuid7())
        self.use(run, format_name)
        return run

    def use(self, run: Run, format_name: str) -> None:
        """Sets the format of an exchange. Raises `Problem` 400 `format-unsupported`."""
        run.exchange.format = self._registry(run.tenant, run.flow).named(format_name).name

    def draft(
        self, tenant: Tenant, identity: Identity, prefix: str, role: str, format_name: str, version: Version
    ) -> Run:
        """Makes an exchange without another side yet: its first message goes into an invitation. Not to be
        committed.
        """
        connection = Connection(uuid="", identity_uuid=identity.uuid, version=version)
        action = Action(uuid="", reference_id=random_uuid(self._services.random))
        return self.begin(tenant, connection, action, prefix, role, format_name)

    async def commit(self, tenant: Tenant, outcome: Outcome) -> None:
        """Commits an outcome that sends nothing. Raises `Changed`."""
        unit = Unit()
        outcome.add_to(unit)
        await tenant.records.commit(unit)

    async def sending(
        self, tenant: Tenant, connection: Connection, action: Action, message: Message, message_uuid: str
    ) -> Outcome | None:
        """Returns the outcome of a message that a tenant wrote itself, if the exchange of its thread allows it now.
        Otherwise the message is sent all the same: the tenant is responsible for it.
        """
        known = read(message)
        if known is None:
            return None
        flow, step, kind = known
        exchange = await tenant.records.get(Exchange, action.uuid)
        try:
            if exchange is None:
                if flow is None:
                    return None
                role = flow.protocol.begins(kind, received=False)
                exchange = _new(connection, step.prefix, role, action.reference_id, self._services.now())
                exchange.uuid = action.uuid
            elif flow not in (None, flow_of(exchange)):
                return None
            run = self._run(tenant, connection, exchange, message_uuid)
            if flow is not None and kind not in ("ack", "problem-report"):
                content = run.said[kind] = flow.protocol.read(message, step)
                run.exchange.format = self._registry(tenant, flow).choose(kind, content)[0].name
                run.exchange.messages = {**run.exchange.messages, kind: message_uuid}
            await run.move(kind, sent=True)
        except (OutOfTurn, FormatError):
            return None
        if kind == "ack":
            await run.flow.rules.acknowledged(run)
        elif kind == "problem-report":
            await run.flow.rules.abandoned(run)
        return run.outcome

    def _run(self, tenant: Tenant, connection: Connection, exchange: Exchange, source: str) -> Run:
        now, flow = self._services.now(), flow_of(exchange)
        changed, outcome = changing(exchange, now)
        return Run(
            services=self._services,
            formats=self.formats_of(tenant.records),
            tenant=tenant,
            connection=connection,
            exchange=changed,
            flow=flow,
            name=lambda what: delivery_uuid(source, f"exchange/{what}"),
            now=now,
            outcome=outcome,
        )


def _content_of(incoming: _Incoming) -> tuple[Any, _Unusable | None]:
    """Returns the content of a message of the protocol, or why it cannot be read."""
    if incoming.flow is None:
        return None, None
    try:
        return incoming.flow.protocol.read(incoming.message, incoming.step), None
    except FormatError as error:
        return None, _Unusable(f"{error.code}: {error.detail}")


def _new(connection: Connection, prefix: str, role: str, thid: str, now: int) -> Exchange:
    return Exchange(
        uuid=action_uuid(connection.uuid, thid),
        protocol=prefix,
        role=role,
        thid=thid,
        identity_uuid=connection.identity_uuid,
        connection_uuid=connection.uuid,
        contact_uuid=connection.contact_uuid,
        created_at=now,
        updated_at=now,
    )
