"""`/contact`: business partners as the principal sees them."""

from __future__ import annotations

from typing import Any

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.views import entity, filters, listing, not_found, text
from tntcore.connections import start
from tntcore.errors import Problem
from tntcore.pipeline.outbound import drain
from tntcore.records import Connection, Contact
from tntcore.storage.commit import Unit
from tntcore.storage.repository import Repository


async def create(call: Call) -> Response:
    """`{contact: {did | email, displayName, internalRef}, identityId?}`: REQUESTED until its connection is complete."""
    body = call.request.object()
    given = body.get("contact")
    if not isinstance(given, dict):
        raise Problem(400, "contact-invalid", "contact has to be an object such as {did, displayName, internalRef}.")
    now = call.services.now()
    contact = Contact(
        uuid=call.services.uuid7(),
        status="REQUESTED",
        did=text(given.get("did"), "did", maximum=4000),
        email=text(given.get("email"), "email", maximum=320),
        display_name=text(given.get("displayName"), "displayName", maximum=200),
        internal_ref=text(given.get("internalRef"), "internalRef", maximum=200),
        created_at=now,
        updated_at=now,
    )
    if not contact.did.startswith("did:") if contact.did else not contact.email:
        raise Problem(400, "contact-invalid", "contact has to have a did, or else an email.")
    identity = await find_identity(call.tenant.records, text(body.get("identityId"), "identityId", maximum=4000))
    connection = start(identity, contact, now)
    unit = Unit()
    unit.create(contact.key, contact.values())
    unit.create(connection.key, connection.values())
    await call.tenant.records.commit(unit)
    return answer({**_view(contact), "connectionUuid": connection.uuid}, 201)


async def list_(call: Call) -> Response:
    where, parameters = filters(call, {"did": "did", "email": "email", "status": "status"})
    return await listing(call, Contact, _view, where=where, parameters=parameters)


async def read(call: Call) -> Response:
    return answer(_view(await find_contact(call.tenant.records, call.arguments["id"])))


async def change(call: Call) -> Response:
    """`{contact: {displayName?, email?, internalRef?}}`"""
    contact = await find_contact(call.tenant.records, call.arguments["id"])
    body = call.request.object()
    given = body.get("contact", body)
    if not isinstance(given, dict):
        raise Problem(400, "contact-invalid", "contact has to be an object such as {displayName, internalRef}.")
    if "did" in given and given["did"] != contact.did:
        raise Problem(400, "did-immutable", "A contact keeps its did; make another contact for another did.")
    contact.updated_at = call.services.now()
    changes: dict[str, Any] = {"updatedAt": contact.updated_at}
    for name, attribute in (("displayName", "display_name"), ("email", "email"), ("internalRef", "internal_ref")):
        if name in given:
            changes[name] = text(given[name], name, maximum=320)
            setattr(contact, attribute, changes[name])
    unit = Unit()
    unit.merge(contact.key, changes)
    await call.tenant.records.commit(unit)
    return answer(_view(contact))


async def delete(call: Call) -> Response:
    """Forgets the contact and its connections: their keys open nothing any more. Messages stay; those that were
    held for it have failed."""
    records = call.tenant.records
    contact = await find_contact(records, call.arguments["id"])
    unit = Unit()
    unit.delete(contact.key)
    connections = (
        await records.list(Connection, limit=90, where="contactUuid eq @contact", parameters={"contact": contact.uuid})
    ).records
    for connection in connections:
        unit.delete(connection.key)
        if connection.keys:
            recipient = await call.services.tenants.open_recipient(call.tenant, connection)
            for kid in recipient.secrets:
                await call.services.lookups.remove("key", kid)
    await records.commit(unit)
    for connection in connections:
        call.services.tenants.forget_recipient(call.tenant, connection.uuid)
        await drain(call.services, call.tenant.uuid, connection.uuid)
    return Response(204, content_type="")


async def find_contact(records: Repository, name: str) -> Contact:
    """The contact by its uuid or DID. Raises `Problem` 404."""
    if not name.startswith("did:"):
        contact = await records.get(Contact, name) if name else None
    else:
        hits = await records.list(Contact, limit=1, where="did eq @did", parameters={"did": name})
        contact = next(iter(hits.records), None)
    if contact is None:
        raise not_found(Contact, name)
    return contact


def _view(contact: Contact) -> dict[str, Any]:
    return entity(
        contact,
        did=contact.did or None,
        email=contact.email or None,
        displayName=contact.display_name,
        internalRef=contact.internal_ref or None,
    )


ROUTES = [
    Route("POST", "contact", create, creates=True),
    Route("GET", "contact", list_),
    Route("GET", "contact/{id}", read),
    Route("PUT", "contact/{id}", change),
    Route("DELETE", "contact/{id}", delete),
]
