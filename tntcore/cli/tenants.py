"""Commands for registration, keys, profiles, settings, webhooks, rotation and health."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

import click

from tntcore.cli import profiles, show
from tntcore.cli.base import CREATED, Group, Session, ToolCommand, bar, once, paged, pass_session
from tntcore.cli.errors import ServiceRefused, Wrong
from tntcore.cli.profiles import Profile, Profiles
from tntcore.cli.service import part
from tntcore.cli.show import field

_KEY_HEADER = "tnt-subscription-key"
WEBHOOKS = ("DIDCOMM_WEBHOOK", "TASK_WEBHOOK")
SETTINGS = (*WEBHOOKS, "PRINCIPAL_SETTINGS")


@click.command("register", cls=ToolCommand)
@click.argument("name")
@click.option("--save", metavar="PROFILE", help="Save the key in this profile instead of showing it.")
@once
@pass_session
def register(session: Session, name: str, save: str | None, key: str) -> None:
    """Register a tenant (operator). Its first key is shown only once."""
    known = _profiles(session, save)
    service = session.service
    made = service.post("principal", {"displayName": name}, key=key, operator=True)
    first = made["headers"][_KEY_HEADER]
    if save is not None:
        profiles.save(session.file, profiles.added(known, save, Profile(service.profile.url, first)))
        del made["headers"]
    session.answer(
        made,
        lambda: show.details(
            [
                ("tenant", show.safe(made["displayName"])),
                ("uuid", show.safe(made["uuid"])),
                ("DID", show.safe(made["identity"]["did"])),
                ("key", f"in profile {show.safe(save)}" if save is not None else show.safe(first)),
                ("", "Keep the key: it is not shown again." if save is None else ""),
            ]
        ),
    )


def _profiles(session: Session, save: str | None) -> Profiles:
    """Reads the profiles, and checks that one can be saved before a key is made that would be lost otherwise."""
    known = profiles.load(session.file)
    if save is not None:
        profiles.save(session.file, known)
    return known


@click.group("keys", cls=Group)
def keys() -> None:
    """Subscription keys: list, new, revoke."""


@keys.command("list")
@paged
@pass_session
def list_keys(session: Session, limit: int | None) -> None:
    """List the tenant's keys by name. The keys themselves are not stored and cannot be shown."""
    columns = [
        field("NAME", "name", cut=True),
        field("STATUS", "status", show.status),
        field("SCOPE", "scope"),
        field("EXPIRES", "expiresAt", show.moment),
        field("LAST USED", "lastUsedAt", show.moment, spare=True),
        *CREATED,
    ]
    session.hits(session.tenant.pages("api-token", {}), columns, "keys", limit)


@keys.command("new")
@click.argument("name")
@click.option("--scope", type=click.Choice(("read", "send", "admin")), default="admin", show_default=True)
@click.option("--expires", metavar="IN", help="Expires after this time: 12h, 90d. Default: never.")
@click.option("--save", metavar="PROFILE", help="Save the key in this profile instead of showing it.")
@once
@pass_session
def new_key(session: Session, name: str, scope: str, expires: str | None, save: str | None, key: str) -> None:
    """Make a key. It is shown only once."""
    known = _profiles(session, save)
    service = session.tenant
    body = {"name": name, "scope": scope}
    if expires:
        body["expiresAt"] = show.iso(service.now + show.seconds(expires))
    made = service.post("api-token", body, key=key)
    text = made["headers"][_KEY_HEADER]
    if save is not None:
        profiles.save(session.file, profiles.added(known, save, Profile(service.profile.url, text)))
        del made["headers"]
    session.answer(made, lambda: [f"in profile {show.safe(save)}" if save is not None else show.safe(text)])


@keys.command("revoke")
@click.argument("uuid")
@pass_session
def revoke_key(session: Session, uuid: str) -> None:
    """Revoke a key. Other processes of the service refuse it within a minute."""
    session.tenant.delete(session.path("api-token", uuid))
    session.answer({"uuid": uuid, "status": "REVOKED"}, lambda: ["revoked"])


