"""Invitations: out-of-band 1.0 and 1.1 (Aries RFC 0434), connections/1.0 (RFC 0160, "Invitation to Connect"), and
out-of-band 2.0 (DIDComm Messaging 2.1, "Out Of Band Messages"); as JSON, as a URL and as a QR code. Pure.

Anyone may have written an invitation. It tells whoever accepts it an endpoint and a key, and proves nothing about who
that is. Unknown parts are left out, as long as enough remains to answer it.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qs

from tntcore.dids.document import MAX_KEYS, DidService
from tntcore.dids.endpoint import V1_PROFILES, V2_PROFILES
from tntcore.dids.key import did_key_to_verkey, verkey_to_did_key
from tntcore.dids.multiformats import decode_verkey
from tntcore.dids.parse import check_did, qualify
from tntcore.errors import DidError, Problem
from tntcore.messaging import times
from tntcore.messaging.message import MAX_IDENTIFIER, Message, attachments, decode_base64
from tntcore.messaging.types import DIDCOMM_ORG, canonical, parse
from tntcore.strict_json import write_json

if TYPE_CHECKING:
    from segno import QRCode

InvitationForm = Literal["out-of-band/1", "out-of-band/2", "connections/1"]

TYPE_1: Final = DIDCOMM_ORG + "out-of-band/1.1/invitation"
TYPE_2: Final = DIDCOMM_ORG + "out-of-band/2.0/invitation"
TYPE_CONNECTION: Final = DIDCOMM_ORG + "connections/1.0/invitation"
CONNECTIONS: Final = DIDCOMM_ORG + "connections/1.0"

MAX_BYTES: Final = 64 * 1024
MAX_SERVICES: Final = 16
MAX_REQUESTS: Final = 16
MAX_PROTOCOLS: Final = 16

_JSON: Final = "application/json"
_INLINE: Final = "#inline"
_SERVICE_TYPE: Final = "did-communication"
_PARAMETERS: Final[dict[InvitationForm, str]] = {
    "out-of-band/2": "_oob",
    "out-of-band/1": "oob",
    "connections/1": "c_i",
}
# Base64 is a third longer, and each of its characters may be percent-encoded, but none must be.
_MAX_URL_CHARACTERS: Final = 2 * MAX_BYTES
_MAX_URL_PARAMETERS: Final = 64


@dataclass(frozen=True, slots=True)
class InvitationMessage:
    """The content of an invitation.

    Attributes:
        id: an answer's `pthid`. Only a connections/1 invitation may have none: "".
        services: in the order of preference, at least one: a DID (unqualified ones as did:sov), or an inline service
            whose keys are base58 verkeys, with at least one recipient key. An out-of-band/2 invitation has `from_did`.
        handshake_protocols: in the order of preference, e.g. `https://didcomm.org/didexchange/1.1`, whichever prefix
            they came with. Empty: none is wanted (out-of-band/1, which has `requests` then), or none is needed (2).
        accept: media type profiles in the order of preference; empty if there are none.
        from_did: out-of-band/2 only.
        requests: the attached messages in the order of preference, without those that would have to be fetched.
        expires_at: seconds since 1970: `expires_time` (v2), `~timing.expires_time` (v1, RFC 0032).
        raw: the whole invitation.
    """

    form: InvitationForm
    id: str
    services: tuple[str | DidService, ...]
    label: str | None = None
    goal: str | None = None
    goal_code: str | None = None
    handshake_protocols: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    from_did: str | None = None
    requests: tuple[Mapping[str, Any], ...] = ()
    image_url: str | None = None
    expires_at: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def read_invitation(value: Mapping[str, Any]) -> InvitationMessage:
    """Reads an invitation of any form, chosen by its type. Expiry is not checked.

    Raises:
        Problem: 400 `invitation-malformed`, `invitation-too-large`, `invitation-type` (none of the three),
            `invitation-incomplete` (a member that every such invitation has is missing), `invitation-service` (no
            usable service), `invitation-request` (an attachment that is no message).
    """
    try:
        data = write_json(dict(value))
    except (TypeError, ValueError):
        raise _problem("malformed", "The invitation is not a JSON object. Give the invitation itself.") from None
    return _read(data)


def read_invitation_url(url: str) -> InvitationMessage:
    """Reads an invitation from a URL of any scheme with `?oob=`, `?c_i=` or `?_oob=`, from the value of such a
    parameter, or from JSON text. Base64 may be in either alphabet, padded or not, and broken into lines. The
    invitation's type decides, not the parameter's name.

    Raises:
        Problem: those of `read_invitation`, and 400 `invitation-short-url` for a URL without any of the parameters: it
            is not fetched.
    """
    text = url.strip()
    if len(text) > _MAX_URL_CHARACTERS:
        raise _too_large()
    try:
        data = text.encode() if text.startswith("{") else decode_base64(_encoded("".join(text.split())))
    except ValueError:
        raise _problem(
            "malformed", "The invitation is not readable. Give its URL, its JSON, or the base64 of that."
        ) from None
    return _read(data)


def _encoded(url: str) -> str:
    if "?" not in url and ":" not in url:
        return url
    query = parse_qs(url.partition("?")[2].partition("#")[0], max_num_fields=_MAX_URL_PARAMETERS)
    for name in _PARAMETERS.values():
        if name in query:
            # A plus of standard base64 that was not percent-encoded reads as a space.
            return query[name][0].replace(" ", "+")
    raise _problem(
        "short-url",
        "The URL has no invitation in it (oob, c_i or _oob). A shortened URL is not followed: open it, and give the URL"
        " that it leads to, or the invitation as JSON.",
    )


def _read(data: bytes) -> InvitationMessage:
    if len(data) > MAX_BYTES:
        raise _too_large()
    message = Message.read(data)
    if not (message.is_json and message.fields):
        raise _problem(
            "malformed",
            "The invitation is empty, not a JSON object, or nested too deeply. Ask the partner for another one.",
        )
    type_ = parse(canonical(message.type))
    if type_ is not None and type_.prefix == DIDCOMM_ORG and type_.name == "invitation":
        match type_.protocol, type_.major, message.version:
            case "out-of-band", 1, "v1":
                return _read_1(message)
            case "out-of-band", 2, "v2":
                return _read_2(message)
            case "connections", 1, "v1":
                return _read_connection(message)
    raise _problem("type", f"Its type is none of {TYPE_1} (or 1.0), {TYPE_2} and {TYPE_CONNECTION}.")


def _read_1(message: Message) -> InvitationMessage:
    fields = message.fields
    # Drafts of 1.0 had both names in the singular.
    requests = _requests(message, ("requests~attach", "request~attach"))
    protocols = tuple(dict.fromkeys(canonical(name).rstrip("/") for name in _texts(fields.get("handshake_protocols"))))
    if len(protocols) > MAX_PROTOCOLS:
        raise _problem(
            "too-large", f"The invitation has too many handshake_protocols. It may have at most {MAX_PROTOCOLS}."
        )
    if not protocols and not requests:
        raise _problem(
            "incomplete",
            "The invitation has no usable handshake_protocols or requests~attach. Ask the partner for "
            "another invitation.",
        )
    return InvitationMessage(
        "out-of-band/1",
        _required_id(message, "@id"),
        _services(_items(fields.get("services", fields.get("service")))),
        handshake_protocols=protocols,
        accept=_texts(fields.get("accept")),
        requests=requests,
        **_common(message),
    )


def _read_2(message: Message) -> InvitationMessage:
    try:
        did = check_did(str(message.fields.get("from")))
    except DidError:
        raise _problem(
            "incomplete", "The invitation's `from` is not a DID. Ask the partner for another invitation."
        ) from None
    return InvitationMessage(
        "out-of-band/2",
        _required_id(message, "id"),
        (did,),
        accept=_texts(message.body.get("accept")),
        from_did=did,
        requests=_requests(message, ("attachments",)),
        **_common(message),
    )


def _read_connection(message: Message) -> InvitationMessage:
    # One that names no DID is laid out as a service itself.
    service = _text(message.fields.get("did")) or {**message.fields, "id": _INLINE, "type": _SERVICE_TYPE}
    return InvitationMessage(
        "connections/1",
        message.id,
        _services([service]),
        handshake_protocols=(CONNECTIONS,),
        **_common(message),
    )


def _common(message: Message) -> dict[str, Any]:
    body = message.body
    return {
        "label": _text(body.get("label")),
        "goal": _text(body.get("goal")),
        "goal_code": _text(body.get("goal_code")),
        "image_url": _text(body.get("imageUrl")) or _text(body.get("image_url")),
        "expires_at": _expiry(message),
        "raw": message.fields,
    }


def _required_id(message: Message, name: str) -> str:
    if not message.id:
        raise _problem(
            "incomplete",
            f"The invitation has no {name} of 1 to {MAX_IDENTIFIER} characters, which an answer must "
            "name. Ask the partner for another one.",
        )
    return message.id


def _services(entries: Sequence[Any]) -> tuple[str | DidService, ...]:
    if len(entries) > MAX_SERVICES:
        raise _problem("too-large", f"The invitation has too many services. It may have at most {MAX_SERVICES}.")
    found: list[str | DidService] = []
    reason = "there is none"
    for entry in reversed(entries):
        try:
            found.append(check_did(qualify(entry)) if isinstance(entry, str) else read_service(entry))
        except DidError as error:
            reason = error.detail
    if not found:
        raise _problem("service", f"The invitation has no usable service: {reason}.")
    return tuple(reversed(found))


def read_service(entry: Any) -> DidService:
    """Reads an inline service (RFC 0434, "The `services` Item"; RFC 0056, without id and type), with keys as base58
    verkeys, at least one for the recipient. Raises `DidError`.
    """
    if not isinstance(entry, Mapping):
        raise DidError("bad-service", "a service is a DID or an object")
    endpoint, id_ = entry.get("serviceEndpoint"), _text(entry.get("id"))
    if entry.get("type") not in (None, _SERVICE_TYPE):
        raise DidError("bad-service", f"a service's type is {_SERVICE_TYPE}")
    if not isinstance(endpoint, str) or not endpoint.startswith(("https://", "http://", "did:")):
        raise DidError("bad-service", "a serviceEndpoint is an https or http URL, or a DID")
    recipients, routing = _verkeys(entry.get("recipientKeys")), _verkeys(entry.get("routingKeys"))
    if not recipients:
        raise DidError("bad-service", "a service needs recipientKeys")
    return DidService(id_ or _INLINE, _SERVICE_TYPE, endpoint, recipients, routing, _texts(entry.get("accept")))


def _verkeys(value: Any) -> tuple[str, ...]:
    keys = _texts(value)
    if len(keys) > MAX_KEYS:
        raise DidError("bad-service", f"a service has at most {MAX_KEYS} keys")
    return tuple(map(_verkey, keys))


def _verkey(text: str) -> str:
    if text.startswith("did:key:"):
        return did_key_to_verkey(text)
    decode_verkey(text)
    return text


def _requests(message: Message, names: Collection[str]) -> tuple[Mapping[str, Any], ...]:
    found = [attachment for attachment in attachments(message) if attachment.key in names]
    if len(found) > MAX_REQUESTS:
        raise _problem(
            "too-large", f"The invitation has too many attached messages. It may have at most {MAX_REQUESTS}."
        )
    requests = []
    for attachment in found:
        if attachment.kind == "links":
            continue
        try:
            request = attachment.json_value()
        except ValueError as error:
            raise _problem(
                "request", f"An attached message cannot be read: {error}. Ask the partner for another invitation."
            ) from None
        if not isinstance(request, dict):
            raise _problem(
                "request", "An attached message is not a JSON object. Ask the partner for another invitation."
            )
        requests.append(request)
    return tuple(requests)


def _expiry(message: Message) -> int | None:
    if message.version == "v2":
        seconds = message.fields.get("expires_time")
        return seconds if type(seconds) is int else None
    timing = message.fields.get("~timing")
    text = timing.get("expires_time") if isinstance(timing, dict) else None
    try:
        return times.read(text) // 1000
    except ValueError:
        return None


def inline_service(endpoint: str, verkey: str, routing_keys: Sequence[str] = ()) -> DidService:
    """Makes the service of an invitation that has a key of its own.

    Args:
        verkey: base58, as are `routing_keys`, which go from recipient to sender.
    """
    return DidService(_INLINE, _SERVICE_TYPE, endpoint, (verkey,), tuple(routing_keys))


def make_invitation_1(
    *,
    id: str,
    services: Sequence[str | DidService],
    handshake_protocols: Sequence[str] = (),
    requests: Sequence[Mapping[str, Any]] = (),
    label: str | None = None,
    goal: str | None = None,
    goal_code: str | None = None,
    accept: Sequence[str] = V1_PROFILES,
    image_url: str | None = None,
    expires_at: int | None = None,
) -> dict[str, Any]:
    """Makes an out-of-band 1.1 invitation (RFC 0434), with at least one of `handshake_protocols` and `requests`.

    Args:
        services: DIDs, or inline services with keys as verkeys or did:key; at least one.
        requests: messages, each with `~thread.pthid` already in it.
        goal, goal_code: ACA-Py refuses one without the other.
        expires_at: seconds since 1970.

    Raises:
        Problem: those of `read_invitation`, if the invitation could not be read again.
        DidError: `bad-key`.
    """
    attached = [_attachment({"@id": f"request-{n}", "mime-type": _JSON}, body) for n, body in enumerate(requests)]
    invitation = _given(
        {
            "@type": TYPE_1,
            "@id": id,
            "label": label,
            "goal_code": goal_code,
            "goal": goal,
            "accept": list(accept),
            "handshake_protocols": list(handshake_protocols),
            "requests~attach": attached,
            "services": [service if isinstance(service, str) else _block(service) for service in services],
            "imageUrl": image_url,
            "~timing": _timing(expires_at),
        }
    )
    return _readable(invitation)


def make_invitation_2(
    *,
    id: str,
    from_did: str,
    requests: Sequence[Mapping[str, Any]] = (),
    goal: str | None = None,
    goal_code: str | None = None,
    accept: Sequence[str] = V2_PROFILES,
    expires_at: int | None = None,
) -> dict[str, Any]:
    """Makes an out-of-band 2.0 invitation (DIDComm Messaging 2.1). Arguments and errors: see `make_invitation_1`."""
    attached = [_attachment({"id": f"request-{n}", "media_type": _JSON}, body) for n, body in enumerate(requests)]
    body = _given({"goal_code": goal_code, "goal": goal, "accept": list(accept)})
    head = {"type": TYPE_2, "id": id, "from": from_did, **_given({"expires_time": expires_at})}
    return _readable({**head, "body": body, **_given({"attachments": attached})})


def make_connection_invitation(
    *,
    id: str,
    label: str,
    service: str | DidService,
    image_url: str | None = None,
    expires_at: int | None = None,
) -> dict[str, Any]:
    """Makes a connections/1.0 invitation (RFC 0160).

    Args:
        service: a public DID, or an inline service with keys as verkeys or did:key.

    Raises:
        Problem, DidError: see `make_invitation_1`.
    """
    where = {"did": service} if isinstance(service, str) else _keys_and_endpoint(service, _verkey)
    common = _given({"imageUrl": image_url, "~timing": _timing(expires_at)})
    return _readable({"@type": TYPE_CONNECTION, "@id": id, "label": label, **where, **common})


def invitation_url(base_url: str, raw: Mapping[str, Any]) -> str:
    """Returns an invitation as a URL: `base_url` with the parameter of its form (`oob`, `_oob` or `c_i`), in base64url
    without padding.

    Args:
        base_url: of a page for people who have no agent; may have a query already, but no fragment.

    Raises:
        Problem: those of `read_invitation`.
    """
    invitation = read_invitation(raw)
    encoded = urlsafe_b64encode(write_json(invitation.raw)).rstrip(b"=").decode()
    return f"{base_url}{'&' if '?' in base_url else '?'}{_PARAMETERS[invitation.form]}={encoded}"


def qr_svg(text: str) -> bytes:
    """A QR code as an SVG document, on white, with its quiet zone.

    Raises:
        Problem: 400 `invitation-too-large` for more than a QR code holds, 2,953 bytes.
    """
    return _qr(text, kind="svg", light="#fff")


def qr_png(text: str) -> bytes:
    """Returns a QR code as a PNG picture of 8 pixels a module. Otherwise like `qr_svg`."""
    return _qr(text, kind="png")


def qr_markup(text: str) -> str:
    """A QR code as an `svg` element for a page. Otherwise as `qr_svg`."""
    return str(_make_qr(text).svg_inline(omitsize=True, light="#fff"))


def _qr(text: str, **options: str) -> bytes:
    out = BytesIO()
    _make_qr(text).save(out, scale=8, **options)
    return out.getvalue()


def _make_qr(text: str) -> QRCode:
    # Not needed for messages.
    import segno

    try:
        return segno.make_qr(text)
    except segno.DataOverflowError:
        raise _too_long() from None


def _readable(invitation: dict[str, Any]) -> dict[str, Any]:
    read_invitation(invitation)
    return invitation


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, [])}


def _block(service: DidService) -> dict[str, Any]:
    block = {"id": service.id or _INLINE, "type": _SERVICE_TYPE}
    accept = {"accept": list(service.accept)} if service.accept else {}
    return {**block, **_keys_and_endpoint(service, lambda key: verkey_to_did_key(_verkey(key))), **accept}


def _keys_and_endpoint(service: DidService, spell: Callable[[str], str]) -> dict[str, Any]:
    routing = {"routingKeys": [spell(key) for key in service.routing_keys]} if service.routing_keys else {}
    recipients = [spell(key) for key in service.recipient_keys]
    return {"recipientKeys": recipients, **routing, "serviceEndpoint": service.endpoint}


def _attachment(head: Mapping[str, str], message: Mapping[str, Any]) -> dict[str, Any]:
    return {**head, "data": {"json": dict(message)}}


def _timing(expires_at: int | None) -> dict[str, str] | None:
    if expires_at is None:
        return None
    return {"expires_time": times.iso_seconds(expires_at * 1000)}


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in _items(value) if isinstance(item, str))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _too_long() -> Problem:
    return _problem("too-large", "The invitation is too long for a QR code. Attach less, or use fewer routing keys.")


def _too_large() -> Problem:
    return _problem("too-large", f"The invitation is too large. It may have at most {MAX_BYTES} bytes.")


def _problem(code: str, detail: str) -> Problem:
    return Problem(400, f"invitation-{code}", detail)
