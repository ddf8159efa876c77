"""Chooses the format of an attachment, and the credentials that a proof format presents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from tntcore.credentials.formats import CredentialFormat, FormatError, ProofFormat
from tntcore.errors import Problem


class AttachmentLike(Protocol):
    """A parsed attachment. `format` is None if the message names none."""

    @property
    def format(self) -> str | None: ...
    @property
    def value(self) -> Any: ...


class ContentLike(Protocol):
    """The parts of a message of either protocol that a format needs."""

    @property
    def attachments(self) -> Sequence[AttachmentLike]: ...
    @property
    def members(self) -> Mapping[str, Any]: ...


class Format(Protocol):
    """The members that credential formats and proof formats share."""

    @property
    def name(self) -> str: ...
    @property
    def identifiers(self) -> Mapping[Any, Sequence[str]]: ...
    def reads(self, step: Any, value: Any) -> bool: ...


F = TypeVar("F", bound=Format)


class FormatRegistry(Generic[F]):
    """Formats in order of preference; the last accepts whatever no other does."""

    def __init__(self, formats: Sequence[F]) -> None:
        self._formats = {format_.name: format_ for format_ in formats}
        self._order = tuple(formats)

    def named(self, name: str) -> F:
        """Returns a format by the tenants' name for it. Raises `Problem` 400."""
        found = self._formats.get(name)
        if found is None:
            raise Problem(400, "format-unsupported", f"format must be one of {', '.join(self._formats)}.")
        return found

    def choose(self, step: Any, content: ContentLike, *, begun: str = "") -> tuple[F, Any]:
        """Returns the format of a message, and its value: an attachment's or, of a proposal in 1.0, the message's own
        members; None if there is neither.

        Args:
            step: the message's, as in `identifiers` of a format.
            begun: name of the format of the exchange so far; "" at its beginning.

        Raises:
            FormatError: `format-unknown`: the message has another format.
        """
        values = [(attached.format, attached.value) for attached in content.attachments]
        if not values and content.members:
            values = [(None, content.members)]
        for format_ in (self._formats[begun],) if begun else self._order:
            names = format_.identifiers
            for identifier, value in values:
                if identifier in names.get(step, ()) or (not identifier and format_.reads(step, value)):
                    return format_, value
        last = self._order[-1]
        if begun and begun != last.name:
            raise FormatError("format-unknown", f"no attachment is of the format {begun}, in which this was begun")
        return last, values[0][1] if values else None


@dataclass(frozen=True, slots=True)
class Formats:
    """All formats.

    Attributes:
        presented: names of the credential formats that a proof format presents.
    """

    credentials: FormatRegistry[CredentialFormat]
    proofs: FormatRegistry[ProofFormat]
    presented: Mapping[str, Iterable[str]]
