"""Messages to strangers: only a problem report about their request.

There is no connection, so that strangers cannot create any. The delivery's row contains, sealed,
the data that sending needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tntcore.delivery.outgoing import Outgoing, write
from tntcore.storage.records import Action, Connection, Delivery
from tntcore.strict_json import reread_json, write_json
from tntcore.tenancy.recipients import Recipient, document_id, document_of
from tntcore.tenancy.tenants import Tenant, Tenants


async def write_to(
    tenant: Tenant,
    recipient: Recipient,
    document: Mapping[str, Any],
    plaintext: bytes,
    *,
    message_uuid: str,
    now: int,
) -> Outgoing:
    """Makes the rows of a message from the key of an invitation, or identity, to the subject of a document.

    Args:
        recipient: the invitation or identity.
        document: in the form that a connection stores.
    """
    did = document_id(document)
    # A did:sov is only the sender's claim.
    known = "" if did.startswith("did:sov:") else did
    nobody = Connection(uuid="", identity_did=recipient.identity_did, contact_did=known)
    outgoing = await write(tenant.records, nobody, Action(uuid=""), plaintext, message_uuid=message_uuid, now=now)
    owner = "invitation" if recipient.invitation is not None else "identity"
    stranger = write_json({"owner": owner, "uuid": recipient.scope, "document": document})
    outgoing.delivery.stranger = tenant.records.seal(stranger, _name(outgoing.delivery))
    return outgoing


async def peer_of(tenants: Tenants, tenant: Tenant, delivery_uuid: str) -> Recipient | None:
    """Returns the sender and receiver of such a message as if they had a connection; None if either is gone."""
    delivery = await tenant.records.get(Delivery, delivery_uuid)
    if delivery is None or not delivery.stranger:
        return None
    stranger = reread_json(tenant.records.open(delivery.stranger, _name(delivery)))
    speaker = await tenants.recipient(tenant, stranger["owner"], stranger["uuid"])
    if speaker is None:
        return None
    document = stranger["document"]
    return replace(speaker, connection=Connection(uuid=""), theirs=document_of(document["id"], document))


def _name(delivery: Delivery) -> str:
    return f"{delivery.key}/stranger"
