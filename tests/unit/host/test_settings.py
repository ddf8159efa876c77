from pathlib import Path

import pytest

from devtools.host.settings import (
    HttpOptions,
    QueueOptions,
    SettingsError,
    apply_local_settings,
    parse_host_json,
    resolve,
)


def test_defaults_are_those_of_the_real_host() -> None:
    options = parse_host_json({}, processors=2)
    assert options.route_prefix == "api"
    assert options.queues == QueueOptions(16, 16, 5, 0.0, 60.0, True, 600.0)
    assert options.http == HttpOptions(-1, -1, 104_857_600, True)


def test_values_are_read() -> None:
    options = parse_host_json(
        {
            "extensions": {
                "http": {"routePrefix": "v1/", "maxOutstandingRequests": 9, "maxConcurrentRequests": 3},
                "queues": {
                    "batchSize": 4,
                    "newBatchThreshold": 3,
                    "maxDequeueCount": 2,
                    "visibilityTimeout": "00:01:30",
                    "maxPollingInterval": "00:00:02",
                    "messageEncoding": "none",
                },
            }
        },
        lease=5,
        environment={"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000", "AzureWebJobsDisableHomepage": "True"},
    )
    assert options.route_prefix == "v1"
    assert options.http == HttpOptions(9, 3, 1000, False)
    assert options.queues == QueueOptions(4, 3, 2, 90.0, 2.0, False, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batchSize", 33),
        ("batchSize", "16"),
        ("batchSize", True),
        ("maxDequeueCount", 0),
        ("newBatchThreshold", -1),
        ("visibilityTimeout", 30),
        ("maxPollingInterval", "2 s"),
        ("messageEncoding", "hex"),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name):
        parse_host_json({"extensions": {"queues": {name: value}}})


def test_bad_http_values_are_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"http\.maxConcurrentRequests"):
        parse_host_json({"extensions": {"http": {"maxConcurrentRequests": "24"}}})


def test_a_lease_under_a_second_is_refused() -> None:
    with pytest.raises(SettingsError, match="lease"):
        parse_host_json({}, lease=0.5)


def test_the_environment_wins_over_local_settings(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text('{"IsEncrypted": false, "Values": {"A": "file", "B": "file", "N": 1}}')
    environment = {"A": "environment"}
    apply_local_settings(file, environment)
    assert environment == {"A": "environment", "B": "file", "N": "1"}


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_unusable_settings_files(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "local.settings.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"local\.settings\.json"):
        apply_local_settings(file, {})


def test_settings_in_bindings() -> None:
    assert resolve("%PREFIX%-in", {"PREFIX": "x"}) == "x-in"
    with pytest.raises(SettingsError, match="PREFIX"):
        resolve("%PREFIX%-in", {})
