"""Proof suites of JSON-LD documents: the bytes that a proof signs, and the check of a signature. Runs in worker
processes, without any private key.

Four suites, all with Ed25519: Ed25519Signature2018 (W3C CCG, Linked Data Cryptographic Suite Registry; a detached JWS
of RFC 7797), Ed25519Signature2020 (W3C CCG), and eddsa-rdfc-2022 and eddsa-jcs-2022 (W3C Recommendation Data Integrity
EdDSA Cryptosuites v1.0). The first three sign the same 64 bytes, the hashes of two canonical RDF datasets: that of the
proof's options and that of the document (vc-di-eddsa 3.2.4; Ed25519Signature2020 section 3). They differ in how options
are spelled and where the signature is put. pyld makes the datasets and their canonical form; openvc does all of
eddsa-jcs-2022, and most of the context validation (VC Data Integrity 1.0, 2.4.1 and 4.6) of the others. See
docs/decisions/0007-linked-data-proofs.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from openvc.multibase import decode_multibase, encode_multibase

# Private, but with nothing public in front of them, and not to be written twice: the check that what the JSON says is
# what was signed, and a loader that says which contexts never change. A release that moves them fails every test.
from openvc.proof._context_validation import (
    _EMBEDDED_CREDENTIALS,
    _POLICY_TERMS,
    VC_BASE_CONTEXTS,
    _check_compacted,
    _gather_contexts,
    _is_presentation,
    _stub_json_literals,
    _term_index,
    _TermIndex,
)
from openvc.proof._context_validation import (
    _canonical as _key_of,
)
from openvc.proof.contexts import _OfflineLoader, pyld_options
from openvc.proof.contexts import bundled_contexts as openvc_contexts
from openvc.proof.di_jcs import EddsaJcsProofSuite
from pyld import jsonld
from pyld.canon import URDNA2015

from tntcore.credentials.names import Named, is_name, read_contexts, spelled
from tntcore.credentials.signed_values import XSD, check_doubles, check_expanded, is_unusual
from tntcore.envelope import base64url
from tntcore.strict_json import write_json
from tntcore.workers import TooLongError

Suite = Literal["Ed25519Signature2018", "Ed25519Signature2020", "eddsa-rdfc-2022", "eddsa-jcs-2022"]
SUITES: Final[tuple[Suite, ...]] = (
    "Ed25519Signature2018",
    "Ed25519Signature2020",
    "eddsa-rdfc-2022",
    "eddsa-jcs-2022",
)
BASE_CONTEXTS: Final[frozenset[str]] = VC_BASE_CONTEXTS
"""The contexts of the data models 1.1 and 2.0. A document's first context must be one of them."""
Contexts = Mapping[str, Any]
"""Context documents, `{"@context": ...}`, by URL."""

MAX_WORK: Final = 20_000
"""Statements and names that may be looked at to tell blank nodes apart. Real credentials need none or a few dozen."""
MAX_STATEMENTS: Final = 8 * 1024 * 1024
"""Characters of all statements. Each repeats the IRIs of its node and of its claim, so a long one may occur thousands
of times. 12,000 claims with IRIs of usual length have less than 2 MiB."""

_CONTEXTS = Path(__file__).parent / "contexts"
_CREDENTIALS_V1 = "https://www.w3.org/2018/credentials/v1"
_ED25519_2018 = "https://w3id.org/security/suites/ed25519-2018/v1"
_ED25519_2020 = "https://w3id.org/security/suites/ed25519-2020/v1"
_DATA_INTEGRITY = "https://w3id.org/security/data-integrity/v2"
_DATA_INTEGRITY_V1 = "https://w3id.org/security/data-integrity/v1"
_SECURITY_V2 = "https://w3id.org/security/v2"
_NATIVE = frozenset(XSD + name for name in ("boolean", "integer", "double"))
"""IRIs of the types for which JSON has values of its own."""
_KEYWORDS = frozenset({"@value", "@type", "@language", "@list", "@set", "@id"})
"""The keywords that a document may use. Compaction writes `id` and `type` for two of them where these are known."""
_JWS_HEADER = {"alg": "EdDSA", "b64": False, "crit": ["b64"]}
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
_MAX_DETAIL = 300


