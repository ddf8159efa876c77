"""Runs a tenant's step of an exchange: works it out, sends the message, commits both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tntcore.connections.invitations import Invitations, Wanted
from tntcore.errors import Problem
from tntcore.exchanges.exchanges import Exchanges
from tntcore.exchanges.outcome import Outcome
from tntcore.exchanges.problems import as_problems
from tntcore.exchanges.run import Run
from tntcore.messaging.ids import Ids
from tntcore.pipeline.sending import Actions, Random, Thread
from tntcore.storage.records import Action, Connection, Exchange, Identity, Invitation
from tntcore.tenancy.tenants import Tenant

TenantStep = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class NewExchange:
    """The properties of a new exchange.

    Attributes:
        prefix: the protocol's URI. format: the tenants' name for it.
        identity_uuid: of the acting identity; "" is the identity of its connection.
    """

    prefix: str
    role: str
    format: str
    identity_uuid: str = ""


class Steps:
    def __init__(self, exchanges: Exchanges, actions: Actions, invitations: Invitations) -> None:
        self.exchanges = exchanges
        self._actions = actions
        self._invitations = invitations

    async def begin(
        self,
        tenant: Tenant,
        connection: Connection,
        thid: str | None,
        first: NewExchange,
        step: TenantStep,
        *,
        random: Random,
        since: int | None,
    ) -> Exchange:
        """Begins an exchange on a connection, with its first message.

        Args:
            thid: of its thread; by default a new one.
            since: milliseconds since 1970: an earlier attempt of the same call may have begun it since.
        """
        thread = self._actions.begin(connection, thid, random)
        begun = await self._begun_before(tenant, thread, first, since) if since is not None else None
        if begun is not None:
            return begun
        run = self.exchanges.begin(tenant, connection, thread.action, first.prefix, first.role, first.format)
        run.exchange.identity_uuid = first.identity_uuid or run.exchange.identity_uuid
        return await self.go_on(tenant, run, step, thread=thread)

    async def _begun_before(self, tenant: Tenant, thread: Thread, first: NewExchange, since: int) -> Exchange | None:
        """Returns the exchange that an earlier attempt of this call has begun, and makes sure that its message is
        queued. Doing the step again would give different signatures and nonces.
        """
        exchange = await tenant.records.get(Exchange, thread.action.uuid)
        if exchange is None or exchange.created_at < since:
            return None
        if (exchange.protocol, exchange.role) != (first.prefix, first.role):
            return None
        await self.see_to(tenant, exchange)
        return exchange

    async def see_to(self, tenant: Tenant, exchange: Exchange) -> None:
        """Puts the exchange's messages on their way if their queue messages may have been lost."""
        for message_uuid in exchange.messages.values():
            await self._actions.see_to(tenant, message_uuid)

    async def invite(
        self, tenant: Tenant, identity: Identity, wanted: Wanted, first: NewExchange, step: TenantStep, ids: Ids
    ) -> Invitation:
        """Makes an invitation with the first message of an exchange attached, for anyone who answers."""
        run = self.exchanges.draft(tenant, identity, first.prefix, first.role, first.format, wanted.version)
        with as_problems(run.exchange):
            await step(run)
        wanted = replace(wanted, requests=(*wanted.requests, run.outcome.replies[0].message))
        return await self._invitations.create(tenant, identity, wanted, ids)

    async def go_on(self, tenant: Tenant, run: Run, step: TenantStep, *, thread: Thread | None = None) -> Exchange:
        """Takes the step. Returns the exchange after it, which has an etag unless it is new.

        Args:
            thread: of a new exchange.
        """
        with as_problems(run.exchange):
            await step(run)
        if run.outcome.replies:
            await self.tell(tenant, run, run.outcome, thread=thread)
        else:
            await self.exchanges.commit(tenant, run.outcome)
        return run.exchange

    async def tell(self, tenant: Tenant, run: Run, outcome: Outcome, *, thread: Thread | None = None) -> None:
        """Sends the outcome's message on the exchange's thread, and commits the rest of it."""
        if thread is None:
            action = await tenant.records.get(Action, run.exchange.uuid)
            if action is None:
                raise Problem(404, "action-unknown", f"There is no action {run.exchange.uuid!r}. Check the uuid.")
            thread = Thread(run.connection, action)
        await self._actions.send(tenant, thread, outcome.replies[0].message, outcome)
