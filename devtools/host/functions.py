"""The functions of a `FunctionApp`, read through the public API of azure-functions, and how one is called."""

import asyncio
import inspect
import threading
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import azure.functions as func

from devtools.host.settings import SettingsError
from devtools.host.worker import WorkerLog

TRIGGERS = ("httpTrigger", "queueTrigger", "timerTrigger")

# So that hosts of one app have the same functions.
_loaded: "weakref.WeakKeyDictionary[func.FunctionApp, list[LoadedFunction]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class LoadedFunction:
    """One function: `kind` is its trigger's type, `trigger` the binding object, `parameter` what takes the trigger."""

    name: str
    kind: str
    trigger: Any
    call: Callable[..., Any]
    parameter: str
    is_async: bool
    wants_context: bool


def load(app: func.FunctionApp) -> Sequence[LoadedFunction]:
    """The app's functions; raises `SettingsError` for what this host cannot run, or the real worker would refuse."""
    if app not in _loaded:
        _loaded[app] = [_load_one(function) for function in app.get_functions()]
        # An app takes its functions for duplicates of themselves when it is asked again, as by the worker library.
        app.functions_bindings = {}
    return _loaded[app]


def _load_one(function: func.Function) -> LoadedFunction:
    name = str(function.get_function_name())
    trigger: Any = function.get_trigger()
    call = function.get_user_function()
    if trigger.type not in TRIGGERS:
        raise SettingsError(f"function {name}: the local host does not know the trigger {trigger.type}")
    for binding in function.get_bindings():
        if binding is not trigger and binding.type != "http":
            raise SettingsError(f"function {name}: the local host does not know the binding {binding.type}")
    parameters = set(inspect.signature(call).parameters)
    if parameters - {"context"} != {trigger.name}:
        raise SettingsError(f"function {name}: its parameters must be {trigger.name} and, if wanted, context")
    return LoadedFunction(
        name=name,
        kind=trigger.type,
        trigger=trigger,
        call=call,
        parameter=trigger.name,
        is_async=inspect.iscoroutinefunction(call),
        wants_context="context" in parameters,
    )


class _TraceContext(func._abc.TraceContext):
    def __init__(self, parent: str, state: str) -> None:
        self._parent, self._state = parent, state

    @property
    def trace_parent(self) -> str:
        return self._parent

    @property
    def trace_state(self) -> str:
        return self._state

    @property
    def attributes(self) -> dict[str, str]:
        return {}


class InvocationContext(func.Context):
    """What a function that asks for `context` receives. There is no retry context: retries are the queue's."""

    def __init__(self, function_name: str, trace_parent: str, trace_state: str) -> None:
        self._id = str(uuid.uuid4())
        self._name = function_name
        self._trace = _TraceContext(trace_parent, trace_state)
        self._local = threading.local()

    @property
    def invocation_id(self) -> str:
        return self._id

    @property
    def thread_local_storage(self) -> Any:
        return self._local

    @property
    def function_name(self) -> str:
        return self._name

    @property
    def function_directory(self) -> str:
        return "."

    @property
    def trace_context(self) -> Any:
        return self._trace

    @property
    def retry_context(self) -> Any:
        return None


class Invoke(Protocol):
    """Calls a function with what its trigger gives; what it raises, or stands for that, comes through. `calls` counts
    them by the function's name.
    """

    calls: Counter[str]

    async def __call__(
        self, function: LoadedFunction, argument: object, trace_parent: str = "", trace_state: str = ""
    ) -> Any: ...


class Invoker:
    """Calls functions as the Python worker does: async ones on the event loop, the others in a pool of threads."""

    def __init__(self, threads: Executor, log: WorkerLog) -> None:
        self._threads = threads
        self._log = log
        self.calls: Counter[str] = Counter()

    async def __call__(
        self, function: LoadedFunction, argument: object, trace_parent: str = "", trace_state: str = ""
    ) -> Any:
        """What the function returns; what it raises comes through."""
        self.calls[function.name] += 1
        arguments: dict[str, object] = {function.parameter: argument}
        if function.wants_context:
            arguments["context"] = InvocationContext(function.name, trace_parent, trace_state)
        with self._log.invocation() as in_thread:
            if function.is_async:
                return await function.call(**arguments)

            def run() -> Any:
                in_thread()
                return function.call(**arguments)

            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
