"""Stand-ins for what the cloud has around the service, for the real SDKs to talk to over https: the platform's endpoint
for managed identities, and a key vault.

They are written after the REST references and know only what the service uses. They prove that the SDKs are used in a
way that works together, not that Azure answers the same.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import secrets
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

CLIENT_ID = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed one for this machine, as PEM files, and a context that trusts nothing else."""

    certificate: Path
    key: Path
    trust: ssl.SSLContext

    @staticmethod
    def make(folder: Path) -> Certificate:
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        now = datetime.datetime.now(datetime.UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(private, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        certificate.write_bytes(signed.public_bytes(pem))
        key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return Certificate(certificate, key, ssl.create_default_context(cafile=str(certificate)))


class _Server:
    """A web server of its own, `async with`; `url` has no slash at its end."""

    def __init__(self, tls: Certificate | None) -> None:
        self._tls = tls
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        context = None
        if self._tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._tls.certificate, self._tls.key)
        self._runner = web.ServerRunner(web.Server(self.handle))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


class IdentityEndpoint(_Server):
    """Where a function app gets its identity's tokens.

    After https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference. Its tokens
    have the claims that storage asks for, and nobody's signature.
    """

    def __init__(self, client_id: str) -> None:
        super().__init__(None)
        self._client_id = client_id
        self.header = secrets.token_hex(16)
        self.given: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """What the platform tells an app of it."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": self.header}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        query = request.query
        if request.headers.get("X-IDENTITY-HEADER") != self.header:
            return web.json_response({"statusCode": 401, "message": "header"}, status=401)
        if query.get("api-version") != "2019-08-01" or query.get("client_id") != self._client_id:
            return web.json_response({"statusCode": 400, "message": "identity"}, status=400)
        resource, now = query["resource"], int(time.time())
        self.given.append(resource)
        claims = {
            "aud": resource,
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
            "iat": now - 5,
            "nbf": now - 5,
            "exp": now + 3600,
        }
        token = ".".join(base64url(part) for part in (b'{"alg":"RS256"}', json.dumps(claims).encode(), b"none"))
        return web.json_response(
            {"access_token": token, "expires_on": str(now + 3600), "resource": resource, "token_type": "Bearer"}
        )


class KeyVault(_Server):
    """One RSA key and its versions.

    After https://learn.microsoft.com/rest/api/keyvault/keys (get key, unwrap key) and the authentication challenge in
    https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses.
    """

    def __init__(self, tls: Certificate) -> None:
        super().__init__(tls)
        self.versions: dict[str, rsa.RSAPrivateKey] = {}
        self.disabled: set[str] = set()
        self.throttle = 0
        self.calls: list[str] = []
        self.rotate()

    @property
    def key(self) -> str:
        return f"{self.url}/keys/master"

    def rotate(self) -> str:
        version = secrets.token_hex(16)
        self.versions[version] = rsa.generate_private_key(65537, 2048)
        return version

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # The SDK takes a challenge only for the domain that the vault is in, of which an address is no good example.
        resource = self.url.replace("127.0.0.1", "0.0.1")
        if scheme != "Bearer" or _claims(token).get("aud") != resource:
            challenge = f'Bearer authorization="https://login.windows.net/tenant", resource="{resource}"'
            return web.json_response({}, status=401, headers={"WWW-Authenticate": challenge})
        if self.throttle:
            self.throttle -= 1
            return _error(429, "Throttled", **{"Retry-After": "0"})
        if not request.query.get("api-version"):
            return _error(400, "BadParameter")
        match [request.method, *request.path.strip("/").split("/")]:
            case ["GET", "keys", "master", *given]:
                version = given[0] if given else list(self.versions)[-1]
                self.calls.append("get")
                if version not in self.versions:
                    return _error(404, "KeyNotFound")
                return web.json_response(self._bundle(version))
            case ["POST", "keys", "master", version, "unwrapkey"]:
                self.calls.append("unwrapkey")
                if version not in self.versions:
                    return _error(404, "KeyNotFound")
                if version in self.disabled:
                    return _error(403, "Forbidden")
                body = json.loads(await request.read())
                if body["alg"] != "RSA-OAEP-256":
                    return _error(400, "BadParameter")
                value = body["value"] + "=" * (-len(body["value"]) % 4)
                try:
                    key = self.versions[version].decrypt(
                        base64.urlsafe_b64decode(value),
                        padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
                    )
                except ValueError:
                    return _error(400, "BadParameter")
                return web.json_response({"kid": f"{self.key}/{version}", "value": base64url(key)})
        return _error(404, "NotFound")

    def _bundle(self, version: str) -> dict[str, Any]:
        public = self.versions[version].public_key().public_numbers()
        return {
            "key": {
                "kid": f"{self.key}/{version}",
                "kty": "RSA",
                "key_ops": ["wrapKey", "unwrapKey"],
                "n": base64url(public.n.to_bytes(256, "big")),
                "e": base64url(public.e.to_bytes(3, "big")),
            },
            "attributes": {"enabled": version not in self.disabled, "created": 1, "updated": 1},
        }


def _error(status: int, code: str, **headers: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": code}}, status=status, headers=headers)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    return claims
