"""A process like the Functions worker's: it imports the app within its event loop, calls functions, and does nothing
about SIGTERM. Under Python 3.13 Microsoft's own library imports the app.

It registers a tenant, and has its webhook called, whose URL is the argument. It prints `ready`, and the call's status.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import azure.functions as func

from tntcore.api.http import Access

FILE = Path("function_app.py").resolve()


async def main() -> None:
    if sys.version_info >= (3, 13):
        from devtools.index_functions import index

        found = await index(FILE)
        assert "error" not in found, found
    else:
        sys.path.insert(0, str(FILE.parent))
    import function_app

    async def call(
        method: str, path: str, access: Sequence[Access], body: Any = None, **headers: str
    ) -> func.HttpResponse:
        request = func.HttpRequest(
            method=method,
            url=f"http://127.0.0.1/api/{path}",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body=json.dumps(body).encode() if body is not None else b"",
        )
        return await function_app.answer(request, path, access)

    services = function_app.service.app().services
    operator = await services.operators.first("Ada", 0, services.uuid7(), anyway=True)
    registered = await call(
        "POST", "principal", ["operator"], {"displayName": "Ends"}, tnt_operator_key=operator.key.text
    )
    made = json.loads(registered.get_body())
    key = made["headers"]["tnt-subscription-key"]
    setting = {"setting": [{"id": "e", "url": sys.argv[1]}]}
    await call("POST", "settings/DIDCOMM_WEBHOOK", ["tenant"], setting, tnt_subscription_key=key)
    calling = call("POST", "settings/DIDCOMM_WEBHOOK/e/test", ["tenant"], tnt_subscription_key=key)
    task = asyncio.create_task(calling)
    print("ready", flush=True)
    print((await task).status_code, flush=True)
    print((await call("GET", "health", ["public"])).status_code, flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main())
