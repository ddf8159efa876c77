"""`/settings/{key}`: a tenant's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tntcore.api.audit import note
from tntcore.api.deliveries import DeliveryDetails, shown_delivery
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.setting_shapes import (
    EntryView,
    NewSetting,
    RotatedView,
    SettingView,
    WebhookGiven,
    check_read_only,
    entry_of,
    etag_of,
    etag_of_entry,
    no_entry,
    setting_view,
)
from tntcore.api.versions import check_version
from tntcore.api.views import found
from tntcore.delivery.attempted import write_attempt
from tntcore.delivery.webhook_calls import PROBE, call_entry, probe_body
from tntcore.egress import EgressError
from tntcore.errors import Problem
from tntcore.maintenance.retention import KEEPS, remember
from tntcore.messaging import times
from tntcore.messaging.ids import Stream
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.records import Delivery, Setting
from tntcore.storage.retrying import retrying
from tntcore.storage.states import DeliveryStatus
from tntcore.strict_json import write_json
from tntcore.tenancy.access import Scope
from tntcore.tenancy.preferences import (
    EXTERNAL_SIGNING_URL,
    RETENTION_DAYS,
    read_preferences,
)
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, PRINCIPAL_SETTINGS, TASK_WEBHOOK
from tntcore.tenancy.webhooks import (
    MAX_ENTRIES,
    MAX_TASK_ENTRIES,
    EntrySecrets,
    check_loops,
    check_number,
    is_own_api,
    new_secret,
    new_secrets,
    read_entries,
    read_entry,
    successors,
)

_KEYS = (DIDCOMM_WEBHOOK, TASK_WEBHOOK, PRINCIPAL_SETTINGS)
_MAX_SEALED = 60_000


async def read(call: Call) -> Response:
    """Shows a setting, without the secrets of webhooks."""
    key = _key(call)
    record = await call.tenant.records.get(Setting, key)
    if record is None:
        raise Problem(404, "setting-unknown", f"{key} is not set. PUT /api/settings/{key} sets it.")
    return _answer(record, call.tenant.opened(record))


async def save(call: Call) -> Response:
    """Saves a setting as a whole. Body: `{setting: ...}`.

    A webhook setting is a list of `{url, method?, match?, headers?, id?}`; `PRINCIPAL_SETTINGS` is an object of
    preferences. Saving enables disabled entries again. With `If-Match`, the setting is saved only if nobody else has
    saved it since.

    If an entry is saved under another id, the deliveries that still wait for it go to the new one: to an entry with the
    same `url` and `match`, or else to a new one with the same `url`. The deliveries of any other removed entry fail.

    The answer shows the id of each entry. `secrets` has the secrets of new entries, or of a new `externalSigningUrl`.
    They are shown only this once: store them.
    """
    key = _key(call)
    given = call.body["setting"]
    if len(write_json(given)) > _MAX_SEALED:  # before each of its names is compared with the known ones
        raise _too_large()
    entries = [] if key == PRINCIPAL_SETTINGS else read_entries(given, new_id=call.uuid7, most=_most(key))
    check_loops(entries, call.services.config.public_url)
    if key == PRINCIPAL_SETTINGS:
        given = read_preferences(given, partial(_check_url, call))
        if RETENTION_DAYS in given:
            await remember(call.services, KEEPS, call.tenant.uuid)
    else:
        given = [entry.saved() for entry in entries]
    seed = call.random(32)
    read: list[Setting | None] = []

    async def attempt() -> Response:
        before = await call.tenant.records.get(Setting, key)
        read.append(before)
        if (before and before.value) != (read[0] and read[0].value):
            raise _changed()
        # Otherwise only the health of its webhooks changed, if anything.
        stored = call.tenant.opened(before) if before else None
        value, shown = _with_secrets(key, given, stored, seed)
        if before is not None and value == stored and call.is_repeated:
            return _answer(before, value, shown)
        check_version(call.request, etag_of(before))
        if key != PRINCIPAL_SETTINGS:
            check_read_only(call.body["setting"], before, stored)
        record = _record(call, key, value, before)
        difference = _difference(key, stored["setting"] if stored else None, given)
        await _write(call, record, before, "setting.saved", **difference)
        return _answer(record, value, shown)

    return await retrying(attempt, contended=_changed())


def _with_secrets(
    key: str, given: Any, stored: dict[str, Any] | None, seed: bytes
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the setting with the secrets of what it names, kept or new, and the new ones as they are shown, by name.

    Args:
        seed: new secrets are derived from it. If they are stored already, an earlier attempt of this call made them.
    """
    known: dict[str, Any] = stored["secrets"] if stored else {}
    if key == PRINCIPAL_SETTINGS:
        named = [EXTERNAL_SIGNING_URL] if EXTERNAL_SIGNING_URL in given else []
        if stored and named and stored["setting"].get(EXTERNAL_SIGNING_URL) != given[EXTERNAL_SIGNING_URL]:
            # Otherwise the previous signer, who knows the secret, could call the new one in our name.
            known = {}
    else:
        named = [entry["id"] for entry in given]
    drawn = {name: _new(key, Stream(seed + name.encode())) for name in named}
    new = {name: secrets for name, secrets in drawn.items() if known.get(name, secrets) == secrets}
    former = stored.get("former", {}) if stored else {}
    value = {
        "setting": given,
        "secrets": {name: new.get(name) or known[name] for name in named},
        "former": {name: former[name] for name in named if name in former and name not in new},
    }
    if stored and key != PRINCIPAL_SETTINGS:
        value["successors"] = successors(stored["setting"], given, stored.get("successors", {}))
    return value, {name: secrets[0] for name, secrets in new.items()}


