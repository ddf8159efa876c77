"""A verifier's request (AnonCreds Specification 1.0, "Presentation Request"; Aries RFC 0592): reads it, makes one from
a proposal's preview (RFC 0037), and decides which credentials fit. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tntcore.credentials.anoncreds.registry import is_number, same_name
from tntcore.credentials.formats import FormatError
from tntcore.nearest import names

MAX_REFERENTS = 100
MAX_PARTS = 5_000  # names and restrictions of a request, each of which is compared with every credential held
PREDICATES: Final = {">=": "GE", ">": "GT", "<=": "LE", "<": "LT"}
_TAGS: Final = {
    "schema_id": "schema_id",
    "schema_issuer_id": "schema_issuer_id",
    "schema_issuer_did": "schema_issuer_id",
    "schema_name": "schema_name",
    "schema_version": "schema_version",
    "issuer_id": "issuer_id",
    "issuer_did": "issuer_id",
    "cred_def_id": "cred_def_id",
    "rev_reg_id": "rev_reg_id",
}
_INTERVAL: Final = names("from", "to")
_ITEM: Final = {**names("name", "restrictions"), "non_revoked": _INTERVAL}
REQUEST_MEMBERS: Final = {
    **names("name", "version", "nonce", "ver"),
    "requested_attributes": {"*": {**_ITEM, "names": None}},
    "requested_predicates": {"*": {**_ITEM, **names("p_type", "p_value")}},
    "non_revoked": _INTERVAL,
}
"""The members of a request, for `check_members`. A request from others may have more."""
_MAX_INTERVAL = 2**40


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds since 1970; `to` is None for now."""

    start: int
    to: int | None

    def meet(self, other: Interval) -> Interval:
        ends = [end for end in (self.to, other.to) if end is not None]
        return Interval(max(self.start, other.start), min(ends, default=None))


@dataclass(frozen=True, slots=True)
class RequestedItem:
    """One requested item.

    Attributes:
        names: of the attributes, all of one credential. grouped: the request used `names`.
        sign, bound: of a predicate, e.g. `>=` 18; "" for attributes that are to be shown.
        restrictions: one of them has to fit; none: any credential fits, and so does the prover's own word.
    """

    referent: str
    names: Sequence[str]
    grouped: bool
    sign: str
    bound: int
    restrictions: Sequence[Mapping[str, str]]
    interval: Interval | None

    @property
    def may_be_self_attested(self) -> bool:
        return not self.sign and not self.grouped and not self.restrictions


@dataclass(frozen=True, slots=True)
class ProofRequest:
    """`raw`: as it was read."""

    raw: Mapping[str, Any]
    wanted: Mapping[str, RequestedItem]


def read_request(value: Any) -> ProofRequest:
    """Reads a request. Raises `FormatError` `request-invalid` if it is malformed, or uses operators (`$or`, `$not`,
    ...).
    """
    if not isinstance(value, dict):
        raise _invalid("it is not a JSON object")
    for name in ("name", "version"):
        if not isinstance(value.get(name, ""), str):
            raise _invalid(f"{name} is not a text")
    nonce = value.get("nonce")
    if not (isinstance(nonce, str) and nonce.isascii() and nonce.isdigit() and len(nonce) <= 100):
        raise _invalid("nonce is not a decimal number in a text")
    attributes, predicates = value.get("requested_attributes", {}), value.get("requested_predicates", {})
    if not isinstance(attributes, dict) or not isinstance(predicates, dict):
        raise _invalid("requested_attributes or requested_predicates is not an object")
    if not 0 < len(attributes) + len(predicates) <= MAX_REFERENTS or attributes.keys() & predicates.keys():
        raise _invalid(f"it has to ask for 1 to {MAX_REFERENTS} things, each under a name of its own")
    overall = _interval(value.get("non_revoked"))
    wanted = [_attribute(referent, asked, overall) for referent, asked in attributes.items()]
    wanted += [_predicate(referent, asked, overall) for referent, asked in predicates.items()]
    if sum(len(one.names) + sum(map(len, one.restrictions)) for one in wanted) > MAX_PARTS:
        raise _invalid(f"it has more than {MAX_PARTS} names and restrictions")
    return ProofRequest(value, {one.referent: one for one in wanted})


