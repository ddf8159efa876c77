"""The service's configuration, read once from the environment. docs/operating.md lists every setting."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit


class ConfigError(Exception):
    """Settings are missing or unusable.

    Args:
        problems: for each setting a text that names it and says what it should be. Texts contain no secrets.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        numbered = "; ".join(f"({number}) {problem}" for number, problem in enumerate(problems, 1))
        super().__init__(problems[0] if len(problems) == 1 else f"{len(problems)} settings cannot be used: {numbered}")


_NAMES: Final = frozenset({
    "TNT_ADDRESS_RATE", "TNT_ALLOW_HTTP", "TNT_ANONCREDS_REGISTRIES", "TNT_AUDIT_DAYS",
    "TNT_CONTEXTS", "TNT_CORS_ORIGINS", "TNT_DID_METHODS", "TNT_EGRESS_ALLOW", "TNT_FIRST_OPERATOR_ONCE",
    "TNT_FORWARDED_HOPS", "TNT_KEY_IN_QUERY", "TNT_KEY_RATE", "TNT_KEY_VAULT_KEY", "TNT_LOG_FORMAT",
    "TNT_MASTER_KEY_FILE", "TNT_METRIC_TENANTS", "TNT_OPERATOR_AUDIENCE", "TNT_OPERATOR_ISSUER",
    "TNT_OPERATOR_NETWORKS", "TNT_PUBLIC_URL", "TNT_SENDER_RATE", "TNT_TENANT_BYTES", "TNT_TENANT_RATE",
    "TNT_UNIVERSAL_RESOLVER", "TNT_WRONG_KEY_RATE",
})  # fmt: skip
# The command line may have the same environment. Its names are not whole here: whole ones are settings of the service,
# which infra/ must have.
_COMMAND_LINE: Final = frozenset(
    f"TNT_{name}"
    for name in (
        "ADMIN_KEY",
        "BACKUP_STORAGE",
        "HOST_KEY",
        "OPERATOR_KEY",
        "PROFILE",
        "PROFILES",
        "SUBSCRIPTION_KEY",
        "URL",
        "WEBHOOK_SECRET",
    )
)
_NEAR: Final = 0.88


def _read_all(**readers: Callable[[], Any]) -> dict[str, Any]:
    """Calls every reader and returns the results by name. Raises one `ConfigError` with the problems of all."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, read in readers.items():
        try:
            values[name] = read()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return values


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Limits on outside callers. Rates are messages a minute, in each process; 0 is no limit.

    Attributes:
        key: for one recipient key, on receipt. address: from one client address, on receipt.
        sender: of one contact, when they are handled. tenant: to one principal, when they are handled.
        stored: bytes that a principal may keep.
        wrong_keys: wrong keys from one client address, at the API.
        forwarded_hops: how many of `X-Forwarded-For`'s last entries were written by our own proxies; the first of these
            is the client's address. 0: the address is not known.
    """

    key: int = 30_000
    address: int = 120_000
    sender: int = 30_000
    tenant: int = 60_000
    stored: int = 10 * 1024**3
    wrong_keys: int = 300
    forwarded_hops: int = 1

    @staticmethod
    def read(environment: Mapping[str, str]) -> ServiceLimits:
        """Raises `ConfigError`."""
        default = ServiceLimits()
        return ServiceLimits(
            **_read_all(
                key=lambda: _number(environment, "TNT_KEY_RATE", default.key),
                address=lambda: _number(environment, "TNT_ADDRESS_RATE", default.address),
                sender=lambda: _number(environment, "TNT_SENDER_RATE", default.sender),
                tenant=lambda: _number(environment, "TNT_TENANT_RATE", default.tenant),
                stored=lambda: _number(environment, "TNT_TENANT_BYTES", default.stored),
                wrong_keys=lambda: _number(environment, "TNT_WRONG_KEY_RATE", default.wrong_keys),
                forwarded_hops=lambda: _number(environment, "TNT_FORWARDED_HOPS", default.forwarded_hops),
            )
        )


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Settings of traces, metrics and logs.

    Attributes:
        traces, metrics: their exporters: `otlp`, `azure`, `console`. OpenTelemetry's exporters read their own settings
            from the environment.
        ratio: share of the traces begun here that are kept: 0 to 1.
        tenants: how many tenants metrics tell apart.
        json_logs: whether log lines are JSON.
        service: the service's name in telemetry.
        seconds: from one export of spans to the next.
    """

    traces: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    ratio: float = 1.0
    tenants: int = 100
    json_logs: bool = False
    service: str = "tntcore"
    seconds: float = 5.0

    @staticmethod
    def read(environment: Mapping[str, str]) -> Telemetry:
        """Raises `ConfigError`."""
        on = environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
        if on:
            exported: dict[str, Callable[[], Any]] = {
                "traces": lambda: _exporters(environment, "TRACES"),
                "metrics": lambda: _exporters(environment, "METRICS"),
                "ratio": lambda: _ratio(environment),
                "seconds": lambda: _milliseconds(environment, "OTEL_BSP_SCHEDULE_DELAY", 5_000) / 1000,
                "unused": lambda: _check_exporters(environment),
            }
        else:
            exported = {}
        values = _read_all(tenants=lambda: _tenants(environment), json_logs=lambda: _json_logs(environment), **exported)
        values.pop("unused", None)
        service = environment.get("OTEL_SERVICE_NAME") or environment.get("WEBSITE_SITE_NAME") or "tntcore"
        return Telemetry(**values, service=service)

    def sample(self, trace_id: int) -> bool:
        """Whether to keep a trace; the same choice as OpenTelemetry's `TraceIdRatioBased`."""
        return trace_id & (1 << 64) - 1 < round(self.ratio * (1 << 64))


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """The URLs of a storage account's services, to be used with the app's identity."""

    blobs: str
    queues: str
    tables: str