@click.group("profiles", cls=Group)
def profile_commands() -> None:
    """Saved services and keys: list, save, use, remove."""


@profile_commands.command("list")
@pass_session
def list_profiles(session: Session) -> None:
    """List saved profiles. Keys are not shown."""
    known = profiles.load(session.file)
    rows = [
        {
            "name": name,
            "default": name == known.default,
            "url": each.url,
            "tenant": bool(each.subscription_key),
            "operator": bool(each.operator_key),
        }
        for name, each in known.named.items()
    ]
    columns = [
        field("", "default", lambda value: "*" if value else ""),
        field("NAME", "name"),
        field("SERVICE", "url"),
        show.Column("FOR", lambda row: " and ".join(who for who in ("tenant", "operator") if row[who])),
    ]
    session.hits(iter(rows), columns, "profiles")
    if not session.as_json and rows:
        session.note(f"saved in {session.file}")


@profile_commands.command("save")
@click.argument("name")
@click.option("--default", is_flag=True, help="Make it the default profile.")
@pass_session
def save_profile(session: Session, name: str, default: bool) -> None:
    """Save a service and its keys as a profile.

    The values come from TNT_URL, TNT_SUBSCRIPTION_KEY and TNT_OPERATOR_KEY. At a terminal you are asked for keys that
    are missing; they are not shown as you type.
    """
    known = profiles.load(session.file)
    given = profiles.surroundings(session.environ)
    url = profiles.clean_url(session.url or given.url or profiles.DEFAULT_URL)
    tenant, operator = given.subscription_key, given.operator_key
    if not tenant and not operator and sys.stdin.isatty():
        tenant = profiles.clean_key(click.prompt("Subscription key", "", hide_input=True, show_default=False), "That")
        operator = profiles.clean_key(click.prompt("Operator key", "", hide_input=True, show_default=False), "That")
    saved = profiles.added(known, name, Profile(url, tenant, operator))
    profiles.save(session.file, Profiles(name, saved.named) if default else saved)
    session.answer({"name": name, "url": url}, lambda: [f"{show.safe(name)} is {url}, in {session.file}"])


@profile_commands.command("use")
@click.argument("name")
@pass_session
def use_profile(session: Session, name: str) -> None:
    """Make a profile the default."""
    known = profiles.load(session.file)
    _check_profile(known, name)
    profiles.save(session.file, Profiles(name, known.named))
    session.answer({"name": name}, lambda: [f"{show.safe(name)} is the default"])


@profile_commands.command("remove")
@click.argument("name")
@pass_session
def remove_profile(session: Session, name: str) -> None:
    """Delete a profile from this machine. Its keys stay valid: `keys revoke` revokes one."""
    known = profiles.load(session.file)
    _check_profile(known, name)
    profiles.save(session.file, profiles.removed(known, name))
    session.answer({"name": name}, lambda: [f"{show.safe(name)} is forgotten"])


def _check_profile(known: Profiles, name: str) -> None:
    if name not in known.named:
        raise Wrong(f"There is no profile {show.safe(name)!r}. See `profiles list`.")


@click.group("settings", cls=Group)
def settings() -> None:
    """All settings: get, set, remove."""


_setting = click.argument("setting", type=click.Choice(SETTINGS, case_sensitive=False))


@settings.command("get")
@_setting
@pass_session
def get_setting(session: Session, setting: str) -> None:
    """Show a setting."""
    found = session.tenant.get(f"settings/{setting}")
    session.answer(found, lambda: show.written(found["setting"]).split("\n"))


@settings.command("set")
@_setting
@click.argument("file", type=click.File("rb"))
@pass_session
def set_setting(session: Session, setting: str, file: BinaryIO) -> None:
    """Save a setting from the JSON in FILE; `-` reads standard input. Secrets of new webhooks are shown only once."""
    saved = session.tenant.post(f"settings/{setting}", {"setting": read_json(file)})
    session.answer(saved, lambda: [*show.written(saved["setting"]).split("\n"), *_secrets(saved)])


