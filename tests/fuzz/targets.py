"""What strangers' bytes are read by. Each target takes any bytes, and raises nothing: a refusal is an answer."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from tests.unit.envelope.samples import (
    BOBS_SECRETS,
    DOCUMENTS,
    SEEDS,
    VECTORS,
    VERKEYS,
    load,
    v1_vectors,
    v2_vectors,
)
from tntcore.dids import peer
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.dids.parse import read_document
from tntcore.envelope import EnvelopeError, NeedsDocument, pack_v1, peek, unpack
from tntcore.errors import DidError, Problem
from tntcore.messaging.compose import prefill_v1, to_v2
from tntcore.messaging.invitations import read_invitation, read_invitation_url
from tntcore.messaging.message import Message, attachments
from tntcore.messaging.problems import ack_status, read_problem_report
from tntcore.protocols.registry import PROTOCOLS, decide
from tntcore.protocols.transition import DecisionContext

SECRETS = {**BOBS_SECRETS, **{VERKEYS[name]: SEEDS[name] for name in VERKEYS}}
_CONTEXT = DecisionContext(lambda: "00000000-0000-4000-8000-000000000000", PROTOCOLS)


def envelope(raw: bytes) -> None:
    """`peek` and `unpack`."""
    with suppress(EnvelopeError):
        peek(raw)
    with suppress(EnvelopeError, NeedsDocument):
        unpack(raw, SECRETS, DOCUMENTS)


def header(raw: bytes) -> None:
    """The bytes as the protected header of an envelope: in base64 they would hardly be hit upon."""
    protected = urlsafe_b64encode(raw).decode()
    for body in (
        {"ciphertext": "AAAA", "iv": "AAAA", "tag": "AAAA"},
        {"ciphertext": "AAAA", "recipients": _RECIPIENTS},
    ):
        envelope(orjson.dumps({"protected": protected, **body}))
    envelope(orjson.dumps({"payload": "e30", "signatures": [{"protected": protected, "signature": "AAAA"}]}))


def sealed(raw: bytes) -> None:
    """The bytes as the plaintext of a good envelope."""
    packed = pack_v1(raw, recipients=[VERKEYS["bob"]], sender=SEEDS["alice"])
    unpacked = unpack(packed, SECRETS, DOCUMENTS)
    if unpacked.plaintext != raw:
        raise AssertionError("it is not what was packed")


def message(raw: bytes) -> None:
    """What is read of an unpacked message, in whichever version."""
    for version in (None, "v1", "v2"):
        read = Message.read(raw, version)
        for attachment in attachments(read):
            repr(attachment)
        read_problem_report(read)
        ack_status(read)
        decide(read, _CONTEXT)
        with suppress(Problem):
            to_send = prefill_v1(read.fields, thid="1", new_id="2")
            to_v2(to_send, from_did="did:example:a", to_did="did:example:b", created_time=1)


def invitation(raw: bytes) -> None:
    with suppress(ValueError, Problem):
        value = orjson.loads(raw)
        if isinstance(value, dict):
            read_invitation(value)
    with suppress(ValueError, Problem):
        read_invitation_url("https://example.com/?oob=" + urlsafe_b64encode(raw).decode())
    with suppress(ValueError, Problem):
        read_invitation_url(raw.decode())


def document(raw: bytes) -> None:
    with suppress(DidError):
        read = read_document(raw)
        for version in ("v1", "v2"):
            with suppress(DidError):
                didcomm_endpoint(read, version)
    with suppress(DidError, UnicodeDecodeError):
        peer.resolve(raw.decode())


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (envelope, header, sealed, message, invitation, document)
}

_ENVELOPES = [vector["packed"].encode() for _, vector in (*v1_vectors(), *v2_vectors())]
_RECIPIENTS = next(
    body["recipients"] for raw in _ENVELOPES if raw[:1] == b"{" and "recipients" in (body := orjson.loads(raw))
)


def _protected() -> list[bytes]:
    found = []
    for raw in _ENVELOPES:
        body: Any = orjson.loads(raw) if raw[:1] == b"{" else {}
        if "ciphertext" in body:
            found.append(_decoded(body["protected"]))
        found += [_decoded(one["protected"]) for one in body.get("signatures", ()) if "protected" in one]
    return sorted(set(found))


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _plaintexts() -> list[bytes]:
    return sorted({_opened(raw) for raw in _ENVELOPES})


def _opened(raw: bytes) -> bytes:
    with suppress(EnvelopeError, NeedsDocument):
        return unpack(raw, SECRETS, DOCUMENTS).plaintext
    return b"{}"


def _all_objects(folder: str) -> list[bytes]:
    """Every JSON object in the vectors of a folder, at whatever depth, that looks like one of its kind."""
    found: list[bytes] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "@type" in value or "verificationMethod" in value or "publicKey" in value:
                found.append(orjson.dumps(value))
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    for path in sorted((VECTORS / folder).glob("*.json")):
        look(load(f"{folder}/{path.name}"))
    return found


def seeds() -> dict[str, list[bytes]]:
    """For each target what it reads without complaint, by other people's software."""
    plain, invitations, documents = _plaintexts(), _all_objects("invitations"), _all_objects("documents")
    return {
        "envelope": _ENVELOPES,
        "header": _protected(),
        "sealed": plain,
        "message": plain + invitations,
        "invitation": invitations,
        "document": documents,
    }
