"""`/exchange`: runs of issue-credential and present-proof, and what their tenant decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.actions import CONNECTION_ERRORS, Between, connection_between
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.invitations import WANTED_ERRORS, InvitationWanted, invitation_view, wanted_of
from tntcore.api.json_schema import Words
from tntcore.api.views import Entity, JsonObject, Page, Uuid, entity, filters, found, listing, text
from tntcore.connections.invitations import Invitations
from tntcore.credentials.formats import Attribute, FormatError, SigningError
from tntcore.errors import DidError, Problem
from tntcore.exchanges import issuance, proving
from tntcore.exchanges.exchanges import Exchanges, rules_of
from tntcore.exchanges.run import Run
from tntcore.messaging.types import DIDCOMM_ORG
from tntcore.pipeline.sending import Actions, Thread
from tntcore.protocols import issue_credential
from tntcore.protocols.transition import OutOfTurn
from tntcore.storage.records import Action, Exchange
from tntcore.workers import WorkTimeout

MAX_ATTRIBUTES = 500
_VERSIONS = ("1.0", "2.0", "3.0")
Step = Callable[[Run], Awaitable[None]]


class Preview(TypedDict):
    name: str
    value: str | int
    mimeType: NotRequired[str]


class Members(TypedDict, total=False):
    """What a message of a credential protocol may say, beside what it carries."""

    comment: str
    goalCode: str
    replacementId: str
    multipleAvailable: Annotated[int, Words(minimum=0, maximum=10_000)]
    moreAvailable: Annotated[int, Words(minimum=0, maximum=10_000)]
    willConfirm: bool
    presentMultiple: bool
    lastPresentation: bool
    attributes: dict[str, str | int] | list[Preview]


class Beginning(Members, Between, total=False):
    """With `to` it begins an exchange, with `exchangeUuid` it goes on with one, with `invitation` it invites."""

    format: str
    data: JsonObject | None
    protocol: Annotated[str, "such as `issue-credential/2.0`; by default the newest that the connection speaks"]
    exchangeUuid: Uuid
    invitation: InvitationWanted | None
    referenceID: Annotated[str, "the DIDComm thread id"]


class Acceptance(Members):
    """`data`: of the next message, where it is not to be what follows by itself."""

    data: NotRequired[JsonObject | None]
    credentials: NotRequired[Annotated[JsonObject | None, "of a presentation: what to show, by the candidates' names"]]


class Refusal(TypedDict):
    reason: NotRequired[str | None]


class ExchangeView(Entity):
    """A run of issue-credential or present-proof. WAITING: for the tenant's word. Its uuid is its action's."""

    status: Literal["ACTIVE", "WAITING", "DONE", "ABANDONED"]
    actionUuid: Uuid
    protocol: Annotated[str, Words(examples=["https://didcomm.org/issue-credential/2.0"])]
    role: Literal["issuer", "holder", "verifier", "prover"]
    state: Annotated[str, "in the RFC's words", Words(examples=["offer-sent"])]
    thid: str
    format: str | None
    identityUuid: Uuid
    connectionUuid: str
    contactUuid: str
    messages: Annotated[dict[str, str], "uuid of the latest message of each step"]
    credentialUuids: list[Uuid]
    presentationUuids: list[Uuid]
    error: Annotated[str | None, "why it waits, or what ended it"]


class Candidate(TypedDict):
    name: str
    required: bool
    credentials: list[Uuid]


class Candidates(TypedDict):
    candidates: list[Candidate]


_UNKNOWN = "404 exchange-unknown"
# What may be wrong with an attachment, of whichever side; the codes of `FormatError`.
_FORMAT_ERRORS = (
    "409 attachment-invalid",
    "409 attachment-missing",
    "409 created-unsupported",
    "409 credential-definition-invalid",
    "409 credential-invalid",
    "409 credential-too-large",
    "409 definition-invalid",
    "409 definition-mismatch",
    "409 definition-too-large",
    "409 definition-unreachable",
    "409 detail-invalid",
    "409 format-unknown",
    "409 identifier-unsupported",
    "409 issuer-differs",
    "409 issuer-mismatch",
    "409 jwt-invalid",
    "409 malformed",
    "409 not-published",
    "409 not-signable",
    "409 offer-invalid",
    "409 presentation-invalid",
    "409 preview-invalid",
    "409 proposal-invalid",
    "409 request-differs",
    "409 request-invalid",
    "409 request-mismatch",
    "409 revocation-registry-invalid",
    "409 revocation-registry-mismatch",
    "409 schema-invalid",
    "409 schema-mismatch",
    "409 status-list-invalid",
    "409 status-list-unknown",
    "409 status-unsupported",
    "409 tails-mismatch",
    "409 too-expensive",
    "409 too-many",
)
# Likewise those of `DidError`.
_DID_ERRORS = (
    "409 did-bad-key",
    "409 did-bad-service",
    "409 did-document-mismatch",
    "409 did-document-too-large",
    "409 did-malformed-did",
    "409 did-malformed-document",
    "409 did-no-endpoint",
    "409 did-not-found",
    "409 did-unresolvable",
    "409 did-unsupported-method",
)
WORKING_ERRORS = (*_FORMAT_ERRORS, *_DID_ERRORS, "502 signing-failed", "503 busy", "409 exchange-changed")
STEP_ERRORS = (
    _UNKNOWN,
    "400 attachment-invalid",
    "400 attachment-missing",
    "400 attributes-invalid",
    "400 attributes-mismatch",
    "400 choice-invalid",
    "400 content-invalid",
    "400 credential-definition-missing",
    "400 credential-invalid",
    "400 credentials-invalid",
    "400 data-invalid",
    "400 definition-invalid",
    "400 flag-invalid",
    "400 format-unsupported",
    "400 number-invalid",
    "400 options-invalid",
    "400 proposal-invalid",
    "404 action-unknown",
    "404 credential-definition-unknown",
    "404 credential-unknown",
    "404 identity-not-found",
    "409 connection-ended",
    "409 identity-gone",
    "409 message-id-used",
    "409 nothing-to-present",
    "409 out-of-turn",
    "409 revocation-registry-full",
    "413 message-too-large",
    "503 schema-unreachable",
    *WORKING_ERRORS,
)
BEGIN_ERRORS = (
    "400 command-unsupported",
    "400 credentials-missing",
    "400 data-missing",
    "400 invitation-invalid",
    "400 protocol-unsupported",
    *CONNECTION_ERRORS,
    *WANTED_ERRORS,
    *STEP_ERRORS,
)


class ExchangeRoutes:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.routes = [
            Route(
                "GET",
                "exchange",
                list_,
                summary="Exchanges",
                answers={200: Page[ExchangeView]},
                query={
                    "status": "such as WAITING",
                    "state": "in the RFC's words",
                    "role": "`issuer`, `holder`, `verifier` or `prover`",
                    "protocol": "its URI",
                    "contact": "uuid of the contact",
                    "connection": "uuid of the connection",
                },
            ),
            Route(
                "GET",
                "exchange/{uuid}",
                read,
                summary="An exchange",
                answers={200: ExchangeView},
                errors=(_UNKNOWN,),
            ),
            Route(
                "GET",
                "exchange/{uuid}/candidates",
                self.candidates,
                summary="Which credentials would do",
                answers={200: Candidates},
                errors=(_UNKNOWN, "409 out-of-turn", *WORKING_ERRORS),
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
        """`{data?, attributes?, credentials?, comment?}`: the next step. Of a proposal, the offer or proof request; of
        an offer, the request; of a request, the credential or the presentation (of `credentials`: name to uuid, by
        default the first that would do); of a credential or presentation, the acknowledgement."""
        body = _body(call)
        run = await self._steps.exchanges.open(call.tenant, call.arguments["uuid"])
        state, members = run.exchange.state, members_of(body)
        data = object_of(body, "data")

        async def step(run: Run) -> None:
            if run.protocol is issue_credential:
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

        return await self._steps.go_on(call, run, step)

    async def reject(self, call: Call) -> Response:
        """`{reason?}`: ends the exchange and tells the other side."""
        reason = text(_body(call).get("reason"), "reason") or "Rejected."
        run = await self._steps.exchanges.open(call.tenant, call.arguments["uuid"])

        async def step(run: Run) -> None:
            await run.move("problem-report", sent=True)
            run.give_up(reason, detail=f"rejected: {reason}")
            await rules_of(run).abandoned(run)

        return await self._steps.go_on(call, run, step)

    async def candidates(self, call: Call) -> Response:
        """Of a proof request: for each thing asked for, the credentials that would do; of anything else, none."""
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


class Steps:
    """Takes a tenant's step of an exchange: works it out, sends the message, commits both."""

    def __init__(self, exchanges: Exchanges, actions: Actions, invitations: Invitations) -> None:
        self.exchanges = exchanges
        self._actions = actions
        self._invitations = invitations

    async def begin(
        self, call: Call, body: dict[str, Any], protocol: str, role: str, step: Step, *, default_format: str
    ) -> Response:
        """The first message of an exchange, or the next of `exchangeUuid`; with `invitation`, one that goes out inside
        an invitation, whoever answers that.

        Args:
            protocol: its name, e.g. `issue-credential`.
        """
        uuid = text(body.get("exchangeUuid"), "exchangeUuid")
        format_name = text(body.get("format"), "format") or default_format
        if uuid:
            run = await self.exchanges.open(call.tenant, uuid)
            if f"/{protocol}/" not in run.exchange.protocol or run.exchange.role != role:
                raise Problem(409, "out-of-turn", f"That exchange is no {protocol} in which you are the {role}.")
            if "format" in body or not run.exchange.format:
                self.exchanges.use(run, format_name)
            return await self.go_on(call, run, step)
        invitation = object_of(body, "invitation")
        if invitation is not None:
            return await self._invite(call, body, invitation, protocol, role, step, format_name)
        connection = await connection_between(call, body)
        thread = self._actions.begin(connection, text(body.get("referenceID"), "referenceID") or None, call.random)
        prefix = _prefix(body, protocol, connection.version)
        begun = await self._begun_before(call, thread, prefix, role)
        if begun is not None:
            return answer(view(begun), 201)
        run = self.exchanges.begin(call.tenant, connection, thread.action, prefix, role, format_name)
        return await self.go_on(call, run, step, thread=thread)

    async def _begun_before(self, call: Call, thread: Thread, prefix: str, role: str) -> Exchange | None:
        """The exchange that an earlier try of this call has begun: what it sent, with signatures and nonces, would not
        be the same again. It is seen to that it is on its way."""
        if call.chance is None or not call.chance.again:
            return None
        exchange = await call.tenant.records.get(Exchange, thread.action.uuid)
        if exchange is None or exchange.created_at < call.chance.at:
            return None
        if (exchange.protocol, exchange.role) != (prefix, role):
            return None
        for message_uuid in exchange.messages.values():
            await self._actions.see_to(call.tenant, message_uuid)
        return exchange

    async def _invite(
        self,
        call: Call,
        body: dict[str, Any],
        invitation: dict[str, Any],
        protocol: str,
        role: str,
        step: Step,
        format_name: str,
    ) -> Response:
        identity = await find_identity(call.tenant.records, text(body.get("from"), "from", maximum=4000))
        wanted = wanted_of(invitation, identity)
        version = "v2" if wanted.form == "out-of-band/2" else "v1"
        prefix = _prefix(body, protocol, version)
        run = self.exchanges.draft(call.tenant, identity, prefix, role, format_name, version)
        with as_problems(run.exchange):
            await step(run)
        wanted = replace(wanted, requests=(*wanted.requests, run.outcome.replies[0].message))
        made = await self._invitations.create(call.tenant, identity, wanted)
        return answer(invitation_view(call, made), 201)

    async def go_on(self, call: Call, run: Run, step: Step, *, thread: Thread | None = None) -> Response:
        """Takes the step, and answers the exchange as it then is."""
        with as_problems(run.exchange):
            await step(run)
        outcome = run.outcome
        if outcome.replies:
            if thread is None:
                action = await found(call.tenant.records, Action, run.exchange.uuid)
                thread = Thread(run.connection, action)
            await self._actions.send(call.tenant, thread, outcome.replies[0].message, outcome)
        else:
            await self.exchanges.commit(call.tenant, outcome)
        return answer(view(run.exchange), 200 if run.exchange.etag else 201)


