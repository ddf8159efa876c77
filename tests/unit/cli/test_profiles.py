from __future__ import annotations

from pathlib import Path

import pytest

from tntcore.cli.errors import Wrong
from tntcore.cli.profiles import DEFAULT_URL, Profile, Profiles, added, chosen, clean_url, load, removed, save

HOME = Profile("https://home.example", "tnt_home", "admin-home")
WORK = Profile("https://work.example", "tnt_work")
KNOWN = Profiles("home", {"home": HOME, "work": WORK})


@pytest.mark.parametrize(
    ("environ", "name", "url", "expected"),
    [
        ({}, None, None, HOME),
        ({}, "work", None, WORK),
        ({"TNT_PROFILE": "work"}, None, None, WORK),
        ({"TNT_PROFILE": "work"}, "home", None, HOME),
        # The environment goes before a profile that nobody named, each thing by itself ...
        ({"TNT_SUBSCRIPTION_KEY": "tnt_env"}, None, None, Profile(HOME.url, "tnt_env", "admin-home")),
        ({"TNT_SUBSCRIPTION_KEY": "tnt_env"}, "work", None, WORK),
        ({"TNT_OPERATOR_KEY": "admin-env"}, "work", None, Profile(WORK.url, "tnt_work", "admin-env")),
        # ... and no key goes to a service that it was not given for.
        ({"TNT_URL": "https://env.example"}, None, None, Profile("https://env.example")),
        ({"TNT_URL": "https://home.example/api/"}, None, None, HOME),
        ({"TNT_URL": "https://env.example", "TNT_SUBSCRIPTION_KEY": "tnt_env"}, "home", None, HOME),
        ({"TNT_URL": "https://env.example", "TNT_OPERATOR_KEY": "admin-env"}, "work", None, WORK),
        ({}, None, "https://other.example", Profile("https://other.example")),
        ({}, "work", "https://other.example", Profile("https://other.example")),
        ({"TNT_SUBSCRIPTION_KEY": "tnt_env"}, None, "https://a.example", Profile("https://a.example", "tnt_env")),
    ],
)
def test_which_service_and_which_keys(
    environ: dict[str, str], name: str | None, url: str | None, expected: Profile
) -> None:
    assert chosen(environ, KNOWN, name=name, url=url) == expected


def test_where_nothing_is_known() -> None:
    assert chosen({}, Profiles()) == Profile(DEFAULT_URL)
    with pytest.raises(Wrong, match="no profile 'x'"):
        chosen({}, KNOWN, name="x")


@pytest.mark.parametrize(
    "url", ["example.com", "ftp://x", "https://", "https://u:p@x", "https://x?a", "https://x#a", "https://x:y", ""]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(Wrong) as raised:
        clean_url(url)
    assert "u:p" not in str(raised.value)


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "profiles.json"
    assert load(path) == Profiles()
    save(path, KNOWN)
    assert load(path) == KNOWN
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["profiles.json"], "nothing is left beside it"
    path.chmod(0o640)
    with pytest.raises(Wrong, match="chmod 600"):
        load(path)
    # Written anew it is as it should be.
    save(path, KNOWN)
    assert path.stat().st_mode & 0o777 == 0o600
    for broken in ("", "[]", '{"default": "x"}', '{"default": "", "profiles": {"a": {"other": 1}}}'):
        path.write_text(broken)
        with pytest.raises(Wrong, match="not a profiles file"):
            load(path)


def test_adding_and_removing() -> None:
    one = added(Profiles(), "a", HOME)
    assert (one.default, added(one, "b", WORK).default) == ("a", "a")
    assert removed(added(one, "b", WORK), "a") == Profiles("", {"b": WORK})


def test_a_profile_does_not_show_its_keys() -> None:
    assert "tnt_home" not in repr(HOME)
    assert "admin-home" not in repr(HOME)
