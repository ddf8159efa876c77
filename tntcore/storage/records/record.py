"""A record and its row: which field is which column."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Self, get_type_hints

from tntcore.storage.tables import Row
from tntcore.storage.transactions import Value
from tntcore.strict_json import reread_json, write_json

MAX_TEXT = 32_000  # UTF-16 code units of a text column; the service takes 32,768
END = "~~"  # `<kind>~~` sorts after every `<kind>~<uuid>`


@dataclass(kw_only=True, slots=True)
class Record:
    """The columns that every record has. `etag` and `partition` are empty until the row was read."""

    KIND: ClassVar[str]
    IN_SHARDS: ClassVar[bool] = False
    """Whether records of this kind are in the shard of their connection. All others are in the tenant's first one."""
    TIME: ClassVar[str] = ""
    """The column by which lists sort by time; "" if the uuid, of version 7, does it."""
    UNUSUAL: ClassVar[frozenset[str]] = frozenset()
    """Statuses that few records have. Such a record gets a pointer, which stays if its status changes later."""

    uuid: str
    status: str = "ACTIVE"
    created_at: int = 0
    updated_at: int = 0
    etag: str = ""
    partition: str = field(default="", compare=False)

    @classmethod
    def row_key(cls, uuid: str) -> str:
        return f"{cls.KIND}~{uuid}"

    @classmethod
    def with_status(cls, status: str) -> str:
        """Returns the beginning of the pointers to records with this status. Not every status has such pointers."""
        return f"{cls.KIND}-status.{status}."

    @property
    def key(self) -> str:
        return self.row_key(self.uuid)

    def values(self) -> dict[str, Value]:
        """The columns of a new row, without those that are None or empty.

        Raises:
            ValueError: a text is longer than a column holds.
        """
        return {column: value for column, value in self.changes().items() if value != ""}

    def changes(self) -> dict[str, Value]:
        """The columns for a row that exists. Unlike `values`, it includes empty texts, which clear the column."""
        columns, read = _columns_of(type(self))
        out: dict[str, Value] = {}
        for (_, column, is_json, _), value in zip(columns, read(self), strict=True):
            if value is None:
                continue
            if is_json:
                out[column] = write_json(value).decode()
            else:
                # Nearly all are plain text, most of it empty.
                out[column] = value.value if type(value) is not str and isinstance(value, StrEnum) else value
        for column, value in out.items():
            if type(value) is str and len(value) * 2 > MAX_TEXT and _utf_16(value) > MAX_TEXT:
                raise ValueError(f"{self.KIND}: column {column} would have more than {MAX_TEXT} characters")
        return out

    @classmethod
    def read(cls, row: Row) -> Self:
        values = row.values
        known: dict[str, Any] = {}
        for name, column, is_json, states in _columns_of(cls)[0]:
            if column in values:
                value = reread_json(values[column]) if is_json else values[column]
                # A state that only a newer process knows stays plain text.
                known[name] = states.get(value, value) if states else value
        return cls(uuid=row.key.rpartition("~")[2], etag=row.etag, partition=row.partition, **known)


def filed_under(position: str, *beginnings: str) -> tuple[str, ...]:
    """Returns the uuids of pointers, each of a beginning and the position; none for a beginning that is empty."""
    return tuple(beginning + position for beginning in beginnings if beginning)


@dataclass(kw_only=True, slots=True)
class Indexed(Record):
    """A record with pointers: see decision 0022.

    Attributes:
        indexed: the uuid of the stored pointer by time or DID; "" for none, as in rows of older versions.
        indexed_by: the uuids of the stored pointers for filters, with a space between them.
    """

    indexed: str = ""
    indexed_by: str = ""

    @classmethod
    def with_contact(cls, contact_uuid: str) -> str:
        """Returns the beginning of the pointers to the contact's records of this kind."""
        return f"{cls.KIND}-contact.{contact_uuid}."

    @property
    def pointer(self) -> str:
        """The uuid of the pointer by time or DID that it should have; "" for none."""
        return ""

    @property
    def filed(self) -> tuple[str, ...]:
        """The uuids of the pointers for filters that it should have."""
        return ()

    @property
    def is_pointed(self) -> bool:
        """Whether its row names the pointers that it should have."""
        return self.indexed == self.pointer and self.indexed_by == " ".join(self.filed)


@dataclass(kw_only=True, slots=True)
class Pointer(Record):
    """Leads to the record `record_uuid` of another kind. It sorts or names the record by what the record's own key does
    not say: its uuid is `<kind>.<what>`, see `Indexed.pointer`.
    """

    KIND: ClassVar[str] = "pointer"
    IN_SHARDS: ClassVar[bool] = True
    record_uuid: str = ""


def _utf_16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


_Columns = tuple[tuple[str, str, bool, Mapping[str, StrEnum]], ...]
_Known = tuple[_Columns, Callable[[Any], tuple[Any, ...]]]
_known: dict[type[Record], _Known] = {}


def _columns_of(record: type[Record]) -> _Known:
    """Returns for each field its name, its column, whether the column holds JSON, and the enum of its states; and a
    function that reads the fields of a record, in this order.
    """
    known = _known.get(record)
    if known is None:
        columns = _read_columns(record)
        known = _known[record] = columns, attrgetter(*(name for name, *_ in columns))
    return known


def _read_columns(record: type[Record]) -> _Columns:
    hints = get_type_hints(record)
    out = []
    for item in dataclasses.fields(record):
        if item.name in ("uuid", "etag", "partition"):
            continue
        head, *rest = item.name.split("_")
        hint = hints[item.name]
        is_json = str(hint).startswith(("dict", "list"))
        states = {one.value: one for one in hint} if isinstance(hint, type) and issubclass(hint, StrEnum) else {}
        out.append((item.name, head + "".join(part.title() for part in rest), is_json, states))
    return tuple(out)


def is_in_shards(kind: str) -> bool:
    """Whether records of this kind, by the name that their keys begin with, are in shards."""
    return kind in _kinds_in_shards()


@cache
def _kinds_in_shards() -> frozenset[str]:
    kinds = [*Record.__subclasses__(), *Indexed.__subclasses__()]
    return frozenset(one.KIND for one in kinds if one.IN_SHARDS)


def short_hash(text: str | bytes) -> str:
    """Returns 32 hexadecimal characters, for use in a key in place of a text that is too long or has forbidden
    characters.
    """
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:32]
