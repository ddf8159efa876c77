"""Have Microsoft's own worker library load and validate a function app, and print what it found.

`python -m devtools.index_functions [FILE]` under Python 3.13 or later, which that library needs; FILE is
function_app.py by default. Standard output is one JSON object: `{"functions": [{"name", "bindings": [...]}]}` with
each binding as function.json would have it, and exit code 0; or `{"error": "..."}` and exit code 1 when the worker
refuses the app. The worker checks more than azure-functions does on import: a binding's annotation, for one.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class _Message(SimpleNamespace):
    """Stands in for the worker's protobuf messages, which it only fills in and hands back."""


class _BindingInfo(_Message):
    # Numbers of BindingInfo.Direction and BindingInfo.DataType in the worker's protocol.
    out, inout, undefined = 1, 2, 0


class _StatusResult(_Message):
    Failure, Success = 0, 1


_PROTOS = SimpleNamespace(
    BindingInfo=_BindingInfo,
    FunctionMetadataResponse=_Message,
    RpcException=_Message,
    RpcFunctionMetadata=_Message,
    RpcRetryOptions=_Message,
    StatusResult=_StatusResult,
    WorkerInitResponse=_Message,
    WorkerMetadata=_Message,
)


async def index(file: Path) -> dict[str, Any]:
    """What the worker finds in `file`, in the form described above."""
    import azure_functions_runtime as worker

    os.environ["PYTHON_SCRIPT_FILE_NAME"] = file.name
    sys.path.insert(0, str(file.parent))
    init = _Message(capabilities={}, function_app_directory=str(file.parent))
    request = _Message(request=_Message(worker_init_request=init), properties={"host": "127.0.0.1", "protos": _PROTOS})
    answer = await worker.worker_init_request(request)
    if answer.result.status != _StatusResult.Success:
        return {"error": answer.result.exception.message}
    found = await worker.functions_metadata_request(request)
    return {
        "functions": [
            {"name": function.name, "bindings": [json.loads(binding) for binding in function.raw_bindings]}
            for function in found.function_metadata_results or ()
        ]
    }


def main(arguments: list[str]) -> int:
    """The command line."""
    result = asyncio.run(index(Path(arguments[0] if arguments else "function_app.py").resolve()))
    print(json.dumps(result, indent=2))
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
