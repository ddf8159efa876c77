"""`python -m devtools.host`: run a function app until Ctrl-C."""

import argparse
import asyncio
import importlib
import logging
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import azure.functions as func
from azure.core.exceptions import AzureError

from devtools.host.host import STORAGE_SETTING, Host, print_now
from devtools.host.settings import SettingsError, apply_local_settings, read_json
from devtools.host.worker import WorkerLog
from devtools.ports import PortTaken

log = logging.getLogger("devtools.host")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m devtools.host", description="Run a function app locally.")
    parser.add_argument("--app", default="function_app:app", help="module:variable (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7071, help="0 for a free one (default: %(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default: %(default)s)")
    parser.add_argument("--settings", type=Path, help="a local.settings.json whose Values become the environment")
    parser.add_argument("--host-json", type=Path, default=Path("host.json"), help="(default: %(default)s)")
    parser.add_argument("--hooks", help="module with async on_start(host) and on_stop(host), both optional")
    parser.add_argument("--no-keys", action="store_true", help="do not check function keys, as Core Tools does")
    parser.add_argument("--lease", type=float, default=600.0, help="seconds a queue message is leased (%(default)s)")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds running functions have to finish at the end")
    parser.add_argument("--library", action="store_true", help="call functions through Microsoft's worker library")
    parser.add_argument("--verbose", action="store_true", help="log more")
    return parser.parse_args(arguments)


def build(chosen: argparse.Namespace, log_of_worker: WorkerLog) -> Host:
    """The host that the command line describes. Keys come from DEV_FUNCTION_KEY and DEV_MASTER_KEY, or are made up."""
    if chosen.settings:
        apply_local_settings(chosen.settings, os.environ)
    storage = os.environ.get(STORAGE_SETTING)
    if not storage:
        raise SettingsError(f"set {STORAGE_SETTING}, in the environment or with --settings")
    sys.path.insert(0, os.getcwd())
    module_name, _, variable = chosen.app.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:
        log.debug("the app cannot be imported", exc_info=True)
        raise SettingsError(f"{module_name} cannot be indexed: {type(problem).__name__}: {problem}") from problem
    app = getattr(module, variable or "app", None)
    if not isinstance(app, func.FunctionApp):
        raise SettingsError(f"{chosen.app} is no FunctionApp")
    hooks = importlib.import_module(chosen.hooks) if chosen.hooks else ModuleType("hooks")
    return Host(
        app,
        read_json(chosen.host_json),
        storage,
        address=chosen.address,
        port=chosen.port,
        function_key=os.environ.get("DEV_FUNCTION_KEY"),
        master_key=os.environ.get("DEV_MASTER_KEY"),
        check_keys=not chosen.no_keys,
        lease=chosen.lease,
        grace=chosen.grace,
        on_start=getattr(hooks, "on_start", None),
        on_stop=getattr(hooks, "on_stop", None),
        log_of_worker=log_of_worker,
        library=Path(str(module.__file__)) if chosen.library else None,
    )


async def serve(chosen: argparse.Namespace, log_of_worker: WorkerLog) -> None:
    """Runs the host until SIGINT or SIGTERM; a second signal ends the process at once.

    The app is imported within the loop, and its own handler of SIGTERM comes before this one, as in the worker. SIGINT
    drains first, and then ends the app as the real host ends its worker.
    """
    loop = asyncio.get_running_loop()
    ended, terminated = asyncio.Event(), asyncio.Event()

    def terminate(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        loop.call_soon_threadsafe(terminated.set)
        loop.call_soon_threadsafe(ended.set)

    signal.signal(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    host = build(chosen, log_of_worker)
    await host.start()
    try:
        print_now(host.describe())
        if host.keys.check and not (os.environ.get("DEV_FUNCTION_KEY") and os.environ.get("DEV_MASTER_KEY")):
            print_now(f"Keys of this run: function {host.keys.function}, master {host.keys.master}\n")
        await ended.wait()
        print_now("Stopping ...")
        loop.remove_signal_handler(signal.SIGINT)
    finally:
        await host.stop()
    if not terminated.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        await terminated.wait()
    if log_of_worker.dropped:
        told = ", ".join(f"{name}: {count}" for name, count in log_of_worker.dropped.items())
        print_now(f"Log lines that the real host would not have: {told}")


def set_up_logging(verbose: bool) -> WorkerLog:
    """Sets the levels that the worker sets before it imports an app, and keeps the host's own lines apart."""
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    own = logging.getLogger("devtools")
    own.addHandler(shown)
    own.propagate = False
    own.setLevel(logging.DEBUG if verbose else logging.INFO)
    if verbose:
        os.environ["PYTHON_ENABLE_DEBUG_LOGGING"] = "true"
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    log_of_worker = WorkerLog(logging.StreamHandler())
    log_of_worker.setFormatter(shown.formatter)
    root.addHandler(log_of_worker)
    return log_of_worker


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after a signal, 1 with one line on standard error when the host cannot run."""
    chosen = parse(arguments)
    log_of_worker = set_up_logging(chosen.verbose)
    try:
        asyncio.run(serve(chosen, log_of_worker))
    except (SettingsError, PortTaken) as problem:
        print(f"host: {problem}", file=sys.stderr)
        return 1
    except AzureError as problem:
        print(f"host: the storage account cannot be used ({type(problem).__name__}): is Azurite up?", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
