"""The content of a presentation (AnonCreds Specification 1.0, "Presentation"), compared with the request. Pure.

The library verifies only the proof inside a presentation, with the predicates in it, whatever was requested. It does
not compare an attribute's text with its number, accepts a hidden attribute where a value is required, and does not miss
a proof of non-revocation that the prover left out. All of that is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tntcore.credentials.anoncreds.common import encode, object_with
from tntcore.credentials.anoncreds.registry import Json, is_number, same_name
from tntcore.credentials.anoncreds.request import (
    MAX_REFERENTS,
    PREDICATES,
    Interval,
    ProofRequest,
    RequestedItem,
    lets_in,
)
from tntcore.credentials.formats import FormatError

_DIGITS: Final = re.compile("[0-9]{1,1000}")


@dataclass(frozen=True, slots=True)
class Source:
    """A credential of a presentation, as its prover describes it. `timestamp`: seconds since 1970 of its status
    list.
    """

    schema_id: str
    definition_id: str
    registry_id: str | None
    timestamp: int | None
    proof: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to one requested item.

    Attributes:
        index: of the source; None for the prover's own word.
        texts: by attribute name, the revealed or self-attested values. numbers: the prover's encoding of them.
    """

    referent: str
    index: int | None
    kind: str  # revealed, grouped, unrevealed, self-attested, predicate
    texts: Mapping[str, str]
    numbers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ShownCredentials:
    sources: Sequence[Source]
    parts: Sequence[Part]

    def of(self, index: int) -> Iterator[Part]:
        return (part for part in self.parts if part.index == index)

    def interval(self, request: ProofRequest, index: int) -> Interval | None:
        """The interval in which the credential must not have been revoked, if one was requested."""
        met: Interval | None = None
        for part in self.of(index):
            wanted = request.wanted.get(part.referent)
            if wanted is not None and wanted.interval is not None:
                met = wanted.interval if met is None else met.meet(wanted.interval)
        return met

    def revealed(self, index: int) -> dict[str, str]:
        return {same_name(name): text for part in self.of(index) for name, text in part.texts.items()}


def read_presentation(value: Any, request: ProofRequest) -> ShownCredentials:
    """Reads a presentation. Raises `FormatError` if it is malformed, contains more credentials than items were
    requested, or more than 100 answers of one kind or predicates of one credential, which is the most that a request
    asks for.
    """
    if not (
        object_with(value, "proof", "requested_proof", "identifiers")
        and isinstance(value["requested_proof"], dict)
        and isinstance(value["identifiers"], list)
        and object_with(value["proof"], "proofs", "aggregated_proof")
        and isinstance(value["proof"]["proofs"], list)
        and len(value["proof"]["proofs"]) == len(value["identifiers"]) <= len(request.wanted)
    ):
        raise _malformed("members are missing, or the numbers of proofs and credentials differ")
    if value["identifiers"] and not _is_written_number(value["proof"]["aggregated_proof"]):
        raise _malformed("the c_hash of its aggregated_proof is no number")
    sources = [_source(*pair) for pair in zip(value["identifiers"], value["proof"]["proofs"], strict=True)]
    proof = value["requested_proof"]
    parts = [_self_attested(referent, given, request) for referent, given in _group(proof, "self_attested_attrs")]
    for group, kind in (
        ("revealed_attrs", "revealed"),
        ("revealed_attr_groups", "grouped"),
        ("unrevealed_attrs", "unrevealed"),
        ("predicates", "predicate"),
    ):
        parts += [_part(referent, given, kind, request, len(sources)) for referent, given in _group(proof, group)]
    return ShownCredentials(sources, parts)


def compare(
    request: ProofRequest, shown: ShownCredentials, definitions: Sequence[tuple[Json, Mapping[str, str]]]
) -> list[str]:
    """Returns the differences from the request, in words; an empty list if there are none.

    Args:
        definitions: of each source, its schema and its tags (see `Kept.tags`).
    """
    wrong = []
    counted = [part.referent for part in shown.parts]
    for referent in request.wanted.keys() - set(counted):
        wrong.append(f"{referent} is missing")
    for part in shown.parts:
        wanted = request.wanted.get(part.referent)
        if wanted is None or counted.count(part.referent) > 1:
            wrong.append(f"{part.referent} was not asked for, or is answered twice")
        elif problem := _answers(wanted, part, shown, definitions):
            wrong.append(f"{part.referent} {problem}")
    for index in range(len(shown.sources)):
        if not any(shown.of(index)):
            wrong.append(f"credential {index} answers nothing")
    return wrong


def wrong_numbers(shown: ShownCredentials) -> list[str]:
    """Returns the names of attributes whose text is not the signed one."""
    return [
        name
        for part in shown.parts
        if part.index is not None
        for name, text in part.texts.items()
        if encode(text) != part.numbers[name]
    ]


