"""`/connection`: connections between identities and contacts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.invitations import INVITATION_ERRORS
from tntcore.api.json_schema import Words
from tntcore.api.views import (
    ByContact,
    ByInvitation,
    Did,
    Entity,
    GivenDid,
    JsonObject,
    Page,
    Pointed,
    Timed,
    Uuid,
    entity,
    filters,
    found,
    listing,
    only_filter,
)
from tntcore.connections.acceptance import kept_invitation
from tntcore.connections.changes import Changes
from tntcore.connections.connection import connections_of
from tntcore.connections.decisions import Decisions
from tntcore.connections.rotation import Rotation
from tntcore.dids.document import Version
from tntcore.dids.parse import qualify
from tntcore.protocols.did_exchange import Role, State
from tntcore.storage.records import Connection
from tntcore.storage.states import ABANDONED, COMPLETED


class ConnectionView(Entity):
    """A connection between one of your identities and a contact."""

    status: Literal["ACTIVE"]
    identityUuid: Uuid
    identityDid: Did
    contactUuid: Uuid
    contactDid: Did | None
    myDid: Annotated[Did | None, "the identity's DID on this connection"]
    theirDid: Annotated[Did | None, "the contact's DID on this connection, proven by a message"]
    claimedDid: Annotated[Did | None, "the DID the contact claims but has not proven"]
    protocol: Annotated[str | None, Words(examples=["https://didcomm.org/didexchange/1.1"])]
    role: str | None
    invitationUuid: Annotated[Uuid | None, "uuid of your invitation that started it"]
    state: Annotated[State, "state of its DID exchange (RFC 0023)"]
    error: Annotated[str | None, "why the contact refused it: its code and words"]
    version: Annotated[Version, "version of DIDComm"]
    invitation: Annotated[JsonObject | None, "the invitation that waits for your answer"]


class ConnectionQuery(Timed, ByContact, ByInvitation, total=False):
    identityUuid: Annotated[Uuid, "of the identity"]
    identityDid: Annotated[GivenDid, "of the identity"]
    contactDid: Annotated[GivenDid, "of the contact"]
    role: Annotated[Role, "your side of the DID exchange"]
    state: Annotated[State, "of the DID exchange"]


_UNKNOWN = "404 connection-unknown"
_DECIDING = (_UNKNOWN, "409 nothing-to-decide", "409 connection-changed")
_MOVING = (_UNKNOWN, "409 not-connected", "409 not-rotatable", "409 connection-changed")


class ConnectionRoutes:
    def __init__(self, changes: Changes, decisions: Decisions, rotation: Rotation) -> None:
        self._changes = changes
        self._decisions = decisions
        self._rotation = rotation
        self.routes = [
            Route(
                "GET",
                "connection",
                list_,
                summary="List connections",
                answers={200: Page[ConnectionView]},
                query=ConnectionQuery,
            ),
            Route(
                "GET",
                "connection/{uuid}",
                read,
                summary="Read a connection",
                answers={200: ConnectionView},
                errors=(_UNKNOWN,),
            ),
            Route(
                "POST",
                "connection/{uuid}/accept",
                self.accept,
                summary="Accept a request or an invitation",
                answers={200: ConnectionView},
                errors=(*_DECIDING, *INVITATION_ERRORS),
            ),
            Route(
                "POST",
                "connection/{uuid}/reject",
                self.reject,
                summary="Reject a request, or abandon the exchange",
                answers={200: ConnectionView},
                errors=_DECIDING,
            ),
            Route(
                "POST",
                "connection/{uuid}/rotate",
                self.rotate,
                summary="Rotate to a new DID",
                answers={200: ConnectionView},
                errors=_MOVING,
            ),
            Route(
                "POST",
                "connection/{uuid}/hangup",
                self.hang_up,
                summary="End a connection",
                answers={200: ConnectionView},
                errors=_MOVING,
            ),
        ]

    async def accept(self, call: Call) -> Response:
        """Answers a waiting request or a kept invitation, or sends (or resends) a request for an accepted one."""
        return await self._decide(call, accept=True)

    async def reject(self, call: Call) -> Response:
        """Rejects a waiting request, or abandons a DID exchange that is in progress."""
        return await self._decide(call, accept=False)

    async def rotate(self, call: Call) -> Response:
        """Gives this side of the connection a new DID and new keys."""
        connection = await found(call.tenant.records, Connection, call.arguments["uuid"])
        call = call.at(connection)
        effect = self._rotation.begin(call.tenant, connection)
        await self._changes.apply(call.tenant, effect)
        return answer(connection_view(call, effect.connection or connection))

    async def hang_up(self, call: Call) -> Response:
        """Ends the connection and tells the other side. Nothing can be sent or received on it afterwards."""
        connection = await found(call.tenant.records, Connection, call.arguments["uuid"])
        call = call.at(connection)
        effect = self._rotation.hang_up(call.tenant, connection)
        await self._changes.apply(call.tenant, effect)
        return answer(connection_view(call, effect.connection or connection))

    async def _decide(self, call: Call, *, accept: bool) -> Response:
        connection = await found(call.tenant.records, Connection, call.arguments["uuid"])
        tenant = call.tenant.at(connection)
        return answer(connection_view(call, await self._decisions.decide(tenant, connection, accept=accept)))


async def list_(call: Call) -> Response:
    """Lists connections. A page by time costs a storage call for each hit besides those of other lists."""
    query, only = call.query, only_filter(call)
    contact = query.get("contactUuid") or query.get("contact")
    invitation = query.get("invitationUuid") or query.get("invitation")
    state, among = query.get("state", ""), None
    pointed: Pointed[Connection] | None = None
    if contact and await call.tenant.records.is_filed():
        pointed = Pointed(Connection.with_contact(contact), exact=only == "contactUuid")
    elif contact:
        among = await connections_of(call.tenant.records, [contact])
    elif invitation:
        pointed = Pointed(Connection.with_invitation(invitation), exact=only == "invitationUuid")
    elif state and state not in (COMPLETED, ABANDONED):
        pointed = Pointed(Connection.in_state(state), exact=only == "state")
    return await listing(
        call,
        Connection,
        lambda one: connection_view(call, one),
        where=filters(call),
        among=among,
        pointed=pointed,
    )


async def read(call: Call) -> Response:
    return answer(connection_view(call, await found(call.tenant.records, Connection, call.arguments["uuid"])))


def connection_view(call: Call, connection: Connection) -> dict[str, Any]:
    return entity(
        connection,
        identityUuid=connection.identity_uuid,
        identityDid=connection.identity_did,
        contactUuid=connection.contact_uuid,
        contactDid=connection.contact_did or None,
        myDid=qualify(connection.my_did) or None,
        theirDid=connection.their_did or None,
        claimedDid=connection.claimed_did or None,
        protocol=connection.protocol or None,
        role=connection.role or None,
        invitationUuid=connection.invitation_uuid or None,
        state=connection.state,
        error=connection.error or None,
        version=connection.version,
        invitation=kept_invitation(call.tenant, connection) if connection.received else None,
    )
