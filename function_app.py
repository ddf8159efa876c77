"""Triggers and bindings of the Azure Functions app; each function is one call into `tntcore`."""

from __future__ import annotations

import gc

# Imported code stays. Looking through it for garbage while it is loaded takes a tenth of the time, and finds nothing.
gc.disable()

from collections.abc import Sequence

import azure.functions as func

from tntcore.api.http import Access, Request
from tntcore.process import Service

gc.freeze()
gc.enable()

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
STORAGE = "AzureWebJobsStorage"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""Of every HTTP function, so that the service itself answers what it does not take: the host's 404 says nothing."""


# Settings that cannot be used are one error here, when the worker looks for functions.
service = Service.start()


async def answer(req: func.HttpRequest, path: str, access: Sequence[Access]) -> func.HttpResponse:
    response = await service.http(
        Request(
            req.method,
            path.strip("/"),
            req.params,
            {k.lower(): v for k, v in req.headers.items()},
            req.get_body(),
            req.url,
        ),
        access,
    )
    return func.HttpResponse(
        response.body,
        status_code=response.status,
        mimetype=response.content_type or None,
        headers=dict(response.headers),
    )


# The host sorts the functions by name, without case, and calls the first whose route and method match: a longer route
# wins nothing. So the one that takes every path comes last by its name; tests/contract/test_routes.py holds that.


@app.route("didcomm", methods=METHODS)
async def didcomm(req: func.HttpRequest) -> func.HttpResponse:
    return await answer(req, "didcomm", ["public"])


@app.route("operator/first", methods=METHODS, auth_level=func.AuthLevel.ADMIN)
async def first_operator(req: func.HttpRequest) -> func.HttpResponse:
    # The host alone can check its key, so this is all that the key is good for here: the first operator's key.
    return await answer(req, "operator/first", ["host"])


@app.route("{*rest}", methods=METHODS)
async def web_api(req: func.HttpRequest) -> func.HttpResponse:
    return await answer(req, req.route_params.get("rest") or "", ["public", "tenant", "operator"])


@app.queue_trigger("msg", "inbound", STORAGE)
async def inbound(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.inbound.handle(msg.get_body(), msg.dequeue_count or 1)


@app.queue_trigger("msg", "exchange", STORAGE)
async def exchange(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.exchange.handle(msg.get_body(), msg.dequeue_count or 1)


@app.queue_trigger("msg", "outbound", STORAGE)
async def outbound(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.outbound.handle(msg.get_body(), msg.dequeue_count or 1)


@app.queue_trigger("msg", "relay", STORAGE)
async def relay(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.relay.handle(msg.get_body(), msg.dequeue_count or 1)


@app.queue_trigger("msg", "inbound-poison", STORAGE)
async def inbound_poison(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.poison.handle("inbound", msg.id or "", msg.get_body())


@app.queue_trigger("msg", "exchange-poison", STORAGE)
async def exchange_poison(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.poison.handle("exchange", msg.id or "", msg.get_body())


@app.queue_trigger("msg", "outbound-poison", STORAGE)
async def outbound_poison(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.poison.handle("outbound", msg.id or "", msg.get_body())


@app.queue_trigger("msg", "relay-poison", STORAGE)
async def relay_poison(msg: func.QueueMessage) -> None:
    with service.invocation() as opened:
        await opened.poison.handle("relay", msg.id or "", msg.get_body())


@app.timer_trigger("timer", "0 * * * * *")
async def sweep(timer: func.TimerRequest) -> None:
    with service.invocation() as opened:
        await opened.sweep.tick()
