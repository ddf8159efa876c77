"""`/connection`: identities joined to contacts."""

from __future__ import annotations

from typing import Any

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.views import entity, filters, found, listing
from tntcore.records import Connection


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
        state=connection.state,
        version=connection.version,
    )


ROUTES = [
    Route("GET", "connection", list_),
    Route("GET", "connection/{uuid}", read),
]