@contextmanager
def as_problems(exchange: Exchange) -> Iterator[None]:
    """What goes wrong with a tenant's step, as an answer."""
    try:
        yield
    except OutOfTurn:
        raise Problem(
            409, "out-of-turn", f"The exchange is in state {exchange.state}, in which that cannot be done."
        ) from None
    except FormatError as error:
        raise Problem(409, error.code, f"{error.detail[:1].upper()}{error.detail[1:]}.") from None
    except SigningError as error:
        raise Problem(502, "signing-failed", error.detail) from None
    except DidError as error:
        raise Problem(409, f"did-{error.code}", f"A DID cannot be used: {error.detail}.") from None
    except WorkTimeout:
        raise Problem(503, "busy", "The computation took too long. Try again.", retry_after=5) from None


async def list_(call: Call) -> Response:
    where, parameters = filters(
        call,
        {
            "connection": "connectionUuid",
            "contact": "contactUuid",
            "status": "status",
            "state": "state",
            "role": "role",
            "protocol": "protocol",
        },
    )
    return await listing(call, Exchange, view, where=where, parameters=parameters)


async def read(call: Call) -> Response:
    return answer(view(await found(call.tenant.records, Exchange, call.arguments["uuid"])))


def view(exchange: Exchange) -> dict[str, Any]:
    return entity(
        exchange,
        actionUuid=exchange.uuid,
        protocol=exchange.protocol,
        role=exchange.role,
        state=exchange.state,
        thid=exchange.thid,
        format=exchange.format or None,
        identityUuid=exchange.identity_uuid,
        connectionUuid=exchange.connection_uuid,
        contactUuid=exchange.contact_uuid,
        messages=exchange.messages,
        credentialUuids=exchange.credentials,
        presentationUuids=exchange.presentations,
        error=exchange.error or None,
    )


