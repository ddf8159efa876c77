"""A setting and its webhook entries: the shapes in which they come and go, and their versions (`ETag`)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from tntcore.api.json_schema import Code, Words
from tntcore.api.views import JsonObject, Time, Url, entity
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.storage.records import Setting
from tntcore.strict_json import write_json
from tntcore.tenancy.preferences import AUTOMATIC, EXTERNAL_SIGNING_URL, MAX_DAYS, RETENTION_DAYS
from tntcore.tenancy.tenants import PRINCIPAL_SETTINGS
from tntcore.tenancy.webhooks import EntryHealth, EntrySecrets

_READ_ONLY = "read-only: leave it out, or send it as the entry has it now"
_NEW: Final[Mapping[str, Any]] = dict.fromkeys(("publicKey", "status", "failingSince", "disabledAt", "disabledBy"))
"""The read-only members of an entry that is not saved yet."""


class WebhookGiven(TypedDict):
    """A webhook: its URL and the messages or events that trigger it. Read-only members of an earlier response are
    accepted while they are as the entry has them; another value is refused."""

    url: Url
    method: NotRequired[Annotated[Literal["POST", "PUT", "PATCH"], "by default POST"]]
    match: NotRequired[Annotated[str, "an RE2 expression", Words(examples=["basicmessage|ack~attach"])]]
    headers: NotRequired[Annotated[dict[str, str], "additional headers to send"]]
    id: NotRequired[Annotated[str, "id of an existing entry"]]
    publicKey: NotRequired[Annotated[str, _READ_ONLY]]
    status: NotRequired[Annotated[Literal["ACTIVE", "DISABLED"], _READ_ONLY]]
    failingSince: NotRequired[Annotated[str, _READ_ONLY]]
    disabledAt: NotRequired[Annotated[str, _READ_ONLY]]
    disabledBy: NotRequired[Annotated[str, _READ_ONLY]]


PreferencesGiven = Annotated[
    JsonObject,
    Words(
        additionalProperties=True,
        properties={
            **{name: {"type": ["boolean", "null"]} for name in AUTOMATIC},
            RETENTION_DAYS: {"type": ["integer", "null"], "format": "int64", "minimum": 1, "maximum": MAX_DAYS},
            EXTERNAL_SIGNING_URL: {"type": ["string", "null"], "format": "uri"},
        },
    ),
]
"""`PRINCIPAL_SETTINGS`; members of the tenant's own stand beside these."""


class NewSetting(TypedDict):
    setting: Annotated[list[WebhookGiven] | PreferencesGiven, Code("setting-invalid")]


class WebhookView(TypedDict):
    id: str
    url: Url
    method: Literal["POST", "PUT", "PATCH"]
    match: str
    headers: dict[str, str]
    publicKey: Annotated[str | None, "the public key that verifies signatures, `whpk_...`"]
    status: Literal["ACTIVE", "DISABLED"]
    failingSince: Time | None
    disabledAt: Time | None
    disabledBy: str | None


class EntryView(WebhookView):
    """A webhook by itself. `secret` signs its calls, and is shown only once: when the entry is created."""

    key: str
    secret: NotRequired[str]


class RotatedView(TypedDict):
    """New keys of an entry. `secret` is shown only once. Calls are also signed with the old keys until
    `formerValidUntil`.
    """

    key: str
    entry: str
    secret: str
    publicKey: str | None
    formerValidUntil: Time


class SettingView(TypedDict):
    """A setting: a list of webhook entries, or the object of `PRINCIPAL_SETTINGS`. `secrets` has the secrets of new
    entries by id, and is shown only once."""

    uuid: str
    status: str
    createdAt: Time
    updatedAt: Time
    key: str
    setting: list[WebhookView] | PreferencesGiven
    secrets: NotRequired[dict[str, str]]


def setting_view(record: Setting, stored: dict[str, Any]) -> dict[str, Any]:
    """Returns the setting; each webhook also has its `status` (ACTIVE or DISABLED) and `publicKey`."""
    value = stored["setting"]
    if record.uuid != PRINCIPAL_SETTINGS:
        value = [
            {
                **entry,
                "publicKey": EntrySecrets.read(stored, entry["id"]).public_key,
                **_health(EntryHealth(**record.health[entry["id"]]) if entry["id"] in record.health else None),
            }
            for entry in value
        ]
    return entity(record, key=record.uuid, setting=value)


def check_read_only(given: Sequence[Mapping[str, Any]], record: Setting | None, stored: dict[str, Any] | None) -> None:
    """Refuses read-only members of entries that differ from what the entry has, since they would have no effect.

    Args:
        given: the entries as they came. `status` may be ACTIVE, since saving an entry enables it.
        record, stored: the setting as it is.

    Raises:
        Problem: 400 `setting-invalid`.
    """
    known = {entry["id"]: entry for entry in setting_view(record, stored)["setting"]} if record and stored else {}
    for number, entry in enumerate(given, 1):
        shown = known.get(entry.get("id"), _NEW)
        for name in _NEW:
            value = entry.get(name)
            if value is None or _same(value, shown[name]) or (name == "status" and value == "ACTIVE"):
                continue
            now = "has none" if shown[name] is None else f"has {shown[name]}"
            place = f"Entry {number}" if len(given) > 1 else "The entry"
            raise Problem(
                400, "setting-invalid", f"{place}: {name} is read-only, and this entry {now}. Leave {name} out."
            )


def _same(value: object, shown: object) -> bool:
    """Whether two values are equal, or the same time in two forms."""
    if value == shown:
        return True
    try:
        return times.read(value) == times.read(shown)
    except ValueError:
        return False


def etag_of(record: Setting | None) -> str | None:
    """Returns the version of a setting: no two sealed values are the same, and the health of webhooks is not in it."""
    return f'"{hashlib.sha256(record.value).hexdigest()[:32]}"' if record else None


def entry_of(record: Setting, stored: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the view of an entry. Raises `Problem` 404."""
    entries = [] if record.uuid == PRINCIPAL_SETTINGS else setting_view(record, stored)["setting"]
    for entry in entries:
        if entry["id"] == name:
            return dict(entry)
    raise no_entry(record.uuid, name)


def etag_of_entry(stored: dict[str, Any], name: str) -> str:
    """Returns the version of an entry. It depends on the keys as well, so that nobody can guess headers from it."""
    entry = next(entry for entry in stored["setting"] if entry["id"] == name)
    keys = "".join(stored["secrets"][name]).encode()
    return f'"{hmac.digest(keys, write_json(entry), "sha256").hex()[:32]}"'


def no_entry(key: str, name: str) -> Problem:
    return Problem(404, "entry-unknown", f"{key} has no entry {name[:100]!r}; GET /api/settings/{key} shows them.")


def _health(health: EntryHealth | None) -> dict[str, Any]:
    disabled = health is not None and health.disabled_at > 0
    return {
        "status": "DISABLED" if disabled else "ACTIVE",
        "failingSince": times.iso(health.since) if health else None,
        "disabledAt": times.iso(health.disabled_at) if health and disabled else None,
        "disabledBy": health.reason if health and disabled else None,
    }
