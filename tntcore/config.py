"""The service's configuration, read once from the environment. README lists every setting."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


class ConfigError(Exception):
    """A setting that is missing or cannot be used; the text says which and what it should be."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What others may make of the service. Rates are messages a minute, in each process; 0 is no limit.

    Attributes:
        key: for one recipient key, at the door. address: from one client address, at the door.
        sender: of one contact, when they are handled. tenant: to one principal, when they are handled.
        stored: bytes that a principal may keep.
        forwarded_hops: how many of `X-Forwarded-For`'s last entries were written by proxies of ours; the first of these
            is the client's address. 0: the address is not known.
    """

    key: int = 6_000
    address: int = 60_000
    sender: int = 6_000
    tenant: int = 18_000
    stored: int = 10 * 1024**3
    forwarded_hops: int = 1

    @staticmethod
    def read(environment: Mapping[str, str]) -> Limits:
        """Raises `ConfigError`."""
        default = Limits()
        return Limits(
            key=_number(environment, "TNT_KEY_RATE", default.key),
            address=_number(environment, "TNT_ADDRESS_RATE", default.address),
            sender=_number(environment, "TNT_SENDER_RATE", default.sender),
            tenant=_number(environment, "TNT_TENANT_RATE", default.tenant),
            stored=_number(environment, "TNT_TENANT_BYTES", default.stored),
            forwarded_hops=_number(environment, "TNT_FORWARDED_HOPS", default.forwarded_hops),
        )


@dataclass(frozen=True, slots=True)
class Config:
    """
    Attributes:
        storage: connection string of the storage account.
        public_url: where the outside world reaches the service, without a trailing slash: `https://host[:port]`.
        master_key_file: the local master keys (development).
        egress_allow: networks that egress may reach although they are not public (development, private partners).
        allow_http: whether egress may use http outside `egress_allow`, and did:web may be served without https.
        key_in_query: whether `tnt-subscription-key` is also taken from the query. URLs end up in logs.
        anoncreds_registries: more places to look AnonCreds definitions up in, each `module:factory`.
    """

    storage: str
    public_url: str
    master_key_file: Path
    egress_allow: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    allow_http: bool = False
    key_in_query: bool = False
    anoncreds_registries: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def endpoint(self) -> str:
        """The one public DIDComm endpoint."""
        return f"{self.public_url}/api/didcomm"

    @staticmethod
    def read(environment: Mapping[str, str]) -> Config:
        """Raises `ConfigError`."""
        storage = environment.get("AzureWebJobsStorage", "")
        if not storage:
            raise ConfigError("AzureWebJobsStorage is missing: the connection string of the storage account")
        if storage == "UseDevelopmentStorage=true":
            storage = DEVELOPMENT_STORAGE
        public_url = environment.get("TNT_PUBLIC_URL", "").rstrip("/")
        parts = urlsplit(public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
            raise ConfigError(f"TNT_PUBLIC_URL has to be like https://didcomm.example.com, not {public_url!r}")
        key_file = environment.get("TNT_MASTER_KEY_FILE", "")
        if not key_file:
            raise ConfigError("TNT_MASTER_KEY_FILE is missing: the path of the local master key file")
        networks = []
        for text in environment.get("TNT_EGRESS_ALLOW", "").split(","):
            if not text.strip():
                continue
            try:
                networks.append(ipaddress.ip_network(text.strip()))
            except ValueError as error:
                raise ConfigError(f"TNT_EGRESS_ALLOW: {error}; use a list like 127.0.0.0/8,10.1.0.0/16") from None
        registries = tuple(filter(None, map(str.strip, environment.get("TNT_ANONCREDS_REGISTRIES", "").split(","))))
        for registry in registries:
            if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", registry):
                raise ConfigError(f"TNT_ANONCREDS_REGISTRIES has to be a list like module:factory, not {registry!r}")
        return Config(
            storage,
            public_url,
            Path(key_file),
            tuple(networks),
            _flag(environment, "TNT_ALLOW_HTTP"),
            _flag(environment, "TNT_KEY_IN_QUERY"),
            registries,
            Limits.read(environment),
        )


def _flag(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "false").lower()
    if value not in ("true", "false"):
        raise ConfigError(f"{name} has to be true or false, not {value!r}")
    return value == "true"


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name) or str(default)
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise ConfigError(f"{name} has to be a whole number, 0 for no limit, not {value!r}")
    return int(value)


# Azurite's well-known account and key, as its documentation has them.
_DEVELOPMENT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def development_storage(blob_port: int, queue_port: int, table_port: int) -> str:
    """Connection string of an Azurite on this machine."""
    account = "devstoreaccount1"
    return (
        f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={_DEVELOPMENT_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{blob_port}/{account};QueueEndpoint=http://127.0.0.1:{queue_port}/{account};"
        f"TableEndpoint=http://127.0.0.1:{table_port}/{account};"
    )


DEVELOPMENT_STORAGE = development_storage(10000, 10001, 10002)