def members_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request's body says of the message itself, as a protocol's `build` takes it. Raises `Problem` 400."""
    members: dict[str, Any] = {}
    for name, member in (("comment", "comment"), ("goalCode", "goal_code"), ("replacementId", "replacement_id")):
        if name in body:
            members[member] = text(body[name], name)
    for name, member in (("multipleAvailable", "multiple_available"), ("moreAvailable", "more_available")):
        if name in body:
            if type(body[name]) is not int or not 0 <= body[name] <= 10_000:
                raise Problem(400, "number-invalid", f"{name} has to be a number from 0 to 10000.")
            members[member] = body[name]
    for name, member in (
        ("willConfirm", "will_confirm"),
        ("presentMultiple", "present_multiple"),
        ("lastPresentation", "last_presentation"),
    ):
        if name in body:
            if not isinstance(body[name], bool):
                raise Problem(400, "flag-invalid", f"{name} has to be true or false.")
            members[member] = body[name]
    if "attributes" in body:
        members["preview"] = _attributes(body["attributes"])
    return members


def _attributes(value: Any) -> list[Attribute]:
    """`{name: value}`, or `[{name, value, mimeType?}]`."""
    if isinstance(value, dict):
        value = [{"name": name, "value": one} for name, one in value.items()]
    if not isinstance(value, list) or len(value) > MAX_ATTRIBUTES:
        raise Problem(400, "attributes-invalid", f"attributes has to be an object or a list, of {MAX_ATTRIBUTES}.")
    out = []
    for one in value:
        one = one if isinstance(one, dict) else {}
        name, content = one.get("name"), one.get("value")
        if isinstance(content, int) and not isinstance(content, bool):
            content = str(content)
        mime_type = one.get("mimeType", "")
        if not (isinstance(name, str) and name and isinstance(content, str) and isinstance(mime_type, str)):
            raise Problem(400, "attributes-invalid", "An attribute is {name, value, mimeType?}, all of them texts.")
        out.append(Attribute(name, content, mime_type))
    return out


def _prefix(body: Mapping[str, Any], protocol: str, version: str) -> str:
    """The URI of the protocol version that was asked for, by default the newest that the connection speaks."""
    given = text(body.get("protocol"), "protocol") or f"{protocol}/{'3.0' if version == 'v2' else '2.0'}"
    name, _, number = given.removeprefix(DIDCOMM_ORG).partition("/")
    if name != protocol or number not in _VERSIONS or (number == "3.0" and version == "v1"):
        possible = ", ".join(f"{protocol}/{one}" for one in (_VERSIONS if version == "v2" else _VERSIONS[:2]))
        raise Problem(400, "protocol-unsupported", f"protocol has to be one of {possible}, on this connection.")
    return f"{DIDCOMM_ORG}{protocol}/{number}"


def object_of(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise Problem(400, f"{name}-invalid", f"{name} has to be an object.")
    return value


def _body(call: Call) -> dict[str, Any]:
    return call.request.object() if call.request.body else {}


def data_of(body: Mapping[str, Any], name: str = "data") -> dict[str, Any]:
    """Raises `Problem` 400."""
    data = object_of(body, name)
    if data is None:
        raise Problem(400, f"{name}-missing", f"{name} is missing. It has to be an object, as /api/docs shows.")
    return data
