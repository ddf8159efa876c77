from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.stack import ROOT
from tntcore.config import CloudIdentity, Config, ConfigError, IdentityProvider, StorageAccount, _check_names

LOCAL = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "TNT_PUBLIC_URL": "http://localhost:7071/",
    "TNT_MASTER_KEY_FILE": "keys.json",
}
CLOUD = {
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": "id",
    "AzureWebJobsStorage__blobServiceUri": "https://a.blob.core.windows.net/",
    "AzureWebJobsStorage__queueServiceUri": "https://a.queue.core.windows.net",
    "AzureWebJobsStorage__tableServiceUri": "https://a.table.core.windows.net",
    "TNT_PUBLIC_URL": "https://didcomm.example.com",
    "TNT_KEY_VAULT_KEY": "https://v.vault.azure.net/keys/master",
}


def test_settings_for_a_machine() -> None:
    config = Config.read(LOCAL)
    assert isinstance(config.storage, str)
    assert "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1" in config.storage
    assert config.endpoint == "http://localhost:7071/api/didcomm"
    assert config.master_keys == Path("keys.json")
    assert config.identity == CloudIdentity()


def test_settings_for_the_cloud() -> None:
    config = Config.read(CLOUD)
    assert config.storage == StorageAccount(
        "https://a.blob.core.windows.net", "https://a.queue.core.windows.net", "https://a.table.core.windows.net"
    )
    assert config.master_keys == "https://v.vault.azure.net/keys/master"
    assert config.identity == CloudIdentity(managed=True, client_id="id")
    assert (config.allow_http, config.key_in_query, config.egress_allow) == (False, False, ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"TNT_KEY_VAULT_KEY": ""}, "neither of TNT_KEY_VAULT_KEY"),
        ({"TNT_MASTER_KEY_FILE": "keys.json"}, "both of TNT_KEY_VAULT_KEY"),
        ({"TNT_KEY_VAULT_KEY": "http://v.vault.azure.net/keys/master"}, "TNT_KEY_VAULT_KEY must be like"),
        ({"TNT_KEY_VAULT_KEY": "https://v.vault.azure.net/keys/master/" + "0" * 32}, "without a version"),
        ({"TNT_KEY_VAULT_KEY": "https://v.vault.azure.net/secrets/master"}, "TNT_KEY_VAULT_KEY must be like"),
        ({"AzureWebJobsStorage__credential": "secret"}, "AzureWebJobsStorage__credential must be managedidentity"),
        ({"AzureWebJobsStorage__queueServiceUri": ""}, "AzureWebJobsStorage__queueServiceUri must be like"),
        ({"AzureWebJobsStorage__blobServiceUri": "http://a.blob.core.windows.net"}, "__blobServiceUri must be like"),
        ({name: "" for name in CLOUD if name.endswith("Uri")}, "AzureWebJobsStorage is missing"),
        (
            {"TNT_OPERATOR_NETWORK": "10.0.0.0/8"},
            "there is no setting TNT_OPERATOR_NETWORK; write TNT_OPERATOR_NETWORKS",
        ),
        ({"TNT_TENANTS_RATE": "1"}, "write TNT_TENANT_RATE"),
        ({"tnt_forwarded_hops": "2"}, "write TNT_FORWARDED_HOPS"),
        ({"TNT_ALLOW_HTTPS": "true"}, "write TNT_ALLOW_HTTP"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Config.read(CLOUD | changes)


def test_other_names_are_the_operators_own() -> None:
    own = {"TNT_REGION": "west", "TNT_ROLE": "a", "TNT": "x", "TNT_URL": "x", "OPERATOR_NETWORK": "x"}
    assert Config.read(CLOUD | own) == Config.read(CLOUD)


def test_all_names_of_settings_are_known() -> None:
    for path in (ROOT / "tntcore").rglob("*.py"):
        for name in re.findall(r"\bTNT_[A-Z]+(?:_[A-Z]+)*", path.read_text()):
            _check_names({name: ""})


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("https://a.example", ("https://a.example",)),
        (" HTTPS://A.example , http://localhost:3000,", ("https://a.example", "http://localhost:3000")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
    ],
)
def test_sites_of_browsers(text: str, origins: tuple[str, ...]) -> None:
    assert Config.read(LOCAL | {"TNT_CORS_ORIGINS": text}).cors_origins == origins


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://a.example:443",
        "http://a:80",
        "https://*.a",
    ],
)
def test_sites_that_no_browser_would_name(text: str) -> None:
    with pytest.raises(ConfigError, match="TNT_CORS_ORIGINS must be a list like"):
        Config.read(LOCAL | {"TNT_CORS_ORIGINS": text})


