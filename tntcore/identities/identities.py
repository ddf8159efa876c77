"""Identities of a principal: DIDs that it acts as. This service holds their keys, or the tenant itself does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from tntcore.dids import key as did_key
from tntcore.dids import web
from tntcore.dids.build import add_agreement_keys
from tntcore.dids.document import DidDocument, VerificationMethod
from tntcore.dids.parse import check_did, parse_document
from tntcore.errors import UNRESOLVABLE, DidError, Problem
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.lookups import Found
from tntcore.storage.records import BoundDid, Connection, Identity, Invitation, Record, short_hash
from tntcore.tenancy.recipients import OTHER_CURVES, KeyPairs
from tntcore.tenancy.tenants import Tenant

METHODS: Final = ("did:web", "did:key")
_PAGE: Final = 500


async def create_identity(
    services: Services,
    tenant: Tenant,
    display_name: str,
    *,
    is_default: bool = False,
    method: str = "did:web",
    uuid: str = "",
) -> Identity:
    """Creates an identity with a DID of one of `METHODS`; ACTIVE once its DID can be resolved and receives messages.

    Args:
        uuid: its own; "" for any.
    """
    now = services.now()
    uuid = uuid or services.uuid7()
    owner = Found(tenant.uuid, "identity", uuid)
    keys, document = _new_key() if method == "did:key" else _new_web(services, uuid)
    identity = Identity(
        uuid=uuid,
        did=document["id"],
        method=method,
        display_name=display_name,
        is_default=is_default,
        document=document,
        created_at=now,
        updated_at=now,
    )
    identity.keys = tenant.records.seal(keys.serialise(), identity.key)
    if method == "did:web":
        await services.lookups.add("identity", uuid, owner)
    kids = keys.by_kid(parse_document(document))
    await asyncio.gather(*(services.lookups.add("key", kid, owner) for kid in kids))
    unit = Unit()
    unit.create(identity)
    return await tenant.records.make(unit, identity)


def _new_web(services: Services, uuid: str) -> tuple[KeyPairs, dict[str, Any]]:
    keys = KeyPairs.generate(*OTHER_CURVES)
    did = web.did_web_for(services.config.public_url, "api", "identity", uuid)
    public = {"key-1": keys.ed25519.public, "key-2": keys.x25519.public}
    document = web.identity_document(did, public, services.config.endpoint)
    add_agreement_keys(document, [key.public for key in keys.others], did)
    return keys, document


def _new_key() -> tuple[KeyPairs, dict[str, Any]]:
    signing = KeyPairs.generate().ed25519
    return KeyPairs(signing, signing.to_x25519()), dict(did_key.resolve(did_key.create(signing.public)).raw)


async def bind_did(services: Services, tenant: Tenant, identity: Identity, did: str) -> Identity:
    """Gives the identity an external DID, whose keys the tenant holds: from then on it is that DID in all that is said
    of the identity, and the tenant's signer signs for it (see `signing`). Its own DID gives back the former state.

    Nothing here proves that the tenant controls the DID: each signature is checked against its document.

    Further effects:

    - the DID that was made here still names the identity, its document stays published and its keys stay here: what it
      signed can be checked, and messages to it are read. It is not shown to new partners, and no credential is signed
      with it any more.
    - connections, made before or later, have pairwise DIDs of this service and go on; they, and invitations, have the
      new DID as that of their identity, so new messages do too. Messages that are stored keep the one that they had.
    - messages to the external DID, implicit invitations among them, go to the endpoint in its document: the tenant's
      affair.

    If a call breaks off, binding the same DID again completes it.

    Args:
        identity: as it was read; a display name that differs is saved, too.

    Raises:
        Problem: 400 `did-invalid`, `did-unusable` (also without an Ed25519 key to sign credentials with); 502
            `did-unresolvable`; 409 `did-bound` to another identity, or `identity-changed` meanwhile.
    """
    if did != identity.did:
        await _check_free(tenant, identity, did)
    bound = "" if did == identity.own else did
    if bound:
        await _check_document(services, did)
    former = identity.did if identity.is_external else ""
    unit, etag = Unit(), identity.etag
    identity.did, identity.own_did = did, identity.own if bound else ""
    identity.method = ":".join(did.split(":")[:2])
    identity.updated_at = services.now()
    names = ("did", "ownDid", "method", "displayName", "updatedAt")
    unit.merge(identity.key, {name: identity.changes()[name] for name in names}, etag)
    if bound != former:
        if bound:
            taken = BoundDid(uuid=short_hash(bound), identity_uuid=identity.uuid, created_at=services.now())
            unit.create(taken)
        if former:
            unit.delete(BoundDid.row_key(short_hash(former)))
    try:
        await tenant.records.commit(unit)
    except Exists:
        raise _bound() from None
    except Changed:
        raise Problem(
            409, "identity-changed", "Another request changed the identity at the same time. Read it and try again."
        ) from None
    services.tenants.forget_recipient(tenant, identity.uuid)
    for kind in (Connection, Invitation):
        await _rename(services, tenant, kind, identity)
    return identity


def signing_method(document: DidDocument) -> VerificationMethod | None:
    """Returns the key with which the subject of a document signs credentials: its first Ed25519 one for assertions (DID
    Core 1.0, section 5.3.2).
    """
    methods = (document.methods[kid] for kid in document.assertion)
    return next((method for method in methods if method.key.curve == "Ed25519"), None)


async def _check_free(tenant: Tenant, identity: Identity, did: str) -> None:
    """Raises `Problem` 409 `did-bound`."""
    hits = await tenant.records.list(Identity, limit=2, where=queries.identities_of_did(did))
    if any(hit.uuid != identity.uuid for hit in hits.records):
        raise _bound()


async def _check_document(services: Services, did: str) -> None:
    """Checks that the DID's document can be used. Raises `Problem` 400 or 502."""
    try:
        check_did(did)
        document = await services.resolver.resolve(did)
    except DidError as error:
        if error.code == UNRESOLVABLE:
            raise Problem(
                502,
                "did-unresolvable",
                f"The DID document cannot be resolved now: {error.detail}. Try again later.",
                retry_after=5,
            ) from None
        code = "did-invalid" if error.code == "malformed-did" else "did-unusable"
        raise Problem(400, code, f"The DID is not usable: {error.detail}.") from None
    if signing_method(document) is None:
        raise Problem(
            400, "did-unusable", "The DID document has no Ed25519 key under assertionMethod. Add one, and try again."
        )


async def _rename(
    services: Services, tenant: Tenant, kind: type[Connection] | type[Invitation], identity: Identity
) -> None:
    """Writes the identity's DID to all of its connections, or invitations."""

    async def write(record: Record) -> None:
        unit = Unit()
        unit.merge(record.key, {"identityDid": identity.did})
        with suppress(Changed):  # deleted meanwhile
            await tenant.at(record).records.commit(unit)
        services.tenants.forget_recipient(tenant, record.uuid)

    start: str | None = ""
    while start is not None:
        hits = await tenant.records.list(
            kind,
            limit=_PAGE,
            start=start,
            where=queries.connections_under_another_did(identity.uuid, identity.did),
            columns=("identityDid",),
        )
        await asyncio.gather(*map(write, hits.records))
        start = hits.next


def _bound() -> Problem:
    return Problem(409, "did-bound", "Another of your identities has this DID. Change the DID of that identity first.")