class NotSignable(ValueError):
    """These suites cannot sign the document, or the signature would not cover all of it."""


@lru_cache(maxsize=1)
def bundled_contexts() -> Contexts:
    """Returns the contexts bundled with this service; credentials/v2 comes with openvc."""
    files: dict[str, str] = orjson.loads((_CONTEXTS / "index.json").read_bytes())
    return {url: orjson.loads((_CONTEXTS / name).read_bytes()) for url, name in files.items()}


def is_bundled(url: str) -> bool:
    return url in BASE_CONTEXTS or url in bundled_contexts()


def suite_of(proof: Mapping[str, Any]) -> Suite | None:
    """Returns the suite that a proof names, if it is supported."""
    name = proof.get("cryptosuite") if proof.get("type") == "DataIntegrityProof" else proof.get("type")
    if (name in ("eddsa-rdfc-2022", "eddsa-jcs-2022")) != (proof.get("type") == "DataIntegrityProof"):
        return None
    return next((suite for suite in SUITES if suite == name), None)


def with_context(document: Mapping[str, Any], suite: Suite) -> dict[str, Any]:
    """Returns the document, with a context that defines the suite's proofs."""
    context = document.get("@context")
    entries = context if isinstance(context, list) else [context]
    enough: tuple[str, ...]
    if suite == "Ed25519Signature2018":
        enough = (_ED25519_2018, _CREDENTIALS_V1, _SECURITY_V2)
    elif suite == "Ed25519Signature2020":
        enough = (_ED25519_2020,)
    else:
        enough = (_DATA_INTEGRITY, _DATA_INTEGRITY_V1, "https://www.w3.org/ns/credentials/v2")
    if any(entry in enough for entry in entries if isinstance(entry, str)):
        return dict(document)
    return {**document, "@context": [*entries, enough[0]]}


