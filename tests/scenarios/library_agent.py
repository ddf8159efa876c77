"""An agent of DIDComm v2 by the `didcomm` library, whose keys for key agreement are of one curve alone."""

from __future__ import annotations

import importlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, cast

import did_peer_2
from did_peer_2 import KeySpec
from didcomm.common.resolvers import ResolversConfig
from didcomm.common.types import DID_URL, VerificationMaterial, VerificationMaterialFormat, VerificationMethodType
from didcomm.did_doc.did_doc import DIDDoc
from didcomm.did_doc.did_resolver import DIDResolver
from didcomm.secrets.secrets_resolver import Secret
from didcomm.secrets.secrets_resolver_in_memory import SecretsResolverInMemory

from tests.stack import Answer, Receiver, Stack
from tntcore.dids.document import Curve, PublicKey
from tntcore.dids.multiformats import decode_multikey, encode_multikey
from tntcore.envelope import PrivateKey

MEDIA_TYPE = "application/didcomm-encrypted+json"


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwk(key: PublicKey) -> dict[str, str]:
    if key.raw[:1] != b"\x04" or key.curve in ("Ed25519", "X25519"):
        return {"kty": "OKP", "crv": key.curve, "x": _encode(key.raw)}
    half = (len(key.raw) + 1) // 2
    return {"kty": "EC", "crv": key.curve, "x": _encode(key.raw[1:half]), "y": _encode(key.raw[half:])}


class Resolver(DIDResolver):
    """Resolves did:peer:2 by the `did-peer-2` library, and the service's did:web. Of the keys only those of some curves
    are known.
    """

    def __init__(self, stack: Stack, *curves: Curve) -> None:
        self._stack, self._curves = stack, curves

    async def resolve(self, did: str) -> Any:
        raw = did_peer_2.resolve(did) if did.startswith("did:peer:2") else await self._published(did)
        known = {}
        for method in raw["verificationMethod"]:
            key = decode_multikey(method["publicKeyMultibase"])
            if key.curve in self._curves:
                name = _absolute(did, method["id"])
                known[name] = {"id": name, "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": _jwk(key)}
        relations = {
            relation: [kid for kid in (_absolute(did, each) for each in raw.get(relation, ())) if kid in known]
            for relation in ("authentication", "keyAgreement")
        }
        document: Any = DIDDoc.deserialize({"id": did, "verificationMethod": list(known.values()), **relations})
        return document

    async def _published(self, did: str) -> dict[str, Any]:
        path = "/".join(did.split(":")[4:])
        document: dict[str, Any] = (await self._stack.call("GET", f"{path}/did.json")).json()
        assert document["id"] == did
        return document


def _absolute(did: str, name: str) -> str:
    return did + name if name.startswith("#") else name


class LibraryAgent:
    """
    Args:
        curve: of its keys for key agreement, the only one that it knows.
    """

    def __init__(self, stack: Stack, inbox: Receiver, curve: Curve) -> None:
        self._stack, self._inbox = stack, inbox
        agreement, signing = PrivateKey.generate(curve), PrivateKey.generate("Ed25519")
        self.did: str = did_peer_2.generate(
            [
                KeySpec.key_agreement(encode_multikey(agreement.public)),
                KeySpec.authentication(encode_multikey(signing.public)),
            ],
            [{"type": "DIDCommMessaging", "serviceEndpoint": {"uri": inbox.url, "accept": ["didcomm/v2"]}}],
        )
        secrets = [
            Secret(
                kid=DID_URL(f"{self.did}#key-{number}"),
                type=cast("Any", VerificationMethodType.JSON_WEB_KEY_2020),
                verification_material=VerificationMaterial(
                    VerificationMaterialFormat.JWK, json.dumps({**_jwk(key.public), "d": _encode(key.raw)})
                ),
            )
            for number, key in enumerate((agreement, signing), 1)
        ]
        self._resolvers = ResolversConfig(SecretsResolverInMemory(secrets), Resolver(stack, curve, "Ed25519"))

    async def pack(self, message: Mapping[str, Any], to: str) -> bytes:
        """Packs as an authcrypt. `id`, `from`, `to` and `body` are filled in."""
        said = {"id": "1", "from": self.did, "to": [to], "body": {}, "typ": "application/didcomm-plain+json", **message}
        library = importlib.import_module("didcomm.pack_encrypted")
        config = library.PackEncryptedConfig(forward=False)
        packed = await library.pack_encrypted(self._resolvers, said, to=to, frm=self.did, pack_config=config)
        return str(packed.packed_msg).encode()

    async def send(self, message: Mapping[str, Any], to: str) -> Answer:
        return await self._stack.deliver(await self.pack(message, to), MEDIA_TYPE)

    async def got(self, type_: str) -> dict[str, Any]:
        """The first message of this type that was sent to it, once there is one."""
        library = importlib.import_module("didcomm.unpack")

        async def check() -> dict[str, Any] | None:
            for request in self._inbox.got:
                unpacked = await library.unpack(self._resolvers, request.body.decode(), deserializer=dict)
                message: dict[str, Any] = unpacked.message
                if message["type"] == type_ and unpacked.metadata.authenticated:
                    return message
            return None

        found: dict[str, Any] = await self._stack.eventually(check)
        return found
