"""Revocation notices: those of issuers about held credentials, and our own."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tntcore.credentials.anoncreds.issuer import revocation_of
from tntcore.credentials.formats import HeldCredential
from tntcore.credentials.wallet import open_held
from tntcore.exchanges.outcome import Outcome, Reply
from tntcore.exchanges.run import Run
from tntcore.messaging.ids import random_uuid
from tntcore.messaging.threads import action_uuid
from tntcore.protocols import revocation_notification
from tntcore.protocols.revocation_notification import RevocationNotice
from tntcore.storage import queries
from tntcore.storage.records import Connection, Credential, Exchange
from tntcore.storage.repository import Repository
from tntcore.strict_json import reread_json, write_json

_MAX_LOOKED_AT = 200  # credentials of one connection


async def noticed(records: Repository, connection: Connection, notice: RevocationNotice, now: int) -> Outcome:
    """Adds the notice to the credential, if both came on the same connection: only its issuer's notice counts. The
    credential's status stays; its own checks show whether it is revoked.
    """
    async for credential in _named(records, connection, notice):
        if not credential.noticed_at:
            credential.noticed_at = credential.updated_at = now
            written = write_json({"comment": notice.comment})
            credential.notice = records.seal(written, f"{credential.key}/notice")
        return Outcome(credentials=[credential])
    return Outcome(error="credential-unknown")


def comment_of(records: Repository, credential: Credential) -> str:
    """Returns the comment in the issuer's notice."""
    if not credential.notice:
        return ""
    return str(reread_json(records.open(credential.notice, f"{credential.key}/notice"))["comment"])


async def _named(records: Repository, connection: Connection, notice: RevocationNotice) -> AsyncIterator[Credential]:
    for thid in notice.threads:
        exchange = await records.get(Exchange, action_uuid(connection.uuid, thid))
        if exchange is None or exchange.role != "holder":
            continue
        for credential in await records.many(Credential, exchange.credentials[-_MAX_LOOKED_AT:]):
            if not notice.registry or await _is(records, credential, notice):
                yield credential
    if not notice.registry:
        return
    where = queries.credentials_of_connection(connection.uuid, "anoncreds")
    for credential in (await records.list(Credential, limit=_MAX_LOOKED_AT, where=where)).records:
        if await _is(records, credential, notice):
            yield credential


async def _is(records: Repository, credential: Credential, notice: RevocationNotice) -> bool:
    if credential.format != "anoncreds":
        return False
    held = await open_held(records, credential)
    return revocation_of(held.value) == (notice.registry, notice.number)


def telling(run: Run, credential: Credential, held: HeldCredential, comment: str) -> Outcome:
    """Returns the notification for the holder, on the thread of the issuance, and the changed credential."""
    registry, number = (revocation_of(held.value) if credential.format == "anoncreds" else None) or ("", 0)
    message = revocation_notification.build(
        "1.0" if run.exchange.protocol.endswith("/1.0") else "2.0",
        message_id=random_uuid(run.services.random),
        thid=run.exchange.thid,
        registry=registry,
        number=number,
        comment=comment,
        version="v2" if run.connection.version == "v2" else "v1",
    )
    return Outcome(credentials=[credential], replies=[Reply(run.name("revoke"), message)])
