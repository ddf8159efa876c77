"""`/proof-request` and `/presentation`: requests for proof, presentations and their checks."""

from __future__ import annotations

from typing import Annotated, Literal

from tntcore.api.credentials import CheckView, outcome_view
from tntcore.api.exchange_errors import BEGIN_ERRORS, STEP_ERRORS
from tntcore.api.exchange_lists import list_exchanges
from tntcore.api.exchange_shapes import (
    BeginningOfProof,
    ExchangeView,
    ProofRequestQuery,
    data_of,
    members_of,
    object_of,
)
from tntcore.api.exchanges import begin
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.invitations import InvitationView
from tntcore.api.json_schema import Code
from tntcore.api.views import (
    ByConnection,
    ByContact,
    ByExchange,
    Entity,
    JsonObject,
    Page,
    Timed,
    Uuid,
    by_contact_or_status,
    filters,
    found,
    listing,
)
from tntcore.errors import Problem
from tntcore.exchanges import proving
from tntcore.exchanges.problems import as_problems
from tntcore.exchanges.run import Run
from tntcore.pipeline.steps import Steps
from tntcore.storage import queries
from tntcore.storage.commit import Unit
from tntcore.storage.records import Presentation
from tntcore.storage.states import PresentationStatus
from tntcore.tenancy.access import Scope

_DEFAULT = "dif"
_PROTOCOL = "present-proof"

PresentationRole = Literal["verifier", "prover"]


class NewPresentation(BeginningOfProof, total=False):
    command: Annotated[Literal["present", "propose"], "by default `present`", Code("command-unsupported")]
    credentials: Annotated[JsonObject, "the credentials to show, by the candidates' names"]


class PresentationQuery(Timed, ByContact, ByConnection, ByExchange, total=False):
    status: PresentationStatus
    role: PresentationRole
    format: Annotated[str, "such as `dif`"]


class PresentationView(Entity):
    """A presentation that was received or sent. `verified`: every check that its format requires was made and passed.
    UNDECIDED: a check could not be made."""

    status: PresentationStatus
    role: PresentationRole
    format: str
    exchangeUuid: Uuid
    identityUuid: Uuid
    connectionUuid: Uuid
    contactUuid: Uuid
    messageUuid: Uuid
    verified: bool
    checks: list[CheckView]
    summary: JsonObject


_UNKNOWN = "404 presentation-unknown"
_DEFINITION = {
    "input_descriptors": [
        {
            "id": "residence",
            "schema": [{"uri": "https://w3id.org/citizenship#PermanentResident"}],
            "constraints": {"fields": [{"path": ["$.credentialSubject.givenName"]}]},
        }
    ]
}
_UUID = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"


class PresentationRoutes:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.routes = [
            Route(
                "POST",
                "proof-request",
                self.ask,
                creates=True,
                summary="Request proof",
                request=BeginningOfProof,
                answers={201: ExchangeView | InvitationView, 200: ExchangeView | InvitationView},
                errors=BEGIN_ERRORS,
                example={
                    "to": "did:web:partner.example",
                    "format": "dif",
                    "data": {"presentation_definition": _DEFINITION},
                },
            ),
            Route(
                "GET",
                "proof-request",
                requests,
                summary="List exchanges of proof",
                answers={200: Page[ExchangeView]},
                query=ProofRequestQuery,
            ),
            Route(
                "POST",
                "presentation",
                self.show,
                creates=True,
                summary="Present proof, or propose what to show",
                request=NewPresentation,
                answers={201: ExchangeView | InvitationView, 200: ExchangeView | InvitationView},
                errors=BEGIN_ERRORS,
                example={"command": "present", "exchangeUuid": _UUID, "credentials": {"residence": _UUID}},
            ),
            Route(
                "GET",
                "presentation",
                list_,
                summary="List presentations",
                answers={200: Page[PresentationView]},
                query=PresentationQuery,
            ),
            Route(
                "GET",
                "presentation/{uuid}",
                read,
                summary="Read a presentation",
                answers={200: PresentationView},
                errors=(_UNKNOWN,),
            ),
            Route(
                "POST",
                "presentation/{uuid}/verify",
                self.verify,
                summary="Check a presentation again",
                answers={200: PresentationView},
                errors=(_UNKNOWN, "409 own-presentation", *STEP_ERRORS),
            ),
            Route(
                "GET",
                "presentation/{uuid}/verify",
                self.verify,
                scope=Scope.SEND,
                summary="Check a presentation again (as older clients call it)",
                answers={200: PresentationView},
                errors=(_UNKNOWN, "409 own-presentation", *STEP_ERRORS),
            ),
        ]

    async def ask(self, call: Call) -> Response:
        """Requests proof from a contact. Body: `{from?, to, format?, data, protocol?, comment?, willConfirm?, ...}`.

        Give `exchangeUuid` instead of `to` to ask again or to answer a proposal. Give `invitation` instead of `to` to
        ask whoever answers the invitation.
        """
        body = call.body
        members = members_of(body)
        data = None if "exchangeUuid" in body and "data" not in body else data_of(body)

        async def step(run: Run) -> None:
            await proving.request(run, data, **members)

        return await begin(self._steps, call, body, _PROTOCOL, "verifier", step, default_format=_DEFAULT)

    async def show(self, call: Call) -> Response:
        """Proposes a presentation, or presents proof.

        To propose: `{command: "propose", from?, to, format?, data, ...}`.
        To present: `{command: "present", exchangeUuid, credentials? | data?}`.
        """
        body = call.body
        command = body.get("command", "present")
        members = members_of(body)

        async def step(run: Run) -> None:
            if command == "propose":
                await proving.propose(run, data_of(body), **members)
            else:
                chosen = data_of(body, "credentials") if "credentials" in body else object_of(body, "data")
                await proving.present(run, chosen, **members)

        return await begin(self._steps, call, body, _PROTOCOL, "prover", step, default_format=_DEFAULT)

    async def verify(self, call: Call) -> Response:
        """Makes the checks of a received presentation again, as of now."""
        presentation = await found(call.tenant.records, Presentation, call.arguments["uuid"])
        call = call.at(presentation)
        records = call.tenant.records
        if presentation.role != "verifier":
            raise Problem(
                409,
                "own-presentation",
                "This presentation was sent by you. Only a received presentation can be verified.",
            )
        run = await self._steps.exchanges.open(call.tenant, presentation.exchange_uuid)
        with as_problems(run.exchange):
            await proving.verify_again(run, presentation)
        presentation.updated_at = call.services.now()
        unit = Unit()
        unit.change(presentation)
        await records.commit(unit)
        return answer(outcome_view(records, presentation))


async def requests(call: Call) -> Response:
    """Lists the exchanges of present-proof."""
    return await list_exchanges(call, queries.proofs(), lambda one: one.role in ("verifier", "prover"))


async def list_(call: Call) -> Response:
    records, pointed = call.tenant.records, await by_contact_or_status(call, Presentation, PresentationStatus.UNDECIDED)
    return await listing(
        call, Presentation, lambda one: outcome_view(records, one), where=filters(call), pointed=pointed
    )


async def read(call: Call) -> Response:
    records = call.tenant.records
    return answer(outcome_view(records, await found(records, Presentation, call.arguments["uuid"])))
