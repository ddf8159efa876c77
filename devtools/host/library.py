"""Microsoft's own worker library (azure-functions-runtime, Python 3.13): indexes an app and calls its functions.

Here it is in the host's process and event loop; on the platform gRPC is between them. What a function is given and what
it returns goes through the library's conversions, from and to the messages that the real host sends.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.functions.queue import QueueMessage
from azure.functions.timer import TimerRequest

from devtools.host.functions import LoadedFunction
from devtools.host.rpc import PROTOS, Message, ParameterBinding, RpcHttp, StatusResult, TypedData
from devtools.host.settings import SettingsError
from devtools.host.worker import WorkerLog


async def index(file: Path) -> list[Any]:
    """The functions that the library finds in an app's file; raises `SettingsError` when it refuses the app."""
    import azure_functions_runtime as library

    os.environ["PYTHON_SCRIPT_FILE_NAME"] = file.name
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    init = Message(capabilities={}, function_app_directory=str(file.parent))
    request = Message(request=Message(worker_init_request=init), properties={"host": "127.0.0.1", "protos": PROTOS})
    answer = await library.worker_init_request(request)
    if answer.result.status != StatusResult.Success:
        raise SettingsError(answer.result.exception.message)
    found = await library.functions_metadata_request(request)
    return list(found.function_metadata_results or ())


class FunctionFailed(Exception):
    """A function raised. The text is what the library reports to the host."""


class LibraryInvoker:
    """Calls functions through the library.

    Args:
        ids: the library's id of each function, by name.
    """

    def __init__(self, ids: dict[str, str], log: WorkerLog) -> None:
        self._ids = ids
        self._log = log
        self.calls: Counter[str] = Counter()

    @staticmethod
    async def start(file: Path, log: WorkerLog) -> LibraryInvoker:
        """Raises `SettingsError` when the library is not there, or refuses the app."""
        if sys.version_info < (3, 13):
            raise SettingsError("Microsoft's worker library needs Python 3.13")
        functions = await index(file)
        import azure_functions_runtime as library

        library.start_threadpool_executor()
        return LibraryInvoker({function.name: function.function_id for function in functions}, log)

    async def __call__(
        self, function: LoadedFunction, argument: object, trace_parent: str = "", trace_state: str = ""
    ) -> Any:
        """What the function returns. Raises `FunctionFailed`."""
        import azure_functions_runtime as library

        self.calls[function.name] += 1
        data, metadata = _sent(argument)
        invocation = Message(
            invocation_id=str(uuid.uuid4()),
            function_id=self._ids[function.name],
            input_data=[ParameterBinding(name=function.parameter, data=data)],
            trigger_metadata=metadata,
            trace_context=Message(trace_parent=trace_parent, trace_state=trace_state, attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
        with self._log.invocation():
            answer = await library.invocation_request(Message(request=Message(invocation_request=invocation)))
        if answer.result.status != StatusResult.Success:
            raise FunctionFailed(f"{answer.result.exception.message}\n{answer.result.exception.stack_trace}")
        return _received(answer.return_value)

    def stop(self) -> None:
        """Ends the library's threads."""
        import azure_functions_runtime as library

        library.stop_threadpool_executor()


def _sent(argument: object) -> tuple[Any, dict[str, Any]]:
    """A trigger as the real host sends it: its data, and what comes beside it."""
    if isinstance(argument, func.HttpRequest):
        http = RpcHttp(
            method=argument.method,
            url=argument.url,
            headers=dict(argument.headers),
            query=dict(argument.params),
            params=dict(argument.route_params),
        )
        if body := argument.get_body():
            http.body.bytes = body
        return TypedData(http=http), {}
    if isinstance(argument, QueueMessage):
        times = {
            "ExpirationTime": argument.expiration_time,
            "InsertionTime": argument.insertion_time,
            "NextVisibleTime": argument.time_next_visible,
        }
        metadata = {
            "Id": TypedData(string=argument.id),
            "PopReceipt": TypedData(string=argument.pop_receipt),
            "DequeueCount": TypedData(json=json.dumps(argument.dequeue_count)),
            **{name: TypedData(json=json.dumps(at.isoformat())) for name, at in times.items() if at is not None},
        }
        return TypedData(string=argument.get_body().decode(errors="replace")), metadata
    if isinstance(argument, TimerRequest):
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": argument.past_due}
        return TypedData(json=json.dumps(timer)), {}
    raise TypeError(f"no trigger gives {type(argument).__name__}")


def _received(value: Any) -> func.HttpResponse | str | None:
    """What a function returned, from what the library sends to the host."""
    if value is None:
        return None
    kind = value.WhichOneof("data")
    if kind != "http":
        return None if kind is None else str(getattr(value, kind))
    return func.HttpResponse(
        value.http.body.bytes, status_code=int(value.http.status_code), headers=dict(value.http.headers)
    )
