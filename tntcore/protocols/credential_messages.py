"""Shared parts of the messages of issue-credential and present-proof: their dialects, their attachments, and the
members and decorators of both.

- 1.0 (RFC 0036, RFC 0037): `X~attach`, and nothing that names an attachment's format;
- 2.0 (RFC 0453, RFC 0454; 2.1 and 2.2 as they stood until 2024-03): `X~attach`, formats named in `formats`;
- 3.0 (WACI DIDComm, read as of 2023-06): DIDComm v2, `attachments`, each with its `format`.

A v2-shaped message may carry the first two as well: then `attachments` stands for `X~attach`, and `body` has the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar

from tntcore.credentials.formats import Attribute, Draft, FormatError
from tntcore.dids.document import Version
from tntcore.messaging import times
from tntcore.messaging.message import Attachment, Message, attachments
from tntcore.messaging.types import DIDCOMM_ORG, canonical, parse
from tntcore.strict_json import JsonError, JsonTooDeepError, read_json, write_json

Dialect = Literal["1.0", "2.0", "3.0"]
_DIALECTS: Final[Mapping[int, Dialect]] = {1: "1.0", 2: "2.0", 3: "3.0"}

MAX_ATTACHED: Final = 20
MAX_ATTRIBUTES: Final = 500
MAX_DELAY: Final = 600_000
MAX_COUNT: Final = 10_000
"""Milliseconds for which a message may ask to be left alone (RFC 0032)."""

K = TypeVar("K", bound=str)


@dataclass(frozen=True, slots=True)
class Step(Generic[K]):
    """A message of a protocol.

    Attributes:
        dialect: its major version.
        prefix: the protocol's URI in the spelling and minor version that the message had, without a slash at its end.
    """

    dialect: Dialect
    prefix: str
    kind: K


@dataclass(frozen=True, slots=True)
class FormatAttachment:
    """One readable attachment.

    Attributes:
        format: the identifier that the message gives for it; None in 1.0, or if there is none.
        value: JSON; text if it is not JSON (a JWT).
        id: "" if it has none.
    """

    format: str | None
    value: Any = field(repr=False)
    mime_type: str | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a message. Missing or malformed members are "" or 0 or empty or False.

    Attributes:
        attachments: the readable ones of the protocol, in their order.
        preview: of a credential: a proposal's or an offer's.
        replacement_id: of an offer or a credential: which of the issuer's credentials it replaces (RFC 0453).
        multiple_available: of an offer: how many such credentials there are. more_available: of a credential: how many
            more there are, each for another request (2.1).
        will_confirm: of a proof request: the presentation will be acknowledged. Always in 1.0, which has no other way.
        present_multiple: of a proof request: several presentations may come. last_presentation: of a presentation: no
            other follows (2.1).
        members: the members of 1.0's proposals, which have no attachments. Issue-credential: the texts `schema_id`,
            `schema_issuer_did`, `schema_name`, `schema_version`, `cred_def_id`, `issuer_did`. Present-proof:
            `attributes` and `predicates`, lists of objects that have a `name` each.
        please_ack: an acknowledgement is asked for (RFC 0317; DIDComm v2.1, section "ACKs").
        expires_at, stale_at, delay_until: milliseconds since 1970 (RFC 0032; DIDComm v2.1, `expires_time`).
        delay: the milliseconds of delay that it asks for, at most `MAX_DELAY` (RFC 0032).
    """

    attachments: Sequence[FormatAttachment] = ()
    preview: Sequence[Attribute] = ()
    comment: str = ""
    goal_code: str = ""
    replacement_id: str = ""
    multiple_available: int = 1
    more_available: int = 0
    will_confirm: bool = False
    present_multiple: bool = False
    last_presentation: bool = True
    members: Mapping[str, Any] = field(default_factory=dict)
    please_ack: bool = False
    expires_at: int = 0
    stale_at: int = 0
    delay_until: int = 0
    delay: int = 0


def step_of(message: Message, protocol: str, kinds: Mapping[str, K]) -> Step[K] | None:
    """Returns the step of `protocol` that a message is, by the names of its messages; None if it is none. 3.0 has the
    v2 shape.
    """
    parsed = parse(canonical(message.type))
    if parsed is None or parsed.prefix != DIDCOMM_ORG or parsed.protocol != protocol:
        return None
    dialect, kind = _DIALECTS.get(parsed.major), kinds.get(parsed.name.replace("_", "-"))
    if dialect is None or kind is None or (dialect == "3.0" and message.version != "v2"):
        return None
    return Step(dialect, message.type.rpartition("/")[0], kind)


