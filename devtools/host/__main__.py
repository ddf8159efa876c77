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
from devtools.ports import PortTaken


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
    parser.add_argument("--verbose", action="store_true", help="log more")
    return parser.parse_args(arguments)


def build(chosen: argparse.Namespace) -> Host:
    """The host that the command line describes. Keys come from DEV_FUNCTION_KEY and DEV_MASTER_KEY, or are made up."""
    if chosen.settings:
        apply_local_settings(chosen.settings, os.environ)
    storage = os.environ.get(STORAGE_SETTING)
    if not storage:
        raise SettingsError(f"set {STORAGE_SETTING}, in the environment or with --settings")
    sys.path.insert(0, os.getcwd())
    module_name, _, variable = chosen.app.partition(":")
    app = getattr(importlib.import_module(module_name), variable or "app", None)
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
    )


async def serve(host: Host) -> None:
    """Run `host` until SIGINT or SIGTERM; a second signal ends the process at once."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, ended.set)
    await host.start()
    try:
        print_now(host.describe())
        if host.keys.check and not (os.environ.get("DEV_FUNCTION_KEY") and os.environ.get("DEV_MASTER_KEY")):
            print_now(f"Keys of this run: function {host.keys.function}, master {host.keys.master}\n")
        await ended.wait()
        print_now("Stopping ...")
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)
    finally:
        await host.stop()


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after a signal, 1 with one line on standard error when the host cannot run."""
    chosen = parse(arguments)
    logging.basicConfig(
        level=logging.DEBUG if chosen.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # One line for every storage call otherwise.
    logging.getLogger("azure").setLevel(logging.WARNING)
    try:
        asyncio.run(serve(build(chosen)))
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
