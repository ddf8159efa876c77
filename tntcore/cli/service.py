"""A client of the HTTP API for the commands."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tntcore.cli.errors import ServiceRefused, Unreachable, Wrong
from tntcore.cli.profiles import Profile

if TYPE_CHECKING:
    import requests

_TIMEOUT = (5, 60)  # seconds: to connect, and for an answer to begin
_TRIES = 4
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds
_PAGE = 200  # hits, as many as the service answers at once
_AWAY = (502, 503, 504)


class ServiceClient:
    """Calls the service at `profile.url`. Repeats a call whose answer was lost, if repeating is harmless.

    Args:
        sleep: takes seconds.
    """

    def __init__(self, profile: Profile, sleep: Callable[[float], None] = time.sleep) -> None:
        self.profile = profile
        self._sleep = sleep
        self._session: requests.Session | None = None
        self._ahead: float | None = None

    @property
    def now(self) -> float:
        """Seconds since 1970 by the service's clock; makes a call if there was none before."""
        if self._ahead is None:
            self.get("health")
        return time.time() + (self._ahead or 0.0)

    def get(self, path: str, query: Mapping[str, Any] | None = None, *, operator: bool = False) -> Any:
        return self._call("GET", path, query=query, operator=operator)

    def post(self, path: str, body: Any, *, key: str | None = None, operator: bool = False) -> Any:
        """Posts `body`. Calls with the same `key` count as one, if the service takes `Idempotency-Key` there; see
        `once`.
        """
        return self._call("POST", path, body, key=key, operator=operator)

    def put(self, path: str, body: Any, *, operator: bool = False) -> Any:
        return self._call("PUT", path, body, operator=operator)

    def first(self, body: Any, host_key: str) -> Any:
        """Makes the first operator key, with the functions host's own key. Can be repeated: a key that was never used
        is replaced.
        """
        return self._call("POST", "operator/first", body, headers={"x-functions-key": host_key})

    def delete(self, path: str, *, operator: bool = False) -> None:
        self._call("DELETE", path, operator=operator)

    def pages(
        self, path: str, query: Mapping[str, Any], limit: int | None = None, *, operator: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yields at most `limit` entries of a list, and fetches pages as they are needed."""
        return islice(self._hits(path, dict(query), limit, operator), limit)

    def _hits(self, path: str, query: dict[str, Any], limit: int | None, operator: bool) -> Iterator[dict[str, Any]]:
        query["limit"] = min(limit or _PAGE, _PAGE)
        while True:
            page = self.get(path, query, operator=operator)
            yield from page["hits"]
            if page["next"] is None:
                return
            query["next"] = page["next"]

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        operator: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        harmless = method == "GET" or key is not None or headers is not None
        headers = dict(headers) if headers is not None else self._headers(operator)
        if key is not None:
            headers["idempotency-key"] = key
        wait = _FIRST_WAIT
        for left in reversed(range(_TRIES if harmless else 1)):
            try:
                return self._once(method, path, body, query, headers)
            except _Later as later:
                if not left:
                    if isinstance(later.error, Unreachable):
                        later.error.again = key
                    raise later.error from None
                self._sleep(min(later.seconds or wait, _LONGEST_WAIT))
                wait *= 2
        raise AssertionError

    def _headers(self, operator: bool) -> dict[str, str]:
        """The headers that authenticate. Raises `Wrong` if the key that is needed is missing."""
        if operator:
            key = self.profile.operator_key
            if not key:
                raise Wrong(
                    "This command needs an operator key. Put it into TNT_OPERATOR_KEY or a profile "
                    "(`profiles save`). `operator first` makes the first one."
                )
            # A token of an identity provider is a JWT.
            return {"authorization": f"Bearer {key}"} if key.count(".") == 2 else {"tnt-operator-key": key}
        return {"tnt-subscription-key": self.profile.subscription_key} if self.profile.subscription_key else {}

    def _once(
        self, method: str, path: str, body: Any, query: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Any:
        """Makes one call. Raises `_Later`, `ServiceRefused`, `Unreachable`; no error contains any part of the request,
        as it holds keys.
        """
        import requests  # importing it takes a fifth of a second; completion and help do without

        if self._session is None:
            self._session = requests.Session()
            # Passwords in ~/.netrc are not meant for this.
            self._session.auth = lambda request: request
        given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        try:
            answer = self._session.request(
                method,
                f"{self.profile.url}/api/{path}",
                params=given,
                json=body,
                headers=headers,
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
        except requests.Timeout:
            raise _Later(Unreachable("it did not answer in time")) from None
        except requests.exceptions.SSLError:
            raise Unreachable("its TLS certificate is not trusted, or it does not use TLS") from None
        except requests.ConnectionError:
            raise _Later(Unreachable("the connection failed or was closed")) from None
        except requests.RequestException as error:
            raise Unreachable(f"the call failed ({type(error).__name__})") from None
        self._look_at_clock(answer.headers.get("date"))
        return _read(answer, path)

    def _look_at_clock(self, date: str | None) -> None:
        try:
            self._ahead = parsedate_to_datetime(date).timestamp() + 0.5 - time.time() if date else 0.0
        except (ValueError, TypeError):
            self._ahead = 0.0


class _Later(Exception):
    """A failure that may not happen again: retry, after the seconds that the service named, if it did."""

    def __init__(self, error: Exception, seconds: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.seconds = seconds


def _read(answer: requests.Response, path: str) -> Any:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        content = answer.json() if media_type.endswith("json") and answer.content else None
    except ValueError:
        content = None
    status = answer.status_code
    after = answer.headers.get("retry-after", "")
    seconds = float(after) if after.isascii() and after.isdigit() else None
    if media_type == "application/problem+json" and isinstance(content, dict):
        refused = ServiceRefused({"title": "problem", "status": status, "detail": "", **content})
        if status in (429, *_AWAY) or refused.code == "idempotency-in-progress":
            raise _Later(refused, seconds)
        raise refused
    if path == "health" and status == 503 and isinstance(content, dict):
        return content
    if status in (429, *_AWAY):
        raise _Later(Unreachable(f"it is temporarily unavailable ({status})"), seconds)
    if status in (401, 403):
        raise ServiceRefused(
            {
                "title": "host key refused",
                "status": status,
                "detail": "The functions host refused the key. Check that TNT_HOST_KEY is its master key.",
            }
        )
    if status == 204:
        return None
    if not 200 <= status < 300 or content is None:
        raise Unreachable(f"something else than this service answered ({status})")
    return content


def new_key() -> str:
    """Makes an idempotency key."""
    return str(uuid.uuid4())


def part(text: str) -> str:
    """Quotes the text for use as one segment of a path."""
    return quote(text, safe=":")


def is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