def _attribute(referent: str, asked: Any, overall: Interval | None) -> RequestedItem:
    if not isinstance(asked, dict) or ("name" in asked) == ("names" in asked):
        raise _invalid(f"{referent[:100]} needs either name or names")
    names = asked["names"] if "names" in asked else [asked["name"]]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise _invalid(f"the names of {referent[:100]} are no texts")
    return RequestedItem(
        referent, names, "names" in asked, "", 0, _restrictions(referent, asked), _local(asked, overall)
    )


def _predicate(referent: str, asked: Any, overall: Interval | None) -> RequestedItem:
    if not isinstance(asked, dict) or not isinstance(asked.get("name"), str) or not asked["name"]:
        raise _invalid(f"{referent[:100]} needs a name")
    sign, bound = asked.get("p_type"), asked.get("p_value")
    if sign not in PREDICATES or not isinstance(bound, int) or isinstance(bound, bool) or abs(bound) >= 2**31:
        raise _invalid(f"{referent[:100]} needs p_type, one of {', '.join(PREDICATES)}, and p_value, a number")
    return RequestedItem(
        referent, [asked["name"]], False, sign, bound, _restrictions(referent, asked), _local(asked, overall)
    )


def _local(asked: Mapping[str, Any], overall: Interval | None) -> Interval | None:
    return _interval(asked.get("non_revoked")) or overall


def _interval(value: Any) -> Interval | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _invalid("non_revoked is not an object")
    start, end = value.get("from"), value.get("to")
    for given in (start, end):
        if given is not None and not (is_number(given) and 0 <= given < _MAX_INTERVAL):
            raise _invalid("from and to of non_revoked must be seconds since 1970")
    return Interval(start or 0, end)


def _restrictions(referent: str, asked: Mapping[str, Any]) -> list[Mapping[str, str]]:
    given = asked.get("restrictions") or []
    fits = isinstance(given, list) and all(
        isinstance(one, dict) and one and all(isinstance(value, str) and _is_tag(tag) for tag, value in one.items())
        for one in given
    )
    if not fits:
        raise _invalid(
            f"restrictions of {referent[:100]} must be a list of objects like {{cred_def_id: ...}}; "
            f"known are {', '.join(_TAGS)}, attr::<name>::value and attr::<name>::marker"
        )
    return list(given)


def _is_tag(tag: str) -> bool:
    return tag in _TAGS or split_tag(tag) is not None


def split_tag(tag: str) -> tuple[str, str] | None:
    """Returns the name, and `value` or `marker`, of `attr::<name>::value`."""
    parts = tag.split("::")
    if len(parts) == 3 and parts[0] == "attr" and parts[1] and parts[2] in ("value", "marker"):
        return parts[1], parts[2]
    return None


def lets_in(wanted: RequestedItem, tags: Mapping[str, str], names: Sequence[str], values: Mapping[str, str]) -> bool:
    """Whether a credential fits one of the restrictions.

    Args:
        tags: see `Kept.tags`.
        names: of all its attributes. values: of those that are known, by `same_name`.
    """
    known = {same_name(name) for name in names}

    def fits(tag: str, value: str) -> bool:
        of_attribute = split_tag(tag)
        if of_attribute is None:
            return tags.get(_TAGS[tag]) == value
        name, kind = same_name(of_attribute[0]), of_attribute[1]
        return name in known and (kind == "marker" or values.get(name) == value)

    return not wanted.restrictions or any(
        all(fits(tag, value) for tag, value in one.items()) for one in wanted.restrictions
    )


