"""Rules for contexts that name claims (JSON-LD 1.1, section 9.15), and the meaning of names in a document.

Suites that sign statements sign the IRIs that names stand for, not the names. The holder can edit a context inside a
document. So such a context may define a name only as an IRI that ends in that name: the IRI then determines the name.
The same rule applies to contexts that a tenant gives, since others cannot tell them from a holder's.

Pure, and quick enough for any process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_TERMS: Final = 1_000
MAX_IRI: Final = 2_000  # characters; a short name may stand for it thousands of times
MAX_SCOPES: Final = 8
_END: Final = ("#", "/", ":")
_NOT_IN_NAMES: Final = re.compile(r"[#/:\s]|^@")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+")
_COERCIONS: Final = frozenset({"@id", "@vocab", "@json", "@none"})
_CONTAINERS: Final = frozenset({"@set", "@list", "@language"})
_MEMBERS: Final = frozenset({"@id", "@type", "@language", "@container", "@prefix"})
_ALIASES: Final = {"id": "@id", "type": "@type"}


class UnsafeContext(ValueError):
    """A context that could separate names from the signed IRIs; the text says how to write it."""


@dataclass(slots=True)
class Named:
    """The definitions of the contexts inside a document.

    Attributes:
        context: the document's `@context`, in which every definition has its whole IRI, and no prefix is left.
        terms: the IRIs of each name. vocabularies, types: the other IRIs that are mentioned.
        prefixes: names that only shorten IRIs inside a context. by_name: terms whose values are names, too.
        definitions: the number of definitions, including those of names that were defined before.
    """

    context: list[Any] = field(default_factory=list)
    terms: dict[str, set[str]] = field(default_factory=dict)
    vocabularies: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    prefixes: dict[str, str] = field(default_factory=dict)
    by_name: set[str] = field(default_factory=set)
    definitions: int = 0

    @property
    def iris(self) -> Iterator[str]:
        yield from self.vocabularies
        yield from self.types
        for iris in self.terms.values():
            yield from iris


def read_contexts(entries: Any) -> Named:
    """Returns the definitions in a document's `@context`, apart from the URLs in it.

    Raises:
        UnsafeContext: an entry is neither a URL nor an object, or an object that breaks the rule.
    """
    named = Named()
    vocabulary = ""
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, str):
            named.context.append(entry)
        elif isinstance(entry, dict):
            vocabulary = _read_inline(entry, named, vocabulary)
        else:
            raise UnsafeContext("an entry of @context is neither a URL nor an object")
    return named


def check_published(document: Any) -> None:
    """Checks that a tenant's context document keeps the rule. It may also contain `@protected`, contexts of its own for
    single terms, and `id` and `type` for `@id` and `@type`.

    Raises:
        UnsafeContext: it breaks the rule, or names other contexts.
    """
    if not isinstance(document, dict) or "@context" not in document:
        raise UnsafeContext("a context document is an object with @context")
    _check_published(document["@context"], {}, "", MAX_SCOPES)


def is_name(text: str) -> bool:
    """Whether a text can be a name: it is no IRI, and no part of one with a separator in it."""
    return bool(text) and not _NOT_IN_NAMES.search(text)


def _read_inline(entry: dict[str, Any], named: Named, vocabulary: str) -> str:
    """Adds an object's definitions. Returns the vocabulary that is then in force."""
    written: dict[str, Any] = {}
    for word, value in entry.items():
        if not word.startswith("@"):
            continue
        if word == "@vocab":
            vocabulary = _vocabulary(value)
            named.vocabularies.add(vocabulary)
        elif word == "@language" and (value is None or isinstance(value, str)):
            _check_length(value or "")
            written[word] = value
        elif word != "@version" or value != 1.1:
            raise UnsafeContext(f"{_word(word)} is not accepted in a context inside a document")
    if vocabulary:
        # Each object repeats it, for readers that look only at the last one.
        written["@vocab"] = vocabulary
    own = {name: value for name, value in entry.items() if not name.startswith("@")}
    named.definitions += len(own)
    if named.definitions > MAX_TERMS:
        raise UnsafeContext(f"the contexts inside a document define more than {MAX_TERMS} terms")
    resolve = _Resolver(own, named.prefixes)
    for name, value in own.items():
        definition, iri = _definition(name, value, resolve, vocabulary)
        if iri.endswith(_END):
            if not _is_prefix(value):
                raise UnsafeContext(f"{name[:100]!r} stands for {iri[:120]!r}, in which there is no such name")
            named.prefixes[name] = iri
            continue
        written[name] = definition
        named.prefixes.pop(name, None)
        named.terms.setdefault(name, set()).add(iri)
        type_ = definition.get("@type")
        if type_ == "@vocab":
            named.by_name.add(name)
        elif type_ is not None and type_ not in _COERCIONS:
            named.types.add(type_)
    named.context.append(written)
    return vocabulary


