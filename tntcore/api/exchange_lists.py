"""Lists of exchanges: `/exchange`, and `/proof-request` for those of present-proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tntcore.api.exchange_shapes import view
from tntcore.api.http import Call, Response
from tntcore.api.views import Pointed, contact_asked, filters, given_filters, listing, only_filter
from tntcore.storage import queries
from tntcore.storage.queries import ANY, Where
from tntcore.storage.records import OPEN, Exchange

_ENDED: Final = frozenset({"done", "abandoned"})


async def list_exchanges(call: Call, where: Where = ANY, keep: Callable[[Exchange], bool] | None = None) -> Response:
    """Returns a page of exchanges.

    Args:
        where, keep: the same further condition, for storage and on a record.
    """
    thread = call.query.get("thread", "")
    where = where & filters(call) & (queries.exchanges_of_thread(thread) if thread else ANY)
    return await listing(call, Exchange, view, where=where, pointed=await _pointed(call, keep))


async def _pointed(call: Call, keep: Callable[[Exchange], bool] | None) -> Pointed[Exchange] | None:
    """Returns the pointers to the fewest exchanges that may be wanted; None if none are for what is asked."""
    query, only = call.query, only_filter(call) if keep is None else ""
    thread, state, status = query.get("thread", ""), query.get("state", ""), query.get("status", "")
    if thread:

        def is_wanted(exchange: Exchange) -> bool:
            return exchange.thid == thread and (keep is None or keep(exchange))

        return Pointed(Exchange.with_thread(thread), is_wanted, exact=keep is None and not given_filters(call))
    if contact := await contact_asked(call):
        return Pointed(Exchange.with_contact(contact), keep, exact=only == "contactUuid")
    if state and (state not in _ENDED or only == "state"):
        # Most exchanges have ended. Too many would be read to find those that meet another condition, too.
        return Pointed(Exchange.in_state(state), keep, exact=only == "state")
    if status in OPEN:
        return Pointed(Exchange.with_status(status), keep, exact=only == "status")
    return None
