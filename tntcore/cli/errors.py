"""Errors that end a command. Each has its own exit code: see `main`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class Wrong(click.UsageError):
    """The command cannot be run as it was given; the text says what to change."""


class ServiceRefused(Exception):
    """The service answered with a problem (RFC 9457). `problem` has at least `title`, `status` and `detail`."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem["title"]))
        self.problem = problem

    @property
    def code(self) -> str:
        return str(self.problem.get("type", "")).rpartition(":")[2]


class Unreachable(Exception):
    """The service did not answer, or something else answered. `again`: the idempotency key that makes a retry safe."""

    def __init__(self, reason: str, again: str | None = None) -> None:
        super().__init__(reason)
        self.again = again


class WaitedInVain(Exception):
    """The command waited for something that did not happen in time."""