@settings.command("remove")
@_setting
@pass_session
def remove_setting(session: Session, setting: str) -> None:
    """Delete a setting."""
    session.tenant.delete(f"settings/{setting}")
    session.answer({"key": setting}, lambda: ["deleted"])


def read_json(file: BinaryIO) -> Any:
    """Reads a JSON file. Raises `Wrong`."""
    try:
        return json.loads(file.read())
    except ValueError as error:
        raise Wrong(f"{show.safe(getattr(file, 'name', 'the input'))} must be JSON: {error}.") from None


@click.group("webhooks", cls=Group)
def webhooks() -> None:
    """Webhooks: list, add, test, enable, remove."""


@webhooks.command("list")
@pass_session
def list_webhooks(session: Session) -> None:
    """List webhooks and whether calls to them succeed."""
    columns = [
        field("FOR", "for"),
        field("URL", "url", cut=True),
        field("MATCH", "match", cut=True),
        field("STATUS", "status", show.status),
        field("FAILING SINCE", "failingSince", show.moment),
        field("BECAUSE", "disabledBy"),
        field("ID", "id"),
    ]
    session.hits(iter(_entries(session)), columns, "webhooks")


@webhooks.command("add")
@click.argument("address", metavar="URL")
@click.option(
    "--match",
    default=".*",
    show_default=True,
    help="Messages to call for: RE2, searched for in types, decorators and attachments.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="An HTTP header for the calls. Other users of this machine can see it: use `settings set` for secrets.",
)
@click.option("--task", is_flag=True, help="Call for finished tasks instead of messages.")
@pass_session
def add_webhook(session: Session, address: str, match: str, headers: Sequence[str], task: bool) -> None:
    """Add a webhook that calls URL. The secret that signs the calls is shown only once."""
    entry: dict[str, Any] = {"url": address, "match": match}
    if headers:
        if any(":" not in header for header in headers):
            raise Wrong("A header must have the form NAME:VALUE.")
        split = (header.partition(":") for header in headers)
        entry["headers"] = {name.strip(): value.strip() for name, _, value in split}
    setting = WEBHOOKS[task]
    saved = session.tenant.post(f"settings/{setting}", {"setting": [*_read(session, setting), entry]})
    session.answer(saved, lambda: _secrets(saved))


@webhooks.command("remove")
@click.argument("entry")
@pass_session
def remove_webhook(session: Session, entry: str) -> None:
    """Remove a webhook."""
    setting = _setting_of(session, entry)
    kept = [each for each in _read(session, setting) if each["id"] != entry]
    saved = session.tenant.post(f"settings/{setting}", {"setting": kept})
    session.answer(saved, lambda: ["removed"])


@webhooks.command("test")
@click.argument("entry")
@once
@pass_session
def test_webhook(session: Session, entry: str, key: str) -> None:
    """Call a webhook once now, and show the result. Exit code 1 if the call failed."""
    done = session.tenant.post(f"settings/{_setting_of(session, entry)}/{part(entry)}/test", None, key=key)
    session.answer(
        done,
        lambda: show.details(
            [
                ("status", show.status(done["status"])),
                ("answered", show.safe(done["responseStatus"])),
                ("took", f"{done['duration']} ms" if done["duration"] is not None else ""),
                ("error", show.safe(done["error"])),
            ]
        ),
    )
    if done["status"] == "FAILED":
        raise click.exceptions.Exit(1)


@webhooks.command("enable")
@click.argument("entry")
@once
@pass_session
def enable_webhook(session: Session, entry: str, key: str) -> None:
    """Enable a disabled webhook. To send what was held back, run `replay --status WITHHELD`."""
    done = session.tenant.post(f"settings/{_setting_of(session, entry)}/{part(entry)}/enable", None, key=key)
    session.answer(done, lambda: ["enabled"])


@click.group("rotate", cls=Group)
def rotate() -> None:
    """Rotate secrets: a webhook's, or the service's master key."""