@dataclass(frozen=True, slots=True)
class CloudIdentity:
    """The app's identity for storage and key vault.

    Attributes:
        managed: use only the platform's managed identity; otherwise, whatever azure-identity finds.
        client_id: of a user-assigned identity; "" is the system-assigned one.
    """

    managed: bool = False
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """The identity provider whose tokens operators may use.

    Attributes:
        url: its issuer identifier, exactly as in its tokens.
        audience: this service's, as in its tokens.
    """

    url: str
    audience: str

    @staticmethod
    def read(environment: Mapping[str, str]) -> IdentityProvider | None:
        """Raises `ConfigError`."""
        url, audience = environment.get("TNT_OPERATOR_ISSUER", ""), environment.get("TNT_OPERATOR_AUDIENCE", "")
        if not url and not audience:
            return None
        parts = _split(url)
        plain = parts is not None and not parts.query and not parts.fragment
        schemes = ("https", "http") if _flag(environment, "TNT_ALLOW_HTTP") else ("https",)
        if parts is None or parts.scheme not in schemes or not parts.hostname or not plain:
            raise ConfigError(
                "TNT_OPERATOR_ISSUER must be like https://login.microsoftonline.com/TENANT/v2.0, "
                f"with TNT_OPERATOR_AUDIENCE beside it, not {url!r}"
            )
        if not audience:
            raise ConfigError("TNT_OPERATOR_AUDIENCE is missing: the audience of the operators' tokens")
        return IdentityProvider(url, audience)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    Attributes:
        storage: the storage account: its URLs, or a connection string.
        public_url: the service's public URL, without a trailing slash: `https://host[:port]`.
        master_keys: the key that wraps data keys: its URL in a key vault, or the file of local ones (development).
        egress_allow: networks that egress may reach although they are not public (development, private partners).
        allow_http: whether egress may use http outside `egress_allow`, and did:web may be served without https.
        key_in_query: whether `tnt-subscription-key` is also accepted in the query. URLs end up in logs.
        audit_days: how long audit records are kept; 0 for ever.
        operator_networks: networks from which operators may call; empty for anywhere.
        first_operator_once: whether the host's key makes no operator's key after one was used.
        issuer: the identity provider whose tokens operators may use besides keys of this service; None for none.
        cors_origins: the sites whose pages may call the service from a browser.
        anoncreds_registries: more registries of AnonCreds definitions, each `module:factory`.
        contexts: a folder of JSON-LD contexts, with an `index.json`.
        did_methods: more DID methods, each `module:factory`.
        universal_resolver: what a DID is appended to for a universal resolver; "" for none.
    """

    storage: str | StorageAccount
    public_url: str
    master_keys: str | Path
    egress_allow: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    allow_http: bool = False
    key_in_query: bool = False
    anoncreds_registries: tuple[str, ...] = ()
    contexts: Path | None = None
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    identity: CloudIdentity = CloudIdentity()
    telemetry: Telemetry = Telemetry()
    cors_origins: tuple[str, ...] = ()
    issuer: IdentityProvider | None = None
    audit_days: int = 400
    operator_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    first_operator_once: bool = False
    did_methods: tuple[str, ...] = ()
    universal_resolver: str = ""

    @property
    def endpoint(self) -> str:
        """The URL of the public DIDComm endpoint."""
        return f"{self.public_url}/api/didcomm"

    @staticmethod
    def read(environment: Mapping[str, str]) -> Config:
        """Reads the settings. Raises one `ConfigError` with all that is wrong."""
        values = _read_all(
            # It has no value, but its problems are told with those of the others.
            names=lambda: _check_names(environment),
            storage=lambda: read_storage(environment),
            public_url=lambda: _public_url(environment),
            master_keys=lambda: _master_keys(environment),
            egress_allow=lambda: _networks(environment, "TNT_EGRESS_ALLOW"),
            allow_http=lambda: _flag(environment, "TNT_ALLOW_HTTP"),
            key_in_query=lambda: _flag(environment, "TNT_KEY_IN_QUERY"),
            anoncreds_registries=lambda: _factories(environment, "TNT_ANONCREDS_REGISTRIES"),
            did_methods=lambda: _factories(environment, "TNT_DID_METHODS"),
            contexts=lambda: Path(environment["TNT_CONTEXTS"]) if environment.get("TNT_CONTEXTS") else None,
            limits=lambda: ServiceLimits.read(environment),
            identity=lambda: read_identity(environment),
            telemetry=lambda: Telemetry.read(environment),
            cors_origins=lambda: _origins(environment),
            issuer=lambda: IdentityProvider.read(environment),
            audit_days=lambda: _number(environment, "TNT_AUDIT_DAYS", 400),
            operator_networks=lambda: _operator_networks(environment),
            first_operator_once=lambda: _flag(environment, "TNT_FIRST_OPERATOR_ONCE"),
            universal_resolver=lambda: _universal_resolver(environment),
        )
        del values["names"]
        return Config(**values)


def _check_names(environment: Mapping[str, str]) -> None:
    """Refuses names that are nearly one of a setting: a misspelled restriction would be none."""
    problems = []
    for name in environment.keys() - _NAMES - _COMMAND_LINE:
        near = get_close_matches(name.upper(), _NAMES, n=1, cutoff=_NEAR) if name.upper().startswith("TNT_") else []
        if near:
            problems.append(f"there is no setting {name[:100]}; write {near[0]}, or remove it")
    if problems:
        raise ConfigError(*sorted(problems))


def _public_url(environment: Mapping[str, str]) -> str:
    public_url = environment.get("TNT_PUBLIC_URL", "").rstrip("/")
    parts = _split(public_url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise ConfigError(f"TNT_PUBLIC_URL must be like https://didcomm.example.com, not {public_url!r}")
    return public_url


def _universal_resolver(environment: Mapping[str, str]) -> str:
    url = environment.get("TNT_UNIVERSAL_RESOLVER", "").rstrip("/")
    parts = _split(url)
    plain = parts is not None and parts.hostname and not parts.query and not parts.fragment and "@" not in parts.netloc
    # Plain http is let through to networks that egress may reach.
    if url and not (parts is not None and plain and parts.scheme in ("https", "http")):
        raise ConfigError(
            "TNT_UNIVERSAL_RESOLVER must be the URL that a DID is appended to, like "
            "https://resolver.example.com/1.0/identifiers, without user name, query and fragment"
        )
    return url


def _networks(environment: Mapping[str, str], name: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(
            ipaddress.ip_network(text.strip()) for text in environment.get(name, "").split(",") if text.strip()
        )
    except ValueError as error:
        raise ConfigError(f"{name}: {error}; use a list like 127.0.0.0/8,10.1.0.0/16") from None


def _operator_networks(environment: Mapping[str, str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    networks = _networks(environment, "TNT_OPERATOR_NETWORKS")
    if networks and environment.get("TNT_FORWARDED_HOPS") == "0":
        raise ConfigError(
            "TNT_OPERATOR_NETWORKS would refuse everybody, because with TNT_FORWARDED_HOPS=0 no caller's address is "
            "known. Change one of the two"
        )
    return networks


def _factories(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    factories = tuple(filter(None, map(str.strip, environment.get(name, "").split(","))))
    for factory in factories:
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", factory):
            raise ConfigError(f"{name} must be a list like module:factory, not {factory!r}")
    return factories


def read_storage(environment: Mapping[str, str]) -> str | StorageAccount:
    """Reads the storage settings in the form that the Functions host takes: a connection string, or the services' URLs
    under a common prefix.
    """
    text = environment.get("AzureWebJobsStorage", "")
    if text:
        text = DEVELOPMENT_STORAGE if text == "UseDevelopmentStorage=true" else text
        _check_connection_string(text)
        return text
    urls = {
        name: environment.get(name, "").rstrip("/")
        for name in (
            "AzureWebJobsStorage__blobServiceUri",
            "AzureWebJobsStorage__queueServiceUri",
            "AzureWebJobsStorage__tableServiceUri",
        )
    }
    if not any(urls.values()):
        raise ConfigError(
            "AzureWebJobsStorage is missing: the connection string of the storage account, or "
            f"{', '.join(urls)} if the app uses its identity"
        )
    # An identity's token over http would be anybody's.
    wrong = {name: url for name, url in urls.items() if not _is_https(url)}
    if wrong:
        raise ConfigError(
            *(f"{name} must be like https://account.queue.core.windows.net, not {url!r}" for name, url in wrong.items())
        )
    return StorageAccount(*urls.values())


def _check_connection_string(text: str) -> None:
    """Checks the parts of a connection string that the Azure SDK needs. Never quotes it, since it contains the
    account's key.
    """
    parts = dict(pair.strip().partition("=")[::2] for pair in text.strip(" ;").split(";"))
    told = "AzureWebJobsStorage must be the connection string of a storage account"
    if "" in parts or not parts.get("AccountName", parts.get("BlobEndpoint")):
        raise ConfigError(f"{told}, as AccountName=...;AccountKey=..., or UseDevelopmentStorage=true")
    if "AccountKey" in parts:
        try:
            base64.b64decode(parts["AccountKey"], validate=True)
        except binascii.Error:
            raise ConfigError(f"{told}: its AccountKey is not base64") from None
    elif "SharedAccessSignature" not in parts:
        raise ConfigError(f"{told}: AccountKey or SharedAccessSignature is missing")


def read_identity(environment: Mapping[str, str]) -> CloudIdentity:
    kind = environment.get("AzureWebJobsStorage__credential", "")
    if kind.lower() not in ("", "managedidentity"):
        raise ConfigError(f"AzureWebJobsStorage__credential must be managedidentity or unset, not {kind!r}")
    return CloudIdentity(bool(kind), environment.get("AzureWebJobsStorage__clientId", ""))


def _master_keys(environment: Mapping[str, str]) -> str | Path:
    url, file = environment.get("TNT_KEY_VAULT_KEY", ""), environment.get("TNT_MASTER_KEY_FILE", "")
    if bool(url) == bool(file):
        raise ConfigError(
            f"{'both' if url else 'neither'} of TNT_KEY_VAULT_KEY (the URL of a key in a key vault) and "
            f"TNT_MASTER_KEY_FILE (the path of the local master key file) {'are' if url else 'is'} set; set exactly one"
        )
    if file:
        return Path(file)
    if not _is_https(url) or not re.fullmatch(r"/keys/[0-9A-Za-z-]{1,127}", urlsplit(url).path):
        raise ConfigError(
            f"TNT_KEY_VAULT_KEY must be like https://vault.vault.azure.net/keys/name, without a version, not {url!r}"
        )
    return url


def _is_https(url: str) -> bool:
    parts = _split(url)
    return (
        parts is not None
        and parts.scheme == "https"
        and bool(parts.hostname)
        and not parts.query
        and not parts.fragment
    )


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    return parts


def _tenants(environment: Mapping[str, str]) -> int:
    tenants = environment.get("TNT_METRIC_TENANTS") or "100"
    if not (tenants.isascii() and tenants.isdigit() and len(tenants) <= 5):
        raise ConfigError(f"TNT_METRIC_TENANTS must be a whole number up to 99999, not {tenants!r}")
    return int(tenants)


def _json_logs(environment: Mapping[str, str]) -> bool:
    logs = environment.get("TNT_LOG_FORMAT") or "text"
    if logs not in ("text", "json"):
        raise ConfigError(f"TNT_LOG_FORMAT must be text or json, not {logs!r}")
    return logs == "json"


def _exporters(environment: Mapping[str, str], signal: str) -> tuple[str, ...]:
    chosen = environment.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if chosen == "none":
        return ()
    if chosen not in ("", "otlp", "console"):
        raise ConfigError(f"OTEL_{signal}_EXPORTER must be otlp, console, none or unset, not {chosen!r}")
    if chosen:
        found = [chosen]
    else:
        names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        found = ["otlp"] if any(environment.get(name) for name in names) else []
    if environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING"):
        found.append("azure")
    return tuple(found)


def _milliseconds(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name) or str(default)
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value)):
        raise ConfigError(f"{name} must be a whole number of milliseconds, not {value!r}")
    return int(value)


def _check_exporters(environment: Mapping[str, str]) -> None:
    """Checks the exporters' own settings. They read them in a thread, where nobody would see an error."""
    problems = []
    for name in (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        *(f"OTEL_EXPORTER_OTLP_{one}_ENDPOINT" for one in ("TRACES", "METRICS")),
    ):
        if url := environment.get(name):
            parts = _split(url)
            # The address is not quoted: some put a token into it.
            if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
                problems.append(f"{name} must be like http://collector:4318")
    for name in (
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        *(f"OTEL_EXPORTER_OTLP_{one}_PROTOCOL" for one in ("TRACES", "METRICS")),
    ):
        if (protocol := environment.get(name) or "http/protobuf") != "http/protobuf":
            problems.append(f"{name} must be http/protobuf or unset, not {protocol!r}")
    try:
        _milliseconds(environment, "OTEL_METRIC_EXPORT_INTERVAL", 60_000)
    except ConfigError as error:
        problems += error.problems
    insights = environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING")
    if insights and not re.search(r"(?i)(?:^|;)\s*InstrumentationKey=[0-9a-f-]{36}\s*(?:;|$)", insights):
        problems.append(
            "APPLICATIONINSIGHTS_CONNECTION_STRING must be like InstrumentationKey=...;IngestionEndpoint=..."
        )
    if problems:
        raise ConfigError(*problems)


