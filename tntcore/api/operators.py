"""`/operator`: the operators' own keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.audit import note_own, own
from tntcore.api.http import OPERATOR_HEADER, Call, Response, Route, answer
from tntcore.api.views import Entity, Expiry, Name, Time, Uuid, entity, expiry, not_found, text
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.records import Operator
from tntcore.storage.transactions import Value
from tntcore.tenancy.access import OperatorRole
from tntcore.tenancy.operators import MOST, OVERLAP, NewKey, hash_of, is_usable, new_key

_MAX_RACES = 4
_IN_ONE = 40  # keys revoked in one transaction, each with an audit record
OperatorHeader = TypedDict("OperatorHeader", {"tnt-operator-key": str})
RoleName = Literal["read", "operate", "admin"]


class NewOperator(TypedDict):
    name: Name
    role: Annotated[
        RoleName,
        "`read` may read; `operate` may also register, limit and suspend tenants, and "
        "replay; `admin` may do everything",
    ]
    expiresAt: NotRequired[Expiry]


class FirstOperator(TypedDict):
    name: Name
    expiresAt: NotRequired[Expiry]


class RevokedOperators(TypedDict):
    """The keys to revoke: exactly one of the members."""

    name: NotRequired[Annotated[Name, "revokes the keys that have exactly this name"]]
    all: NotRequired[Annotated[bool, "true revokes every operator's keys"]]


class OperatorView(Entity):
    """A key of an operator. The service does not store its text."""

    status: Literal["ACTIVE", "EXPIRED", "REVOKED"]
    name: str
    role: RoleName
    expiresAt: Time | None
    lastUsedAt: Annotated[Time | None, "accurate to a few minutes"]
    madeBy: Annotated[str, "name of the operator who created it"]


class OperatorMade(OperatorView):
    """A new key of an operator, as the header to send. It is shown only once."""

    headers: OperatorHeader


class OperatorRotated(OperatorMade):
    formerValidUntil: Annotated[Time, "time until which the old key is accepted too"]


class OperatorsRevoked(TypedDict):
    """The keys that were revoked."""

    hits: list[OperatorView]


class Operators(TypedDict):
    """Lists all keys, including revoked ones, oldest first."""

    hits: list[OperatorView]


class Me(TypedDict):
    """The caller. `uuid` is that of an operator's key; null for a token."""

    uuid: Uuid | None
    name: str
    role: RoleName
    subject: Annotated[str | None, "subject of a token"]
    expiresAt: Time | None


async def first(call: Call) -> Response:
    """Creates the first operator's key, with the role admin.

    Send the functions host's own key; it opens no other route here. The call is refused if a valid key with the role
    admin exists. Exception: a key created by this call and never used is revoked and replaced. With the setting
    `TNT_FIRST_OPERATOR_ONCE`, the call is refused as soon as any operator's key was used, even if none is valid now.
    """
    body, services = call.body, call.services
    name = text(body.get("name"), "name", maximum=200, required=True)
    also = Unit()
    uuid = call.uuid7()
    await note_own(call, also, "operator.made", uuid, name=name, role=OperatorRole.ADMIN)
    made = await services.operators.first(
        name,
        expiry(body.get("expiresAt"), services.now()),
        uuid,
        once=services.config.first_operator_once,
        also=also,
        revoking=lambda old: own(call, "operator.revoked", old.uuid, name=old.name),
    )
    return _shown(call, made.record, made.key)


async def create(call: Call) -> Response:
    """Creates a key for an operator. It is shown only once. Body: `{name, role, expiresAt?}`."""
    body, services = call.body, call.services
    name = text(body.get("name"), "name", maximum=200, required=True)
    role, now = OperatorRole(body["role"]), services.now()
    uuid, keys = call.uuid7(), await services.operators.all()
    if sum(record.status == "ACTIVE" and record.uuid != uuid for record in keys) >= MOST:
        raise Problem(
            409, "too-many-operators", f"There are already {MOST} operator keys. Revoke keys you do not need."
        )
    record = Operator(
        uuid=uuid,
        name=name,
        role=role,
        expires_at=expiry(body.get("expiresAt"), now),
        made_by=call.actor.name,
        created_at=now,
        updated_at=now,
    )
    key = services.operators.drawn(record, call.random)
    for _ in range(_MAX_RACES):
        unit = Unit()
        # An earlier attempt of the same call may have created it.
        unit.upsert(record)
        await note_own(call, unit, "operator.made", record.uuid, name=name, role=role)
        await _while_valid(call, unit)
        try:
            await services.operators.commit(unit)
        except Changed:
            continue  # most often the time of the last use of the caller's key, which this very call may have set
        services.operators.forget(record.uuid)
        return _shown(call, record, key)
    raise _raced()