def _check_url(call: Call, url: str) -> None:
    """Raises `EgressError` if the URL may not be called."""
    call.services.egress.check(url)
    if is_own_api(url, call.services.config.public_url):
        raise EgressError("invalid-url", "it points to this service itself")


async def read_one(call: Call) -> Response:
    """Shows a webhook entry, without its secret. `ETag` names this version for `If-Match`; it stays the same when only
    `status` changes."""
    key, name = _key(call), call.arguments["entry"]
    record = await found(call.tenant.records, Setting, key)
    return _answer_one(record, call.tenant.opened(record), name)


async def save_one(call: Call) -> Response:
    """Creates or replaces a webhook entry; the others stay as they are. Enables the entry again if it was disabled.

    `secret` is shown only when the entry is new: store it. With `If-Match`, the entry is replaced only if nobody else
    has saved it since; with `If-None-Match: *` it is only created.
    """
    key, name = _key(call), call.arguments["entry"]
    if key == PRINCIPAL_SETTINGS:
        raise no_entry(key, name)
    if call.body.get("id", name) != name:
        raise Problem(400, "id-invalid", "id differs from the one in the path. Leave it out of the body.")
    entry = read_entry(call.body, name)
    check_loops([entry], call.services.config.public_url)
    seed = call.random(32)

    async def attempt() -> Response:
        before = await call.tenant.records.get(Setting, key)
        stored = call.tenant.opened(before) if before else None
        entries: list[dict[str, Any]] = list(stored["setting"]) if stored else []
        places = [number for number, one in enumerate(entries) if one["id"] == name]
        check_version(call.request, etag_of_entry(stored, name) if stored and places else None)
        if not call.is_repeated:
            check_read_only([{**call.body, "id": name}], before, stored)
        for number in places:
            entries[number] = entry.saved()
        if not places:
            check_number(entries := [*entries, entry.saved()], _most(key))
        value, new = _with_secrets(key, entries, stored, seed)
        record = _record(call, key, value, before)
        record.health = {one: state for one, state in (before.health if before else {}).items() if one != name}
        await _write(call, record, before, "setting.saved", **_difference(key, stored and stored["setting"], entries))
        return _answer_one(record, value, name, status=200 if places else 201, secret=new.get(name))

    return await retrying(attempt, contended=_changed())