def dialect_of(prefix: str) -> Dialect:
    """Returns the dialect. Raises `ValueError` if `prefix` is no URI of a protocol in a supported version."""
    parsed = parse(f"{prefix}/x")
    if parsed is None or parsed.major not in _DIALECTS:
        raise ValueError(f"no protocol and version: {prefix}")
    return _DIALECTS[parsed.major]


def common(message: Message) -> dict[str, Any]:
    """Returns the members of `Content` that any message may have."""
    body, timing = message.body, message.body.get("~timing")
    if not isinstance(timing, dict):
        timing = {}
    delay = timing.get("delay_milli")
    return {
        "comment": text(body.get("comment")),
        "goal_code": text(body.get("goal_code")),
        "please_ack": _please_ack(message),
        "expires_at": _moment(timing.get("expires_time")) or _v2_expiry(message),
        "stale_at": _moment(timing.get("stale_time")),
        "delay_until": _moment(timing.get("wait_until_time")),
        "delay": min(max(delay, 0), MAX_DELAY) if type(delay) is int else 0,
    }


def attached(message: Message, dialect: Dialect, key: str, *, needed: bool) -> Sequence[FormatAttachment]:
    """Returns the readable attachments under `key` (or in `attachments`): JSON inline or in base64, or other text in
    base64. Links are not followed.

    Args:
        needed: without an attachment the message has no meaning.

    Raises:
        FormatError: `attachment-invalid`: none of them can be read, there are none but one is needed, or over 20.
    """
    name = "attachments" if message.version == "v2" else key
    found = [one for one in attachments(message) if one.key == name]
    if len(found) > MAX_ATTACHED:
        raise FormatError("attachment-invalid", f"{name} holds more than {MAX_ATTACHED} attachments")
    readable: list[FormatAttachment] = []
    problem = "nothing is attached"
    for one in found:
        try:
            value = _value(one)
        except ValueError as error:
            problem = str(error)
        else:
            readable.append(FormatAttachment(None if dialect == "1.0" else one.format, value, one.mime_type, one.id))
    if not readable and (found or needed):
        raise FormatError("attachment-invalid", f"{name}: {problem}")
    return tuple(readable)


def _value(one: Attachment) -> Any:
    if one.kind != "base64":
        return one.json_value()
    if one.error is not None:
        raise ValueError(one.error)
    try:
        return read_json(one.data)
    except JsonTooDeepError:
        raise
    except JsonError:
        decoded: str = one.data.decode(errors="replace")
        if not decoded or "\ufffd" in decoded:
            raise ValueError("data.base64 holds neither JSON nor text") from None
        return decoded


def attributes(preview: Any) -> Sequence[Attribute]:
    """Returns the attributes of a credential preview; 3.0 has them in its `body`. Attributes without a name are left
    out; a value that is no text is written as JSON.

    Raises:
        FormatError: `preview-invalid`: over 500 attributes.
    """
    preview = objects(preview)
    entries = preview.get("attributes", objects(preview.get("body")).get("attributes"))
    return tuple(
        Attribute(
            entry["name"],
            value if isinstance(value := entry.get("value", ""), str) else write_json(value).decode(),
            text(entry.get("mime-type")) or text(entry.get("media_type")),
        )
        for entry in named(entries)
    )


def named(entries: Any) -> Sequence[Mapping[str, Any]]:
    """Returns the entries of a preview's list that are objects with a `name`. Raises `FormatError` for over 500
    entries.
    """
    if not isinstance(entries, list):
        return ()
    if len(entries) > MAX_ATTRIBUTES:
        raise FormatError("preview-invalid", f"a preview has more than {MAX_ATTRIBUTES} entries")
    return tuple(entry for entry in entries if isinstance(entry, dict) and text(entry.get("name")))


