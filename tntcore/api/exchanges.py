"""`/exchange`: runs of issue-credential and present-proof, and the tenant's decisions in them."""

from __future__ import annotations

from typing import Any

from tntcore.api.actions import connection_between
from tntcore.api.contacts import find_contacts
from tntcore.api.exchange_errors import STEP_ERRORS, UNKNOWN, WORKING_ERRORS
from tntcore.api.exchange_lists import list_exchanges
from tntcore.api.exchange_shapes import (
    Acceptance,
    Candidates,
    ExchangeQuery,
    ExchangeView,
    Refusal,
    members_of,
    object_of,
    prefix_of,
    view,
)
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.invitations import invitation_view, wanted_of
from tntcore.api.views import Page, found, text
from tntcore.connections.connection import connections_of
from tntcore.errors import Problem
from tntcore.exchanges import issuance, proving
from tntcore.exchanges.flows import ISSUING
from tntcore.exchanges.problems import as_problems
from tntcore.exchanges.run import Run
from tntcore.pipeline.steps import NewExchange, Steps, TenantStep
from tntcore.protocols.transition import OutOfTurn
from tntcore.storage.records import Connection, Exchange
from tntcore.storage.states import COMPLETED


class ExchangeRoutes:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.routes = [
            Route(
                "GET",
                "exchange",
                list_,
                summary="List exchanges",
                answers={200: Page[ExchangeView]},
                query=ExchangeQuery,
            ),
            Route(
                "GET",
                "exchange/{uuid}",
                read,
                summary="Read an exchange",
                answers={200: ExchangeView},
                errors=(UNKNOWN,),
            ),
            Route(
                "GET",
                "exchange/{uuid}/candidates",
                self.candidates,
                summary="List the credentials that match a proof request",
                answers={200: Candidates},
                errors=(UNKNOWN, "409 out-of-turn", *WORKING_ERRORS),
            ),
            Route(
                "POST",
                "exchange/{uuid}/accept",
                self.accept,
                summary="Take the next step",
                request=Acceptance,
                bodiless=True,
                answers={200: ExchangeView},
                errors=STEP_ERRORS,
                example={},
            ),
            Route(
                "POST",
                "exchange/{uuid}/reject",
                self.reject,
                summary="End an exchange",
                request=Refusal,
                bodiless=True,
                answers={200: ExchangeView},
                errors=STEP_ERRORS,
                example={"reason": "We do not issue this."},
            ),
        ]

    async def accept(self, call: Call) -> Response:
        """Accepts the last message and takes the next step. Body: `{data?, attributes?, credentials?, comment?}`.

        A proposal is answered with an offer or a proof request; an offer with a request; a request with the credential
        or the presentation; a credential or a presentation with an acknowledgement. For a presentation, `credentials`
        maps each name to the uuid of a credential; by default the first match is used.
        """
        body = call.body
        run = await self._steps.exchanges.open(call.tenant, call.arguments["uuid"])
        state, members = run.exchange.state, members_of(body)
        data = object_of(body, "data")

        async def step(run: Run) -> None:
            if run.flow is ISSUING:
                if state == "proposal-received":
                    await issuance.offer(run, data, **members)
                elif state == "offer-received":
                    await issuance.request(run, data, **members)
                elif state == "request-received":
                    await issuance.issue(run, data, **members)
                elif state == "credential-received":
                    await issuance.store(run)
                else:
                    raise OutOfTurn(f"accepting in state {state}")
                return
            members.pop("preview", None)
            if state == "proposal-received":
                await proving.request(run, data, **members)
            elif state == "request-received":
                await proving.present(run, object_of(body, "credentials") or data, **members)
            elif state == "presentation-received":
                await proving.accept(run)
            else:
                raise OutOfTurn(f"accepting in state {state}")

        return _shown(await self._steps.go_on(run.tenant, run, step))

    async def reject(self, call: Call) -> Response:
        """Ends the exchange and tells the other side. Body: `{reason?}`."""
        reason = text(call.body.get("reason"), "reason") or "Rejected."
        run = await self._steps.exchanges.open(call.tenant, call.arguments["uuid"])

        async def step(run: Run) -> None:
            await run.move("problem-report", sent=True)
            run.give_up(reason, detail=f"rejected: {reason}")
            await run.flow.rules.abandoned(run)

        return _shown(await self._steps.go_on(run.tenant, run, step))

    async def candidates(self, call: Call) -> Response:
        """Lists, for each item of a proof request, the credentials that match. The list is empty for other messages."""
        run = await self._steps.exchanges.open(call.tenant, call.arguments["uuid"])
        if run.exchange.role != "prover" or "request" not in run.exchange.messages:
            return answer({"candidates": []})
        with as_problems(run.exchange):
            named = await proving.candidates(run)
        return answer(
            {
                "candidates": [
                    {"name": one.name, "required": one.required, "credentials": list(one.credentials)} for one in named
                ]
            }
        )