async def delete_one(call: Call) -> Response:
    """Deletes a webhook entry; the others stay as they are. Deliveries that still wait for it fail, unless another
    entry has the same `url` and `match`."""
    key, name = _key(call), call.arguments["entry"]

    async def attempt() -> Response:
        before = await found(call.tenant.records, Setting, key)
        stored = call.tenant.opened(before)
        entry_of(before, stored, name)
        check_version(call.request, etag_of_entry(stored, name))
        entries = [one for one in stored["setting"] if one["id"] != name]
        value, _ = _with_secrets(key, entries, stored, b"")
        record = _record(call, key, value, before)
        record.health = {one: state for one, state in before.health.items() if one != name}
        await _write(call, record, before, "setting.saved", **_difference(key, stored["setting"], entries))
        return Response(204, content_type="")

    return await retrying(attempt, contended=_changed())


async def rotate_secret(call: Call) -> Response:
    """Gives a webhook entry new keys, and shows `{secret, publicKey}`; the secret is shown only once.

    The old keys stay valid until `formerValidUntil`, a day from now. Until then calls are signed with both.
    """
    key, name, now = _key(call), call.arguments["entry"], call.services.now()
    seed = call.random(32)

    def shown(secrets: EntrySecrets) -> Response:
        return answer(
            {
                "key": key,
                "entry": name,
                "secret": secrets.shown,
                "publicKey": secrets.public_key,
                "formerValidUntil": times.iso(secrets.former[0][0]),
            }
        )

    async def attempt() -> Response:
        before = await found(call.tenant.records, Setting, key)
        stored = call.tenant.opened(before)
        if name not in stored["secrets"]:
            raise no_entry(key, name)
        kept = EntrySecrets.read(stored, name)
        secrets = kept.rotated(Stream(seed), now)
        if secrets.current == kept.current:
            # An earlier attempt of this call has rotated them.
            return shown(kept)
        former = [{"secrets": list(old), "until": until} for until, old in secrets.former]
        value = {
            **stored,
            "secrets": {**stored["secrets"], name: list(secrets.current)},
            "former": {**stored.get("former", {}), name: former},
        }
        record = replace(_record(call, key, value, before), health=before.health)
        await _write(call, record, before, "webhook.secret-rotated", entry=name)
        return shown(secrets)

    return await retrying(attempt, contended=_changed())


async def enable(call: Call) -> Response:
    """Enables a disabled webhook again, and shows the setting. To send the calls that were withheld, start a replay."""
    key, name = _key(call), call.arguments["entry"]

    async def attempt() -> Response:
        before = await found(call.tenant.records, Setting, key)
        stored = call.tenant.opened(before)
        if key == PRINCIPAL_SETTINGS or all(entry["id"] != name for entry in stored["setting"]):
            raise no_entry(key, name)
        health = {entry: state for entry, state in before.health.items() if entry != name}
        record = replace(before, health=health)
        if name in before.health:
            await _write(call, record, before, "webhook.enabled", entry=name)
        return answer(setting_view(record, stored))

    return await retrying(attempt, contended=_changed())


async def test(call: Call) -> Response:
    """Calls a webhook once, even if it is disabled, and shows the delivery with the answer.

    The call is signed as usual. Its type is `urn:tnt:webhook-test`; its body has the form of a message or of a task.
    """
    call = call.by_tenant(call.tenant.shard(0))  # where a delivery of no connection is
    key, name, services, records = _key(call), call.arguments["entry"], call.services, call.tenant.records
    if key == PRINCIPAL_SETTINGS:
        raise no_entry(key, name)
    call.tenant.settings_changed(key)
    setting = await call.tenant.webhooks(key)
    entry = setting.entry(name)
    if entry is None or entry.id != name:
        raise no_entry(key, name)
    uuid, now = call.uuid7(), services.now()
    before = await records.get(Delivery, uuid) if call.is_repeated else None
    if before is not None and before.status != DeliveryStatus.PENDING and before.attempts:
        return answer(await shown_delivery(call, before))
    attempted = await call_entry(services, setting, entry, uuid, probe_body(key, uuid), now)
    unit, over = Unit(), services.now()
    status = DeliveryStatus.FAILED if attempted.error else DeliveryStatus.DELIVERED
    delivery = Delivery(
        uuid=uuid, status=status, kind="test", entry_id=name, type=PROBE, created_at=now, updated_at=now
    )
    unit.upsert(delivery)
    await records.commit(unit)
    outcome = Unit()
    write_attempt(outcome, records, attempted, uuid, 1, status, over)
    await records.commit(outcome)
    return answer(await shown_delivery(call, await found(records, Delivery, uuid)))


