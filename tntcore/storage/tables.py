"""Table Storage: rows by partition and key. Tables are created when first written to."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import orjson
from azure.core import MatchConditions
from azure.core.exceptions import (
    DecodeError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.data.tables import EntityProperty, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from tntcore.cloud import times_sent
from tntcore.storage import transactions
from tntcore.storage.rows import condition, path_of, read_values
from tntcore.storage.transactions import Operation, TransactionError, Value
from tntcore.telemetry import Meter

_API_VERSION = "2019-02-02"
_MISSING_TABLE = "TableNotFound"
# A 404 without such a code is not the service's own: a proxy's would make all rows seem to be gone.
_NOT_FOUND = re.compile(rb'"code"\s*:\s*"(Resource|Entity|Table)NotFound"')
_MINIMAL = "application/json;odata=minimalmetadata"
_NEXT_PARTITION, _NEXT_ROW = "x-ms-continuation-NextPartitionKey", "x-ms-continuation-NextRowKey"


@dataclass(frozen=True, slots=True)
class Row:
    """A row as read. `values` contains no None: a missing column is a missing key."""

    partition: str
    key: str
    values: Mapping[str, Any]
    etag: str


@dataclass(frozen=True, slots=True)
class RowPage:
    """Rows in the order of their keys; `next` is the key to continue from, None at the end."""

    rows: Sequence[Row]
    next: str | None


@dataclass(frozen=True, slots=True)
class Walked:
    """Rows of all partitions; `next` is where `Table.walk` goes on, None at the end. It is plain JSON."""

    rows: Sequence[Row]
    next: dict[str, str] | None


class Table:
    """One table. Every call is counted as `table.<kind>`."""

    def __init__(self, service: TableServiceClient, name: str, meter: Meter) -> None:
        self.name = name
        self._service = service
        self._client: TableClient = service.get_table_client(name)
        self._meter = meter

    async def get(self, partition: str, key: str) -> Row | None:
        """Returns the row, or None."""
        self._meter.count("table.get")
        found = await self._read(path_of(self.name, partition, key), {})
        return _row(found[0]) if found is not None else None

    async def scan(
        self,
        partition: str,
        start: str,
        end: str,
        *,
        limit: int,
        where: str = "",
        parameters: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
    ) -> RowPage:
        """Returns rows with start <= key < end, at most `limit`.

        Args:
            where: an OData filter over the columns, with `@name` for each of `parameters`.
            columns: the columns to read; None for all.
        """
        query = "PartitionKey eq @partition and RowKey ge @start and RowKey lt @end"
        if where:
            query += f" and ( {where} )"
        names = {"partition": partition, "start": start, "end": end, **(parameters or {})}
        select = ["PartitionKey", "RowKey", *columns] if columns is not None else None
        rows: list[Row] = []
        # The service may return any page short, even empty, and still have more. One row past the limit shows it.
        next_page: Mapping[str, str] | None = {}
        while next_page is not None:
            self._meter.count("table.scan")
            page, next_page = await self._query(query, names, select, limit=min(limit + 1, 1000), after=next_page)
            rows += page
            if len(rows) > limit:
                return RowPage(rows[:limit], rows[limit].key)
        return RowPage(rows, None)

    async def partition_after(self, partition: str) -> str | None:
        """Returns the first partition behind this one ("" for the first of all); None if there is none."""
        self._meter.count("table.scan")
        after: Mapping[str, str] | None = {}
        while after is not None:
            rows, after = await self._query(
                "PartitionKey gt @partition", {"partition": partition}, ["PartitionKey"], limit=1, after=after
            )
            if rows:
                return rows[0].partition
        return None

    async def walk(
        self,
        position: Mapping[str, str] | None = None,
        *,
        since: int = 0,
        keys: tuple[str, str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Walked:
        """Some of the rows of the whole table, by partition and key: at most 1,000, and 4 MiB.

        Args:
            position: `next` of the call before; None to begin.
            since: only rows written at or after this time of the service's clock, in milliseconds since 1970.
            keys: only rows from the first key to before the second, in each partition.
            columns: as `scan` has them.
        """
        self._meter.count("table.walk")
        parts: list[str] = []
        parameters: dict[str, Any] = {}
        if since:
            parts.append("Timestamp ge @since")
            parameters["since"] = datetime.fromtimestamp(since / 1000, UTC)
        if keys is not None:
            parts.append("RowKey ge @first and RowKey lt @last")
            parameters |= {"first": keys[0], "last": keys[1]}
        select = ["PartitionKey", "RowKey", *columns] if columns is not None else None
        rows, after = await self._query(" and ".join(parts), parameters, select, after=position or {})
        return Walked(rows, dict(after) if after is not None else None)

    async def _query(
        self,
        query: str,
        parameters: Mapping[str, Any],
        select: Sequence[str] | None,
        *,
        limit: int | None = None,
        after: Mapping[str, str],
    ) -> tuple[list[Row], Mapping[str, str] | None]:
        """Returns a page of rows, and where the next one begins, None at the end. Arguments as in `scan` and `walk`."""
        asked = {
            "$filter": condition(query, parameters) if query else None,
            "$top": limit,
            "$select": ",".join(select) if select is not None else None,
            "NextPartitionKey": after.get("PartitionKey"),
            "NextRowKey": after.get("RowKey"),
        }
        # As the SDK does: it takes a parameter for encoded already.
        parameters = {name: quote(str(value), safe="") for name, value in asked.items() if value}
        found = await self._read(f"{self.name}()", parameters)
        if found is None:
            return [], None
        answer, told = found
        names = {"PartitionKey": _NEXT_PARTITION, "RowKey": _NEXT_ROW}
        following = {name: told[header] for name, header in names.items() if told.get(header)}
        return [_row(entity) for entity in answer["value"]], following or None

    async def _read(
        self, path: str, parameters: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, str]] | None:
        """Returns the service's answer, and its headers; None for a row or a table that there is not.

        Raises:
            HttpResponseError: the service refused the call.
            ServiceResponseError: the answer is not the service's, or not all of it.
        """
        headers = {"x-ms-version": _API_VERSION, "DataServiceVersion": "3.0", "Accept": _MINIMAL}
        request = HttpRequest("GET", f"{self._service.url}/{path}", params=dict(parameters), headers=headers)
        try:
            response: AsyncHttpResponse = await self._service._client.send_request(request)
            if response.status_code == 404:
                if _NOT_FOUND.search(response.content):
                    return None
                raise _not_the_services()
            response.raise_for_status()
            if response.status_code != 200:
                raise _not_the_services()
            answer = orjson.loads(response.content)
        except (DecodeError, orjson.JSONDecodeError):
            raise _not_the_services() from None
        if not isinstance(answer, dict):
            raise _not_the_services()
        return answer, response.headers

    async def clock(self) -> int:
        """The time that the service has now, in milliseconds since 1970, to the second."""
        self._meter.count("table.clock")
        dates: list[str] = []
        pages = self._client.query_entities(
            "PartitionKey eq ''",
            results_per_page=1,
            raw_response_hook=lambda response: dates.append(response.http_response.headers["Date"]),
        ).by_page()
        try:
            async for _ in pages:
                break
        except HttpResponseError as error:
            if _code(error) != _MISSING_TABLE:
                raise
            await self.ensure()
            return await self.clock()
        return round(parsedate_to_datetime(dates[0]).timestamp() * 1000)

    async def put(self, partition: str, key: str, values: Mapping[str, Value]) -> None:
        """Writes the row, replacing an existing one."""
        await self._write("put", self._client.upsert_entity, _entity(partition, key, values), mode=UpdateMode.REPLACE)

    async def create(self, partition: str, key: str, values: Mapping[str, Value]) -> bool:
        """Writes the row if there is none. Returns False if there is one."""
        try:
            await self._write("create", self._client.create_entity, _entity(partition, key, values))
        except ResourceExistsError:
            return False
        return True

    async def delete(self, partition: str, key: str, etag: str | None = None) -> bool:
        """Deletes the row; with an etag, only if the row still has it. Returns False if it was changed."""
        self._meter.count("table.delete")
        try:
            if etag is None:
                await self._client.delete_entity(partition, key)
            else:
                await self._client.delete_entity(
                    partition, key, etag=etag, match_condition=MatchConditions.IfNotModified
                )
        except ResourceNotFoundError:
            return True
        except HttpResponseError as error:
            if error.status_code == 412:
                return False
            raise
        return True

    async def transact(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Runs all of the operations or none. Returns the rows' new etags, in order.

        Raises:
            TransactionError: names the operation that was refused.
        """
        for attempt in (1, 2):
            self._meter.count("table.transaction")
            self._meter.count("table.rows", len(operations))
            try:
                return await self._transact(partition, operations)
            except TransactionError as error:
                if error.code != _MISSING_TABLE or attempt == 2:
                    raise
                await self.ensure()
        raise AssertionError("unreachable")

    async def _transact(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        boundary = secrets.token_hex(16)
        url = self._service.url
        request = HttpRequest(
            "POST",
            f"{url}/$batch",
            headers={
                "x-ms-version": _API_VERSION,
                "DataServiceVersion": "3.0",
                "MaxDataServiceVersion": "3.0;NetFx",
                "Content-Type": f"multipart/mixed; boundary=batch_{boundary}",
                "Accept": "application/json",
            },
            content=transactions.encode(url, self.name, partition, operations, boundary),
        )
        # The SDK itself sends its batches from this generated client.
        response = await self._service._client.send_request(request, stream=True)
        text = (await response.read()).decode()
        if response.status_code != 202:
            # A missing table is reported for the whole batch, or for its first operation.
            if _MISSING_TABLE in text:
                raise TransactionError(404, -1, _MISSING_TABLE)
            response.raise_for_status()
            raise _not_the_services()
        try:
            return transactions.decode(text, len(operations))
        except TransactionError as error:
            error.repeated = times_sent(response.request) > 1
            raise

    async def ensure(self) -> None:
        """Creates the table if it is missing."""
        self._meter.count("table.ensure")
        await self._service.create_table_if_not_exists(self.name)

    async def _write(self, kind: str, call: Any, entity: Mapping[str, Any], **options: Any) -> None:
        self._meter.count(f"table.{kind}")
        try:
            await call(entity, **options)
        except ResourceNotFoundError as error:
            if _code(error) != _MISSING_TABLE:
                raise
            await self.ensure()
            await call(entity, **options)


def _entity(partition: str, key: str, values: Mapping[str, Value]) -> dict[str, Any]:
    entity: dict[str, Any] = {"PartitionKey": partition, "RowKey": key}
    for name, value in values.items():
        if value is None:
            continue
        is_int = isinstance(value, int) and not isinstance(value, bool)
        entity[name] = EntityProperty(value, "Edm.Int64") if is_int else value
    return entity


def _code(error: HttpResponseError) -> str:
    """Returns the service's own error code, which the SDK adds to its exceptions."""
    code = getattr(error, "error_code", None)
    # `create_entity` raises the generated client's error as it is, with the code in its text alone.
    if code is None and _MISSING_TABLE in str(error):
        return _MISSING_TABLE
    return str(getattr(code, "value", code))


def _not_the_services() -> ServiceResponseError:
    return ServiceResponseError("this is no answer of the Table service, or not all of one")


def _row(entity: Mapping[str, Any]) -> Row:
    values = read_values(entity)
    return Row(entity.get("PartitionKey", ""), entity.get("RowKey", ""), values, entity.get("odata.etag", ""))
