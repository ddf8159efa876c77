"""`/settings/{key}`: a principal's configuration."""

from __future__ import annotations

from typing import Any

import orjson

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.views import entity, found
from tntcore.errors import Problem
from tntcore.preferences import EXTERNAL_SIGNING_URL, read_preferences
from tntcore.records import Setting
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.tenants import DIDCOMM_WEBHOOK, PRINCIPAL_SETTINGS, TASK_WEBHOOK
from tntcore.webhooks import new_secret, read_entries

_KEYS = (DIDCOMM_WEBHOOK, TASK_WEBHOOK, PRINCIPAL_SETTINGS)
_MAX_SEALED = 60_000


async def read(call: Call) -> Response:
    """`{key, setting}`; webhook secrets are not shown again."""
    key = _key(call)
    record = await found(call.tenant.records, Setting, key)
    stored = await call.tenant.setting(key)
    return answer(_view(record, stored["setting"] if stored else None))


async def save(call: Call) -> Response:
    """`{setting: ...}`. A webhook setting is a list of `{url, method?, match?, headers?, id?}`; `PRINCIPAL_SETTINGS` is
    an object, see `read_preferences`.

    The answer shows each entry's id, and `secrets` those of entries that are new, or that of an `externalSigningUrl`
    that is: keep them, they are shown this once.
    """
    key = _key(call)
    body = call.request.object()
    if "setting" not in body:
        raise Problem(400, "setting-invalid", "Send {setting: ...}.")
    records, now = call.tenant.records, call.services.now()
    before = await records.get(Setting, key)
    stored = await call.tenant.setting(key) if before else None
    value, secrets, shown = body["setting"], {}, {}
    known: dict[str, Any] = stored["secrets"] if stored else {}
    if key == PRINCIPAL_SETTINGS:
        value = read_preferences(value, call.services.egress.check)
        named = [EXTERNAL_SIGNING_URL] if EXTERNAL_SIGNING_URL in value else []
        if stored and named and stored["setting"].get(EXTERNAL_SIGNING_URL) != value[EXTERNAL_SIGNING_URL]:
            # Who signed until now could else call the new signer in our name.
            known = {}
    else:
        entries = read_entries(value, new_id=call.services.uuid7)
        value = [entry.saved() for entry in entries]
        named = [entry.id for entry in entries]
    for name in named:
        secrets[name] = known.get(name) or [new_secret(call.services.random)]
        if name not in known:
            shown[name] = secrets[name][0]
    record = Setting(uuid=key, created_at=before.created_at if before else now, updated_at=now)
    record.value = records.seal(orjson.dumps({"setting": value, "secrets": secrets}), record.key)
    if len(record.value) > _MAX_SEALED:
        raise Problem(413, "setting-too-large", f"A setting may have {_MAX_SEALED // 1000} kB.")
    unit = Unit()
    if before is None:
        unit.create(record.key, record.values())
    else:
        unit.merge(record.key, record.values(), before.etag)
    try:
        await records.commit(unit)
    except (Exists, Changed):
        raise Problem(409, "setting-changed", "The setting was changed meanwhile. Read it and try again.") from None
    call.tenant.settings_changed(key)
    return answer({**_view(record, value), "secrets": shown} if shown else _view(record, value))


async def delete(call: Call) -> Response:
    record = await found(call.tenant.records, Setting, _key(call))
    unit = Unit()
    unit.delete(record.key)
    await call.tenant.records.commit(unit)
    call.tenant.settings_changed(record.uuid)
    return Response(204, content_type="")


def _key(call: Call) -> str:
    key = call.arguments["key"].upper()
    if key not in _KEYS:
        raise Problem(404, "setting-unknown", f"There is no setting of that key; there are {', '.join(_KEYS)}.")
    return key


def _view(record: Setting, value: Any) -> dict[str, Any]:
    return entity(record, key=record.uuid, setting=value)


ROUTES = [
    Route("GET", "settings/{key}", read),
    Route("POST", "settings/{key}", save),
    Route("PUT", "settings/{key}", save),
    Route("DELETE", "settings/{key}", delete),
]