def _new(key: str, random: Callable[[int], bytes]) -> list[str]:
    return [new_secret(random)] if key == PRINCIPAL_SETTINGS else new_secrets(random)


def _too_large() -> Problem:
    return Problem(413, "setting-too-large", f"The setting is too large. It may have at most {_MAX_SEALED // 1000} kB.")


def _record(call: Call, key: str, value: dict[str, Any], before: Setting | None) -> Setting:
    """Returns the row that stores `value`. Raises `Problem` 413."""
    records, now = call.tenant.records, call.services.now()
    record = Setting(uuid=key, created_at=before.created_at if before else now, updated_at=now)
    record.value = records.seal(write_json(value), record.key)
    if len(record.value) > _MAX_SEALED:
        raise _too_large()
    return record


def _difference(key: str, before: Any, after: Any) -> dict[str, list[str]]:
    """Returns the names of the entries or preferences that were added, changed and removed, without their values."""

    def by_name(value: Any) -> dict[str, Any]:
        if key == PRINCIPAL_SETTINGS:
            return dict(value or {})
        return {entry["id"]: entry for entry in value or ()}

    old, new = by_name(before), by_name(after)
    return {
        "added": sorted(new.keys() - old.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
        "removed": sorted(old.keys() - new.keys()),
    }


async def _write(call: Call, record: Setting, before: Setting | None, act: str, **details: Any) -> None:
    """Writes the row and an audit record.

    Args:
        act, details: for the audit log.

    Raises:
        Changed, Exists: another request was faster.
    """
    unit = Unit()
    await note(call, unit, act, record.uuid, **details)
    if before is None:
        unit.create(record)
    else:
        unit.merge(record.key, record.values(), before.etag)
    try:
        await call.tenant.records.commit(unit)
    except (Changed, Exists):
        # Unless this very write, repeated by the SDK, did it: no two sealed values are the same.
        current = await call.tenant.records.get(Setting, record.uuid)
        if current is None or current.value != record.value:
            raise
    finally:
        call.tenant.settings_changed(record.uuid)


def _changed() -> Problem:
    return Problem(
        409, "setting-changed", "Another request changed the setting at the same time. Read it and try again."
    )


async def delete(call: Call) -> Response:
    """Deletes a setting. Webhook calls that still wait for its entries fail."""
    key, records = _key(call), call.tenant.records

    async def attempt() -> Response:
        record = await found(records, Setting, key)
        check_version(call.request, etag_of(record))
        unit = Unit()
        unit.delete(record.key, record.etag)
        await note(call, unit, "setting.deleted", key)
        try:
            await records.commit(unit)
        except Changed:
            # Unless this very deletion was repeated by the SDK.
            if await records.get(Setting, key) is not None:
                raise
        finally:
            call.tenant.settings_changed(key)
        return Response(204, content_type="")

    return await retrying(attempt, contended=_changed())


def _key(call: Call) -> str:
    key = call.arguments["key"].upper()
    if key not in _KEYS:
        raise Problem(404, "setting-unknown", f"There is no setting with this key. Use one of {', '.join(_KEYS)}.")
    return key


def _answer(record: Setting, stored: dict[str, Any], secrets: Mapping[str, str] | None = None) -> Response:
    """
    Args:
        secrets: the new ones.
    """
    view = setting_view(record, stored)
    return answer({**view, "secrets": secrets} if secrets else view, etag=etag_of(record) or "")


def _answer_one(
    record: Setting, stored: dict[str, Any], name: str, *, status: int = 200, secret: str | None = None
) -> Response:
    view = {"key": record.uuid, **entry_of(record, stored, name)}
    return answer({**view, "secret": secret} if secret else view, status, etag=etag_of_entry(stored, name))


def _most(key: str) -> int:
    return MAX_TASK_ENTRIES if key == TASK_WEBHOOK else MAX_ENTRIES


_UNKNOWN = "404 setting-unknown"
_SAVING = (
    "400 setting-invalid",
    "400 setting-match-invalid",
    _UNKNOWN,
    "409 setting-changed",
    "413 setting-too-large",
)
_ENTRY = (_UNKNOWN, "404 entry-unknown", "409 setting-changed", "413 setting-too-large")
_EXAMPLE = {"setting": [{"url": "https://erp.example.com/didcomm", "match": "basicmessage|ack~attach"}]}
ROUTES = [
    Route(
        "GET",
        "settings/{key}",
        read,
        scope=Scope.ADMIN,
        versioned=True,
        summary="Read a setting",
        answers={200: SettingView},
        errors=(_UNKNOWN,),
    ),
    Route(
        "POST",
        "settings/{key}",
        save,
        scope=Scope.ADMIN,
        creates=True,
        when_full=True,
        versioned=True,
        summary="Save a setting",
        request=NewSetting,
        answers={200: SettingView},
        errors=_SAVING,
        example=_EXAMPLE,
    ),
    Route(
        "PUT",
        "settings/{key}",
        save,
        scope=Scope.ADMIN,
        versioned=True,
        summary="Save a setting",
        request=NewSetting,
        answers={200: SettingView},
        errors=_SAVING,
        example=_EXAMPLE,
    ),
    Route(
        "DELETE",
        "settings/{key}",
        delete,
        scope=Scope.ADMIN,
        versioned=True,
        summary="Delete a setting",
        answers={204: None},
        errors=(_UNKNOWN,),
    ),
    Route(
        "GET",
        "settings/{key}/{entry}",
        read_one,
        scope=Scope.ADMIN,
        versioned=True,
        summary="Read a webhook",
        answers={200: EntryView},
        errors=(_UNKNOWN, "404 entry-unknown"),
    ),
    Route(
        "PUT",
        "settings/{key}/{entry}",
        save_one,
        scope=Scope.ADMIN,
        versioned=True,
        summary="Create or replace a webhook",
        request=WebhookGiven,
        answers={200: EntryView, 201: EntryView},
        errors=("400 id-invalid", "404 entry-unknown", *_SAVING),
        example=_EXAMPLE["setting"][0],
    ),
    Route(
        "DELETE",
        "settings/{key}/{entry}",
        delete_one,
        scope=Scope.ADMIN,
        versioned=True,
        summary="Delete a webhook",
        answers={204: None},
        errors=_ENTRY,
    ),
    Route(
        "POST",
        "settings/{key}/{entry}/rotate-secret",
        rotate_secret,
        scope=Scope.ADMIN,
        creates=True,
        when_full=True,
        summary="Rotate the keys of a webhook",
        answers={200: RotatedView},
        errors=_ENTRY,
    ),
    Route(
        "POST",
        "settings/{key}/{entry}/enable",
        enable,
        scope=Scope.ADMIN,
        summary="Enable a disabled webhook",
        answers={200: SettingView},
        errors=_ENTRY,
    ),
    Route(
        "POST",
        "settings/{key}/{entry}/test",
        test,
        scope=Scope.ADMIN,
        creates=True,
        when_full=True,
        summary="Test a webhook",
        answers={200: DeliveryDetails},
        errors=_ENTRY,
    ),
]
