"""The attacks. Each is prepared first, and then goes on until it is ended; each is bounded in count.

Some are by a stranger, some by a tenant of the same service. What they have in common: they cost the attacker little.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import orjson

from devtools.agent import BASIC_MESSAGE, Agent, Json, new_id, verkey_of
from devtools.siege.field import Partner, Side, Tenant, insist
from tntcore.credentials.linked_data import LinkedData
from tntcore.dids import key as did_key
from tntcore.dids import peer, sov
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import MAX_MEDIATORS, DidDocument, PublicKey
from tntcore.dids.multiformats import encode_multikey, encode_verkey
from tntcore.dids.parse import parse_document
from tntcore.envelope import PrivateKey, base64url, pack_v1, pack_v2
from tntcore.envelope.signatures import sign_attachment, sign_bytes
from tntcore.tenancy.recipients import KeyPairs
from tntcore.workers import Workers

Run = Callable[[], Awaitable[None]]
Prepare = Callable[[Side, str], Awaitable[Run]]
"""Takes the attacker's side, and a public key of the honest tenant's; what it answers is the attack."""

_V1 = "https://www.w3.org/2018/credentials/v1"
_V2_MEDIA_TYPE = "application/didcomm-encrypted+json"
_PING = "https://didcomm.org/trust-ping/2.0/ping"
_PING_V1 = "https://didcomm.org/trust_ping/1.0/ping"
_LONG_URL = "https://a.example/" + "a" * 800
_PROOF = "https://didcomm.org/present-proof/2.0"
_LARGEST = 9_900_000  # bytes, a little less than the door takes


async def hanging_webhooks(side: Side, _: str) -> Run:
    """A tenant sends itself messages, for 20 webhooks that never answer."""
    tenant = await side.register("Hanging")
    own = await side.partner(tenant, "http://127.0.0.1:9")
    first = await side.serve(_hang, "127.0.1.1")
    port = int(first.rpartition(":")[2])
    others = [await side.serve(_hang, f"127.0.1.{number}", port) for number in range(2, 21)]
    await tenant.webhooks(first, *others)
    packed = [own.agent.pack(_basic(), own.verkey) for _ in range(300)]
    return partial(_deliver, side, packed, burst=30, pause=1.0)


async def heavy_presentations(side: Side, _: str) -> Run:
    """Strangers answer a proof request from a wall with presentations of credentials that are slow to check."""
    return await _presentations(side, tenants=1, each=8, credentials=8, claims=1_000)


async def heavy_presentations_at_three(side: Side, _: str) -> Run:
    """As before, at three tenants, and three times as many."""
    return await _presentations(side, tenants=3, each=8, credentials=6, claims=1_500)


async def large_offers(side: Side, _: str) -> Run:
    """A tenant's 12 callers offer large credentials, each its next as soon as the one before was answered."""
    tenant, other = await side.register("Offering"), await side.register("Offered")
    contact = await side.introduce(tenant, other)
    credential = _large({"@vocab": "https://a.example/"}, 2_000)
    body = {"command": "offer", "to": contact, "format": "ld-proof", "data": {"credential": credential}}
    return partial(_calls, tenant, "credential", body, callers=12, each=50)


async def webhook_loop(side: Side, _: str) -> Run:
    """A tenant's webhook is the call that tests this webhook, by another of the host's names."""
    tenant = await side.register("Loop")
    path = "settings/DIDCOMM_WEBHOOK/loop/test"
    url = side.url.replace("127.0.0.1", "localhost")
    for headers in (tenant.headers, {}):
        entry = {"id": "loop", "url": f"{url}/{path}", "headers": headers}
        if (await tenant.call("POST", "settings/DIDCOMM_WEBHOOK", {"setting": [entry]})).status == 200:
            break
    return partial(_calls, tenant, path, {}, callers=6, each=500)