async def _while_valid(call: Call, unit: Unit, changed: Mapping[str, Value] | None = None) -> None:
    """Makes a unit fail with `Changed` if the caller's key is revoked meanwhile: a process may know of that only half a
    minute later, and a revoked key must not make another one. Raises `Problem` 401 if it is revoked already.

    Args:
        changed: columns of the caller's key to change.
    """
    if call.actor.kind == "operator":
        record = await call.services.operators.get(call.actor.id)
        if record is None or not is_usable(record, call.services.now()):
            call.services.operators.forget(call.actor.id)
            raise Problem(401, "operator-key-unknown", "The operator key was revoked. Use another key.")
        unit.merge(record.key, {"lastUsedAt": call.services.now(), **(changed or {})}, record.etag)


async def list_(call: Call) -> Response:
    now = call.services.now()
    return answer({"hits": [_view(record, now) for record in await call.services.operators.all()]})


async def me(call: Call) -> Response:
    """Shows the operator of the key or token of this call, and its role."""
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
    """Replaces the text of a key. The new text is shown only once; the old one stays valid for another hour.

    Operators may rotate their own key. To rotate another operator's key takes the role admin. If a key was stolen,
    revoke it instead.
    """
    services, now = call.services, call.services.now()
    _check_own_or_admin(call, "rotate")
    key: NewKey | None = None
    for _ in range(_MAX_RACES):
        record = await _operator(call)
        if not is_usable(record, now):
            raise Problem(409, "operator-not-active", "The key was revoked or has expired. Create a new one.")
        key = key or new_key(record.uuid, call.random)
        # Otherwise an earlier attempt of the same call has rotated it, or this very write, repeated by the SDK.
        if record.hash != key.hash:
            until, unit = now + OVERLAP, Unit()
            changed: dict[str, Value] = {"hash": key.hash, "formerHash": record.hash, "formerUntil": until}
            unit.merge(record.key, {**changed, "updatedAt": now}, record.etag)
            await note_own(call, unit, "operator.rotated", record.uuid, name=record.name)
            if record.uuid != call.actor.id:
                await _while_valid(call, unit)
            try:
                await services.operators.commit(unit)
            except Changed:
                # Most often the time of the key's last use, which this very call may have set.
                continue
            finally:
                services.operators.forget(record.uuid)
            record.updated_at, record.former_until = now, until
        until_text = times.iso(record.former_until)
        return answer({**_view(record, now), "headers": {OPERATOR_HEADER: key.text}, "formerValidUntil": until_text})
    raise _raced()


async def revoke(call: Call) -> Response:
    """Revokes the key. It can create, rotate and revoke no other key from then on. For other calls, other processes of
    the service may accept it for up to half a minute more.

    Operators may revoke their own key. To revoke another operator's key takes the role admin.
    """
    services = call.services
    _check_own_or_admin(call, "revoke")
    record = await _operator(call)
    if record.status != "REVOKED" and record.uuid != call.actor.id:
        await _revoke(call, [record])
    elif record.status != "REVOKED":
        unit = Unit()
        unit.merge(record.key, {"status": "REVOKED", "updatedAt": services.now()})
        await note_own(call, unit, "operator.revoked", record.uuid, name=record.name)
        await services.operators.commit(unit)
        services.operators.forget(record.uuid)
    return Response(204, content_type="")


