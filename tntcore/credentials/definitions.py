"""Presentation definitions, and which credentials satisfy them (DIF Presentation Exchange 1.0.0, with `format` of a
descriptor and `optional` of 2.0.0). Pure; `fit` runs in another process.

Definitions come from strangers. Their paths are JSONPath without anything that multiplies work or looks elsewhere
(unions, filters, operators, a second `..`); their filters are the assertions of JSON Schema draft 7 that need no
reference, with RE2 expressions. Unsupported constraints are refused, as ignoring one would leave it unchecked. `format`
inside a filter is an annotation, as in JSON Schema; but dates are compared, as in the specification's own example
(`"minimum": "1999-5-16"`) and in ajv (`formatMaximum`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

import jsonschema
import re2
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.jsonpath import Index, JSONPath
from jsonpath_ng.lexer import JsonPathLexer
from jsonpath_ng.parser import JsonPathParser

from tntcore.credentials.checking import listed
from tntcore.messaging import times
from tntcore.strict_json import reread_json, write_json
from tntcore.workers import within

ClaimFormat = Literal["ldp_vc", "jwt_vc"]
Place = tuple[str | int, ...]
"""Names and numbers that lead to a value in a credential."""

MAX_DEFINITION: Final = 64 * 1024  # bytes of JSON
MAX_DESCRIPTORS: Final = 100
MAX_PATHS: Final = 500  # in a definition
MAX_PATH: Final = 256  # characters
MAX_STEPS: Final = 48  # tokens of a path
MAX_PATTERN: Final = 1_000
MAX_REQUIREMENTS: Final = 50
MAX_NESTING: Final = 4  # of submission requirements
_MATCH_MEMORY: Final = 1 << 20

# Every credential is one; it tells nothing apart.
_ANY_CREDENTIAL: Final = "https://www.w3.org/2018/credentials#VerifiableCredential"
_STEPS: Final = frozenset({"$", ".", "DOUBLEDOT", "ID", "NUMBER", "*", "[", "]", ":"})
_NOTES: Final = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "readOnly", "writeOnly", "format"}
)
_VALUES: Final = frozenset(
    {"type", "const", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
     "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "required", "minProperties", "maxProperties"}
)  # fmt: skip
_BOUNDS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
    "formatMinimum": operator.ge,
    "formatMaximum": operator.le,
    "formatExclusiveMinimum": operator.gt,
    "formatExclusiveMaximum": operator.lt,
}
_DAY: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)(.*)", re.ASCII)
# Names that the lexer does not know outside of quotes.
_NAME: Final = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?<=\.)([\w@-]*[^\W\x00-\x7f][\w@-]*)""")
_SCHEMAS: Final = frozenset(
    {"not", "if", "then", "else", "items", "additionalItems", "contains", "propertyNames", "additionalProperties",
     "allOf", "anyOf", "oneOf"}
)  # fmt: skip


class DefinitionError(ValueError):
    """The definition is malformed or uses something unsupported; the text says what."""


