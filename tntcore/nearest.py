"""Says which known name somebody most likely meant by an unknown one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from tntcore.errors import Problem

MAX_SHOWN: Final = 100
"""Characters of a name that an error shows."""
_MAX_NAMES: Final = 5  # unknown names, in an error


def hint(name: str, meant: Mapping[str, str], cutoff: float = 0.6) -> str:
    """Returns ` (did you mean 'that'?)`, or "" if nothing is near.

    Args:
        meant: what to write, by each known name in lower case; see `by_lower_case`.
        cutoff: how near it must be, from 0 to 1.
    """
    near = get_close_matches(name[:MAX_SHOWN].casefold(), meant, n=1, cutoff=cutoff)
    return f" (did you mean {meant[near[0]]!r}?)" if near else ""


def by_lower_case(names: Iterable[str]) -> dict[str, str]:
    """Returns the argument `meant` of `hint` for names that are to be written as they are."""
    return {name.casefold(): name for name in names}


def unknown(names: Iterable[str], known: Iterable[str], whole: str, noun: str, meant: Mapping[str, str]) -> Problem:
    """Returns the problem 400 `<noun>-unknown` for names that nobody knows.

    Args:
        known: all names that there are.
        whole: where they are, such as `The body`.
        noun: what they name there, such as `member`.
        meant: as in `hint`.
    """
    shown = [name[:MAX_SHOWN] for name in sorted(names)[:_MAX_NAMES]]
    said = f", no {noun} ".join(f"{name!r}{hint(name, meant)}" for name in shown)
    listed = ", ".join(known)
    takes = f"It takes {listed}." if listed else f"It takes no {noun}s."
    return Problem(400, f"{noun}-unknown", f"{whole} has no {noun} {said}. {takes}")


def check_members(value: Any, members: Mapping[str, Any], whole: str) -> None:
    """Checks an object, or each of a list of them. Passes over any other value: whoever reads it refuses it.

    Args:
        members: the members that it may have, and for each the members of its own value; None if that may be anything.
            The name `*` stands for every name.
        whole: what it is called, such as `data`.

    Raises:
        Problem: 400 `member-unknown`.
    """
    if isinstance(value, list):
        for number, one in enumerate(value):
            check_members(one, members, f"{whole}[{number}]")
    if not isinstance(value, dict):
        return
    if "*" not in members and (strange := value.keys() - members.keys()):
        raise unknown(strange, members, whole, "member", by_lower_case(members))
    for name, one in value.items():
        if (inner := members.get(name, members.get("*"))) is not None:
            check_members(one, inner, f"{whole}.{name[:MAX_SHOWN]}")


def names(*members: str) -> dict[str, Any]:
    """Returns the argument `members` of `check_members` for members that may be anything."""
    return dict.fromkeys(members)
