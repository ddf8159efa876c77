"""`/operator`: the operators' own keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.audit import note_own
from tntcore.api.http import OPERATOR_HEADER, Call, Response, Route, answer
from tntcore.api.views import Entity, Name, Time, Uuid, entity, expiry, not_found, only, text
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.storage.commit import Unit
from tntcore.storage.records import Operator
from tntcore.storage.transactions import Value
from tntcore.tenancy.access import Role
from tntcore.tenancy.operators import MOST, OVERLAP, NewKey, is_usable

OperatorHeader = TypedDict("OperatorHeader", {"tnt-operator-key": str})
RoleName = Literal["read", "operate", "admin"]
Expiry = Annotated[Time | None, "when the key stops being taken; null: never"]


class NewOperator(TypedDict):
    name: Name
    role: Annotated[RoleName, "`read` looks; `operate` also registers, limits, suspends, replays; `admin` does all"]
    expiresAt: NotRequired[Expiry]


class FirstOperator(TypedDict):
    name: Name
    expiresAt: NotRequired[Expiry]


class OperatorView(Entity):
    """A key of an operator; its text is kept nowhere."""

    status: Literal["ACTIVE", "EXPIRED", "REVOKED"]
    name: str
    role: RoleName
    expiresAt: Time | None
    lastUsedAt: Annotated[Time | None, "to within some minutes"]
    madeBy: Annotated[str, "the name of who made it"]


class OperatorMade(OperatorView):
    """A key of an operator, shown this once, as the header that takes it."""

    headers: OperatorHeader


class OperatorRotated(OperatorMade):
    formerValidUntil: Annotated[Time, "until when the former key is taken as well"]


class Operators(TypedDict):
    """All keys, those that were revoked included, the oldest first."""

    hits: list[OperatorView]


class Me(TypedDict):
    """Who calls. `uuid` is of an operator's key; null for a token."""

    uuid: Uuid | None
    name: str
    role: RoleName
    subject: Annotated[str | None, "of a token"]
    expiresAt: Time | None


async def first(call: Call) -> Response:
    """Makes the first operator's key, with the role admin. It takes the functions host's own key, which is good for
    nothing else here.

    Refused while there is an admin's key that works, unless that was made so, too, and was never used: then it is
    revoked.
    """
    body, services = call.request.object(), call.services
    only(body, "name", "expiresAt")
    name = text(body.get("name"), "name", maximum=200, required=True)
    also = Unit()
    uuid = call.uuid7()
    await note_own(call, also, "operator.made", uuid, name=name, role=Role.ADMIN)
    made = await services.operators.first(name, expiry(body.get("expiresAt"), services.now()), uuid, also=also)
    return _shown(call, made.record, made.key)


async def create(call: Call) -> Response:
    """`{name, role, expiresAt?}`: a key for an operator, shown this once."""
    body, services = call.request.object(), call.services
    only(body, "name", "role", "expiresAt")
    name = text(body.get("name"), "name", maximum=200, required=True)
    role, now = _role(body.get("role")), services.now()
    keys = await services.operators.all()
    if sum(record.status == "ACTIVE" for record in keys) >= MOST:
        raise Problem(409, "too-many-operators", f"There are {MOST} operator keys already. Revoke those not needed.")
    record = Operator(
        uuid=call.uuid7(),
        name=name,
        role=role,
        expires_at=expiry(body.get("expiresAt"), now),
        made_by=call.actor.name,
        created_at=now,
        updated_at=now,
    )
    key = services.operators.drawn(record)
    unit = Unit()
    # An earlier try of the same call may have made it: nobody got that key.
    unit.upsert(record)
    await note_own(call, unit, "operator.made", record.uuid, name=name, role=role)
    await services.operators.commit(unit)
    services.operators.forget(record.uuid)
    return _shown(call, record, key)


async def list_(call: Call) -> Response:
    now = call.services.now()
    return answer({"hits": [_view(record, now) for record in await call.services.operators.all()]})


async def me(call: Call) -> Response:
    """Whose key or token this call has, and which role."""
    actor = call.actor
    record = await call.services.operators.get(actor.id) if actor.kind == "operator" else None
    return answer(
        {
            "uuid": record.uuid if record else None,
            "name": actor.name,
            "role": actor.role,
            "subject": None if record else actor.id,
            "expiresAt": times.iso(record.expires_at) if record and record.expires_at else None,
        }
    )