def _ratio(environment: Mapping[str, str]) -> float:
    sampler = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    kinds = {"always_on": 1.0, "always_off": 0.0, "traceidratio": -1.0}
    ratio = kinds.get(sampler.removeprefix("parentbased_"))
    if ratio is None:
        raise ConfigError(f"OTEL_TRACES_SAMPLER must be one of {', '.join(kinds)}, not {sampler!r}")
    if ratio >= 0:
        return ratio
    text = environment.get("OTEL_TRACES_SAMPLER_ARG") or "1"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ConfigError(f"OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not {text!r}")
    return ratio


def _origins(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns origins in the form that browsers send: in lower case, without a slash or the default port."""
    origins = []
    for text in filter(None, map(str.strip, environment.get("TNT_CORS_ORIGINS", "").split(","))):
        found = re.fullmatch(r"(https?)://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", text.lower())
        if found is None or found[2] == {"https": ":443", "http": ":80"}[found[1]]:
            raise ConfigError(f"TNT_CORS_ORIGINS must be a list like https://console.example.com, not {text!r}")
        origins.append(text.lower())
    return tuple(origins)


def _flag(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "false").lower()
    if value not in ("true", "false"):
        raise ConfigError(f"{name} must be true or false, not {value!r}")
    return value == "true"


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name) or str(default)
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise ConfigError(f"{name} must be a whole number, 0 for no limit, not {value!r}")
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
