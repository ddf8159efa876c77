"""Entity-group transactions in the Table service's batch format, sent through the SDK's own pipeline.

The SDK builds and parses each operation of a batch with `email.message` and `http.client`: 0.5 ms of CPU a row, which
is more than everything else that a message costs. The format itself is a few lines of text. Authentication, retries and
transport remain the SDK's. See docs/decisions/0003-transactions.md; source: "Performing entity group transactions" of
the Table service's REST reference.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from tntcore.storage.rows import path_of

Value = str | int | bool | float | bytes | None
OperationKind = Literal["create", "merge", "upsert", "replace", "delete"]

MAX_OPERATIONS = 100
MAX_BYTES = 3_500_000  # the service takes 4 MiB; this leaves room for what is around the rows
_SIZED = (str, bytes)
_AS_THEY_ARE = (str, bool, float)
_ROW_OVERHEAD = 600  # bytes that surround a row's own values in the batch
_FIRST_OF_LINE_ENDS = b"\xe2"  # first byte of U+2028 and U+2029


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to one row of the partition that the transaction is for.

    Attributes:
        kind: `create` fails on an existing row (409); `merge` changes the columns given of an existing row (404 where
            there is none, 412 if `etag` is no longer its); `upsert` merges or creates; `replace` leaves nothing of the
            row that was there; `delete` as `merge`.
        row: the row key.
        values: columns; None leaves a column out.
        etag: for `merge` and `delete`; "*" is any.
    """

    kind: OperationKind
    row: str
    values: Mapping[str, Value]
    etag: str = "*"

    @property
    def size(self) -> int:
        """The bytes that the operation takes in a transaction, rounded up."""
        names = sum([len(name) + 40 for name in self.values])
        values = sum([len(value) * 3 // 2 if isinstance(value, _SIZED) else 24 for value in self.values.values()])
        return _ROW_OVERHEAD + len(self.row) * 2 + names + values


class TransactionError(Exception):
    """A transaction was refused; nothing of it was written.

    Attributes:
        index: the refused operation, -1 if the service names none.
        repeated: the client library sent it more than once. An earlier sending may have been written, and be what the
            last one was refused for.
    """

    repeated = False

    def __init__(self, status: int, index: int, code: str) -> None:
        super().__init__(f"operation {index}: {status} {code}")
        self.status = status
        self.index = index
        self.code = code


def encode_values(values: Mapping[str, Value]) -> dict[str, object]:
    """Returns the JSON form of an entity's columns, with the type annotations that JSON cannot express."""
    out: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, _AS_THEY_ARE):  # a bool is an int, too
            out[name] = value
        elif isinstance(value, int):
            out[name] = str(value)
            out[name + "@odata.type"] = "Edm.Int64"
        elif value is not None:
            out[name] = base64.b64encode(value).decode()
            out[name + "@odata.type"] = "Edm.Binary"
    return out


def _json(value: object) -> bytes:
    """Encodes as JSON. U+2028 and U+2029, which end a line in JavaScript but not in JSON, are escaped: Azurite parses a
    batch with regular expressions and would lose a row that contains one.
    """
    text = orjson.dumps(value)
    if _FIRST_OF_LINE_ENDS in text:
        text = text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return text


def encode(url: str, table: str, partition: str, operations: Sequence[Operation], boundary: str) -> bytes:
    """Returns the body of the request to `<url>/$batch`, with content type `multipart/mixed;
    boundary=batch_<boundary>`.
    """
    parts = [f"--batch_{boundary}\r\nContent-Type: multipart/mixed; boundary=changeset_{boundary}\r\n\r\n".encode()]
    for index, operation in enumerate(operations):
        if operation.kind == "create":
            target = f"POST {url}/{table} HTTP/1.1\r\nPrefer: return-no-content\r\n"
            content = _json({"PartitionKey": partition, "RowKey": operation.row, **encode_values(operation.values)})
        else:
            method = {"delete": "DELETE", "replace": "PUT"}.get(operation.kind, "MERGE")
            address = f"{url}/{path_of(table, partition, operation.row)}"
            match = "" if operation.kind in ("upsert", "replace") else f"If-Match: {operation.etag}\r\n"
            target = f"{method} {address} HTTP/1.1\r\n{match}"
            content = b"" if operation.kind == "delete" else _json(encode_values(operation.values))
        parts.append(
            f"--changeset_{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: {index}\r\n\r\n{target}Content-Type: application/json\r\n"
            f"Accept: application/json;odata=minimalmetadata\r\nContent-Length: {len(content)}\r\n"
            f"DataServiceVersion: 3.0\r\n\r\n".encode()
        )
        parts.append(content)
        parts.append(b"\r\n")
    parts.append(f"--changeset_{boundary}--\r\n--batch_{boundary}--\r\n".encode())
    return b"".join(parts)


# A pattern that begins with a line feed is found several times as fast as one that is anchored to a line.
_STATUS = re.compile(r"\nHTTP/1\.1 (\d{3})")
_ETAG = re.compile(r"\n[Ee][Tt]ag:[ \t]*(\S+)")
_CODE = re.compile(r'"code"\s*:\s*"([^"]*)"')
_INDEX = re.compile(r'"value"\s*:\s*"(\d+):')


def decode(answer: str, count: int) -> list[str]:
    """Returns the rows' new etags ("" for deleted ones), in the operations' order.

    Raises:
        TransactionError: the transaction was refused.
    """
    statuses = [int(status) for status in _STATUS.findall(answer)]
    failed = next((status for status in statuses if status >= 300), None)
    if failed is not None or not statuses:
        code = _CODE.search(answer)
        index = _INDEX.search(answer)
        raise TransactionError(failed or 0, int(index[1]) if index else -1, code[1] if code else "Unknown")
    if len(statuses) != count:
        raise TransactionError(0, -1, f"{len(statuses)} answers to {count} operations")
    etags = []
    for part in answer.split("HTTP/1.1 ")[1:]:
        etag = _ETAG.search(part)
        etags.append(etag[1] if etag else "")
    return etags
