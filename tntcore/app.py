"""The composition root: from the configuration to stores, keys, egress and the entry points for `function_app.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from tntcore.api import (
    account,
    api_tokens,
    audit,
    backlog,
    health,
    identities,
    messages,
    operators,
    personal_data,
    principals,
    settings,
    usage,
)
from tntcore.api.actions import ActionRoutes
from tntcore.api.connections import ConnectionRoutes
from tntcore.api.console_pages import ConsolePages
from tntcore.api.contacts import ContactRoutes
from tntcore.api.contexts import ContextRoutes
from tntcore.api.credentials import CredentialRoutes
from tntcore.api.deliveries import DeliveryRoutes
from tntcore.api.didcomm import Door
from tntcore.api.docs_pages import DocsPages
from tntcore.api.exchanges import ExchangeRoutes
from tntcore.api.http import Access, Request, Response, Route
from tntcore.api.invitation_pages import InvitationPages
from tntcore.api.invitations import InvitationRoutes
from tntcore.api.poison import PoisonRoutes
from tntcore.api.presentations import PresentationRoutes
from tntcore.api.router import Router
from tntcore.api.schemas import SchemaRoutes
from tntcore.config import Config
from tntcore.connections.acceptance import Acceptance
from tntcore.connections.changes import Changes
from tntcore.connections.decisions import Decisions
from tntcore.connections.handshake import Handshake
from tntcore.connections.invitations import Invitations
from tntcore.connections.received import Received
from tntcore.connections.rotation import Rotation
from tntcore.credentials.anoncreds.setup import open_anoncreds
from tntcore.credentials.contexts_given import read_folder
from tntcore.credentials.opening import open_formats
from tntcore.delivery.outbound import Outbound
from tntcore.delivery.outbox import Outbox
from tntcore.delivery.publisher import Publisher
from tntcore.delivery.relay import Relay
from tntcore.delivery.replay import Replays
from tntcore.exchanges.exchanges import Exchanges
from tntcore.maintenance.poison import Poison
from tntcore.maintenance.sweep import Sweep
from tntcore.pipeline.consequences import Consequences
from tntcore.pipeline.inbound import Inbound
from tntcore.pipeline.receive import Receiving
from tntcore.pipeline.sending import Actions
from tntcore.pipeline.steps import Steps
from tntcore.services import Services, open_services
from tntcore.storage.at_once import Handle
from tntcore.storage.queues import OnPut
from tntcore.storage.storage import EXCHANGE, INBOUND, OUTBOUND, RELAY

_MODULES = (
    account,
    audit,
    principals,
    operators,
    api_tokens,
    identities,
    messages,
    personal_data,
    settings,
    usage,
    backlog,
    health,
)


class App:
    """The service in one process. Must be made inside a running event loop.

    Args:
        at_once: whether it handles the queue messages that it puts, while it has little else to do. For a host that
            polls its queues (`storage.at_once`).

    Attributes:
        routes: every HTTP route there is.
        inbound, exchange, outbound, relay, poison, sweep: the handlers of the queues and the timer.
        outbox: queues the effects of commits.
    """

    def __init__(self, services: Services, *, at_once: bool = False) -> None:
        self.services = services
        self.outbox = outbox = Outbox(services)
        replays = Replays(services, outbox)
        self.relay = Relay(services, outbox, replays)
        self.outbound = Outbound(services, outbox)
        handshake, rotation = Handshake(services), Rotation(services)
        anoncreds = open_anoncreds(services)
        contexts = read_folder(services.config.contexts)
        exchanges = Exchanges(services, partial(open_formats, services, contexts, anoncreds))
        invitations = Invitations(services)
        changes = Changes(services, outbox)
        acceptance = Acceptance(services, changes, handshake)
        decisions = Decisions(services, changes, handshake, acceptance)
        receiving = Receiving(
            services,
            acceptance,
            Received(services, handshake, rotation),
            Consequences(services, exchanges),
            Publisher(services, outbox, self.relay, self.outbound),
        )
        self.inbound = Inbound(services, receiving)
        self.exchange = Inbound(services, receiving, EXCHANGE)
        self.poison = Poison(services, outbox)
        self.sweep = Sweep(services, outbox, self.outbound, replays)
        actions = Actions(services, outbox, exchanges)
        steps = Steps(exchanges, actions, invitations)
        routes = [
            *Door(services).routes,
            *(route for module in _MODULES for route in module.ROUTES),
            *ActionRoutes(actions).routes,
            *DeliveryRoutes(replays).routes,
            *InvitationRoutes(invitations).routes,
            *InvitationPages(services, invitations).routes,
            *ContactRoutes(invitations, acceptance).routes,
            *ConnectionRoutes(changes, decisions, rotation).routes,
            *ExchangeRoutes(steps).routes,
            *CredentialRoutes(steps).routes,
            *PresentationRoutes(steps).routes,
            *SchemaRoutes(anoncreds.issuer).routes,
            *ContextRoutes(contexts).routes,
            *PoisonRoutes(self.poison).routes,
            *ConsolePages(services.config.public_url).routes,
        ]
        handlers: dict[str, Handle] = {
            INBOUND: self.inbound.handle,
            EXCHANGE: self.exchange.handle,
            OUTBOUND: self.outbound.handle,
            RELAY: self.relay.handle,
        }
        queues = services.storage.queues
        self._at_once = [queues[name].handle_at_once(handle) for name, handle in handlers.items()] if at_once else []
        self.routes: Sequence[Route] = [*routes, *DocsPages(routes, services.config.public_url).routes]
        self._router = Router(services, self.routes, services.uuid7)

    @staticmethod
    def open(config: Config, on_put: OnPut = lambda queue, delay: None, *, at_once: bool = False) -> App:
        """Opens the service. `on_put` is called after each put with the queue and the delay in seconds."""
        return App(open_services(config, on_put), at_once=at_once)

    async def http(self, request: Request, access: Sequence[Access] = ("public", "tenant", "operator")) -> Response:
        """Answers a request. `access` "host" is for a route that the host opens only for its own key."""
        return await self._router.handle(request, access)

    async def settle(self) -> None:
        """Returns when no queue message is being handled at once."""
        await asyncio.gather(*(one.settle() for one in self._at_once))

    def stop(self) -> None:
        """Leaves all queue messages that are put from now on to the host."""
        for one in self._at_once:
            one.stop()

    async def close(self, *, finished: bool = True) -> None:
        """Closes the service. `finished`: no invocation is cut off by it."""
        nothing_cut_off = all(await asyncio.gather(*(one.close() for one in self._at_once)))
        await self.relay.close()
        await self.outbound.close()
        await self.outbox.close(finished=finished and nothing_cut_off)
        await self.services.close()
