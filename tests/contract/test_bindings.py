"""Microsoft's worker library must accept the function app: it refuses annotations that azure-functions lets pass.

It needs Python 3.13. Under 3.13 and later the suite's own interpreter is used, else that of the environment
.venv313 beside the project's own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INTERPRETER = Path(sys.executable) if sys.version_info >= (3, 13) else ROOT / ".venv313" / "bin" / "python"

Index = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def index() -> Index:
    """Runs the worker's indexing on a file: exit code and what was printed."""
    if not INTERPRETER.exists():
        reason = f"the worker library needs Python 3.13, and {INTERPRETER} does not exist (`make test` creates it)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    def run(file: Path, **settings: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [str(INTERPRETER), "-m", "devtools.index_functions", str(file)],
            cwd=ROOT,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def app(index: Index) -> dict[str, list[dict[str, Any]]]:
    """The bindings of each function of function_app.py, by name, as the worker sees them."""
    code, found = index(ROOT / "function_app.py")
    assert "error" not in found, found["error"]
    assert code == 0
    return {function["name"]: function["bindings"] for function in found["functions"]}


def of_type(app: dict[str, list[dict[str, Any]]], kind: str) -> dict[str, dict[str, Any]]:
    return {name: binding for name, bindings in app.items() for binding in bindings if binding["type"] == kind}


def test_the_worker_accepts_the_app_with_one_trigger_for_each_function(
    app: dict[str, list[dict[str, Any]]],
) -> None:
    assert app
    for name, bindings in app.items():
        assert sum(binding["type"].endswith("Trigger") for binding in bindings) == 1, name
    kinds = {binding["type"] for bindings in app.values() for binding in bindings}
    assert kinds == {"httpTrigger", "http", "queueTrigger", "timerTrigger"}


def test_every_queue_has_its_poison_function(app: dict[str, list[dict[str, Any]]]) -> None:
    queues = [binding["queueName"] for binding in of_type(app, "queueTrigger").values()]
    assert len(queues) == len(set(queues))
    main = {name for name in queues if not name.endswith("-poison")}
    assert main == {"inbound", "exchange", "outbound", "relay"}
    assert set(queues) - main == {f"{name}-poison" for name in main}


def test_every_queue_is_in_the_apps_own_storage_account(app: dict[str, list[dict[str, Any]]]) -> None:
    assert {binding["connection"] for binding in of_type(app, "queueTrigger").values()} == {"AzureWebJobsStorage"}


def test_http_functions_say_who_may_call_them_and_how(app: dict[str, list[dict[str, Any]]]) -> None:
    triggers = of_type(app, "httpTrigger")
    assert {trigger["authLevel"] for trigger in triggers.values()} <= {"ANONYMOUS", "FUNCTION", "ADMIN"}
    for name, trigger in triggers.items():
        assert trigger["methods"], name
    # All others are the service's own to let in.
    assert [trigger["route"] for trigger in triggers.values() if trigger["authLevel"] != "ANONYMOUS"] == [
        "operator/first"
    ]


def test_timers_have_six_fields(app: dict[str, list[dict[str, Any]]]) -> None:
    timers = of_type(app, "timerTrigger")
    assert timers
    for name, trigger in timers.items():
        assert len(trigger["schedule"].split()) == 6, name


def test_settings_that_cannot_be_used_are_one_error_instead_of_functions(index: Index) -> None:
    code, found = index(ROOT / "function_app.py", TNT_PUBLIC_URL="didcomm.example.com", TNT_KEY_RATE="many")
    assert code == 1
    assert found["error"].startswith("ConfigError: 2 settings cannot be used: (1) TNT_PUBLIC_URL must be like")
    assert "(2) TNT_KEY_RATE must be" in found["error"]


APP = """
import typing
import azure.functions as func

app = func.FunctionApp()

@app.queue_trigger(arg_name="msg", queue_name="in", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="out", queue_name="out", connection="AzureWebJobsStorage")
def work(msg: func.QueueMessage, out: func.Out[{annotation}]) -> None: ...
"""


@pytest.mark.parametrize(
    ("annotation", "accepted"), [("str", True), ("typing.List[str]", True), ("list[str]", False), ("int", False)]
)
def test_the_check_catches_an_annotation_that_loads_without_it(
    index: Index, tmp_path: Path, annotation: str, accepted: bool
) -> None:
    file = tmp_path / "function_app.py"
    file.write_text(APP.format(annotation=annotation))
    compiled: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), compiled)
    assert [function.get_function_name() for function in compiled["app"].get_functions()] == ["work"]
    code, found = index(file)
    assert (code, "error" in found) == ((0, False) if accepted else (1, True))
    if not accepted:
        assert found["error"].startswith("FunctionLoadError: cannot load the work function")


def test_the_sample_app_of_the_local_host_is_accepted_too(index: Index) -> None:
    code, found = index(ROOT / "tests" / "unit" / "host" / "sample_app.py")
    assert code == 0
    assert [function["name"] for function in found["functions"]] == ["echo", "slow", "work", "work_poison", "sweep"]