def objects(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def count(value: Any, otherwise: int) -> int:
    """Returns a non-negative number, at most `MAX_COUNT`; some agents write it as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    return min(value, MAX_COUNT) if type(value) is int and value >= 0 else otherwise


def _please_ack(message: Message) -> bool:
    # RFC 0036 spells it with a hyphen, RFC 0317 with an underscore.
    if message.version == "v1" or not message.fields.get("please_ack"):
        return any(isinstance(message.body.get(name), dict) for name in ("~please_ack", "~please-ack"))
    # DIDComm v2.1 lists ids of messages; an empty one means the message that asks.
    wanted = message.fields["please_ack"]
    return wanted is True or (isinstance(wanted, list) and ("" in wanted or message.id in wanted))


def _moment(value: Any) -> int:
    try:
        return max(times.read(value), 0)
    except ValueError:
        return 0


def _v2_expiry(message: Message) -> int:
    value = message.fields.get("expires_time") if message.version == "v2" else None
    return value * 1000 if type(value) is int and 0 < value <= times.LATEST // 1000 else 0


def compose(
    prefix: str,
    name: str,
    *,
    message_id: str,
    thid: str,
    version: Version,
    pthid: str = "",
    key: str = "",
    attachments: Sequence[tuple[str, Draft]] = (),
    members: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Makes a complete message.

    Args:
        key: `X~attach`, of v1 messages. attachments: with their ids.
        members: its other members; None and "" are left out. `please_ack` (a truth value) and `expires_at`
            (milliseconds since 1970) are written in the version's form.

    Raises:
        ValueError: 3.0 in v1 shape.
    """
    dialect = dialect_of(prefix)
    if dialect == "3.0" and version == "v1":
        raise ValueError("3.0 is of DIDComm v2 only")
    body = {member: value for member, value in (members or {}).items() if value is not None and value != ""}
    please_ack, expires_at = body.pop("please_ack", False), body.pop("expires_at", 0)
    if dialect == "2.0" and attachments:
        body["formats"] = [{"attach_id": id_, "format": draft.format} for id_, draft in attachments]
    if version == "v1":
        return {
            "@type": f"{prefix}/{name}",
            "@id": message_id,
            "~thread": {"thid": thid, **({"pthid": pthid} if pthid else {})},
            **body,
            **({key: [_attachment_v1(id_, draft) for id_, draft in attachments]} if attachments else {}),
            **({"~please_ack": {"on": ["OUTCOME"]}} if please_ack else {}),
            **({"~timing": {"expires_time": times.iso(expires_at)}} if expires_at else {}),
        }
    return {
        "id": message_id,
        "type": f"{prefix}/{name}",
        "thid": thid,
        **({"pthid": pthid} if pthid else {}),
        **({"please_ack": [""]} if please_ack else {}),
        **({"expires_time": expires_at // 1000} if expires_at else {}),
        "body": body,
        **({"attachments": [_attachment_v2(dialect, id_, draft) for id_, draft in attachments]} if attachments else {}),
    }


def _attachment_v1(id_: str, draft: Draft) -> dict[str, Any]:
    raw = draft.value.encode() if isinstance(draft.value, str) else write_json(draft.value)
    # In the standard alphabet, with padding: some agents refuse the other, and all read this one.
    return {"@id": id_, "mime-type": draft.mime_type, "data": {"base64": base64.b64encode(raw).decode()}}


def _attachment_v2(dialect: Dialect, id_: str, draft: Draft) -> dict[str, Any]:
    data = (
        {"base64": base64.urlsafe_b64encode(draft.value.encode()).rstrip(b"=").decode()}
        if isinstance(draft.value, str)
        else {"json": draft.value}
    )
    named_format = {} if dialect == "1.0" else {"format": draft.format}
    return {"id": id_, "media_type": draft.mime_type, **named_format, "data": data}


def ack(prefix: str, *, message_id: str, thid: str, version: Version, pthid: str = "") -> dict[str, Any]:
    """Makes an acknowledgement (RFC 0015, in the protocols' own types)."""
    return compose(
        prefix, "ack", message_id=message_id, thid=thid, pthid=pthid, version=version, members={"status": "OK"}
    )


def problem_report(
    prefix: str, *, message_id: str, thid: str, code: str, explain: str, version: Version, pthid: str = ""
) -> dict[str, Any]:
    """Makes the problem report that ends an exchange (RFC 0035, in the protocols' own types). For 3.0 it is DIDComm
    v2's: on its own thread under the failed one (DIDComm v2.1, section "Problem Reports").

    Args:
        code: e.g. `issuance-abandoned`, `abandoned`. 3.0 has it as an error about the protocol: `e.p.abandoned`.
    """
    if dialect_of(prefix) != "3.0":
        members = {"description": {"en": explain, "code": code}}
        return compose(
            prefix,
            "problem-report",
            message_id=message_id,
            thid=thid,
            pthid=pthid,
            version=version,
            members=members,
        )
    parsed = parse(f"{prefix}/x")
    root = parsed.prefix if parsed else DIDCOMM_ORG
    return {
        "id": message_id,
        "type": f"{root}report-problem/2.0/problem-report",
        "pthid": thid,
        "body": {"code": code if code.startswith(("e.", "w.")) else f"e.p.{code}", "comment": explain},
    }
