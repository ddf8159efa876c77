"""Have Microsoft's own worker library load and validate a function app, and print what it found.

`python -m devtools.index_functions [FILE]` under Python 3.13 or later, which that library needs; FILE is
function_app.py by default. Standard output is one JSON object: `{"functions": [{"name", "bindings": [...]}]}` with
each binding as function.json would have it, and exit code 0; or `{"error": "..."}` and exit code 1 when the worker
refuses the app. The worker checks more than azure-functions does on import: a binding's annotation, for one.
"""

import asyncio
import json
import sys
from pathlib import Path

from devtools.host.library import index
from devtools.host.settings import SettingsError


def main(arguments: list[str]) -> int:
    """The command line."""
    try:
        functions = asyncio.run(index(Path(arguments[0] if arguments else "function_app.py").resolve()))
    except SettingsError as problem:
        print(json.dumps({"error": str(problem)}, indent=2))
        return 1
    found = [
        {"name": function.name, "bindings": [json.loads(binding) for binding in function.raw_bindings]}
        for function in functions
    ]
    print(json.dumps({"functions": found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
