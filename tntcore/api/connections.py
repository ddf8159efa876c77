"""`/connection`: identities joined to contacts."""

from __future__ import annotations

from typing import Any

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.views import entity, filters, found, listing
from tntcore.invitations import Invitations
from tntcore.records import Connection
from tntcore.rotation import Rotation


class ConnectionRoutes:
    def __init__(self, invitations: Invitations, rotation: Rotation) -> None:
        self._invitations = invitations
        self._rotation = rotation
        self.routes = [
            Route("GET", "connection", list_),
            Route("GET", "connection/{uuid}", read),
            Route("POST", "connection/{uuid}/accept", self.accept),
            Route("POST", "connection/{uuid}/reject", self.reject),
            Route("POST", "connection/{uuid}/rotate", self.rotate),
            Route("POST", "connection/{uuid}/hangup", self.hang_up),
        ]

    async def accept(self, call: Call) -> Response:
        """Answers a request that waits, or sends one (again) for an invitation that was received."""
        return await self._decide(call, accept=True)

    async def reject(self, call: Call) -> Response:
        """Rejects a request that waits, or gives up an exchange that is under way."""
        return await self._decide(call, accept=False)

    async def rotate(self, call: Call) -> Response:
        """Gives this side of the connection a new DID and new keys."""
        connection = await found(call.tenant.records, Connection, call.arguments["uuid"])
        effect = self._rotation.begin(call.tenant, connection)
        await self._invitations.apply(call.tenant, effect)
        return answer(_view(effect.connection or connection))

    async def hang_up(self, call: Call) -> Response:
        """Ends the connection and tells the other side; nothing is received on it or sent from then on."""
        connection = await found(call.tenant.records, Connection, call.arguments["uuid"])
        effect = self._rotation.hang_up(call.tenant, connection)
        await self._invitations.apply(call.tenant, effect)
        return answer(_view(effect.connection or connection))

    async def _decide(self, call: Call, *, accept: bool) -> Response:
        connection = await found(call.tenant.records, Connection, call.arguments["uuid"])
        return answer(_view(await self._invitations.decide(call.tenant, connection, accept=accept)))


async def list_(call: Call) -> Response:
    where, parameters = filters(
        call, {"identityDid": "identityDid", "contactDid": "contactDid", "state": "state", "contactUuid": "contactUuid"}
    )
    return await listing(call, Connection, _view, where=where, parameters=parameters)


async def read(call: Call) -> Response:
    return answer(_view(await found(call.tenant.records, Connection, call.arguments["uuid"])))


def _view(connection: Connection) -> dict[str, Any]:
    return entity(
        connection,
        identityUuid=connection.identity_uuid,
        identityDid=connection.identity_did,
        contactUuid=connection.contact_uuid,
        contactDid=connection.contact_did or None,
        myDid=connection.my_did or None,
        theirDid=connection.their_did or None,
        protocol=connection.protocol or None,
        role=connection.role or None,
        state=connection.state,
        version=connection.version,
    )