async def begin(
    steps: Steps, call: Call, body: dict[str, Any], protocol: str, role: str, step: TenantStep, *, default_format: str
) -> Response:
    """Sends the first message of an exchange, or the next one of `exchangeUuid`; with `invitation`, puts the first
    message into an invitation.

    Args:
        protocol: its name, e.g. `issue-credential`.
    """
    uuid = text(body.get("exchangeUuid"), "exchangeUuid")
    format_name = text(body.get("format"), "format") or default_format
    if uuid:
        run = await steps.exchanges.open(call.tenant, uuid)
        if run.flow.name != protocol or run.exchange.role != role:
            raise Problem(
                409,
                "out-of-turn",
                f"The exchange of exchangeUuid is not a {protocol} exchange in which "
                f"you are the {role}. Check the uuid.",
            )
        mark = call.random(8).hex() if call.chance is not None else ""
        if call.is_repeated and run.exchange.call == mark:
            # An earlier attempt of this call took the step.
            await steps.see_to(run.tenant, run.exchange)
            return _shown(run.exchange)
        run.exchange.call = mark
        if "format" in body or not run.exchange.format:
            steps.exchanges.use(run, format_name)
        return _shown(await steps.go_on(run.tenant, run, step))
    invitation = object_of(body, "invitation")
    if invitation is not None:
        identity = await find_identity(call.tenant.records, text(body.get("from"), "from", maximum=4000))
        wanted = wanted_of(invitation, identity, call.services.now())
        first = NewExchange(prefix_of(body, protocol, wanted.version), role, format_name)
        made = await steps.invite(call.tenant, identity, wanted, first, step, call.ids)
        return answer(invitation_view(call, made), 201)
    connection, identity_uuid = await _parties(call, body)
    thid = text(body.get("referenceID"), "referenceID") or None
    first = NewExchange(prefix_of(body, protocol, connection.version), role, format_name, identity_uuid)
    since = call.chance.at if call.chance is not None and call.chance.again else None
    tenant = call.tenant.at(connection)
    begun = await steps.begin(tenant, connection, thid, first, step, random=call.random, since=since)
    return answer(view(begun), 201)


async def _parties(call: Call, body: dict[str, Any]) -> tuple[Connection, str]:
    """Returns the connection of an exchange and the uuid of the identity that acts in it.

    The identity is the connection's, or another one of the tenant given as `from`. Raises as `connection_between`.
    """
    try:
        connection = await connection_between(call, body)
    except Problem as problem:
        if problem.code != "not-connected" or not body.get("from"):
            raise
        identity = await find_identity(call.tenant.records, text(body.get("from"), "from", maximum=4000))
        return await _any_connection(call, body, problem), identity.uuid
    return connection, connection.identity_uuid


async def _any_connection(call: Call, body: dict[str, Any], problem: Problem) -> Connection:
    """Returns the only connection with the contact, of any identity. Raises `problem` if there is none or several."""
    records = call.tenant.records
    found: list[Connection] = []
    for contact in await find_contacts(records, text(body.get("to"), "to", maximum=4000)):
        found += [one for one in await connections_of(records, [contact.uuid]) if one.state == COMPLETED]
    if len(found) != 1:
        raise problem
    return found[0]


def _shown(exchange: Exchange) -> Response:
    return answer(view(exchange), 200 if exchange.etag else 201)


async def list_(call: Call) -> Response:
    """Lists exchanges. A page by time costs a storage call for each hit besides those of other lists."""
    return await list_exchanges(call)


async def read(call: Call) -> Response:
    return answer(view(await found(call.tenant.records, Exchange, call.arguments["uuid"])))