async def many_containers(side: Side, _: str) -> Run:
    """A stranger posts 9.5 MiB of `{}` that no key is looked for in."""
    unit = b"{},"
    raw = b'{"a":[' + unit * (_LARGEST // len(unit)) + b"{}]}"
    return partial(_deliver, side, [raw] * 60, burst=2, pause=0.5)


async def empty_lists(side: Side, _: str) -> Run:
    """A partner sends its tenant messages of a million lists, or objects, with nothing in them."""
    tenant = await side.register("Lists")
    partner = await _partner_with_inbox(side, tenant)
    contents = (b"[" + b",".join([b"[]"] * 1_000_000) + b"]", b"[" + b",".join([b'{"":0}'] * 400_000) + b"]")
    packed = [await asyncio.to_thread(_filled, partner, content) for content in contents for _ in range(10)]
    return partial(_deliver, side, packed, burst=1, pause=0.5)


async def mixed_keys(side: Side, _: str) -> Run:
    """Envelopes for 32 keys, 31 of which nobody has: each is looked up."""
    tenant = await side.register("Mixed")
    partner = await _partner_with_inbox(side, tenant)
    packed = [_envelope([partner.verkey, *(_unknown_key() for _ in range(31))]) for _ in range(2_000)]
    return partial(_deliver, side, packed, burst=16, pause=0.1)


async def junk(side: Side, public: str) -> Run:
    """Strangers send what nobody can open to the honest tenant's public key, until it may keep nothing more."""
    packed = [_envelope([public], ciphertext="A" * 9_000_000) for _ in range(30)]
    return partial(_deliver, side, packed, burst=1, pause=0.5)


async def held_messages(side: Side, _: str) -> Run:
    """A tenant has hundreds of messages for contacts who never answer, and the sweeper runs all the time."""
    tenant = await side.register("Holding")
    contacts = [(await tenant.post("contact", {"contact": {"email": f"{n}@a.example"}}))["uuid"] for n in range(20)]
    for contact in contacts:
        await asyncio.gather(*(insist(partial(tenant.act, contact, _basic())) for _ in range(20)))

    async def run() -> None:
        for _ in range(100):
            await side.stack.service.ask("sweep")
            await asyncio.sleep(0.5)

    return run


async def plain_messages(side: Side, _: str) -> Run:
    """A partner floods its tenant, over 16 connections, with as many messages as are taken."""
    tenant = await side.register("Flooded")
    partner = await _partner_with_inbox(side, tenant)
    packed = [partner.agent.pack(_basic(), partner.verkey) for _ in range(6_000)]
    return partial(_deliver, side, packed, burst=16)


async def unanswered_names(side: Side, _: str) -> Run:
    """Strangers write under did:web DIDs, in envelopes that are opened only with the DID's document, of hosts whose
    name servers are silent; and a tenant's webhooks are there, too."""
    tenant = await side.register("Unanswered")
    own = await side.partner(tenant, "http://127.0.0.1:9")
    hosts = (f"{number}.unanswered.invalid" for number in itertools.count())
    await tenant.webhooks(*(f"https://{next(hosts)}/" for _ in range(20)))
    packed = [own.agent.pack(_basic(), own.verkey) for _ in range(100)]
    document = await tenant.document()
    from_strangers = [_from_did_web(f"did:web:{next(hosts)}", document) for _ in range(100)]

    async def run() -> None:
        await asyncio.gather(
            _deliver(side, packed, burst=5, pause=1.0),
            _deliver(side, from_strangers, burst=10, pause=1.0, media_type=_V2_MEDIA_TYPE),
        )

    return run


async def first_contacts(side: Side, public: str) -> Run:
    """Strangers ask the honest tenant's public DID for connections, with large documents."""
    packed = [_request(public) for _ in range(300)]
    return partial(_deliver, side, packed, burst=30, pause=0.5)


async def mediators(side: Side, _: str) -> Run:
    """A partner behind eight mediators pings its tenant, and each answer is packed nine times."""
    tenant = await side.register("Mediators")
    agent = _BehindMediators(await side.serve(_ignore))
    [verkey] = await side.stack.connect(tenant.uuid, tenant.identity["uuid"], [agent])
    pings = ({"@type": _PING_V1, "@id": new_id(), "response_requested": True} for _ in range(600))
    return partial(_deliver, side, [agent.pack(ping, verkey) for ping in pings], burst=8, pause=0.1)


ATTACKS: Mapping[str, Prepare] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        hanging_webhooks,
        heavy_presentations,
        heavy_presentations_at_three,
        large_offers,
        webhook_loop,
        many_containers,
        empty_lists,
        mixed_keys,
        junk,
        held_messages,
        plain_messages,
        unanswered_names,
        first_contacts,
        mediators,
    )
}


# How they go on.