def for_library(request: ProofRequest) -> dict[str, Any]:
    """Returns the request in the form that the library verifies, without valid parts that it would refuse.

    The library accepts `issuer_did` for unqualified DIDs only. It supports no `rev_reg_id`, no value of an attribute
    other than the requested one, and no status list from before an interval that was still in force in it. All of these
    are checked here; nothing that is proven depends on them.
    """

    def without(asked: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in asked.items() if name != "restrictions"}
        if isinstance(kept.get("non_revoked"), dict):
            kept["non_revoked"] = _end(kept["non_revoked"])
        restrictions = [
            {
                _TAGS[tag]: value
                for tag, value in one.items()
                if tag in ("schema_id", "schema_name", "schema_version", "cred_def_id")
                or _TAGS.get(tag) in ("issuer_id", "schema_issuer_id")
            }
            for one in asked.get("restrictions") or []
        ]
        # An empty list allows anything, but never the prover's own word once there is a restriction.
        return {**kept, "restrictions": restrictions} if restrictions and all(restrictions) else kept

    out = dict(request.raw)
    out.setdefault("name", "proof-request")
    out.setdefault("version", "1.0")
    for group in ("requested_attributes", "requested_predicates"):
        out[group] = {referent: without(asked) for referent, asked in request.raw.get(group, {}).items()}
    if isinstance(out.get("non_revoked"), dict):
        out["non_revoked"] = _end(out["non_revoked"])
    return {name: value for name, value in out.items() if value is not None}


def _end(interval: Mapping[str, Any]) -> dict[str, Any]:
    return {"to": interval["to"]} if interval.get("to") is not None else {}


def request_of_preview(preview: Any) -> dict[str, Any]:
    """Returns the request, without a nonce, for the content of a `presentation_proposal` (RFC 0037).

    Args:
        preview: `{attributes: [{name, cred_def_id?, value?, referent?}], predicates: [{name, cred_def_id?, predicate,
            threshold}]}`. Attributes of one `referent` come from one credential. Attributes without a `cred_def_id`
            are self-attested.

    Raises:
        FormatError: `proposal-invalid`
    """
    attributes: dict[str, dict[str, Any]] = {}
    predicates: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for number, given in enumerate(_items(preview, "attributes")):
        referent = given.get("referent")
        groups.setdefault(f"group {referent}" if isinstance(referent, str) else f"attribute {number}", []).append(given)
    for referent, group in groups.items():
        definitions = {given["cred_def_id"] for given in group if isinstance(given.get("cred_def_id"), str)}
        if len(definitions) > 1:
            raise FormatError("proposal-invalid", "attributes of one referent are of one credential definition")
        names = [given["name"] for given in group]
        asked: dict[str, Any] = {"name": names[0]} if len(names) == 1 else {"names": names}
        if definitions:
            asked["restrictions"] = [{"cred_def_id": definitions.pop()}]
        attributes[referent] = asked
    for number, given in enumerate(_items(preview, "predicates")):
        try:
            bound = int(str(given.get("threshold"))[:20])
        except ValueError:
            raise FormatError("proposal-invalid", "the threshold of a predicate is not a number") from None
        asked = {"name": given["name"], "p_type": given.get("predicate"), "p_value": bound}
        if isinstance(given.get("cred_def_id"), str):
            asked["restrictions"] = [{"cred_def_id": given["cred_def_id"]}]
        predicates[f"predicate {number}"] = asked
    return {
        "name": "proof-request",
        "version": "1.0",
        "requested_attributes": attributes,
        "requested_predicates": predicates,
    }


def _items(preview: Any, name: str) -> list[dict[str, Any]]:
    given = preview.get(name, []) if isinstance(preview, dict) else None
    if not isinstance(given, list) or len(given) > MAX_REFERENTS:
        raise FormatError("proposal-invalid", f"{name} of the proposal is not a list of at most {MAX_REFERENTS}")
    if not all(isinstance(one, dict) and isinstance(one.get("name"), str) and one["name"] for one in given):
        raise FormatError("proposal-invalid", f"{name} of the proposal without a name")
    return given


def _invalid(detail: str) -> FormatError:
    return FormatError("request-invalid", f"the proof request is invalid: {detail}")
