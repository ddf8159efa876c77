"""A function app with each kind of trigger. What runs is noted in the file that SAMPLE_LOG names, one line each."""

import asyncio
import os
import time
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def note(line: str) -> None:
    """Append to the log; across processes, and there even when this one is killed right after."""
    target = os.environ.get("SAMPLE_LOG")
    if target:
        with Path(target).open("a") as log:
            log.write(line + "\n")


@app.route(route="echo/{name?}", methods=["GET", "POST"])
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return func.HttpResponse(f"{context.function_name} {req.route_params.get('name')} {len(req.get_body())}")


@app.route(route="slow", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def slow(req: func.HttpRequest) -> func.HttpResponse:
    note("slow began")
    time.sleep(float(req.params.get("seconds", "1")))
    note("slow ended")
    return func.HttpResponse("done")


@app.queue_trigger(arg_name="msg", queue_name="sample", connection="AzureWebJobsStorage")
async def work(msg: func.QueueMessage) -> None:
    text = msg.get_body().decode()
    note(f"work {text} {msg.dequeue_count}")
    if text == "hang once" and msg.dequeue_count == 1:
        await asyncio.sleep(3600)
    note(f"worked {text}")


@app.queue_trigger(arg_name="msg", queue_name="sample-poison", connection="AzureWebJobsStorage")
async def work_poison(msg: func.QueueMessage) -> None:
    note(f"poison {msg.get_body().decode()}")


@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *", run_on_startup=True)
async def sweep(timer: func.TimerRequest) -> None:
    note(f"sweep {timer.past_due}")
