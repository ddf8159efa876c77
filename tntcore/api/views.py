"""API forms of records: times as ISO 8601, lists as `{total, hits, next}`."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Generic, Literal, TypedDict, TypeVar

import orjson

from tntcore.api.given import code_of, read_did, read_line, read_name, read_uuid
from tntcore.api.http import Call, Response, answer
from tntcore.api.json_schema import Reads, Words
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.messaging.ids import first_uuid
from tntcore.storage.queries import ANY, Where, equal
from tntcore.storage.records import END, Connection, Exchange, Indexed, Record
from tntcore.storage.repository import COUNT_CAP, Hits, Repository
from tntcore.storage.timeline import Places, TimedPage, Timeline, sorts_by_pointers
from tntcore.strict_json import write_json

R = TypeVar("R", bound=Record)
P = TypeVar("P", bound=Indexed)
DEFAULT_LIMIT, MAX_LIMIT = 50, 200
_PAGE_BYTES = 4_000_000

_UUID = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"
Uuid = Annotated[str, Words(format="uuid", examples=[_UUID]), Reads(read_uuid)]
UuidOrDid = Annotated[str, Words(maxLength=4000, examples=[_UUID]), Reads(read_name)]
Time = Annotated[str, Words(format="date-time", examples=["2026-01-31T12:00:00.000Z"])]
Expiry = Annotated[Time | None, "when the key expires; null: never"]
GivenDid = Annotated[str, Words(maxLength=4000, examples=["did:web:partner.example"]), Reads(read_did)]
Did = Annotated[str, Words(examples=["did:web:partner.example"])]
Name = Annotated[str, Words(maxLength=200, examples=["Acme"]), Reads(read_line)]
Url = Annotated[str, Words(format="uri", examples=["https://erp.example.com/didcomm"])]
JsonObject = dict[str, Any]


class Entity(TypedDict):
    """Members of every entity, besides its `status`."""

    uuid: Uuid
    createdAt: Time
    updatedAt: Time


Sides = TypedDict("Sides", {"from": Did | None, "to": Did | None})


class Total(TypedDict):
    """The number of all hits, counted up to 1,000."""

    value: Annotated[int, Words(minimum=0)]
    relation: Annotated[Literal["eq", "gte"], "`gte`: there may be more"]


V = TypeVar("V")


class Page(TypedDict, Generic[V]):
    """One page of a list. `next` is the parameter for the next page; null on the last page."""

    total: Total
    hits: list[V]
    next: str | None


def entity(record: Record, **values: Any) -> dict[str, Any]:
    """Returns the members of every entity, and the given ones. A thread whose first message is unknown has no time."""
    return {
        "uuid": record.uuid,
        "status": record.status,
        "createdAt": times.iso(record.created_at or record.updated_at),
        "updatedAt": times.iso(record.updated_at or record.created_at),
        **values,
    }


def _position(token: str) -> str:
    with suppress(ValueError):
        place = token.removeprefix(_AMONG_POINTERS)
        return token[: len(token) - len(place)] + read_uuid(place)
    raise ValueError("the `next` of the page before")


class Limited(TypedDict, total=False):
    limit: Annotated[int, f"how many, by default {DEFAULT_LIMIT}", Words(minimum=1, maximum=MAX_LIMIT)]


class Paging(Limited, total=False):
    """The query parameters of every list."""

    next: Annotated[str, "of the page before", Reads(_position)]


class Timed(Paging, total=False):
    """The query parameters of every list by time."""

    order: Annotated[Literal["newest", "oldest"], "newest or oldest first"]
    since: Annotated[str, "a time, or a `sequence`"]
    until: Annotated[str, "likewise: before it"]


class ByAction(TypedDict, total=False):
    actionUuid: Annotated[Uuid, "of the action"]
    action: Annotated[Uuid, "the same"]


class ByContact(TypedDict, total=False):
    contactUuid: Annotated[Uuid, "of the contact"]
    contact: Annotated[Uuid, "the same"]


class ByConnection(TypedDict, total=False):
    connectionUuid: Annotated[Uuid, "of the connection"]
    connection: Annotated[Uuid, "the same"]


class ByExchange(TypedDict, total=False):
    exchangeUuid: Annotated[Uuid, "of the exchange"]
    exchange: Annotated[Uuid, "the same"]


class ByMessage(TypedDict, total=False):
    messageUuid: Annotated[Uuid, "of the message"]
    message: Annotated[Uuid, "the same"]


class ByInvitation(TypedDict, total=False):
    invitationUuid: Annotated[Uuid, "of the invitation by which it began"]
    invitation: Annotated[Uuid, "the same"]


_COLUMNS: Final[Mapping[str, str]] = {
    "action": "actionUuid",
    "contact": "contactUuid",
    "connection": "connectionUuid",
    "exchange": "exchangeUuid",
    "message": "messageUuid",
    "invitation": "invitationUuid",
    "webhookId": "entryId",
    "referenceID": "referenceId",
}
"""The columns of filters that have another name than their column."""
_AMONG_POINTERS: Final = "."
"""The beginning of `next` of a page that was read by pointers, where other pages have another order."""
_NO_FILTERS: Final = ("limit", "next", "order", "since", "until", "type", "search", "thread", "include")


@dataclass(frozen=True, slots=True)
class Pointed(Generic[R]):
    """Pointers that lead to all records that a list may want.

    Attributes:
        under: the beginning of their uuids.
        keep: a condition that records must meet besides those of `filters`.
        exact: each of the pointers leads to a record that is wanted, so counting them counts the list.
    """

    under: str
    keep: Callable[[R], bool] | None = None
    exact: bool = False


def limit_of(call: Call) -> int:
    return int(call.query.get("limit", DEFAULT_LIMIT))


async def listing(
    call: Call,
    kind: type[R],
    view: Callable[[R], dict[str, Any]] | Callable[[R], Awaitable[dict[str, Any]]],
    *,
    where: Where = ANY,
    columns: Sequence[str] | None = None,
    keep: Callable[[R], bool] | None = None,
    needs: Sequence[str] = (),
    beside: Callable[[Sequence[R]], Awaitable[Mapping[str, Mapping[str, Any]]]] | None = None,
    most: int = MAX_LIMIT,
    among: Sequence[R] | None = None,
    under: str = "",
    pointed: Pointed[R] | None = None,
    places: Places[R] | None = None,
) -> Response:
    """Returns one page of the records that the query asks for. It ends early after the hit that makes it larger than
    4 MB.

    `total.value` counts up to 1,000; beyond that `total.relation` is `gte`.

    Args:
        columns: the columns to read; None for all.
        keep: a further condition, on the columns `needs`.
        beside: returns further members of the page's hits, by the uuids of their records.
        most: hits of a page, whatever its `limit`.
        among: all records that may be wanted, if they were found otherwise: they are few.
        under: the beginning of the uuids of all that may be wanted.
        pointed: the pointers that lead to all that may be wanted. They are used if all records have theirs.
        places: all places of what may be wanted, if they are known. With these, `keep` is called with whole records.
    """
    records, query = call.tenant.records, call.query
    limit, token, order = min(limit_of(call), most), query.get("next", ""), query.get("order")
    start = max(since(query.get("since")), under)
    end = min(until(query.get("until")) or END, under + END)
    end = "" if end == END else end
    timed = bool(order == "newest" or keep is not None or (kind.TIME and (order or start or end)))
    by_pointers = timed and sorts_by_pointers(kind) and not where.text and await records.is_indexed()
    timeline = Timeline(records, kind, start, end, where, keep, needs, columns, by_pointers)
    mark = ""
    if pointed is not None and await records.is_filed():
        # Without pointers, this list would be in the order of uuids.
        mark = _AMONG_POINTERS if kind.TIME and not timed else ""
        timed, exact, sift = True, pointed.exact, partial(_is_wanted, call, pointed.keep)
        timeline = Timeline(records, kind, start, end, by_pointers=True, under=pointed.under, sift=sift, exact=exact)
    # A place in the other order leads nowhere: the list begins anew, so that nothing is missed.
    token = token.removeprefix(_AMONG_POINTERS) if token.startswith(_AMONG_POINTERS) == bool(mark) else ""
    wanted: Sequence[R] = ()
    if among is not None:
        wanted = [one for one in among if is_given(call, one) and timeline.within(one) and (keep is None or keep(one))]
        hits: Hits[R] | TimedPage[R] = timeline.part(wanted, limit, newest=order == "newest", position=token)
    elif places is not None:
        timeline = Timeline(records, kind, start, end, sift=partial(_is_wanted, call, keep))
        hits = await timeline.among(places, limit, newest=order == "newest", position=token)
    elif timed:
        hits = await timeline.page(limit, newest=order == "newest", now=call.services.now(), position=token)
    else:
        hits = await records.list(kind, limit=limit, start=token or start, end=end, where=where, columns=columns)
    total, is_more = len(hits.records), False
    if hits.next is not None or token:
        if among is not None:
            counted: int | None = len(wanted)
        else:
            counted = places.count(start, end) if places is not None else await timeline.count()
        total, is_more = (total, True) if counted is None else (counted, counted >= COUNT_CAP)
    more = await beside(hits.records) if beside is not None and hits.records else {}
    views: list[orjson.Fragment] = []
    size, following = 0, hits.next
    for record in hits.records:
        if size > _PAGE_BYTES:
            following = timeline.position(record) if isinstance(hits, TimedPage) else record.uuid
            break
        shown = view(record)
        written = write_json({**(shown if isinstance(shown, dict) else await shown), **more.get(record.uuid, {})})
        views.append(orjson.Fragment(written))
        size += len(written)
    return answer(
        {
            "total": {"value": total, "relation": "gte" if is_more else "eq"},
            "hits": views,
            "next": f"{mark}{following}" if following is not None else None,
        }
    )


async def contact_asked(call: Call) -> str:
    """Returns the uuid of the contact that all hits of a list belong to, if its query says so; "" if it does not."""
    query = call.query
    contact: str = query.get("contactUuid") or query.get("contact") or ""
    if contact:
        return contact
    records = call.tenant.records
    if connection := query.get("connectionUuid") or query.get("connection"):
        known = await records.get(Connection, connection)
        return known.contact_uuid if known is not None else ""
    if exchange := query.get("exchangeUuid") or query.get("exchange"):
        run = await records.get(Exchange, exchange)
        return run.contact_uuid if run is not None else ""
    return ""


async def by_contact_or_status(call: Call, kind: type[P], pointed_status: str) -> Pointed[P] | None:
    """Returns the pointers to the records of one contact, or with the status that has pointers, if the query asks for
    either.
    """
    only = only_filter(call)
    if contact := await contact_asked(call):
        return Pointed(kind.with_contact(contact), exact=only == "contactUuid")
    if call.query.get("status") == pointed_status:
        return Pointed(kind.with_status(pointed_status), exact=only == "status")
    return None


async def found(records: Repository, kind: type[R], uuid: str) -> R:
    """Returns the record. Raises `Problem` 404, which names its kind."""
    record = await records.get(kind, uuid)
    if record is None:
        raise not_found(kind, uuid)
    return record


def not_found(kind: type[Record], name: str) -> Problem:
    return Problem(404, f"{kind.KIND}-unknown", f"There is no {kind.KIND} {name[:200]!r}. Check the uuid or name.")


def text(value: Any, name: str, *, maximum: int = 1000, required: bool = False) -> str:
    """Returns a string member of a request's body. Raises `Problem` 400."""
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value) or len(value) > maximum:
        missing = f"{name} is missing. It" if value in (None, "") else name
        raise Problem(400, code_of(name), f"{missing} must be a string of at most {maximum} characters.")
    return value