def summary_of(request: ProofRequest, shown: ShownCredentials, tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Returns the content of a presentation: `claims` are proven, `selfAttested` is the prover's own word. Names are
    the request's.
    """
    return {
        "credentials": [
            {
                "issuer": one.get("issuer_id"),
                "schemaId": source.schema_id,
                "credentialDefinitionId": source.definition_id,
                **({"statusAt": source.timestamp} if source.timestamp is not None else {}),
            }
            for source, one in zip(shown.sources, tags, strict=True)
        ],
        "claims": {part.referent: dict(part.texts) for part in shown.parts if part.kind in ("revealed", "grouped")},
        "predicates": {
            part.referent: f"{wanted.names[0]} {wanted.sign} {wanted.bound}"
            for part in shown.parts
            if part.kind == "predicate" and (wanted := request.wanted.get(part.referent)) and wanted.sign
        },
        "unrevealed": [part.referent for part in shown.parts if part.kind == "unrevealed"],
        "selfAttested": {part.referent: dict(part.texts) for part in shown.parts if part.kind == "self-attested"},
    }


def _answers(
    wanted: RequestedItem, part: Part, shown: ShownCredentials, definitions: Sequence[tuple[Json, Mapping[str, str]]]
) -> str | None:
    if part.index is None:
        return None if wanted.may_be_self_attested else "has to come from a credential"
    kinds = ("predicate",) if wanted.sign else ("grouped",) if wanted.grouped else ("revealed", "unrevealed")
    if part.kind not in kinds:
        return "is answered with something else"
    schema, tags = definitions[part.index]
    names = {same_name(name) for name in schema["attrNames"]}
    if not all(same_name(name) in names for name in wanted.names):
        return "is no attribute of that credential"
    if part.kind in ("revealed", "grouped") and part.texts.keys() != set(wanted.names):
        return "is answered with other attributes"
    if wanted.sign and not _is_proven(wanted, shown.sources[part.index].proof):
        return f"does not prove {wanted.names[0]} {wanted.sign} {wanted.bound}"
    if not lets_in(wanted, tags, schema["attrNames"], shown.revealed(part.index)):
        return "does not fit its restrictions"
    return None


def _is_proven(wanted: RequestedItem, proof: Mapping[str, Any]) -> bool:
    """Whether the proof contains the requested predicate."""
    asked = {"attr_name": same_name(wanted.names[0]), "p_type": PREDICATES[wanted.sign], "value": wanted.bound}
    for one in _predicates(proof):
        predicate = one.get("predicate") if isinstance(one, dict) else None
        if (
            isinstance(predicate, dict)
            and isinstance(predicate.get("attr_name"), str)
            and {**predicate, "attr_name": same_name(predicate["attr_name"])} == asked
        ):
            return True
    return False


def _is_written_number(aggregated: Any) -> bool:
    """Whether `c_hash` is a text of digits. The library reads digits and ignores what follows them, so the same proof
    could be written in ways that do not look like copies.
    """
    challenge = aggregated.get("c_hash") if isinstance(aggregated, dict) else None
    return isinstance(challenge, str) and _DIGITS.fullmatch(challenge) is not None


def _source(identifier: Any, proof: Any) -> Source:
    if not isinstance(identifier, dict) or not isinstance(proof, dict):
        raise _malformed("an identifier or a proof is not an object")
    schema, definition = identifier.get("schema_id"), identifier.get("cred_def_id")
    registry, timestamp = identifier.get("rev_reg_id"), identifier.get("timestamp")
    if not (
        isinstance(schema, str)
        and isinstance(definition, str)
        and isinstance(registry, str | None)
        and (timestamp is None or (is_number(timestamp) and 0 <= timestamp < 10**10))
    ):
        raise _malformed("an identifier lacks a member")
    if len(_predicates(proof)) > MAX_REFERENTS:
        raise _malformed("a credential has too many predicates")
    return Source(schema, definition, registry, timestamp, proof)


def _predicates(proof: Mapping[str, Any]) -> list[Any]:
    primary = proof.get("primary_proof")
    given = primary.get("ge_proofs") if isinstance(primary, dict) else None
    return given if isinstance(given, list) else []


def _group(proof: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    group = proof.get(name)
    if group is None:
        return []
    if not isinstance(group, dict) or len(group) > MAX_REFERENTS:
        raise _malformed(f"{name} is not an object of at most {MAX_REFERENTS} members")
    return list(group.items())


def _self_attested(referent: str, given: Any, request: ProofRequest) -> Part:
    if not isinstance(given, str):
        raise _malformed("a self-attested value is not a text")
    wanted = request.wanted.get(referent)
    return Part(referent, None, "self-attested", {wanted.names[0] if wanted else referent: given}, {})


def _part(referent: str, given: Any, kind: str, request: ProofRequest, sources: int) -> Part:
    index = given.get("sub_proof_index") if isinstance(given, dict) else None
    if not is_number(index) or not 0 <= index < sources:
        raise _malformed(f"{referent[:100]} is of no credential of the presentation")
    values: Any = {}
    if kind == "revealed":
        wanted = request.wanted.get(referent)
        values = {wanted.names[0] if wanted else referent: given}
    elif kind == "grouped":
        values = given.get("values")
    if not isinstance(values, dict) or not all(
        isinstance(one, dict) and isinstance(one.get("raw"), str) and isinstance(one.get("encoded"), str)
        for one in values.values()
    ):
        raise _malformed(f"the values of {referent[:100]} are no texts with their numbers")
    return Part(
        referent,
        index,
        kind,
        {name: one["raw"] for name, one in values.items()},
        {name: one["encoded"] for name, one in values.items()},
    )


def _malformed(detail: str) -> FormatError:
    return FormatError("malformed", f"it is not an AnonCreds presentation: {detail}")