async def revoke_many(call: Call) -> Response:
    """Revokes all keys of a name, or all keys of all operators. The key of this call stays valid, but not its former
    text, nor the one that somebody else rotated it to.

    The revoked keys can create no key from then on. For other calls, other processes of the service may accept them for
    up to half a minute more. Tokens of an identity provider are revoked at the provider.
    """
    services, body = call.services, call.body
    name = text(body.get("name"), "name", maximum=200)
    if bool(name) == bool(body.get("all")):
        raise Problem(400, "operators-not-named", "Send either name, or all with the value true.")
    revoked: dict[str, Operator] = {}
    for _ in range(_MAX_RACES):
        meant = [record for record in await services.operators.all() if record.name == name or not name]
        if not meant:
            raise Problem(404, "operator-unknown", "No key has this name. GET /api/operator lists the names.")
        own = [record for record in meant if record.uuid == call.actor.id]
        others = [record for record in meant if record.status != "REVOKED" and record not in own]
        if own:
            await _revoke(call, [], with_own=True)
        for begin in range(0, len(others), _IN_ONE):
            await _revoke(call, others[begin : begin + _IN_ONE])
        if not others:
            break
        revoked |= {record.uuid: record for record in others}
    else:
        # Keys were made while others were revoked, each by one that was still valid.
        raise _raced()
    now = services.now()
    return answer({"hits": [{**_view(record, now), "status": "REVOKED"} for record in revoked.values()]})


async def _revoke(call: Call, records: Sequence[Operator], *, with_own: bool = False) -> None:
    """Revokes the keys. Raises `Problem` 401 or 409.

    Args:
        with_own: leave of the caller's own key nothing but the text that was sent.
    """
    services = call.services
    for _ in range(_MAX_RACES):
        unit = Unit()
        for record in records:
            unit.merge(record.key, {"status": "REVOKED", "updatedAt": services.now()})
            await note_own(call, unit, "operator.revoked", record.uuid, name=record.name)
        only: dict[str, Value] = {}
        if with_own:
            only = {"hash": hash_of(call.request.headers[OPERATOR_HEADER]), "formerHash": "", "formerUntil": 0}
        await _while_valid(call, unit, only)
        try:
            await services.operators.commit(unit)
        except Changed:
            continue
        finally:
            for uuid in (*(record.uuid for record in records), call.actor.id):
                services.operators.forget(uuid)
        return
    raise _raced()


def _raced() -> Problem:
    return Problem(409, "changed-meanwhile", "Another request changed the keys at the same time. Try again.")


def _check_own_or_admin(call: Call, verb: str) -> None:
    """Raises `Problem` 403 if the key is another operator's and the caller has not the role admin."""
    if call.arguments["uuid"] != call.actor.id and not OperatorRole(call.actor.role).covers(OperatorRole.ADMIN):
        raise Problem(
            403, "role-too-low", f"This is another operator's key. Only an operator with the role admin can {verb} it."
        )


async def _operator(call: Call) -> Operator:
    record = await call.services.operators.get(call.arguments["uuid"])
    if record is None:
        raise not_found(Operator, call.arguments["uuid"])
    return record


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
ROUTES = [
    Route(
        "POST",
        "operator/first",
        first,
        "host",
        summary="Create the first operator's key",
        request=FirstOperator,
        answers={201: OperatorMade},
        errors=("409 operator-exists",),
        example={"name": "Ada Admin"},
    ),
    Route(
        "POST",
        "operator",
        create,
        "operator",
        OperatorRole.ADMIN,
        creates=True,
        summary="Create a key for an operator",
        request=NewOperator,
        answers={201: OperatorMade},
        errors=("409 too-many-operators",),
        example={"name": "Rex Reader", "role": "read"},
    ),
    Route(
        "GET",
        "operator",
        list_,
        "operator",
        OperatorRole.READ,
        summary="List the operators' keys",
        answers={200: Operators},
    ),
    Route(
        "GET",
        "operator/me",
        me,
        "operator",
        OperatorRole.READ,
        summary="Show the operator of your key",
        answers={200: Me},
    ),
    Route(
        "POST",
        "operator/{uuid}/rotate",
        rotate,
        "operator",
        OperatorRole.READ,
        creates=True,
        summary="Rotate an operator's key",
        answers={200: OperatorRotated},
        errors=(_UNKNOWN, "409 operator-not-active"),
    ),
    Route(
        "POST",
        "operator/revoke",
        revoke_many,
        "operator",
        OperatorRole.ADMIN,
        summary="Revoke all keys of an operator, or of all operators",
        request=RevokedOperators,
        answers={200: OperatorsRevoked},
        errors=("400 operators-not-named", _UNKNOWN),
        example={"name": "Rex Reader"},
    ),
    Route(
        "DELETE",
        "operator/{uuid}",
        revoke,
        "operator",
        OperatorRole.READ,
        summary="Revoke an operator's key",
        answers={204: None},
        errors=(_UNKNOWN,),
    ),
]