def expiry(value: Any, now: int, name: str = "expiresAt") -> int:
    """Returns a future time in milliseconds since 1970; 0 if none is given. Raises `Problem` 400."""
    if value is None:
        return 0
    try:
        milliseconds = times.read(value)
    except ValueError:
        raise Problem(400, code_of(name), f"{name} must be a time such as 2030-01-31T12:00:00Z.") from None
    if milliseconds <= now:
        raise Problem(400, code_of(name), f"{name} must be in the future.")
    return milliseconds


_OVERLAP = 5_000  # milliseconds: the clocks of several instances differ slightly


def since(value: Any, name: str = "since") -> str:
    """Returns the first uuid of a list of everything since a time or a `sequence` (a UUIDv7); "" if none is given.

    The list starts a few seconds earlier, so that nothing is missed. Raises `Problem` 400.
    """
    return first_uuid(max(moment(value, name) - _OVERLAP, 0)) if value else ""


def until(value: Any, name: str = "until") -> str:
    """Returns the end of a list of everything before a time or a `sequence`; "" if none is given."""
    return first_uuid(moment(value, name)) if value else ""


def moment(value: Any, name: str) -> int:
    """Returns the time of an ISO 8601 time or of a `sequence`, in milliseconds since 1970. Raises `Problem` 400."""
    with suppress(ValueError, AttributeError, TypeError):
        return uuid.UUID(value).int >> 80
    try:
        return max(times.read(value), 0)
    except ValueError:
        raise Problem(
            400, f"{name}-invalid", f"{name} must be a time such as 2026-01-31T12:00:00Z, or a sequence."
        ) from None


def filters(call: Call) -> Where:
    """Returns a condition that compares each given query parameter with its column, except those that say where a list
    begins and ends, and `type`."""
    return equal({name: (_COLUMNS.get(name, name), value) for name, value in given_filters(call).items()})


def is_given(call: Call, record: Record) -> bool:
    """Whether a record meets the condition of `filters`."""
    values = record.values()
    return all(values.get(_COLUMNS.get(name, name)) == value for name, value in given_filters(call).items())


def _is_wanted(call: Call, keep: Callable[[R], bool] | None, record: R) -> bool:
    return is_given(call, record) and (keep is None or keep(record))


def given_filters(call: Call) -> dict[str, str]:
    """Returns the query parameters that are compared with a column."""
    return {name: value for name, value in call.query.items() if name not in _NO_FILTERS}


def only_filter(call: Call) -> str:
    """Returns the column of the only parameter of `given_filters`; "" if there are none, or several."""
    names = list(given_filters(call))
    return _COLUMNS.get(names[0], names[0]) if len(names) == 1 else ""
