"""Signs for an identity: with its key if that is here, else by asking the tenant's own signer.

The request to a signer is a POST of JSON to `PRINCIPAL_SETTINGS.externalSigningUrl`: `{"did", "message",
"verificationMethod", "kid", "algorithm": "EdDSA"}`. `message` contains the bytes to sign, in base64url without padding;
`verificationMethod`, and the equal `kid`, name the key: a DID URL. The request is signed like a webhook call (Standard
Webhooks 1.0.0), with the secret that was shown when the URL was saved. The answer is 200 and `{"signature"}`: 64 bytes
(Ed25519, RFC 8032) in base64url or base64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tntcore.credentials.formats import Signer, SigningError
from tntcore.dids.document import PublicKey
from tntcore.egress import EgressError
from tntcore.envelope import base64url
from tntcore.envelope.keys import PrivateKey
from tntcore.envelope.signatures import check_bytes, sign_bytes
from tntcore.errors import DidError, EnvelopeError
from tntcore.identities.identities import signing_method
from tntcore.services import Services
from tntcore.storage.records import Identity
from tntcore.strict_json import JsonError, read_json, write_json
from tntcore.tenancy import webhooks
from tntcore.tenancy.preferences import EXTERNAL_SIGNING_URL
from tntcore.tenancy.tenants import Tenant

TIMEOUT: Final = 10.0  # seconds
_MAX_ANSWER: Final = 4_096
_MAX_DEPTH: Final = 8


async def signer_for(services: Services, tenant: Tenant, identity: Identity) -> Signer:
    """Returns the signer for the identity.

    - Its own DID, the one made here: its key, here. `externalSigningUrl` is then never called.
    - An external DID (see `identities.bind_did`): the signer at the tenant's `externalSigningUrl`, and nobody else. The
      key is the first Ed25519 one under `assertionMethod` in the DID's document as it is published; a signature by any
      other is refused. `sign` may take `TIMEOUT` seconds.

    Raises:
        SigningError: the document of an external DID cannot be fetched or has no such key, or there is no
            `externalSigningUrl`.
    """
    if not identity.is_external:
        own = await services.tenants.open_recipient(tenant, identity)
        method = signing_method(own.document)
        if method is None or method.key != own.signer.public:
            raise SigningError(f"The document of {identity.did} does not contain the key that is stored for it.")
        return _LocalSigner(method.id, method.key, own.signer)
    preferences = await tenant.preferences()
    url = preferences.values.get(EXTERNAL_SIGNING_URL)
    if not isinstance(url, str) or not preferences.signing_secrets.current:
        raise SigningError(
            f"The service does not hold the keys of {identity.did}. Save the URL of your signer as "
            f"{EXTERNAL_SIGNING_URL} "
            "in PRINCIPAL_SETTINGS."
        )
    try:
        document = await services.resolver.resolve(identity.did)
    except DidError as error:
        raise SigningError(f"The document of {identity.did} cannot be resolved: {error.detail}.") from None
    method = signing_method(document)
    if method is None:
        raise SigningError(f"The document of {identity.did} has no Ed25519 key under assertionMethod.")
    return _RemoteSigner(method.id, method.key, identity.did, url, preferences.signing_secrets, services)


@dataclass(frozen=True, slots=True)
class _LocalSigner:
    kid: str
    key: PublicKey
    _private: PrivateKey = field(repr=False)

    async def sign(self, data: bytes) -> bytes:
        return sign_bytes(data, self._private)


@dataclass(frozen=True, slots=True)
class _RemoteSigner:
    kid: str
    key: PublicKey
    _did: str
    _url: str = field(repr=False)
    _secrets: webhooks.EntrySecrets = field(repr=False)
    _services: Services = field(repr=False)

    async def sign(self, data: bytes) -> bytes:
        services = self._services
        body = write_json(
            {
                "did": self._did,
                "message": base64url.encode(data).decode(),
                "verificationMethod": self.kid,
                "kid": self.kid,
                "algorithm": "EdDSA",
            }
        )
        now = services.now()
        signed = webhooks.sign(self._secrets.valid(now), services.uuid7(), now // 1000, body)
        try:
            answer = await services.egress.request(
                "POST",
                self._url,
                headers={"content-type": "application/json", "accept": "application/json", **signed},
                body=body,
                max_answer=_MAX_ANSWER,
                timeout=TIMEOUT,
            )
        except EgressError as error:
            raise _failed(f"could not be asked: {error.code}, {error.detail}") from None
        if answer.status != 200:
            raise _failed(f"answered {answer.status}; 200 is expected, and redirects are not followed")
        if answer.truncated:
            raise _failed(f"answered more than {_MAX_ANSWER} bytes")
        signature = _signature(answer.body)
        try:
            check_bytes(data, signature, self.key)
        except EnvelopeError:
            raise _failed(f"answered a signature that is not by {self.kid}, or not over the message") from None
        return signature


def _signature(body: bytes) -> bytes:
    """Returns the signature in an answer. Raises `SigningError`."""
    try:
        value: Any = read_json(body, _MAX_DEPTH)
    except JsonError:
        raise _failed("answered what is not JSON") from None
    text = value.get("signature") if isinstance(value, dict) else None
    try:
        signature = base64url.decode(text.replace("+", "-").replace("/", "_") if isinstance(text, str) else None)
    except EnvelopeError:
        signature = b""
    if len(signature) != 64:
        raise _failed("has to answer {signature}: 64 bytes in base64url or base64")
    return signature


def _failed(what: str) -> SigningError:
    return SigningError(f"The signer at {EXTERNAL_SIGNING_URL} {what}.")