@dataclass(frozen=True, slots=True)
class Field:
    """A claim that a credential needs. `filter` None: any value."""

    paths: tuple[str, ...]
    filter: Mapping[str, Any] | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One requested credential.

    Attributes:
        schemas: alternatives, each a list of (uri, whether it is required).
        formats: kinds of proof, each with the accepted algorithms or proof types; all if empty.
        minimal: the presentation may show nothing else of the credential.
    """

    id: str
    groups: tuple[str, ...] = ()
    schemas: tuple[tuple[tuple[str, bool], ...], ...] = ()
    fields: tuple[Field, ...] = ()
    formats: Mapping[str, frozenset[str]] = field(default_factory=dict)
    minimal: bool = False
    self_issued: bool = False


@dataclass(frozen=True, slots=True)
class Requirement:
    """The number of items of a group, or of nested requirements, that must be shown."""

    rule: Literal["all", "pick"]
    group: str = ""
    nested: tuple[Requirement, ...] = ()
    count: int | None = None
    least: int | None = None
    most: int | None = None

    @property
    def needed(self) -> int:
        if self.count is not None:
            return self.count
        return self.least if self.least is not None else 1

    def allows(self, number: int) -> bool:
        if self.count is not None:
            return number == self.count
        return self.needed <= number and (self.most is None or number <= self.most)


@dataclass(frozen=True, slots=True)
class Definition:
    id: str
    descriptors: tuple[Descriptor, ...]
    requirements: tuple[Requirement, ...] = ()
    formats: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def group(self, name: str) -> list[str]:
        return [descriptor.id for descriptor in self.descriptors if name in descriptor.groups]


@dataclass(frozen=True, slots=True)
class Matchable:
    """A credential in the form that it is matched in.

    Attributes:
        suites: the proof types, cryptosuites or JWT algorithm that it is signed with.
        documents: the roots of paths, tried one after the other: a JWT's claims, then the credential in it.
        names: type URIs, schema ids: the values that `schema` of a descriptor may name.
    """

    kind: ClaimFormat
    suites: frozenset[str]
    documents: tuple[Mapping[str, Any], ...]
    names: frozenset[str]
    issuer: str
    subjects: tuple[str, ...]


def fit(definition: Definition, credentials: Sequence[Matchable], seconds: float) -> list[list[str]]:
    """Returns for each descriptor, and in it for each credential, why the credential does not satisfy it; "" if it
    does. For `Workers`.

    Raises:
        DefinitionError: a path or a filter is not supported. TooLongError: it took too long.
    """
    try:
        return within(seconds, _fit, definition, credentials)
    except RecursionError:
        raise _invalid("The definition or a credential is nested too deeply.") from None


def check_definition(definition: Definition, seconds: float) -> None:
    """Checks that paths and filters are supported. For `Workers`; raises the errors of `fit`."""
    fit(definition, [], seconds)


def choose(definition: Definition, have: Collection[str], preferred: Collection[str] = ()) -> list[str] | None:
    """Returns the fewest descriptors that satisfy the definition, from those in `have`; None if these are not
    enough.
    """
    if not definition.requirements:
        every = [descriptor.id for descriptor in definition.descriptors]
        return every if set(every) <= set(have) else None
    chosen = [_choose(definition, requirement, have, preferred) for requirement in definition.requirements]
    if any(part is None for part in chosen):
        return None
    picked = {name for part in chosen for name in part or ()} | (set(preferred) & set(have))
    return [descriptor.id for descriptor in definition.descriptors if descriptor.id in picked]


def is_required(definition: Definition, name: str) -> bool:
    """Whether the definition cannot be satisfied without this descriptor."""
    return choose(definition, {descriptor.id for descriptor in definition.descriptors} - {name}) is None


def unmet(definition: Definition, satisfied: Collection[str]) -> str:
    """Returns what is missing, or too much, if these descriptors are satisfied; "" if nothing is."""
    if not definition.requirements:
        missing = [descriptor.id for descriptor in definition.descriptors if descriptor.id not in satisfied]
        return f"nothing that was shown satisfies {missing[0]!r}" if missing else ""
    if not all(_is_met(definition, requirement, satisfied) for requirement in definition.requirements):
        return "what was shown does not meet the submission requirements"
    return ""


def _choose(
    definition: Definition, requirement: Requirement, have: Collection[str], preferred: Collection[str]
) -> list[str] | None:
    parts: list[list[str] | None]
    if requirement.nested:
        parts = [_choose(definition, nested, have, preferred) for nested in requirement.nested]
    else:
        names = sorted(definition.group(requirement.group), key=lambda name: name not in preferred)
        parts = [[name] if name in have else None for name in names]
    possible = [part for part in parts if part is not None]
    needed = len(parts) if requirement.rule == "all" else requirement.needed
    if len(possible) < needed or not parts:
        return None
    return [name for part in possible[:needed] for name in part]


def _is_met(definition: Definition, requirement: Requirement, satisfied: Collection[str]) -> bool:
    if requirement.nested:
        met = [_is_met(definition, nested, satisfied) for nested in requirement.nested]
    else:
        met = [name in satisfied for name in definition.group(requirement.group)]
    return bool(met) and (all(met) if requirement.rule == "all" else requirement.allows(sum(met)))


def read_definition(value: Any) -> Definition:
    """Reads a `presentation_definition`. `check_definition` then checks paths and filters.

    Raises:
        DefinitionError: the part that is malformed or not supported.
    """
    if not isinstance(value, dict) or _size(value) > MAX_DEFINITION:
        raise _invalid(f"A presentation definition is an object of at most {MAX_DEFINITION} bytes.")
    if "frame" in value:
        raise _invalid("`frame` is not supported.")
    entries = value.get("input_descriptors")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_DESCRIPTORS:
        raise _invalid(f"`input_descriptors` has 1 to {MAX_DESCRIPTORS} entries.")
    descriptors = tuple(_descriptor(entry) for entry in entries)
    if len({descriptor.id for descriptor in descriptors}) < len(descriptors):
        raise _invalid("Two input descriptors have the same id.")
    if sum(len(part.paths) for descriptor in descriptors for part in descriptor.fields) > MAX_PATHS:
        raise _invalid(f"A definition has at most {MAX_PATHS} paths.")
    requirements = tuple(_requirements(value.get("submission_requirements"), MAX_NESTING))
    name = value.get("id", "")
    if not isinstance(name, str):
        raise _invalid("`id` must be a string.")
    definition = Definition(name, descriptors, requirements, _formats(value.get("format")))
    for requirement in requirements:
        _check_requirement(definition, requirement)
    return definition


def _check_requirement(definition: Definition, requirement: Requirement) -> None:
    """Raises `DefinitionError` if nothing could ever satisfy it."""
    for nested in requirement.nested:
        _check_requirement(definition, nested)
    available = len(requirement.nested or definition.group(requirement.group))
    if not available:
        raise _invalid(f"No input descriptor is in the group {requirement.group[:100]!r} of a submission requirement.")
    if requirement.rule == "pick" and requirement.needed > available:
        raise _invalid(f"A submission requirement picks {requirement.needed} of {available}.")


def _descriptor(value: Any) -> Descriptor:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not 1 <= len(value["id"]) <= 200:
        raise _invalid("An input descriptor is an object with an `id` of 1 to 200 characters.")
    constraints, groups = value.get("constraints", {}), value.get("group", [])
    fields = constraints.get("fields", []) if isinstance(constraints, dict) else None
    if not isinstance(fields, list) or not _are_texts(groups):
        raise _invalid("`constraints` is an object with a list of `fields`, `group` a list of texts.")
    for name in ("suspended", "revoked"):
        asked = (constraints.get("statuses") or {}).get(name) if isinstance(constraints.get("statuses"), dict) else None
        if isinstance(asked, dict) and asked.get("directive") == "required":
            raise _invalid(f"`statuses`: credentials that are {name} are never shown.")
    return Descriptor(
        value["id"],
        tuple(groups),
        tuple(_schemas(value.get("schema"))),
        tuple(_field(entry) for entry in fields),
        _formats(value.get("format")),
        constraints.get("limit_disclosure") == "required",
        constraints.get("subject_is_issuer") == "required",
    )


def _schemas(value: Any) -> Iterator[tuple[tuple[str, bool], ...]]:
    # ACA-Py's `oneof_filter` is a list of alternatives, each a schema or a list of them.
    if isinstance(value, dict):
        groups = value.get("uri_groups") or value.get("oneof_filter")
        if not isinstance(groups, list) or not groups:
            raise _invalid("`schema` is a list of {uri}, or an object with a list of lists of them in `oneof_filter`.")
    else:
        groups = [value] if value else []
    for group in groups:
        entries = listed(group)
        if not entries or not all(isinstance(entry, dict) and isinstance(entry.get("uri"), str) for entry in entries):
            raise _invalid("`schema` is a list of {uri}.")
        yield tuple((entry["uri"], entry.get("required") is True) for entry in entries)


def _field(value: Any) -> Field:
    paths = value.get("path") if isinstance(value, dict) else None
    if not _are_texts(paths) or not paths:
        raise _invalid("A field is an object with a list of texts in `path`.")
    if value.get("predicate") == "required":
        raise _invalid("A field's `predicate` cannot be required: these credentials have none.")
    condition = value.get("filter")
    if condition is not None and not isinstance(condition, dict):
        raise _invalid("A field's `filter` is an object.")
    return Field(tuple(paths), condition, value.get("optional") is True)


def _formats(value: Any) -> dict[str, frozenset[str]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
        raise _invalid("`format` is an object such as {ldp_vp: {proof_type: [...]}}.")
    found = {}
    for name, entry in value.items():
        lists = [entry[member] for member in ("alg", "proof_type", "cryptosuite") if member in entry]
        if not all(_are_texts(names) for names in lists):
            raise _invalid("`alg`, `proof_type` and `cryptosuite` in `format` are lists of texts.")
        found[name] = frozenset(name for names in lists for name in names)
    return found


def _requirements(value: Any, depth: int) -> list[Requirement]:
    if value is None:
        return []
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_REQUIREMENTS or not depth:
        raise _invalid(f"Submission requirements are a list of at most {MAX_REQUIREMENTS}, {MAX_NESTING} levels deep.")
    return [_requirement(entry, depth) for entry in value]


def _requirement(value: Any, depth: int) -> Requirement:
    if not isinstance(value, dict) or value.get("rule") not in ("all", "pick"):
        raise _invalid("A submission requirement has a `rule`: all or pick.")
    group, nested = value.get("from"), value.get("from_nested")
    if (group is None) == (nested is None) or not isinstance(group or "", str):
        raise _invalid("A submission requirement has either `from`, the name of a group, or `from_nested`.")
    numbers = [value.get(name) for name in ("count", "min", "max")]
    if not all(number is None or (type(number) is int and 0 <= number <= MAX_DESCRIPTORS) for number in numbers):
        raise _invalid("`count`, `min` and `max` of a submission requirement are numbers.")
    return Requirement(value["rule"], group or "", tuple(_requirements(nested, depth - 1)), *numbers)


def _size(value: Any) -> int:
    try:
        return len(write_json(value))
    except TypeError:
        raise _invalid("The definition is nested too deeply, or is not JSON.") from None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _fit(definition: Definition, credentials: Sequence[Matchable]) -> list[list[str]]:
    for descriptor in definition.descriptors:
        for part in descriptor.fields:
            for path in part.paths:
                _path(path)
            if part.filter is not None:
                _check_filter(part.filter)
    return [
        [_why_not(definition, descriptor, credential) for credential in credentials]
        for descriptor in definition.descriptors
    ]


def _why_not(definition: Definition, descriptor: Descriptor, credential: Matchable) -> str:
    if not all(_is_format(formats, credential) for formats in (definition.formats, descriptor.formats)):
        return "it is not signed as was asked for"
    if descriptor.schemas and not any(_is_of(schemas, credential.names) for schemas in descriptor.schemas):
        return "it is of another type"
    if descriptor.self_issued and set(credential.subjects) != {credential.issuer}:
        return "its subject is not its issuer"
    found: set[Place] = set()
    for part in descriptor.fields:
        if not _has(part, credential, found):
            return f"it has no {part.paths[0]!r} as was asked for"
    if descriptor.minimal and not all(_is_within(place, found) for place in _claims(credential)):
        return "it says more than may be disclosed"
    return ""


def _is_format(formats: Mapping[str, frozenset[str]], credential: Matchable) -> bool:
    family = credential.kind.removesuffix("_vc")
    own = [formats[name] for name in (credential.kind, family) if name in formats]
    if own:
        return any(not names or names & credential.suites for names in own)
    # A format that names only presentations says how they are signed, and with that, what is in them.
    return not formats or (f"{family}_vp" in formats and not any(name.endswith("_vc") for name in formats))


def _is_of(schemas: Sequence[tuple[str, bool]], names: frozenset[str]) -> bool:
    """Whether the credential has all required schemas, or if none is required, any (1.0.0, section 5.1). Every
    credential is a `VerifiableCredential`.
    """
    telling = [(uri, required) for uri, required in schemas if uri != _ANY_CREDENTIAL]
    if not telling:
        return True
    needed = [uri for uri, required in telling if required]
    return set(needed) <= names if needed else any(uri in names for uri, _ in telling)


def _has(part: Field, credential: Matchable, found: set[Place]) -> bool:
    """Whether the requested field is there. Adds all places that its path finds to `found`."""
    present = False
    validator = None if part.filter is None else _validator(write_json(part.filter))
    for path in part.paths:
        for document in credential.documents:
            matches = _path(path).find(document)
            present = present or bool(matches)
            if any(validator is None or validator.is_valid(match.value) for match in matches):
                # A JWT's claims have the credential in `vc`.
                inside = 1 if document is not credential.documents[-1] else 0
                found.update(_place(match)[inside:] for match in matches)
                return True
    return part.optional and not present


def _place(match: Any) -> Place:
    steps: list[str | int] = []
    while match.context is not None:
        step = match.path
        steps.append(step.indices[0] if isinstance(step, Index) else step.fields[0])
        match = match.context
    return tuple(reversed(steps))


def _is_within(place: Place, places: Collection[Place]) -> bool:
    return any(place[:length] in places for length in range(1, len(place) + 1))


def _claims(credential: Matchable) -> list[Place]:
    """Returns the place of each single value about a subject, except its types and id."""
    subject = credential.documents[-1].get("credentialSubject")
    places: list[Place] = [] if isinstance(subject, list) else [("credentialSubject", "id")]
    places += [("credentialSubject", number, "id") for number in range(len(listed(subject)))]
    return [place for place in _values(subject, ("credentialSubject",)) if place not in places]


def _values(value: Any, place: Place) -> Iterator[Place]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            if name not in ("type", "@type"):
                yield from _values(item, (*place, name))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _values(item, (*place, number))
    else:
        yield place


@lru_cache(maxsize=1_000)
def _path(text: str) -> JSONPath:
    if len(text) > MAX_PATH:
        raise _invalid(f"A path has at most {MAX_PATH} characters.")
    try:
        # The lexer counts digits for ever, and Python refuses numbers of thousands of them: the bound above is enough.
        text = _NAME.sub(lambda match: match[1] or f"'{match[2]}'", text)
        tokens = [token.type for token in JsonPathLexer().tokenize(text)]
        if not set(tokens) <= _STEPS or len(tokens) > MAX_STEPS or tokens.count("DOUBLEDOT") > 1 or tokens[:1] != ["$"]:
            raise _invalid(
                f"The path {text[:80]!r} is not supported: $, names, numbers, [*], [a:b] and one `..` are, "
                f"{MAX_STEPS} of them at most."
            )
        return JsonPathParser().parse(text)
    except JSONPathError:
        raise _invalid(f"{text[:80]!r} is no JSONPath.") from None


def _check_filter(schema: Any) -> None:
    _check_words(schema)
    # `check_schema` would compile the patterns with Python's `re`.
    error = next(_MetaValidator.iter_errors(_without_dates(schema)), None)
    if error is not None:
        raise _invalid(f"A field's filter is no JSON Schema (draft 7): {error.message[:120]}.")


def _check_words(schema: Any) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _invalid("A field's filter is no JSON Schema.")
    for word, value in schema.items():
        if word in _SCHEMAS:
            for part in listed(value):
                _check_words(part)
        elif word == "properties" and isinstance(value, dict):
            for part in value.values():
                _check_words(part)
        elif word in _BOUNDS and isinstance(value, str):
            if _moment(value) is None:
                raise _invalid(f"{word!r} in a field's filter is neither a number nor a date.")
        elif word not in _VALUES and word not in _NOTES:
            raise _invalid(f"{word[:60]!r} in a field's filter is not supported.")
    pattern = schema.get("pattern", "")
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise _invalid(f"A pattern is a text of at most {MAX_PATTERN} characters.")
    _expression(pattern)


@lru_cache(maxsize=1_000)
def _expression(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MATCH_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)  # type: ignore[no-untyped-call]
    except (re2.error, UnicodeEncodeError):
        raise _invalid(f"The pattern {pattern[:80]!r} is none that RE2 reads: it has no lookaround.") from None


def _pattern(validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(instance, "string") and _expression(pattern).search(instance) is None:
        yield jsonschema.ValidationError("does not match")


def _without_dates(schema: Any) -> Any:
    """Returns the schema in JSON Schema's form: without bounds that are dates."""
    if isinstance(schema, list):
        return [_without_dates(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if not (name in _BOUNDS and isinstance(value, str))}
    # The values of `const` and `enum` are data, even if they look like schemas.
    return {name: value if name in ("const", "enum") else _without_dates(value) for name, value in kept.items()}


def _moment(text: Any) -> int | None:
    """Parses a date, with or without a time, to milliseconds since 1970. Accepts `1999-5-16`."""
    match = _DAY.fullmatch(text) if isinstance(text, str) else None
    try:
        return times.read(f"{match[1]}-{match[2]:0>2}-{match[3]:0>2}{match[4]}") if match else None
    except ValueError:
        return None


def _bound(word: str) -> Any:
    usual = jsonschema.Draft7Validator.VALIDATORS.get(word)

    def check(validator: Any, bound: Any, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        if not isinstance(bound, str):
            yield from usual(validator, bound, instance, schema) if usual is not None else ()
            return
        found, limit = _moment(instance), _moment(bound)
        if found is None or limit is None or not _BOUNDS[word](found, limit):
            yield jsonschema.ValidationError("is no date within the bound")

    return check


_extend: Any = jsonschema.validators.extend
_Validator: Any = _extend(jsonschema.Draft7Validator, {"pattern": _pattern, **{word: _bound(word) for word in _BOUNDS}})
_MetaValidator: Any = _Validator(jsonschema.Draft7Validator.META_SCHEMA)


@lru_cache(maxsize=200)
def _validator(schema: bytes) -> Any:
    return _Validator(reread_json(schema))


def _invalid(detail: str) -> DefinitionError:
    return DefinitionError(detail)
