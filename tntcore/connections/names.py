"""DIDs by which the other side of a connection, and its contact, are known. Pure, except `follow`.

A DID counts once a key that proves it has authenticated a message. Until then it is only claimed, and nothing can be
found by it. The keys that prove a DID:

- did:peer and did:web: a key in their document that may speak for the DID (`verkeys`); the document is part of the DID,
  hashed in it, or published by its owner;
- did:key: the key itself, whatever a document says;
- did:sov and DIDs without a method, whose documents come with a message: the key that they are derived from
  (`sov.is_of_key`). No ledger is consulted, so any other did:sov remains claimed.

If the tenant wrote a DID (`POST /contact`), it is contacted, and only its keys are heard: until then it is the tenant's
claim.
"""

from __future__ import annotations

from dataclasses import replace

from tntcore.connections.effect import Effect
from tntcore.dids import sov
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.storage.records import Connection, Contact
from tntcore.storage.states import COMPLETED
from tntcore.tenancy.recipients import Recipient, document_id, verkeys
from tntcore.tenancy.tenants import Tenant


def proves(did: str, key: str) -> bool:
    """Whether a key in the DID's document, which has authenticated a message, proves the DID.

    Args:
        key: a verkey, or for DIDComm v2 a DID URL, whose DID is that of a document that was resolved.
    """
    of_v2 = key.startswith("did:")
    if did.startswith("did:sov:"):
        return not of_v2 and sov.is_of_key(did, key)
    if did.startswith("did:key:"):
        return did == (key.partition("#")[0] if of_v2 else verkey_to_did_key(key))
    return True


def claim(connection: Connection, did: str) -> None:
    """Records the unproven claim of the other side to be `did`."""
    connection.their_did, connection.claimed_did = "", "" if did == connection.contact_did else did


def prove(connection: Connection, key: str) -> None:
    """Accepts the DID of `their_document` as proven if `key`, of that document, proves it; otherwise it is claimed."""
    did = document_id(connection.their_document)
    if proves(did, key):
        connection.their_did, connection.claimed_did = did, ""
        connection.contact_did = connection.contact_did or did
    else:
        claim(connection, did)


def heard(recipient: Recipient, key: str) -> Recipient:
    """Returns the recipient after a message of the connection's other side, authenticated by `key`. The DID whose
    document has the key counts, which may be the announced one. Returns the recipient itself if nothing changes.
    """
    connection = recipient.connection
    if connection is None or connection.state not in (COMPLETED, "response-sent"):
        return recipient
    if recipient.announced is not None and key in verkeys(recipient.announced) - verkeys(recipient.theirs):
        changed = replace(connection)
        adopt(changed)
        prove(changed, key)
        return replace(
            recipient, connection=changed, theirs=recipient.announced, previous=recipient.theirs, announced=None
        )
    if connection.their_did or not recipient.is_their_key(key):
        return recipient
    changed = replace(connection)
    prove(changed, key)
    return replace(recipient, connection=changed) if changed.their_did else recipient


def adopt(connection: Connection) -> None:
    """Replaces the present document by the announced one. Keys of the old one are still accepted."""
    connection.previous_document = connection.their_document
    connection.their_document, connection.announced_document = connection.announced_document or {}, {}


async def follow(tenant: Tenant, before: Connection | None, effect: Effect) -> None:
    """Adds to the effect the contact's new DIDs, so that the contact, which exists, is known as its connection is.

    Args:
        before: the connection as it was.
    """
    after = effect.connection
    if effect.contact is not None:
        return
    if before is not None and (before.contact_did, before.claimed_did or "") == (
        after.contact_did,
        after.claimed_did or "",
    ):
        return
    contact = await tenant.records.get(Contact, after.contact_uuid)
    if contact is not None and not contact.named:
        effect.named = name(contact, after, (before and before.claimed_did) or "")
        effect.names = {one: effect.named.changes()[one] for one in ("did", "claimedDid", "named")}


def name(contact: Contact, connection: Connection, claimed_before: str = "") -> Contact:
    """Returns a contact whose DID nobody has proven yet, named as its connection is. If the tenant wrote a DID and
    somebody else has answered, it is shown as claimed.

    Args:
        claimed_before: the connection's claim before, which is not the tenant's.
    """
    did = connection.contact_did
    claimed = contact.claimed_did or ""
    written = contact.did or (claimed if claimed != claimed_before else "")
    claimed = written or connection.claimed_did or ""
    return replace(contact, did=did, claimed_did=claimed if claimed != did else "", named=bool(did))
