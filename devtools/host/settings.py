"""What configures a Functions app from outside: host.json, local.settings.json, and `%NAME%` in bindings.

Names and defaults are those of the host.json reference of Azure Functions 4.x (sections `http` and `queues`).
"""

import json
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any


class SettingsError(ValueError):
    """A settings file or the app cannot be used as it stands. The message names the place and the change to make."""


@dataclass(frozen=True)
class QueueOptions:
    """`extensions.queues` of host.json. Times in seconds.

    The real host fixes `lease` at 10 minutes, and at 0.1 the seconds until it polls again after a message,
    `min_polling_interval`. Here crash tests need not wait that long, and an app that wakes its host (`woken`) is polled
    less.
    """

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: float = 0.0
    max_polling_interval: float = 60.0
    base64: bool = True
    lease: float = 600.0
    min_polling_interval: float = 0.1
    woken: bool = False


@dataclass(frozen=True)
class HttpOptions:
    """`extensions.http` of host.json, and what app settings say of HTTP.

    `max_outstanding` calls are taken at once, of which `max_concurrent` run; -1 is no bound. `max_body` in bytes is the
    app setting FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, `homepage` is there unless AzureWebJobsDisableHomepage is true.
    """

    max_outstanding: int = -1
    max_concurrent: int = -1
    max_body: int = 100 * 1024 * 1024
    homepage: bool = True


@dataclass(frozen=True)
class HostOptions:
    """What host.json and the app settings of the host say."""

    route_prefix: str = "api"
    http: HttpOptions = HttpOptions()
    queues: QueueOptions = QueueOptions()


def parse_host_json(
    document: Mapping[str, Any],
    lease: float = 600.0,
    processors: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> HostOptions:
    """The options in a host.json that was read as JSON; raises `SettingsError` for a value the real host refuses.

    `processors` is what the default of newBatchThreshold is multiplied by; by default those of this machine.
    `environment` has the app settings.
    """
    extensions = document.get("extensions", {})
    http = extensions.get("http", {})
    queues = extensions.get("queues", {})
    batch_size = _integer(queues, "queues.batchSize", 16, 1, 32)
    processors = processors or os.cpu_count() or 1
    encoding = str(queues.get("messageEncoding", "base64")).lower()
    if encoding not in ("base64", "none"):
        raise SettingsError(f"host.json: extensions.queues.messageEncoding is {encoding!r}: use base64 or none")
    if lease < 1:
        raise SettingsError("the queue lease is counted in whole seconds: use 1 or more")
    return HostOptions(
        route_prefix=str(http.get("routePrefix", "api")).strip("/"),
        http=HttpOptions(
            max_outstanding=_integer(http, "http.maxOutstandingRequests", -1, -1, 100_000),
            max_concurrent=_integer(http, "http.maxConcurrentRequests", -1, -1, 100_000),
            max_body=_max_body(environment),
            homepage=environment.get("AzureWebJobsDisableHomepage", "").lower() != "true",
        ),
        queues=QueueOptions(
            batch_size=batch_size,
            new_batch_threshold=_integer(queues, "queues.newBatchThreshold", batch_size // 2 * processors, 0, 10_000),
            max_dequeue_count=_integer(queues, "queues.maxDequeueCount", 5, 1, 100_000),
            visibility_timeout=_time_span(queues.get("visibilityTimeout", "00:00:00"), "visibilityTimeout"),
            max_polling_interval=max(
                0.1, _time_span(queues.get("maxPollingInterval", "00:01:00"), "maxPollingInterval")
            ),
            base64=encoding == "base64",
            lease=lease,
        ),
    )


def _integer(section: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = section.get(name.partition(".")[2], default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise SettingsError(f"host.json: extensions.{name} is {value!r}: use a number from {least} to {most}")
    return value


def _max_body(environment: Mapping[str, str]) -> int:
    text = environment.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "")
    # The real host ignores what is no number.
    return int(text) if text.isdigit() else HttpOptions.max_body


def _time_span(value: object, name: str) -> float:
    found = re.fullmatch(r"(?:(\d+)\.)?(\d\d):(\d\d):(\d\d(?:\.\d{1,7})?)", str(value))
    if found is None:
        raise SettingsError(f"host.json: extensions.queues.{name} is {value!r}: write hh:mm:ss")
    days, hours, minutes, seconds = found.groups()
    return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def read_json(path: Path) -> dict[str, Any]:
    """A settings file as an object; raises `SettingsError` when it is missing or no JSON object."""
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist") from None
    except ValueError as problem:
        raise SettingsError(f"{path} is not JSON: {problem}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path} is not a JSON object")
    return document


def apply_local_settings(path: Path, environment: MutableMapping[str, str]) -> None:
    """Put the `Values` of a local.settings.json into `environment`; what is there already wins."""
    for name, value in read_json(path).get("Values", {}).items():
        environment.setdefault(name, str(value))


def resolve(text: str, environment: Mapping[str, str]) -> str:
    """`text` with each `%NAME%` replaced by that app setting; raises `SettingsError` for one that is not set."""

    def setting(found: re.Match[str]) -> str:
        try:
            return environment[found[1]]
        except KeyError:
            raise SettingsError(f"the app setting {found[1]} is not set, and a binding refers to it") from None

    return re.sub(r"%([^%]+)%", setting, text)