async def rotate(call: Call) -> Response:
    """Gives a key a new text, shown this once; the former one is taken for another hour. Everybody may rotate their own
    key; others' take the role admin. After a theft revoke the key instead."""
    services, now = call.services, call.services.now()
    uuid = call.arguments["uuid"]
    if uuid != call.actor.id and not Role(call.actor.role).covers(Role.ADMIN):
        raise Problem(403, "role-too-low", "Another operator's key is rotated with the role admin. This is not yours.")
    record = await _operator(call)
    if not is_usable(record, now):
        raise Problem(409, "operator-not-active", "The key was revoked, or has expired. Make a new one.")
    former = record.hash
    key = services.operators.drawn(record)
    record.updated_at = now
    unit = Unit()
    changed: dict[str, Value] = {"hash": key.hash, "formerHash": former, "formerUntil": now + OVERLAP, "updatedAt": now}
    unit.merge(record.key, changed, record.etag)
    await note_own(call, unit, "operator.rotated", record.uuid, name=record.name)
    await services.operators.commit(unit)
    services.operators.forget(record.uuid)
    shown = {**_view(record, now), "headers": {OPERATOR_HEADER: key.text}, "formerValidUntil": times.iso(now + OVERLAP)}
    return answer(shown)


async def revoke(call: Call) -> Response:
    """The key is refused from now on; other processes may take it for another half a minute."""
    services = call.services
    record = await _operator(call)
    if record.status != "REVOKED":
        unit = Unit()
        unit.merge(record.key, {"status": "REVOKED", "updatedAt": services.now()})
        await note_own(call, unit, "operator.revoked", record.uuid, name=record.name)
        await services.operators.commit(unit)
        services.operators.forget(record.uuid)
    return Response(204, content_type="")


async def _operator(call: Call) -> Operator:
    record = await call.services.operators.get(call.arguments["uuid"])
    if record is None:
        raise not_found(Operator, call.arguments["uuid"])
    return record


def _role(value: Any) -> Role:
    """Raises `Problem` 400."""
    if value not in list(Role):
        raise Problem(400, "role-invalid", f"role has to be one of {', '.join(Role)}.")
    return Role(value)


def _shown(call: Call, record: Operator, key: NewKey) -> Response:
    return answer({**_view(record, call.services.now()), "headers": {OPERATOR_HEADER: key.text}}, 201)


def _view(record: Operator, now: int) -> dict[str, Any]:
    shown = entity(
        record,
        name=record.name,
        role=record.role,
        expiresAt=times.iso(record.expires_at) if record.expires_at else None,
        lastUsedAt=times.iso(record.last_used_at) if record.last_used_at else None,
        madeBy=record.made_by,
    )
    if record.status == "ACTIVE" and not is_usable(record, now):
        shown["status"] = "EXPIRED"
    return shown


_UNKNOWN = "404 operator-unknown"
_MEMBERS = ("400 member-unknown", "400 expires-at-invalid")
ROUTES = [
    Route(
        "POST",
        "operator/first",
        first,
        "host",
        summary="Make the first operator's key",
        request=FirstOperator,
        answers={201: OperatorMade},
        errors=(*_MEMBERS, "409 operator-exists"),
        example={"name": "Ada Admin"},
    ),
    Route(
        "POST",
        "operator",
        create,
        "operator",
        Role.ADMIN,
        creates=True,
        summary="Make a key for an operator",
        request=NewOperator,
        answers={201: OperatorMade},
        errors=(*_MEMBERS, "400 role-invalid", "409 too-many-operators"),
        example={"name": "Rex Reader", "role": "read"},
    ),
    Route("GET", "operator", list_, "operator", Role.READ, summary="The operators' keys", answers={200: Operators}),
    Route("GET", "operator/me", me, "operator", Role.READ, summary="Whose key this is", answers={200: Me}),
    Route(
        "POST",
        "operator/{uuid}/rotate",
        rotate,
        "operator",
        Role.READ,
        creates=True,
        summary="Give an operator's key a new text",
        answers={200: OperatorRotated},
        errors=(_UNKNOWN, "409 operator-not-active"),
    ),
    Route(
        "DELETE",
        "operator/{uuid}",
        revoke,
        "operator",
        Role.ADMIN,
        summary="Revoke an operator's key",
        answers={204: None},
        errors=(_UNKNOWN,),
    ),
]
