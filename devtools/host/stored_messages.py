"""Messages of a queue as the Queue service gives them out: by the SDK's pipeline, but without its objects, which cost
as much again. Source: "Get Messages" and "Delete Message" of the service's REST reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote
from xml.etree import ElementTree

from azure.core.exceptions import ResourceNotFoundError, ServiceResponseError
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.storage.queue.aio import QueueServiceClient

_date = lru_cache(256)(parsedate_to_datetime)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    id: str
    content: str
    dequeue_count: int
    pop_receipt: str
    inserted_on: datetime
    expires_on: datetime
    next_visible_on: datetime


class StoredMessages:
    """The messages of one queue. Every call raises `ResourceNotFoundError` if there is no such queue or message, and
    `AzureError` for other failures."""

    def __init__(self, service: QueueServiceClient, queue_name: str) -> None:
        self._client = service.get_queue_client(queue_name)

    async def receive(self, number: int, lease: int) -> list[StoredMessage]:
        """Takes at most `number` messages that can be seen, for `lease` seconds."""
        response = await self._call("GET", "", {"numofmessages": str(number), "visibilitytimeout": str(lease)})
        try:
            return [_read(node) for node in ElementTree.fromstring(response.content)]
        except (ElementTree.ParseError, KeyError, ValueError):
            raise ServiceResponseError("this is no answer of the Queue service") from None

    async def delete(self, message_id: str, receipt: str) -> None:
        # The SDK takes parameters for encoded.
        await self._call("DELETE", f"/{quote(message_id, safe='')}", {"popreceipt": quote(receipt, safe="")})

    async def _call(self, method: str, path: str, parameters: Mapping[str, str]) -> AsyncHttpResponse:
        headers = {"x-ms-version": self._client.api_version, "Accept": "application/xml"}
        request = HttpRequest(method, f"/messages{path}", params=dict(parameters), headers=headers)
        response: AsyncHttpResponse = await self._client._client.send_request(request)
        if response.status_code == 404:
            raise ResourceNotFoundError(response=response)
        response.raise_for_status()
        if response.status_code not in (200, 204):
            raise ServiceResponseError("this is no answer of the Queue service")
        return response


def _read(node: ElementTree.Element) -> StoredMessage:
    values = {child.tag: child.text or "" for child in node}
    return StoredMessage(
        values["MessageId"],
        values["MessageText"],
        int(values["DequeueCount"]),
        values["PopReceipt"],
        _date(values["InsertionTime"]),
        _date(values["ExpirationTime"]),
        _date(values["TimeNextVisible"]),
    )