def test_networks_of_operators() -> None:
    networks = Config.read(LOCAL | {"TNT_OPERATOR_NETWORKS": "203.0.113.0/24, 2001:db8::/32"}).operator_networks
    assert [str(network) for network in networks] == ["203.0.113.0/24", "2001:db8::/32"]
    assert Config.read(LOCAL).operator_networks == ()
    with pytest.raises(ConfigError, match="TNT_OPERATOR_NETWORKS would refuse everybody"):
        Config.read(LOCAL | {"TNT_OPERATOR_NETWORKS": "203.0.113.0/24", "TNT_FORWARDED_HOPS": "0"})


def test_the_operators_identity_provider() -> None:
    url, audience = "https://login.example/tenant/v2.0", "api://tntcore"
    given = {"TNT_OPERATOR_ISSUER": url, "TNT_OPERATOR_AUDIENCE": audience}
    assert Config.read(LOCAL).issuer is None
    assert Config.read(LOCAL | given).issuer == IdentityProvider(url, audience)
    with pytest.raises(ConfigError, match="TNT_OPERATOR_AUDIENCE is missing"):
        Config.read(LOCAL | {"TNT_OPERATOR_ISSUER": url})
    for wrong in ("", "login.example", "http://login.example", f"{url}?a", f"{url}#a", "https://", "https://[x"):
        with pytest.raises(ConfigError, match="TNT_OPERATOR_ISSUER must be like"):
            Config.read(LOCAL | given | {"TNT_OPERATOR_ISSUER": wrong})
    local = given | {"TNT_OPERATOR_ISSUER": "http://127.0.0.1:1/tenant", "TNT_ALLOW_HTTP": "true"}
    assert Config.read(LOCAL | local).issuer == IdentityProvider("http://127.0.0.1:1/tenant", audience)


def test_all_that_is_wrong_is_named_at_once() -> None:
    wrong = {
        "TNT_PUBLIC_URL": "didcomm.example.com",
        "TNT_KEY_VAULT_KEY": "",
        "TNT_EGRESS_ALLOW": "10.1.2.3/8",
        "TNT_OPERATOR_NETWORKS": "office",
        "TNT_UNIVERSAL_RESOLVER": "https://user:key@resolver.example",
        "TNT_KEY_IN_QUERY": "1",
        "TNT_SENDER_RATE": "-1",
        "TNT_TENANT_BYTES": "10 GB",
        "TNT_METRIC_TENANTS": "all",
        "TNT_LOG_FORMAT": "xml",
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_METRIC_EXPORT_INTERVAL": "1m",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "AzureWebJobsStorage__queueServiceUri": "http://a.queue.core.windows.net",
        "AzureWebJobsStorage__tableServiceUri": "",
    }
    with pytest.raises(ConfigError) as caught:
        Config.read(CLOUD | wrong)
    assert len(caught.value.problems) == len(wrong)
    assert str(caught.value).startswith(f"{len(wrong)} settings cannot be used: (1) ")
    for name in wrong:
        assert sum(name in problem for problem in caught.value.problems) == 1, name


KEY = "c2VjcmV0LW9mLXRoZS1hY2NvdW50"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AzureWebJobsStorage", f"AccountName=a,AccountKey={KEY}"),
        ("AzureWebJobsStorage", f"DefaultEndpointsProtocol=https;AccountKey={KEY}"),
        ("AzureWebJobsStorage", "DefaultEndpointsProtocol=https;AccountName=a"),
        ("AzureWebJobsStorage", f"AccountName=a;AccountKey={KEY}x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"collector:4318/{KEY}"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://{KEY}@:x/"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", f"Instrumentationkey:{KEY}"),
    ],
)
def test_a_setting_with_a_secret_in_it_is_named_and_not_quoted(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        Config.read(LOCAL | {name: value})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY};EndpointSuffix=core.windows.net",
        f" AccountName=a; AccountKey={KEY} ;",
        "BlobEndpoint=https://a.blob.core.windows.net/;SharedAccessSignature=sv=2024&sig=x%3D",
    ],
)
def test_connection_strings_that_the_sdk_takes(text: str) -> None:
    assert Config.read(LOCAL | {"AzureWebJobsStorage": text}).storage == text
