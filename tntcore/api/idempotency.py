"""`Idempotency-Key`: a POST that creates something, sent again with the same key, is answered as the first time."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import orjson

from tntcore.api.http import Call, Chance, Handler, Response
from tntcore.errors import Problem
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.records import short_hash
from tntcore.storage.repository import Repository
from tntcore.storage.transactions import Value

_DAY = 24 * 3600 * 1000
_STUCK = 120_000  # milliseconds after which a call that never finished may be tried again
_MAX_KEY = 255
_KIND = "idempotency"


async def once(call: Call, records: Repository, handler: Handler, *, of: str = "") -> Response:
    """Runs the handler, or answers what it answered to the same key within the last 24 hours.

    Args:
        records: where the answer is kept, sealed.
        of: whose key it is, where several callers who are not to see each other's answers share `records`.

    Raises:
        Problem: 400 for a key of another form, 409 while the first call is under way, 422 if the key was used for
            another request. An answer that is a problem is not remembered.
    """
    request, now = call.request, call.services.now()
    key = request.headers["idempotency-key"]
    if not 0 < len(key) <= _MAX_KEY or not key.isprintable():
        raise Problem(400, "idempotency-key-invalid", f"Idempotency-Key has to have 1 to {_MAX_KEY} characters.")
    row = f"{_KIND}~{short_hash(f'{of}~{key}' if of else key)}"
    digest = hashlib.sha256(b"\0".join((request.method.encode(), request.path.encode(), request.body))).hexdigest()
    stored = await call.services.storage.records.get(records.principal, row)
    unit = Unit()
    seed, begun, again = call.services.random(16), now, False
    if stored is not None:
        before = stored.values
        finished = before.get("finished", False)
        if now - before["at"] < (_DAY if finished else _STUCK):
            if before["digest"] != digest:
                raise Problem(422, "idempotency-key-reused", "This Idempotency-Key came with another request before.")
            if not finished:
                raise Problem(409, "idempotency-in-progress", "The first call is still under way.", retry_after=2)
            sealed = before.get("answer") or await records.stored_body(row)
            saved = orjson.loads(records.open(sealed, row))
            return Response(saved["status"], base64.b64decode(saved["body"]), saved["type"], saved["headers"])
        if not finished and before["digest"] == digest and "seed" in before:
            seed, begun, again = before["seed"], before["begun"], True
    values: dict[str, Value] = {"digest": digest, "at": now, "answer": b"", "finished": False, "seed": seed}
    values["begun"] = begun
    if stored is None:
        unit.create_row(row, values)
    else:
        unit.merge(row, values, stored.etag)
    try:
        await records.commit(unit)
    except (Exists, Changed):
        raise Problem(409, "idempotency-in-progress", "The first call is still under way.", retry_after=2) from None
    release = Unit()
    try:
        response = await handler(replace(call, chance=Chance(seed, begun, again=again)))
    except Problem:
        # Nothing was done, and the caller is told why.
        release.delete(row)
        await records.commit(release)
        raise
    except BaseException:
        # Something may have been done. Who tries again, which may be at once, finds it by the same seed.
        release.merge(row, {"at": 0})
        await records.commit(release)
        raise
    saved = {
        "status": response.status,
        "body": base64.b64encode(response.body).decode(),
        "type": response.content_type,
        "headers": dict(response.headers),
    }
    kept = await records.put_body(row, records.seal(orjson.dumps(saved), row))
    finish = Unit()
    finish.merge(row, {"answer": kept, "at": now, "finished": True})
    await records.commit(finish)
    return response
