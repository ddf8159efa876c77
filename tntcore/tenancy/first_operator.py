"""Makes the first operator key with the storage account itself: for a new service, or when all keys are lost."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any

from tntcore.cloud import Cloud
from tntcore.config import ConfigError, read_identity, read_storage
from tntcore.errors import Problem
from tntcore.messaging.ids import UuidFactory
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.outage import is_away
from tntcore.storage.records import Audit, Operator
from tntcore.storage.storage import Storage
from tntcore.telemetry import Meter
from tntcore.tenancy.access import Actor, OperatorRole
from tntcore.tenancy.audit import Audits
from tntcore.tenancy.operators import HOME, STORAGE, OperatorKeys


class NotMadeError(Exception):
    """No key was made. The text says why, and what to do."""


def make(environ: Mapping[str, str], name: str, until: str | None, *, anyway: bool) -> dict[str, Any]:
    """Makes the key; returns what `POST /operator/first` answers. Needs only the storage account.

    Args:
        environ: the service's settings for the storage account.
        until: when the key expires (ISO 8601); None for never.
        anyway: make it even if another operator has the role admin.

    Raises:
        NotMadeError: storage cannot be reached, or an admin has a key.
    """
    try:
        return asyncio.run(_make(environ, name, until, anyway=anyway))
    except ConfigError as error:
        raise NotMadeError(f"{error}.") from None
    except Problem as problem:
        raise NotMadeError(problem.detail) from None
    except (Changed, Exists):
        raise NotMadeError("Another key was created at the same time. Try again.") from None
    except Exception as error:
        if not is_away(error):
            raise
        place = " ".join(error.__notes__)
        raise NotMadeError(
            f"Storage does not answer ({type(error).__name__}) at {place}. Check AzureWebJobsStorage."
        ) from None


async def _make(environ: Mapping[str, str], name: str, until: str | None, *, anyway: bool) -> dict[str, Any]:
    def now() -> int:
        return time.time_ns() // 1_000_000

    account, cloud = read_storage(environ), Cloud(read_identity(environ))
    storage = Storage(account, Meter(0), lambda queue, delay: None, cloud)
    try:
        operators = OperatorKeys(storage, now, time.monotonic, secrets.token_bytes)
        expires_at = round(datetime.fromisoformat(until).timestamp() * 1000) if until else 0
        new_uuid, audits = UuidFactory(now, secrets.token_bytes), Audits(storage, time.monotonic)
        uuid = new_uuid()
        also = Unit()
        by, details = Actor("storage", "", STORAGE, OperatorRole.ADMIN), {"name": name, "role": OperatorRole.ADMIN}

        def revoking(old: Operator) -> Awaitable[Audit]:
            return audits.record(HOME, new_uuid(), by, "operator.revoked", on=old.uuid, details={"name": old.name})

        also.create(await audits.record(HOME, uuid, by, "operator.made", on=uuid, details=details))
        made = await operators.first(name, expires_at, uuid, anyway=anyway, by=STORAGE, also=also, revoking=revoking)
    except Exception as error:
        error.add_note(storage.host)
        raise
    finally:
        await storage.close()
        await cloud.close()
    return {
        "uuid": uuid,
        "name": name,
        "role": str(made.record.role),
        "expiresAt": until,
        "headers": {"tnt-operator-key": made.key.text},
    }