async def _deliver(
    side: Side, packed: Sequence[bytes], *, burst: int, pause: float = 0.0, media_type: str = ""
) -> None:
    """Posts `burst` at a time, and waits between them."""
    more = {"media_type": media_type} if media_type else {}
    for start in range(0, len(packed), burst):
        await asyncio.gather(*(side.deliver(one, **more) for one in packed[start : start + burst]))
        await asyncio.sleep(pause)


async def _calls(tenant: Tenant, path: str, body: Any, *, callers: int, each: int) -> None:
    """Some callers, each of whom calls again and again."""

    async def call() -> None:
        for _ in range(each):
            await tenant.call("POST", path, body)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(call() for _ in range(callers)))


async def _hang(_: bytes) -> None:
    await asyncio.sleep(60)


async def _ignore(_: bytes) -> None:
    pass


# What they send.


def _basic() -> Json:
    return {"@type": BASIC_MESSAGE, "@id": new_id(), "content": "x"}


async def _partner_with_inbox(side: Side, tenant: Tenant) -> Partner:
    """A partner of the tenant's, whose webhook takes all that comes."""
    url = await side.serve(_ignore)
    await tenant.webhooks(url)
    return await side.partner(tenant, url)


def _filled(partner: Partner, content: bytes) -> bytes:
    """A message with this content, as it is in JSON."""
    plaintext = orjson.dumps(_basic()).replace(b'"content":"x"', b'"content":' + content)
    return pack_v1(plaintext, recipients=[partner.verkey], sender=partner.agent.keys.ed25519)


def _unknown_key() -> str:
    return encode_verkey(PublicKey("Ed25519", os.urandom(32)))


def _envelope(verkeys: Iterable[str], ciphertext: str = "AAAA") -> bytes:
    """In the form of DIDComm v1, for these keys, but sealed with none."""
    recipients = [{"encrypted_key": "AAAA", "header": {"kid": verkey}} for verkey in verkeys]
    header = {"enc": "xchacha20poly1305_ietf", "typ": "JWM/1.0", "alg": "Anoncrypt", "recipients": recipients}
    protected = base64.urlsafe_b64encode(orjson.dumps(header)).decode()
    nonce = base64.urlsafe_b64encode(os.urandom(12)).decode()
    return orjson.dumps({"protected": protected, "iv": nonce, "ciphertext": ciphertext, "tag": "A" * 22})


class _BehindMediators(Agent):
    @property
    def peer_2(self) -> str:
        routing = [did_key.create(KeyPairs.generate().ed25519.public) for _ in range(MAX_MEDIATORS)]
        keys: list[tuple[Literal["E", "V"], PublicKey]] = [
            ("E", self.keys.x25519.public),
            ("V", self.keys.ed25519.public),
        ]
        return peer.create_2(keys, didcomm_services(self.endpoint, "#key-2", routing_keys=routing))


def _request(verkey: str) -> bytes:
    """A request for a connection, by an agent of its own whose document has 24 kB."""
    agent = Agent("http://127.0.0.1:9")
    document = sov.legacy_document(agent.sov, agent.verkey, agent.endpoint)
    [service] = document["service"]
    others = [{**service, "id": f"#{number}", "priority": 1, "serviceEndpoint": _LONG_URL} for number in range(12)]
    document["service"] = [service, *others]
    attached = sign_attachment(orjson.dumps(document), agent.keys.ed25519, mime_type="application/json", id=new_id())
    thread = new_id()
    message = {
        "@type": "https://didcomm.org/didexchange/1.0/request",
        "@id": thread,
        "~thread": {"thid": thread},
        "label": "Stranger",
        "did": agent.sov,
        "did_doc~attach": attached,
    }
    return agent.pack(message, verkey)


def _from_did_web(did: str, to: DidDocument) -> bytes:
    """An envelope of DIDComm v2 from a DID whose host has the document that is needed to open it."""
    keys = KeyPairs.generate()
    method = {
        "id": f"{did}#key-1",
        "type": "X25519KeyAgreementKey2020",
        "controller": did,
        "publicKeyMultibase": encode_multikey(keys.x25519.public),
    }
    document = parse_document({"id": did, "keyAgreement": [method]})
    message = {"id": new_id(), "type": _PING, "from": did, "to": [to.id], "body": {}}
    return pack_v2(message, to=to, from_=(document, keys.by_kid(document)))


