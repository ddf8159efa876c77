"""Identities of a principal: DIDs that it acts as, whose keys this service holds."""

from __future__ import annotations

from tntcore.dids import web
from tntcore.dids.parse import parse_document
from tntcore.records import Identity
from tntcore.services import Services
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Found
from tntcore.tenants import KeyPairs, Tenant


async def create_identity(
    services: Services, tenant: Tenant, display_name: str, *, is_default: bool = False
) -> Identity:
    """A new identity with a did:web that this service serves; ACTIVE when it can be resolved and written to."""
    now = services.now()
    uuid = services.uuid7()
    did = web.did_web_for(services.config.public_url, "api", "identity", uuid)
    keys = KeyPairs.generate()
    document = web.identity_document(
        did, {"key-1": keys.ed25519.public, "key-2": keys.x25519.public}, services.config.endpoint
    )
    identity = Identity(
        uuid=uuid,
        did=did,
        method="did:web",
        display_name=display_name,
        is_default=is_default,
        document=document,
        created_at=now,
        updated_at=now,
    )
    identity.keys = tenant.records.seal(keys.serialise(), identity.key)
    owner = Found(tenant.uuid, "identity", uuid)
    await services.lookups.add("identity", uuid, owner)
    for kid in keys.by_kid(parse_document(document)):
        await services.lookups.add("key", kid, owner)
    unit = Unit()
    unit.create(identity.key, identity.values())
    await tenant.records.commit(unit)
    return identity
