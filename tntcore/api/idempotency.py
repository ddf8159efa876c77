"""`Idempotency-Key`: a create request that is repeated with the same key gets the answer of the first one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson

from tntcore.api.http import Call, Chance, Handler, Response
from tntcore.errors import Problem
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.records import ANSWER_KEPT, ANSWERS, short_hash
from tntcore.storage.repository import Repository
from tntcore.storage.transactions import Value
from tntcore.strict_json import write_json

_STUCK = 120_000  # milliseconds after which a call that never finished may be retried
_MAX_KEY = 255
_SEED = 32  # bytes
_SERVER_ERROR = 500


def row_of(key: str, of: str = "") -> str:
    """Returns the row for the answer to a key of the caller `of`; different callers and keys have different rows."""
    caller = of.replace("%", "%25").replace("~", "%7E")
    return f"{ANSWERS}~{short_hash(f'{caller}~{key}' if of else key)}"


async def once(call: Call, records: Repository, handler: Handler, *, of: str = "") -> Response:
    """Runs the handler, or returns the answer it gave to the same key within the last 24 hours.

    Args:
        records: storage for the answer, which is encrypted.
        of: the caller, if callers that must not see each other's answers share `records`.

    Raises:
        Problem: 400 for a malformed key, 409 while the first call is in progress, 422 if the key was used for another
            request. Problems are not stored as answers.
    """
    request, now = call.request, call.services.now()
    key = request.headers["idempotency-key"]
    if not 0 < len(key) <= _MAX_KEY or not key.isprintable():
        raise Problem(
            400,
            "idempotency-key-invalid",
            f"The Idempotency-Key is not valid. Send 1 to {_MAX_KEY} printable characters.",
        )
    row = row_of(key, of)
    digest = hashlib.sha256(b"\0".join((request.method.encode(), request.path.encode(), request.body))).hexdigest()
    table = call.services.storage.records
    stored = await table.get(records.principal, row)
    seed, begun, again = call.services.random(_SEED), now, False
    if stored is not None:
        before = stored.values
        finished = before.get("finished", False)
        if now - before["at"] < (ANSWER_KEPT if finished else _STUCK):
            if before["digest"] != digest:
                raise Problem(
                    422,
                    "idempotency-key-reused",
                    "This Idempotency-Key was used with another request before. Use a new key for each request.",
                )
            if not finished:
                raise _in_progress()
            sealed = before.get("answer") or await records.stored_body(row)
            saved = orjson.loads(records.open(sealed, row))
            return Response(saved["status"], base64.b64decode(saved["body"]), saved["type"], saved["headers"])
        if not finished and before["digest"] == digest and (kept := _seed_of(before, records, row)):
            seed, begun, again = kept, before["begun"], True
    kept_seed = records.seal(seed, f"{row}/seed")
    values: dict[str, Value] = {"digest": digest, "at": now, "answer": b"", "finished": False, "begun": begun}
    values |= {"sealedSeed": kept_seed, "seed": b""}
    unit = Unit()
    if stored is None:
        unit.create_row(row, values)
    else:
        unit.merge(row, values, stored.etag)
    try:
        await records.commit(unit)
    except Exception as error:
        # Storage may have taken the write, failed to say so, and been asked again by its client library. No two sealed
        # seeds are the same.
        current = await table.get(records.principal, row)
        if current is None or current.values.get("sealedSeed") != kept_seed:
            if isinstance(error, Exists | Changed):
                raise _in_progress() from None
            raise
    try:
        response = await handler(replace(call, chance=Chance(seed, begun, again=again)))
        saved = {
            "status": response.status,
            "body": base64.b64encode(response.body).decode(),
            "type": response.content_type,
            "headers": dict(response.headers),
        }
        kept_answer = await records.put_body(row, records.seal(write_json(saved), row))
        finish = Unit()
        finish.merge(row, {"answer": kept_answer, "at": now, "finished": True})
        try:
            await records.commit(finish)
        except Exception:
            # Storage may have taken the write, and failed to say so.
            current = await table.get(records.principal, row)
            if current is None or not current.values.get("finished"):
                raise
    except Problem as problem:
        release = Unit()
        if again or problem.status >= _SERVER_ERROR:
            # An earlier attempt may have had an effect: a later one must still find it.
            release.merge(row, {"at": 0})
        else:
            # The call had no effect, and the caller learns why.
            release.delete(row)
        with suppress(Changed):  # repeated by the client library
            await records.commit(release)
        raise
    except BaseException:
        # The call may have had an effect. A retry, even an immediate one, finds it by the same seed.
        release = Unit()
        release.merge(row, {"at": 0})
        await records.commit(release)
        raise
    return response


def _seed_of(before: Mapping[str, Any], records: Repository, row: str) -> bytes:
    """Returns the seed of an attempt that was not finished; b"" if there is none."""
    if before.get("sealedSeed"):
        return records.open(before["sealedSeed"], f"{row}/seed")
    # Written by a version that derived no secrets from it.
    return bytes(before.get("seed", b""))


def _in_progress() -> Problem:
    return Problem(
        409,
        "idempotency-in-progress",
        "The first call with this Idempotency-Key is still in progress. Retry later.",
        retry_after=2,
    )
