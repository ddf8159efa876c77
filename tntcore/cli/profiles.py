"""Profiles: the service's URL and keys, from the environment or from a file that only its owner can read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from tntcore.cli.errors import Wrong

DEFAULT_URL = "http://127.0.0.1:7071"


@dataclass(frozen=True, slots=True)
class Profile:
    """One service and its keys. `url` has no trailing slash and no trailing `/api`. "" means not set. `repr` hides
    keys.
    """

    url: str = ""
    subscription_key: str = field(default="", repr=False)
    operator_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Profiles:
    """The content of the profiles file. `default`: the name of the profile used when none is named."""

    default: str = ""
    named: Mapping[str, Profile] = field(default_factory=dict)


def surroundings(environ: Mapping[str, str]) -> Profile:
    """Returns the profile that the environment variables describe. Raises `Wrong`."""
    return Profile(
        clean_url(environ["TNT_URL"]) if environ.get("TNT_URL") else "",
        clean_key(environ.get("TNT_SUBSCRIPTION_KEY", ""), "TNT_SUBSCRIPTION_KEY"),
        clean_key(environ.get("TNT_OPERATOR_KEY") or environ.get("TNT_ADMIN_KEY", ""), "TNT_OPERATOR_KEY"),
    )


def chosen(
    environ: Mapping[str, str], profiles: Profiles, *, name: str | None = None, url: str | None = None
) -> Profile:
    """Returns the service to call and its keys. `name` and `url` are the command's options.

    A named profile comes before the environment, which comes before the default profile. Keys are never taken from a
    source that names another service.

    Raises:
        Wrong: there is no profile of that name, or a value is malformed.
    """
    sources = [surroundings(environ)]
    if asked := name or environ.get("TNT_PROFILE"):
        if asked not in profiles.named:
            raise Wrong(f"There is no profile {asked!r}. See `profiles list`.")
        sources.insert(0 if name else 1, profiles.named[asked])
    elif profiles.default in profiles.named:
        sources.append(profiles.named[profiles.default])
    found = clean_url(url) if url else next((each.url for each in sources if each.url), DEFAULT_URL)
    fitting = [each for each in sources if each.url in ("", found)]
    return Profile(
        found,
        next((each.subscription_key for each in fitting if each.subscription_key), ""),
        next((each.operator_key for each in fitting if each.operator_key), ""),
    )


def clean_url(text: str) -> str:
    """Returns the URL without a trailing slash or `/api`. Raises `Wrong`."""
    url = text.strip().rstrip("/").removesuffix("/api")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises where it is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Wrong("The URL of the service must be like https://didcomm.example.com.")
    if parts.username is not None:
        raise Wrong("The URL of the service must not contain a user name or password. Remove them.")
    return url


def clean_key(text: str, name: str) -> str:
    """Returns the key without surrounding blanks. Raises `Wrong`, whose text does not contain the key."""
    key = text.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Wrong(f"{name} is not a key: it contains blanks or other characters that keys never have. Copy it again.")
    return key


def path_of(environ: Mapping[str, str]) -> Path:
    """The profiles file, in the platform's folder for settings."""
    given = environ.get("TNT_PROFILES")
    return Path(given) if given else Path(click.get_app_dir("tntcore")) / "profiles.json"


def load(path: Path) -> Profiles:
    """Reads the profiles. Raises `Wrong` if other users could read the file, or if `save` did not write it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except FileNotFoundError:
        return Profiles()
    if os.name == "posix" and mode & 0o077:
        raise Wrong(f"Other users can read the keys in {path}. Run chmod 600 on it, and consider replacing the keys.")
    try:
        given: dict[str, Any] = json.loads(content)
        return Profiles(given["default"], {name: Profile(**_read(each)) for name, each in given["profiles"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Wrong(f"{path} is not a profiles file. Correct or remove it.") from None


def _read(profile: Mapping[str, str]) -> dict[str, str]:
    """Returns a profile's members under their present names."""
    return {"operator_key" if name == "admin_key" else name: value for name, value in profile.items()}


def save(path: Path, profiles: Profiles) -> None:
    """Replaces the file. At no moment is its mode other than 0600 or its content incomplete."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = {"default": profiles.default, "profiles": {name: asdict(each) for name, each in profiles.named.items()}}
    # mkstemp makes it 0600.
    handle, scratch = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=2)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def added(profiles: Profiles, name: str, profile: Profile) -> Profiles:
    """Returns the profiles with this one added; it becomes the default if there is none."""
    return Profiles(profiles.default or name, {**profiles.named, name: profile})


def removed(profiles: Profiles, name: str) -> Profiles:
    rest = {each: profile for each, profile in profiles.named.items() if each != name}
    return replace(profiles, named=rest, default="" if profiles.default == name else profiles.default)


def is_local(url: str) -> bool:
    """Whether data sent to this URL stays on this machine."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
