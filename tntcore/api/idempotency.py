"""`Idempotency-Key`: a create request that is repeated with the same key gets the answer of the first one."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from tntcore.api.http import Call, Chance, Handler, Response
from tntcore.errors import Problem
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.records import ANSWER_KEPT, ANSWERS, short_hash
from tntcore.storage.repository import Repository
from tntcore.storage.tables import Row
from tntcore.storage.transactions import Value
from tntcore.strict_json import write_json

log = logging.getLogger(__name__)

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
    keyed = _Keyed(call, records, of)
    claimed = await keyed.claim()
    if isinstance(claimed, Response):
        return claimed
    try:
        response = await handler(replace(call, chance=claimed))
        await keyed.finish(response)
    except Problem as problem:
        # After an earlier attempt, or an error of ours, there may be an effect, which a later attempt must still find.
        # Otherwise the call had none, and the caller learns why.
        await keyed.release(forget=not claimed.again and problem.status < _SERVER_ERROR)
        raise
    except BaseException:
        # The call may have had an effect. A retry, even an immediate one, finds it by the same seed.
        await keyed.release(forget=False)
        raise
    return response


class _Keyed:
    """A call with an `Idempotency-Key`, and the row of that key. Raises `Problem` 400 for a malformed key."""

    def __init__(self, call: Call, records: Repository, of: str) -> None:
        request = call.request
        key = request.headers["idempotency-key"]
        if not 0 < len(key) <= _MAX_KEY or not key.isprintable():
            raise Problem(
                400,
                "idempotency-key-invalid",
                f"The Idempotency-Key is not valid. Send 1 to {_MAX_KEY} printable characters.",
            )
        said = (request.method.encode(), request.path.encode(), request.body)
        self._digest = hashlib.sha256(b"\0".join(said)).hexdigest()
        self._row = row_of(key, of)
        self._records = records
        self._table = call.services.storage.records
        self._random = call.services.random
        self._clock = call.services.now
        self._now = self._clock()

    async def claim(self) -> Chance | Response:
        """Reserves the key for this call; returns the answer of an earlier call with the key, if there is one.

        Raises:
            Problem: 409 while the first call is in progress, 422 if the key was used for another request.
        """
        seed, begun = self._random(_SEED), self._now
        before = await self._reserve(seed, begun, None)
        if before is None:
            return Chance(seed, begun, again=False)
        if (answered := await self._answered(before.values)) is not None:
            return answered
        earlier = self._unfinished(before.values)
        seed, begun = earlier or (seed, begun)
        if await self._reserve(seed, begun, before) is not None:
            raise _in_progress()
        return Chance(seed, begun, again=earlier is not None)

    async def finish(self, response: Response) -> None:
        """Keeps the answer."""
        saved = {
            "status": response.status,
            "body": base64.b64encode(response.body).decode(),
            "type": response.content_type,
            "headers": dict(response.headers),
        }
        kept = await self._records.put_body(self._row, self._records.seal(write_json(saved), self._row))
        unit = Unit()
        unit.merge(self._row, {"answer": kept, "at": self._now, "finished": True})
        try:
            await self._records.commit(unit)
        except Exception:
            # Storage may have taken the write, and failed to say so.
            current = await self._table.get(self._records.principal, self._row)
            if current is None or not current.values.get("finished"):
                raise

    async def release(self, *, forget: bool) -> None:
        """Lets the call be repeated at once; `forget`: as if it had not been made. If storage refuses this, a
        repetition has to wait until the call counts as stuck: the caller gets the error of the call itself.
        """
        if self._clock() - self._now >= _STUCK:
            return  # a repetition may have the key by now
        unit = Unit()
        if forget:
            unit.delete(self._row)
        else:
            # Storage may have taken the answer without saying so. A repetition must find the seed even then.
            unit.merge(self._row, {"at": 0, "finished": False})
        try:
            await self._records.commit(unit)
        except Changed:
            pass  # repeated by the client library
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("an Idempotency-Key is not released: %s", type(error).__name__)

    async def _answered(self, before: Mapping[str, Any]) -> Response | None:
        """Returns the answer in the key's row; None if the key may be used again."""
        finished = before.get("finished", False)
        if self._now - before["at"] >= (ANSWER_KEPT if finished else _STUCK):
            return None
        if before["digest"] != self._digest:
            raise Problem(
                422,
                "idempotency-key-reused",
                "This Idempotency-Key was used with another request before. Use a new key for each request.",
            )
        if not finished:
            raise _in_progress()
        sealed = before.get("answer") or await self._records.stored_body(self._row)
        saved = orjson.loads(self._records.open(sealed, self._row))
        return Response(saved["status"], base64.b64decode(saved["body"]), saved["type"], saved["headers"])

    def _unfinished(self, before: Mapping[str, Any]) -> tuple[bytes, int] | None:
        """Returns the seed and the time of an attempt at this call that was not finished."""
        if before.get("finished") or before["digest"] != self._digest:
            return None
        if before.get("sealedSeed"):
            return self._records.open(before["sealedSeed"], f"{self._row}/seed"), before["begun"]
        # Written by a version that derived no secrets from it.
        return (bytes(before["seed"]), before["begun"]) if before.get("seed") else None

    async def _reserve(self, seed: bytes, begun: int, before: Row | None) -> Row | None:
        """Writes the row in place of `before`. Returns None, or the row that another call has written meanwhile."""
        sealed = self._records.seal(seed, f"{self._row}/seed")
        values: dict[str, Value] = {"digest": self._digest, "at": self._now, "answer": b"", "finished": False}
        values |= {"begun": begun, "sealedSeed": sealed, "seed": b""}
        unit = Unit()
        if before is None:
            unit.create_row(self._row, values)
        else:
            unit.merge(self._row, values, before.etag)
        try:
            await self._records.commit(unit)
        except Exception as error:
            # Storage may have taken the write, failed to say so, and been asked again by its client library. No two
            # sealed seeds are the same.
            current = await self._table.get(self._records.principal, self._row)
            if current is not None and current.values.get("sealedSeed") == sealed:
                return None
            if not isinstance(error, Exists | Changed):
                raise
            if current is None:
                raise _in_progress() from None
            return current
        return None


def _in_progress() -> Problem:
    return Problem(
        409,
        "idempotency-in-progress",
        "The first call with this Idempotency-Key is still in progress. Retry later.",
        retry_after=2,
    )
