"""did:webvh: histories that the library itself writes, one that another program wrote, and hostile ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from did_webvh.askar import AskarSigningKey
from did_webvh.core.proof import di_jcs_sign
from did_webvh.core.state import DocumentState

from tntcore.dids import webvh
from tntcore.dids.document import MAX_DOCUMENT_BYTES
from tntcore.dids.resolver import Resolver
from tntcore.dids.webvh import MAX_ENTRIES, WebVh
from tntcore.errors import DidError

VECTORS = Path(__file__).parents[2] / "vectors" / "documents"
PLACE = "https://partner.example/a"
Json = dict[str, Any]


def document(did: str, **more: Any) -> Json:
    return {"@context": ["https://www.w3.org/ns/did/v1"], "id": did, **more}


class History:
    """The history of a DID, which grows."""

    def __init__(self, **parameters: Any) -> None:
        self.key = AskarSigningKey.generate("ed25519")
        first = document("did:webvh:{SCID}:partner.example:a")
        given = {"updateKeys": [self.key.multikey], "method": "did:webvh:1.0", **parameters}
        self.state = DocumentState.initial(given, first, timestamp="2024-01-01T00:00:00Z")
        self.entries: list[Json] = []
        self._append(self.key)

    @property
    def did(self) -> str:
        return str(self.entries[0]["state"]["id"])

    @property
    def log(self) -> bytes:
        return b"".join(json.dumps(entry).encode() + b"\n" for entry in self.entries)

    def change(self, document: Json | None = None, by: AskarSigningKey | None = None, **parameters: Any) -> None:
        later = f"2024-01-{len(self.entries) // 60 + 2:02d}T00:{len(self.entries) % 60:02d}:00Z"
        self.state = self.state.create_next(document, parameters, timestamp=later)
        self._append(by or self.key)

    def _append(self, key: AskarSigningKey) -> None:
        self.state.proofs.append(self.state.create_proof(key))
        self.entries.append(json.loads(json.dumps(self.state.history_line())))


def resolver(files: dict[str, bytes]) -> Resolver:
    async def fetch(url: str) -> bytes:
        return files[url]

    return Resolver([WebVh(fetch, asyncio.to_thread)], time.monotonic)


async def resolve(history: History, did: str = "", **files: bytes) -> Json:
    named = {f"{PLACE}/{name.replace('__', '-')}.json": value for name, value in files.items()}
    found = await resolver({f"{PLACE}/did.jsonl": history.log, **named}).resolve(did or history.did)
    return dict(found.raw)


async def fails(history: History, did: str = "", **files: bytes) -> DidError:
    with pytest.raises(DidError) as caught:
        await resolve(history, did, **files)
    return caught.value


async def test_the_latest_document_counts() -> None:
    history = History()
    assert (await resolve(history))["id"] == history.did
    service = {"id": "#x", "type": "DIDCommMessaging", "serviceEndpoint": {"uri": "https://partner.example"}}
    history.change(document(history.did, service=[service]))
    history.change()
    assert (await resolve(history))["service"] == [service]


@pytest.mark.parametrize("end", ["\u2028", "\u0085"])
async def test_only_a_line_feed_ends_an_entry(end: str) -> None:
    """JSON may contain the other characters that Unicode takes for the end of a line."""
    history = History()
    history.change(document(history.did, alsoKnownAs=[f"https://partner.example/a{end}b"]))
    files = {
        f"{PLACE}/did.jsonl": b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in history.entries)
    }
    found = await resolver(files).resolve(history.did)
    assert found.raw["alsoKnownAs"] == [f"https://partner.example/a{end}b"]


async def test_a_history_by_another_program() -> None:
    """didwebvh-ts 2.8.0 wrote it: two versions, the second by a key that the first announced by its hash."""
    vector = json.loads((VECTORS / "didwebvh-ts.json").read_text())
    found = await resolver({vector["url"]: vector["log"].encode()}).resolve(vector["did"])
    assert found.id == vector["did"]
    assert found.services[0].endpoint == vector["endpoint"]
    assert found.key_agreement


async def test_the_place_of_a_history() -> None:
    asked: list[str] = []

    async def fetch(url: str) -> bytes:
        asked.append(url)
        raise OSError

    for place in ("partner.example", "partner.example%3A8443", "partner.example:a:b"):
        with pytest.raises(DidError) as caught:
            await WebVh(fetch, asyncio.to_thread).resolve(f"did:webvh:QmScid:{place}")
        assert caught.value.code == "unresolvable"
    assert asked == [
        "https://partner.example/.well-known/did.jsonl",
        "https://partner.example:8443/.well-known/did.jsonl",
        "https://partner.example/a/b/did.jsonl",
    ]
    for place in ("127.0.0.1", "", "partner.example:..:x", "partner.example:a/b"):
        with pytest.raises(DidError) as caught:
            await WebVh(fetch, asyncio.to_thread).resolve(f"did:webvh:QmScid:{place}")
        assert caught.value.code == "malformed-did"
    assert len(asked) == 3


def _other_document(history: History) -> None:
    history.entries[-1]["state"]["service"] = [{"id": "#x", "type": "x", "serviceEndpoint": "https://evil.example"}]


def _by_another_key(history: History) -> None:
    other = AskarSigningKey.generate("ed25519")
    history.change(by=other)


def _takes_over_with_a_key_of_its_own(history: History) -> None:
    other = AskarSigningKey.generate("ed25519")
    history.change(by=other, updateKeys=[other.multikey])


def _from_the_future(history: History) -> None:
    history.state = history.state.create_next(None, {}, timestamp="2999-01-01T00:00:00Z")
    history._append(history.key)


def _no_proof(history: History) -> None:
    history.entries[-1]["proof"] = []


def _first_entry_is_missing(history: History) -> None:
    history.change()
    del history.entries[0]


def _not_a_history(history: History) -> None:
    history.entries[:] = [{"parameters": {"updateKeys": 7, "scid": [[]]}, "proof": [{}], "state": {"id": {}}}]


@pytest.mark.parametrize(
    "harm",
    [
        _other_document,
        _by_another_key,
        _takes_over_with_a_key_of_its_own,
        _from_the_future,
        _no_proof,
        _first_entry_is_missing,
        _not_a_history,
        lambda history: history.entries.clear(),
    ],
)
async def test_a_history_that_was_changed_is_refused(harm: Callable[[History], None]) -> None:
    history = History()
    did = history.did
    harm(history)
    assert (await fails(history, did)).code == "malformed-document"


async def test_a_history_becomes_no_other_did() -> None:
    """Not another's, and not one at another place, unless its first entry says that it may move."""
    history, victim = History(), History().did
    history.change(document(victim))
    assert (await fails(history, victim)).code == "malformed-document"
    for portable in (False, True):
        history = History(portable=portable)
        before, moved = history.did, f"{history.did.removesuffix(':a')}:b"
        history.change(document(moved))
        files = {f"https://partner.example/{place}/did.jsonl": history.log for place in "ab"}
        if portable:
            assert (await resolver(files).resolve(moved)).id == moved
        else:
            with pytest.raises(DidError, match="malformed-document"):
                await resolver(files).resolve(moved)
        with pytest.raises(DidError, match="malformed-document"):
            await resolver(files).resolve(before)