@rotate.command("webhook")
@click.argument("entry")
@once
@pass_session
def rotate_webhook(session: Session, entry: str, key: str) -> None:
    """Give a webhook a new secret, which is shown only once. For a day, calls are signed with the old secret too."""
    done = session.tenant.post(f"settings/{_setting_of(session, entry)}/{part(entry)}/rotate-secret", None, key=key)
    session.answer(
        done,
        lambda: show.details(
            [
                ("secret", show.safe(done["secret"])),
                ("public key", show.safe(done["publicKey"])),
                ("old one until", show.moment(done["formerValidUntil"])),
            ]
        ),
    )


@rotate.command("master-key")
@pass_session
def rotate_master_key(session: Session) -> None:
    """Wrap the tenants' data keys under the current version of the master key (operator).

    First make the new version in the key vault. You can run this again at any time. Keep the old version until all data
    keys are wrapped again.
    """
    service = session.service
    total: dict[str, Any] = {"rewrapped": 0, "unchanged": 0, "failed": {}}
    start: str | None = ""
    with bar(session, None, "tenants") as moved:
        while start is not None:
            page = service.post("principal/rewrap", {"start": start}, operator=True)
            for name in ("rewrapped", "unchanged"):
                total[name] += page[name]
            total["failed"] |= page["failed"]
            moved(page["rewrapped"] + page["unchanged"] + len(page["failed"]))
            start = page["next"]
    session.answer(
        total,
        lambda: [
            f"{total['rewrapped']} wrapped anew, {total['unchanged']} were so already",
            *(
                f"{click.style('failed', fg='red')}  {uuid}  {show.safe(code)}"
                for uuid, code in total["failed"].items()
            ),
        ],
    )
    if total["failed"]:
        raise click.exceptions.Exit(1)


@click.command("health", cls=ToolCommand)
@pass_session
def health(session: Session) -> None:
    """Check whether the service and its storage answer. Exit code 1 if not."""
    found = session.service.get("health")
    parts = [(show.safe(name), "ok" if well else "out of reach") for name, well in found["storage"].items()]
    session.answer(
        found,
        lambda: [
            f"{session.service.profile.url}  {show.status(found['status'])}",
            *show.details(
                [
                    *((f"  {name}", show.safe(found.get(name))) for name in ("version", "commit")),
                    *((f"  {name}", show.status(state)) for name, state in parts),
                ]
            ),
        ],
    )
    if found["status"] != "ok":
        raise click.exceptions.Exit(1)


def _read(session: Session, setting: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = session.tenant.get(f"settings/{setting}")["setting"]
    except ServiceRefused as refused:
        if refused.code != "setting-unknown":
            raise
        return []  # it was never saved
    return found


def _entries(session: Session) -> list[dict[str, Any]]:
    what = dict(zip(WEBHOOKS, ("messages", "tasks"), strict=True))
    return [
        {"for": what[setting], "setting": setting, **entry} for setting in WEBHOOKS for entry in _read(session, setting)
    ]


def _setting_of(session: Session, entry: str) -> str:
    for each in _entries(session):
        if each["id"] == entry:
            return str(each["setting"])
    raise Wrong(f"There is no webhook {show.safe(entry)!r}. See `webhooks`.")


def check_webhook(session: Session, entry: str) -> None:
    """Raises `Wrong` if there is neither a webhook with this id nor a delivery of one that was removed."""
    service = session.tenant
    if service.get("delivery", {"webhookId": entry, "limit": 1})["hits"]:
        return
    try:
        known = [str(each["id"]) for each in _entries(session)]
    except ServiceRefused as refused:
        if refused.code != "scope-too-low":
            raise
        return  # only admins may read settings
    if entry not in known:
        named = f"Yours are: {', '.join(map(show.safe, known))}" if known else "You have none"
        raise Wrong(f"There is no webhook {show.safe(entry)!r}. {named}.")


def _secrets(saved: dict[str, Any]) -> list[str]:
    """Returns lines with the secrets of new entries."""
    return [
        line
        for entry, secret in saved.get("secrets", {}).items()
        for line in show.details([("id", show.safe(entry)), ("secret", show.safe(secret))])
    ]
