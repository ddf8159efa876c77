"""`/context`: JSON-LD contexts of a tenant, by the URLs that its credentials use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Code
from tntcore.api.views import Entity, JsonObject, Page, Timed, Url, entity, found, listing, text
from tntcore.credentials.contexts_given import give_context, open_context
from tntcore.errors import Problem
from tntcore.storage.commit import Unit
from tntcore.storage.records import Context

_URL = re.compile(r"https?://[^\s#]+|urn:[^\s#]+|did:[^\s#]+")
_UNKNOWN = "404 context-unknown"


class NewContext(TypedDict):
    url: Annotated[Url, "the URL as credentials name it"]
    document: Annotated[
        JsonObject, "the document published at the URL: an object with `@context`", Code("context-invalid")
    ]


class ContextView(Entity):
    """A JSON-LD context of yours. The service uses it only for you, and never fetches it."""

    status: Literal["ACTIVE"]
    url: Url


class ContextDetails(ContextView):
    """A context, with its document."""

    document: JsonObject


class ContextRoutes:
    """
    Args:
        others: the operator's contexts, by URL.
    """

    def __init__(self, others: Mapping[str, Any]) -> None:
        self._others = others
        self.routes = [
            Route(
                "POST",
                "context",
                self.give,
                creates=True,
                summary="Add a JSON-LD context",
                request=NewContext,
                answers={201: ContextView},
                errors=("400 url-invalid", "400 context-invalid", "409 context-exists", "409 context-limit"),
                example={
                    "url": "https://acme.example/terms/v1",
                    "document": {"@context": {"Membership": "https://acme.example/terms#Membership"}},
                },
            ),
            Route(
                "GET",
                "context",
                list_,
                summary="List your JSON-LD contexts",
                answers={200: Page[ContextView]},
                query=Timed,
            ),
            Route(
                "GET",
                "context/{uuid}",
                read,
                summary="Read a JSON-LD context",
                answers={200: ContextDetails},
                errors=(_UNKNOWN,),
            ),
            Route(
                "DELETE",
                "context/{uuid}",
                delete,
                summary="Delete a JSON-LD context",
                answers={204: None},
                errors=(_UNKNOWN,),
            ),
        ]

    async def give(self, call: Call) -> Response:
        """Sets the context that a URL stands for, in your credentials and in those you receive. Body: `{url,
        document}`."""
        body = call.body
        url = text(body.get("url"), "url", required=True)
        if not _URL.fullmatch(url):
            raise Problem(
                400, "url-invalid", "url must be a URL without a fragment, such as https://acme.example/terms/v1."
            )
        records = call.tenant.records
        return answer(_view(await give_context(records, url, body.get("document"), call.ids.since, self._others)), 201)


async def list_(call: Call) -> Response:
    return await listing(call, Context, _view)


async def read(call: Call) -> Response:
    record = await found(call.tenant.records, Context, call.arguments["uuid"])
    return answer({**_view(record), "document": await open_context(call.tenant.records, record)})


async def delete(call: Call) -> Response:
    """Deletes a context. Credentials that name it can then no longer be issued or verified here."""
    records = call.tenant.records
    record = await found(records, Context, call.arguments["uuid"])
    unit = Unit()
    unit.delete(record.key)
    await records.commit(unit)
    records.erased(record)
    await records.delete_body(record.uuid)
    return Response(204, content_type="")


def _view(record: Context) -> dict[str, Any]:
    return entity(record, url=record.url)