def _large(context: Json, claims: int) -> Json:
    """A credential without an issuer that takes long to bring into canonical form."""
    return {
        "@context": [_V1, context],
        "type": ["VerifiableCredential"],
        "issuanceDate": "2020-01-01T12:00:00Z",
        "credentialSubject": {"x": [{"a": str(number)} for number in range(claims)]},
    }


async def _presentations(side: Side, *, tenants: int, each: int, credentials: int, claims: int) -> Run:
    """Tenants ask for proof on a wall; strangers answer with `credentials` whose signatures are good, and their own."""
    holder = _Key(PrivateKey.generate("Ed25519"))
    shown = await _sign(_large({"@vocab": "https://a.example/"}, claims), holder)
    packed = []
    for number in range(tenants):
        tenant = await side.register(f"Verifier {number}")
        wanted = {"id": "d", "constraints": {"fields": [{"path": ["$.credentialSubject.x"]}]}}
        asked = await tenant.post(
            "proof-request",
            {
                "format": "dif",
                "data": {"presentation_definition": {"input_descriptors": [wanted]}},
                "invitation": {"multiUse": True, "handshakeProtocols": []},
            },
        )
        content = asked["invitation"]
        packed += [_presentation(content, holder, [shown] * credentials) for _ in range(each)]
    return partial(_deliver, side, packed, burst=8, pause=1.0)


@dataclass(frozen=True, slots=True)
class _Key:
    """A did:key, as `formats.Signer`."""

    private: PrivateKey

    @property
    def key(self) -> PublicKey:
        return self.private.public

    @property
    def did(self) -> str:
        return did_key.create(self.key)

    @property
    def kid(self) -> str:
        return f"{self.did}#{self.did.removeprefix('did:key:')}"

    async def sign(self, data: bytes) -> bytes:
        return sign_bytes(data, self.private)


async def _sign(credential: Json, issuer: _Key) -> Json:
    async def resolve(did: str) -> DidDocument:
        return did_key.resolve(did)

    workers = Workers(1)
    try:
        data = LinkedData(workers, resolve, _now)
        return await data.sign(
            {**credential, "issuer": issuer.did},
            issuer,
            suite="Ed25519Signature2018",
            purpose="assertionMethod",
            created_ms=_now(),
        )
    finally:
        await workers.close()


def _now() -> int:
    return int(time.time() * 1000)


def _presentation(invitation: Json, holder: _Key, credentials: Sequence[Json]) -> bytes:
    """An answer to the proof request inside the invitation, as a JWT, by an agent of its own."""
    request = invitation["requests~attach"][0]["data"]["json"]
    attached = request["request_presentations~attach"][0]["data"]
    asked = attached["json"] if "json" in attached else orjson.loads(base64.b64decode(attached["base64"]))
    entry = {"id": "d", "format": "ldp_vc", "path": "$.verifiableCredential[0]"}
    submission = {"id": "1", "definition_id": asked["presentation_definition"]["id"], "descriptor_map": [entry]}
    presentation = {
        "@context": [_V1],
        "type": ["VerifiablePresentation"],
        "holder": holder.did,
        "verifiableCredential": credentials,
        "presentation_submission": submission,
    }
    now = int(time.time())
    claims = {"iss": holder.did, "nbf": now - 5, "iat": now, "nonce": asked["options"]["challenge"], "vp": presentation}
    agent = Agent("http://127.0.0.1:9")
    message = {
        "@type": f"{_PROOF}/presentation",
        "@id": new_id(),
        "~thread": {"thid": request["@id"], "pthid": invitation["@id"]},
        "~service": {"recipientKeys": [agent.verkey], "serviceEndpoint": agent.endpoint},
        "last_presentation": True,
        "formats": [{"attach_id": "p", "format": "dif/presentation-exchange/submission@v1.0"}],
        "presentations~attach": [{"@id": "p", "mime-type": "application/jwt", "data": {"json": _jwt(claims, holder)}}],
    }
    return agent.pack(message, verkey_of(invitation))


def _jwt(claims: Json, signer: _Key) -> str:
    parts = [{"alg": "EdDSA", "typ": "JWT", "kid": signer.kid}, claims]
    signed = b".".join(base64url.encode(orjson.dumps(part)) for part in parts)
    return f"{signed.decode()}.{base64url.encode(sign_bytes(signed, signer.private)).decode()}"