def _definition(name: str, value: Any, resolve: _Resolver, vocabulary: str) -> tuple[dict[str, Any], str]:
    """Returns a term's definition with whole IRIs, and its own IRI. Raises `UnsafeContext`."""
    if not is_name(name):
        raise UnsafeContext(f"a context inside a document defines {name[:100]!r}, which is an IRI or no name")
    given = {"@id": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise UnsafeContext(f"the term {name[:100]!r} is defined as nothing: its values would not be signed")
    if strange := sorted(set(given) - _MEMBERS):
        raise UnsafeContext(f"{_word(strange[0])} is not accepted in the definition of {name[:100]!r}")
    iri = _iri_of(name, given, resolve, vocabulary)
    definition: dict[str, Any] = {"@id": iri}
    if "@type" in given:
        definition["@type"] = _coercion(name, given["@type"], resolve)
    if "@container" in given:
        containers = given["@container"] if isinstance(given["@container"], list) else [given["@container"]]
        if not all(isinstance(one, str) and one in _CONTAINERS for one in containers):
            raise UnsafeContext(f"the @container of {name[:100]!r} must be @set, @list or @language")
        definition["@container"] = given["@container"]
    if "@language" in given:
        if not isinstance(given["@language"], str | None):
            raise UnsafeContext(f"the @language of {name[:100]!r} is no text")
        _check_length(given["@language"] or "")
        definition["@language"] = given["@language"]
    return definition, iri


def _iri_of(name: str, given: Mapping[str, Any], resolve: _Resolver, vocabulary: str) -> str:
    if "@id" in given:
        iri = resolve(given["@id"])
        if iri is None:
            raise UnsafeContext(
                f"the term {name[:100]!r} must be defined as a whole IRI, such as https://example.org/terms#"
                f"{name[:100]}, and not as {given['@id']!r}"[:280]
            )
    elif vocabulary:
        iri = _check_length(vocabulary + name)
    else:
        raise UnsafeContext(f"the term {name[:100]!r} is defined without an IRI (@id), and there is no @vocab")
    if not iri.endswith(_END) and _name_in(iri) != name:
        raise UnsafeContext(
            f"the term {name[:60]!r} is defined as {iri[:120]!r}, which does not end in #, / or : and {name[:60]!r}: "
            "IRIs are signed and names are not, so it could be given any other name"
        )
    return iri


def _coercion(name: str, value: Any, resolve: _Resolver) -> str:
    if isinstance(value, str) and value in _COERCIONS:
        return value
    iri = resolve(value)
    if iri is None:
        raise UnsafeContext(f"the @type of the term {name[:100]!r} must be a whole IRI, or @id, @vocab or @json")
    return iri


class _Resolver:
    """Returns the IRI that a text stands for inside a context; None if there is none. Raises `UnsafeContext` if it is
    too long.

    Args:
        own: definitions of the same object. prefixes: those of the objects before it.
    """

    def __init__(self, own: Mapping[str, Any], prefixes: Mapping[str, str]) -> None:
        self._own = own
        self._prefixes = prefixes

    def __call__(self, value: Any, depth: int = 4) -> str | None:
        if not isinstance(value, str) or not _ABSOLUTE.fullmatch(_check_length(value)) or not depth:
            return None
        prefix, _, rest = value.partition(":")
        if rest.startswith("//"):
            return value
        base: str | None
        if prefix in self._own:
            defined = self._own[prefix]
            if not _is_prefix(defined):
                return None
            base = self(defined["@id"] if isinstance(defined, dict) else defined, depth - 1)
            return _check_length(base + rest) if base is not None and base.endswith(_END) else None
        base = self._prefixes.get(prefix)
        return value if base is None else _check_length(base + rest)


def _is_prefix(value: Any) -> bool:
    """Whether a definition may shorten IRIs (JSON-LD 1.1, section 9.15.1: a text, or one that says so)."""
    return isinstance(value, str) or (
        isinstance(value, dict) and set(value) == {"@id", "@prefix"} and value["@prefix"] is True
    )


def _vocabulary(value: Any) -> str:
    if not isinstance(value, str) or not _ABSOLUTE.fullmatch(_check_length(value)):
        raise UnsafeContext("@vocab must be a whole IRI such as https://example.org/terms#")
    if not value.endswith(_END):
        raise UnsafeContext(
            f"@vocab is {value[:120]!r}, which does not end in #, / or :, so letters could move from it to the names, "
            "or back, under the same signature"
        )
    return value


def _check_length(text: str) -> str:
    """Returns the text. Raises `UnsafeContext` if it is too long for an IRI or a language."""
    if len(text) > MAX_IRI:
        raise UnsafeContext(f"an IRI or a language in a context has more than {MAX_IRI} characters")
    return text


def _name_in(iri: str) -> str:
    """Returns the text after the last separator."""
    return re.split("[#/:]", iri)[-1]


def _word(word: str) -> str:
    return "the keyword " + word[:40] if word.startswith("@") else repr(word[:40])


def _check_published(context: Any, prefixes: Mapping[str, str], vocabulary: str, depth: int) -> None:
    if not depth:
        raise UnsafeContext("contexts of terms are nested too deeply")
    known = dict(prefixes)
    for entry in context if isinstance(context, list) else [context]:
        if not isinstance(entry, dict):
            raise UnsafeContext("a context that is given names no other: write what that one says into it")
        if not isinstance(entry.get("@protected", False), bool):
            raise UnsafeContext("@protected must be true or false")
        plain: dict[str, Any] = {}
        scoped: list[Any] = []
        for name, value in entry.items():
            if name == "@protected" or (name in _ALIASES and _is_alias(name, value)):
                continue
            if isinstance(value, dict) and not name.startswith("@"):
                if "@context" in value:
                    scoped.append(value["@context"])
                if not isinstance(value.get("@protected", False), bool):
                    raise UnsafeContext("@protected must be true or false")
                value = {member: item for member, item in value.items() if member not in ("@context", "@protected")}
            plain[name] = value
        named = Named(prefixes=known)
        vocabulary = _read_inline(plain, named, vocabulary)
        for one in scoped:
            _check_published(one, known, vocabulary, depth - 1)


def _is_alias(name: str, value: Any) -> bool:
    if isinstance(value, dict) and set(value) <= {"@id", "@protected"}:
        value = value.get("@id")
    return bool(value == _ALIASES[name])


def spelled(document: Any, by_name: frozenset[str], *, types: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields each name in a document, and its use: `key`, `type` (a type, or another value that is a name) or `value`
    (any other text). Leaves out `@context`.

    Args:
        by_name: keys whose values are names. types: keys whose values are types.
    """
    if isinstance(document, list):
        for item in document:
            yield from spelled(item, by_name, types=types)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key == "@context":
                continue
            yield key, "key"
            use = "type" if key in by_name or key in types else "value"
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str):
                    yield item, use
            yield from spelled(value, by_name, types=types)
