"""Sees every secret that is made while tests run, and every word that is logged, traced or counted: none of the one
may be in the other.

Secrets are known where they come from: random bytes long enough to be a key, private keys, and what tests put into
plaintexts as a `marker`. Whoever imported the original functions by name is not seen.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import secrets
import traceback
from collections.abc import Iterator
from typing import Any

import base58

from tntcore.envelope.keys import PrivateKey
from tntcore.telemetry import Meter, Span
from tntcore.telemetry.meter import DURATIONS, SUMS

_KEY = 32  # random bytes from which on they count as a key
_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{16,}")
_NEEDLE = 16  # characters: 64 bits at the least

# What the service's own loggers and those of its libraries are set to: as much as a deployment shows, or more.
LEVELS = {"tntcore": logging.DEBUG, "devtools": logging.DEBUG, "azure": logging.INFO, "aiohttp": logging.DEBUG}


# What every record has.
_USUAL = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}


class _Messages(logging.Formatter):
    """Shows what exceptions say, without the lines of code in between: nobody's secret, and slow to look up."""

    def formatException(self, ei: Any) -> str:
        return "".join(traceback.format_exception(ei[1], limit=0))


class LogWatch(logging.Handler):
    """Keeps each long word that was logged, and where it was first."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.words: dict[str, str] = {}
        self.keys: set[bytes] = set()
        self.texts: set[str] = set()
        self.records = 0
        self.spans = 0
        self._formatter = _Messages()

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        where = f"{record.name}, {record.pathname}:{record.lineno}"
        shown = record.exc_text
        self._saw(self._formatter.format(record), where)
        record.exc_text = shown  # another handler's text has the lines of code
        for name in record.__dict__.keys() - _USUAL:
            self._saw(str(record.__dict__[name]), where)

    def span(self, span: Span) -> None:
        """For `Tracing.sinks`."""
        self.spans += 1
        self._saw(f"{span.name} {span.error} {span.tenant}", f"a span {span.name}")
        for name, value in span.attributes.items():
            # An attribute is a code, a number or an identifier: never a text of somebody's.
            self._saw(f"{name} {value}", f"a span {span.name}: {name}")
        for event, _ in span.events:
            self._saw(event, f"a span {span.name}: an event")

    def counted(self, meter: Meter) -> None:
        """Looks at all labels and names of a meter."""
        for metric in SUMS:
            for labels in meter.sum(metric):
                self._saw(" ".join(labels), f"metric {metric.name}")
        for metric in DURATIONS:
            for labels in meter.labels(metric):
                self._saw(" ".join(labels), f"metric {metric.name}")
        for name in meter.counts.copy():
            self._saw(name, "a count")

    def _saw(self, text: str, where: str) -> None:
        for word in _TOKEN.findall(text):
            self.words.setdefault(word, where)

    def found(self) -> list[str]:
        """Where something secret was logged, not what."""
        needles = {form[:_NEEDLE] for key in self.keys for form in _forms(key)}
        needles |= {text[:_NEEDLE] for text in self.texts}
        return sorted(
            {
                where
                for word, where in self.words.items()
                if any(word[start : start + _NEEDLE] in needles for start in range(len(word) - _NEEDLE + 1))
            }
        )


def _forms(key: bytes) -> Iterator[str]:
    yield key.hex()
    yield key.hex().upper()
    yield base64.b64encode(key).decode()
    yield base64.urlsafe_b64encode(key).decode()
    yield base58.b58encode(key).decode()


WATCH = LogWatch()


def marker(name: object) -> str:
    """A text for a plaintext, which is then not to be logged. The same for the same name."""
    text = hashlib.sha256(f"marker {name}".encode()).hexdigest()
    WATCH.texts.add(text)
    return text


def install() -> None:
    """Begins to watch. The original functions are replaced for good."""
    urandom, token_bytes, init = os.urandom, secrets.token_bytes, PrivateKey.__init__

    def watched_urandom(size: int) -> bytes:
        made = urandom(size)
        if size >= _KEY:
            WATCH.keys.add(made)
        return made

    def watched_token_bytes(nbytes: int | None = None) -> bytes:
        made = token_bytes(nbytes)
        if len(made) >= _KEY:
            WATCH.keys.add(made)
        return made

    def watched_init(self: PrivateKey, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        if isinstance(self.raw, bytes) and len(set(self.raw)) > 8:
            WATCH.keys.add(self.raw)

    os.urandom = watched_urandom
    secrets.token_bytes = watched_token_bytes
    PrivateKey.__init__ = watched_init  # type: ignore[method-assign]
    logging.getLogger().addHandler(WATCH)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
