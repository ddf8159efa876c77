"""How a command can end, other than well. Each kind has an exit code of its own, see `main`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class Wrong(click.UsageError):
    """The command cannot be done as it is; what it says is what to change."""


class Refused(Exception):
    """The service answered with a problem (RFC 9457). `problem` has at least `title`, `status` and `detail`."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem["title"]))
        self.problem = problem

    @property
    def code(self) -> str:
        return str(self.problem.get("type", "")).rpartition(":")[2]


class Unreachable(Exception):
    """No answer, or none of this service. `again`: the key by which the same call cannot do it twice."""

    def __init__(self, reason: str, again: str | None = None) -> None:
        super().__init__(reason)
        self.again = again


class NotYet(Exception):
    """What was waited for did not come."""
