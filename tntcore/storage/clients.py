"""The SDK's clients of tables and queues, without those of its policies that do nothing here: they follow redirects,
which storage does not send, set proxies, which the session does not use, and trace and log calls, as the service's own
telemetry does. They are a quarter of what a call costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from azure.core.pipeline import AsyncPipeline, policies
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueServiceClient

_IDLE = (
    policies.AsyncRedirectPolicy,
    policies.DistributedTracingPolicy,
    policies.HttpLoggingPolicy,
    policies.NetworkTraceLoggingPolicy,
    policies.ProxyPolicy,
    policies.RequestIdPolicy,
)


class Tables(TableServiceClient):
    def _configure_policies(self, **options: Any) -> list[Any]:
        return _needed(super()._configure_policies(**options))


class Queues(QueueServiceClient):
    def _create_pipeline(self, credential: Any = None, **options: Any) -> tuple[Any, Any]:
        configuration, pipeline = super()._create_pipeline(credential, **options)
        return configuration, AsyncPipeline(pipeline._transport, policies=_needed(pipeline._impl_policies))


def _needed(given: Iterable[Any]) -> list[Any]:
    # A pipeline wraps those that only look at requests and answers.
    return [policy for policy in given if not isinstance(getattr(policy, "_policy", policy), _IDLE)]