async def test_keys_that_were_announced_by_their_hash_are_the_only_ones_that_follow() -> None:
    second, thief = AskarSigningKey.generate("ed25519"), AskarSigningKey.generate("ed25519")
    history = History()
    history.change(nextKeyHashes=[history.state.generate_next_key_hash(second.multikey)])
    length = len(history.entries)
    state = history.state
    history.change(by=second, updateKeys=[second.multikey], nextKeyHashes=[])
    assert (await resolve(history))["id"] == history.did
    del history.entries[length:]
    history.state = state
    history.change(by=thief, updateKeys=[thief.multikey], nextKeyHashes=[])
    assert (await fails(history)).code == "malformed-document"


async def test_a_deactivated_did() -> None:
    history = History()
    history.change(deactivated=True, updateKeys=[])
    assert (await fails(history)).code == "deactivated"


async def test_a_history_of_another_did_is_refused() -> None:
    history, other = History(), History()
    assert (await fails(history, other.did)).code == "malformed-document"


async def test_witnesses_have_to_confirm() -> None:
    witness = AskarSigningKey.generate("ed25519")
    name = f"did:key:{witness.multikey}"
    history = History(witness={"threshold": 1, "witnesses": [{"id": name}]})
    version = {"versionId": history.state.version_id}
    confirmed = [{**version, "proof": [di_jcs_sign(version, witness, kid=f"{name}#{witness.multikey}")]}]
    assert (await resolve(history, did__witness=json.dumps(confirmed).encode()))["id"] == history.did
    assert (await fails(history, did__witness=b"[]")).code == "malformed-document"
    assert (await fails(history, did__witness=b"{")).code == "malformed-document"
    assert (await fails(history)).code == "unresolvable"


@pytest.mark.parametrize("witness", [{}, {"threshold": 0, "witnesses": []}])
async def test_no_proofs_are_fetched_where_no_witness_has_to_confirm(witness: Json) -> None:
    history = History(witness=witness)
    assert (await resolve(history))["id"] == history.did


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({}, MAX_ENTRIES + 1),
        ({"proof": [{"type": "DataIntegrityProof"}] * 5000}, 1),
        ({"state": {"x": "x" * MAX_DOCUMENT_BYTES}, "proof": [{}] * 10}, 1),
        ({"parameters": {"updateKeys": ["x"] * 17}}, 1),
        ({"parameters": {"updateKeys": ["x"] * 16}}, 17),
    ],
)
async def test_what_is_costly_is_refused_before_it_is_verified(
    monkeypatch: pytest.MonkeyPatch, changes: Json, times: int
) -> None:
    def verify(*given: str) -> Json:
        raise AssertionError("the library was asked")

    monkeypatch.setattr(webvh, "_verify", verify)
    history = History()
    did, history.entries = history.did, [{**history.entries[0], **changes}] * times
    assert (await fails(history, did)).code == "document-too-large"


@pytest.mark.parametrize("log", [b"\xff", b"[" * 100_000, b"[]", b"7\n", b'{"parameters": {}}', b"{" * 3])
async def test_what_is_no_history_is_refused(log: bytes) -> None:
    with pytest.raises(DidError) as caught:
        await resolver({f"{PLACE}/did.jsonl": log}).resolve("did:webvh:QmScid:partner.example:a")
    assert caught.value.code == "malformed-document"