def to_sign(document: dict[str, Any], proof: dict[str, Any], contexts: Contexts) -> bytes:
    """Returns the bytes that the key of a new proof signs.

    Args:
        document: without proofs.
        proof: its options, all but the signature; `created` in the form that `proof_options` writes.
        contexts: those that are not bundled.

    Raises:
        NotSignable: says what is wrong with the document.
    """
    suite = suite_of(proof)
    try:
        if suite == "eddsa-jcs-2022":
            return _jcs_to_sign(document, proof)
        hashes = _hashes(document, proof, contexts)
    except (TooLongError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  pyld raises nearly anything when a document is strange enough
        raise NotSignable(_why(error)) from None
    return _jws_input(_encode(_jws_header()), hashes) if suite == "Ed25519Signature2018" else hashes


def with_signature(proof: Mapping[str, Any], signature: bytes) -> dict[str, Any]:
    """Returns the proof for which `to_sign` made the bytes, with its signature."""
    if suite_of(proof) == "Ed25519Signature2018":
        return {**proof, "jws": f"{_encode(_jws_header())}..{_encode(signature)}"}
    return {**proof, "proofValue": encode_multibase(signature)}


def why_not(document: dict[str, Any], proof: dict[str, Any], key: bytes, contexts: Contexts) -> str:
    """Returns why the proof's signature is not one of `document` by `key`, an Ed25519 key; "" if it is.

    The proof's time, purpose and verification method are not checked.
    """
    try:
        suite = suite_of(proof)
        if suite is None:
            return "the proof is of no suite that is known here"
        if suite == "eddsa-jcs-2022":
            return _jcs_why_not(document, proof, key)
        return _rdf_why_not(suite, document, proof, key, contexts)
    except (TooLongError, MemoryError):
        raise
    except BadSignatureError:
        return "the signature is not one of this document by this key"
    except Exception as error:  # noqa: BLE001  pyld raises nearly anything when a document is strange enough
        return _why(error)


def signature_of(proof: Mapping[str, Any]) -> bytes:
    """Returns the signature in a proof of a supported suite: the same for every copy, however it is encoded. Raises
    `ValueError`, or another error if the proof has none.
    """
    if proof.get("type") == "Ed25519Signature2018":
        return _decode(proof["jws"].partition("..")[2])
    return decode_multibase(proof["proofValue"])


def expanded_types(document: dict[str, Any], contexts: Contexts) -> frozenset[str]:
    """Returns the URIs of a document's `type`; an empty set if pyld cannot read it."""
    try:
        options: Any = pyld_options(loader(contexts))
        expanded = jsonld.expand(_plain(document)[0], options)
        return frozenset(str(uri) for node in expanded for uri in node.get("@type", ()))
    except Exception:  # noqa: BLE001  pyld raises nearly anything when a document is strange enough
        return frozenset()


def _rdf_why_not(suite: Suite, document: dict[str, Any], proof: dict[str, Any], key: bytes, contexts: Contexts) -> str:
    member = "jws" if suite == "Ed25519Signature2018" else "proofValue"
    signed = proof.get(member)
    if not isinstance(signed, str):
        return f"the proof has no {member}"
    options = {name: value for name, value in proof.items() if name != member}
    if suite != "Ed25519Signature2018":
        signature = signature_of(proof)
        VerifyKey(key).verify(_hashes(document, options, contexts), signature)
        return ""
    header, separator, end = signed.partition("..")
    # No other header is accepted: with `b64` true, or with a payload, the JWS would sign something else.
    if not separator or orjson.loads(_decode(header)) != _JWS_HEADER:
        return "the proof's jws is not a detached EdDSA one with an unencoded payload"
    VerifyKey(key).verify(_jws_input(header, _hashes(document, options, contexts)), _decode(end))
    return ""


def _hashes(document: dict[str, Any], options: dict[str, Any], contexts: Contexts) -> bytes:
    """Returns the SHA-256 of the options' dataset, followed by that of the document's.

    Raises:
        openvc.proof.errors.ProofError: the JSON and the signed statements differ.
    """
    document, named = _plain(document)
    config = {**options, "@context": document["@context"]}
    out = b"".join(hashlib.sha256(_canonical(part, contexts)).digest() for part in (config, document))
    _check_names(document, config, named, contexts)
    return out


def _plain(document: dict[str, Any]) -> tuple[dict[str, Any], Named]:
    """Returns the document with contexts that have no prefixes. The statements are the same, unless it uses one
    itself.
    """
    named = read_contexts(document.get("@context"))
    if not named.context or named.context[0] not in BASE_CONTEXTS:
        raise NotSignable(f"the first entry of @context must be one of {', '.join(sorted(BASE_CONTEXTS))}")
    return {**document, "@context": named.context}, named


def _check_names(document: dict[str, Any], config: dict[str, Any], named: Named, contexts: Contexts) -> None:
    """Checks name by name that the JSON says what is signed (VC Data Integrity 1.0, sections 2.4.1 and 4.6).

    Raises:
        NotSignable, openvc.proof.errors.ProofError: it does not.
    """
    serve = loader(contexts)
    if _is_presentation(document):
        # Each of them has contexts of its own, and is checked alone.
        document = {name: value for name, value in document.items() if name != _EMBEDDED_CREDENTIALS}
    if any(name == "@direction" for name, _ in spelled(document, frozenset(), types=())):
        raise NotSignable("@direction is not signed by this suite: leave it out, or use eddsa-jcs-2022")
    index = _term_index(document["@context"], serve)
    _check_terms(named, index, _listed_terms(document["@context"], serve))
    # `validate_document` would refuse every term that is defined inside the document.
    indexes = {_key_of(document["@context"]): index}
    _check_compacted(document, serve, what="document", indexes=indexes)
    _check_compacted(config, serve, what="proof", indexes=indexes)
    _check_spelling(document, named, index, serve)


def _listed_terms(context: list[Any], serve: Any) -> frozenset[str]:
    objects: list[dict[str, Any]] = []
    _gather_contexts([entry for entry in context if isinstance(entry, str)], serve, objects, set(), 0)
    return frozenset(term for definitions in objects for term in definitions if not term.startswith("@"))


def _check_terms(named: Named, index: _TermIndex, listed: frozenset[str]) -> None:
    """Checks that a document's own contexts do not redefine terms that are known here."""
    for term in named.terms:
        if term in listed or term in _POLICY_TERMS.values():
            raise NotSignable(f"a context inside the document defines {term[:100]!r}, which has its meaning already")
    for term, iris in named.terms.items():
        for iri in iris:
            known = index.base.get(iri) or index.spellings.get(iri)
            if known and term not in known:
                raise NotSignable(f"{term[:100]!r} is no name for {iri[:120]!r}, which is called {min(known)[:60]!r}")
    for iri in named.iris:
        scheme, _, rest = iri.partition(":")
        if not rest.startswith("//") and (scheme in listed or scheme in named.terms or scheme in named.prefixes):
            raise NotSignable(f"{iri[:120]!r} in a context inside the document is no whole IRI")


def _check_spelling(document: dict[str, Any], named: Named, index: _TermIndex, serve: Any) -> None:
    """Checks that each name in the document is one, and each value is written as it is signed: a holder could write an
    IRI where the issuer wrote a name, or the text "false" for a signed false.
    """
    by_name, types = frozenset(named.by_name), tuple(index.type_keys)

    def is_odd(text: str, use: str) -> bool:
        if use == "value":
            return text.partition(":")[0] in named.prefixes
        return not (is_name(text) or text in _KEYWORDS) or text in named.prefixes

    uses = set(spelled(document, by_name, types=types))
    is_plain = not named.types & _NATIVE and not is_unusual(document, typed=bool(named.types))
    if is_plain and not any(is_odd(text, use) for text, use in uses):
        return
    options: Any = pyld_options(serve)
    expanded = jsonld.expand(document, options)
    check_expanded(expanded)
    iris: set[str] = set()
    _check_literals(expanded, iris)
    # Names inside a JSON literal are data.
    options = pyld_options(serve)
    compacted = jsonld.compact(_stub_json_literals(expanded), document["@context"], options)
    for text, use in spelled(compacted, by_name, types=types):
        if not is_odd(text, use):
            continue
        if use == "key" or text in named.prefixes:
            raise NotSignable(f"{text[:120]!r} is no name: a claim needs one that a context defines as a term")
        if (text not in iris) == (use == "type"):
            raise NotSignable(f"{text[:120]!r} is an IRI that is shortened: it must be written as a whole")


def _check_literals(value: Any, iris: set[str]) -> None:
    """Adds the IRIs in an expanded document. Raises `NotSignable` if a text is signed as a number or a truth value."""
    if isinstance(value, list):
        for item in value:
            _check_literals(item, iris)
    elif isinstance(value, dict):
        kinds = value.get("@type", ())
        iris.update([kinds] if isinstance(kinds, str) else kinds)
        if "@value" in value:
            if kinds in _NATIVE and isinstance(value["@value"], str):
                raise NotSignable(f"the text {value['@value'][:60]!r} is signed as a number, or as true or false")
            return
        iris.update([value["@id"]] if isinstance(value.get("@id"), str) else ())
        for name, item in value.items():
            if name not in ("@id", "@type"):
                _check_literals(item, iris)


def loader(contexts: Contexts) -> Any:
    """Returns a document loader for pyld. Keeps pyld's processed form of bundled contexts: that is two thirds of the
    work.
    """
    served = {**openvc_contexts(), **bundled_contexts(), **contexts}
    return _OfflineLoader(served, frozenset(served) - frozenset(contexts))


def _canonical(document: dict[str, Any], contexts: Contexts) -> bytes:
    options: Any = pyld_options(loader(contexts), produceGeneralizedRdf=False)
    canonicalization: Any = _Canonicalization()
    dataset: Any = jsonld.to_rdf(document, options)
    if _length(dataset) > MAX_STATEMENTS:
        raise NotSignable("its ids, or the IRIs of its claims, are too long for the number of claims")
    text: str = canonicalization.main(dataset, {"format": "application/n-quads"})
    return text.encode()


def _length(dataset: Mapping[str, list[Mapping[str, Mapping[str, Any]]]]) -> int:
    """Returns the characters of a dataset's IRIs and values, in all of its statements."""
    return sum(
        len(graph) + sum(len(str(text)) for term in statement.values() for text in term.values())
        for graph, statements in dataset.items()
        for statement in statements
    )


class _Canonicalization(URDNA2015):
    """pyld's RDFC-1.0 with a limit: it gives up on a dataset built to take for ever (RDFC-1.0, section 7.1)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = MAX_WORK

    def hash_n_degree_quads(self, id_: str, issuer: Any) -> Any:
        # The issuer is copied for every order that is tried.
        self._left -= len(self.blank_node_info[id_]["quads"]) + len(issuer.order)
        if self._left < 0:
            raise NotSignable("too many of its nodes without an id cannot be told apart")
        return super().hash_n_degree_quads(id_, issuer)  # type: ignore[no-untyped-call]


class _Recorder:
    """A signing key for openvc that only records the bytes to sign."""

    alg = "EdDSA"
    kid = ""

    def __init__(self) -> None:
        self.data = b""

    def sign(self, data: bytes) -> bytes:
        self.data = data
        return bytes(64)


def _jcs_to_sign(document: dict[str, Any], proof: dict[str, Any]) -> bytes:
    check_doubles(document)
    recorder = _Recorder()
    made = EddsaJcsProofSuite().add_proof(
        document,
        signing_key=recorder,
        verification_method=proof["verificationMethod"],
        proof_purpose=proof["proofPurpose"],
        challenge=proof.get("challenge"),
        domain=proof.get("domain"),
        created=datetime.fromisoformat(proof["created"]),
    )
    if made["proof"] != with_signature(proof, bytes(64)):
        raise NotSignable("the proof has options that cannot be signed with eddsa-jcs-2022")
    return recorder.data


def _jcs_why_not(document: dict[str, Any], proof: dict[str, Any], key: bytes) -> str:
    check_doubles(document)
    named = _listed(proof.get("@context", []))
    if _listed(document.get("@context"))[: len(named)] != named:
        return "the proof's @context is not the document's"
    # When and what for is for the caller to check, for all suites alike.
    EddsaJcsProofSuite().verify(
        {**document, "proof": proof},
        public_key_jwk={"kty": "OKP", "crv": "Ed25519", "x": _encode(key)},
        expected_proof_purpose=None,
        now=_END_OF_TIME,
        check_temporal=False,
    )
    return ""


def _listed(contexts: Any) -> list[Any]:
    return contexts if isinstance(contexts, list) else [contexts]


def _jws_header() -> bytes:
    return write_json(_JWS_HEADER)


def _jws_input(header: str, payload: bytes) -> bytes:
    """Returns the signed bytes (RFC 7797, section 3): the payload is not encoded."""
    return header.encode("ascii") + b"." + payload


def _encode(data: bytes) -> str:
    return base64url.encode(data).decode()


def _decode(text: str) -> bytes:
    return base64url.decode_strict(text)


def _why(error: BaseException) -> str:
    """Returns the most useful cause: pyld wraps the errors of a loader or of its own steps."""
    texts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(texts) < 4:
        first = seen.args[0] if seen.args else ""
        texts.append((first if isinstance(first, str) else str(seen)) or type(seen).__name__)
        seen = seen.__cause__
    why = "; ".join(dict.fromkeys(texts))[:_MAX_DETAIL]
    if found := _NO_TERM.search(why):
        return f"{found[1]} is not a term that @context defines, or not written as one. Define it there, or remove it"
    return why


_NO_TERM: Final = re.compile(r"is not in compacted form under its @context \(at ([^)]*)\)")
"""Begins the library's text for a member that it cannot read as a term."""
