"""`OPERATOR=key python -m devtools.smoke URL`: whether a deployed service works, from outside.

Asks for its health, registers two tenants, connects them by an invitation, sends a message from one to the other, and
deletes both, whatever happened. Exit code 1 says that a step failed, and the last line which.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

PATIENCE = 120.0  # seconds for a step: an instance may have to start, and each queue's function on one of its own
_PAUSE = 0.5
_CALL_TIMEOUT = 60.0


class SmokeError(RuntimeError):
    """The service does not work. The message says at which step, and what it answered."""


class Service:
    """Calls the service.

    Args:
        url: where the outside world reaches it, without `/api`.
        operator_key: registers and deletes tenants, so its role is admin.
        patience: seconds until a step has failed that takes a while.
    """

    def __init__(self, url: str, operator_key: str, patience: float = PATIENCE) -> None:
        self._url = url.rstrip("/") + "/api/"
        self._operator = {"tnt-operator-key": operator_key}
        self._patience = patience
        self._session = requests.Session()

    def call(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
        """Returns the JSON of the answer, or None where there is no body. Raises `SmokeError`."""
        try:
            answer = self._session.request(
                method, self._url + path, json=body, headers=headers, timeout=_CALL_TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            raise SmokeError(f"{method} {path} got no answer: {error}") from error
        if not 200 <= answer.status_code < 300:
            raise SmokeError(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def eventually(self, check: Callable[[], Any], step: str) -> Any:
        """Returns what `check` returns once that is something. A call that fails is made again meanwhile."""
        deadline = time.monotonic() + self._patience
        last = "it was never so"
        while True:
            try:
                if found := check():
                    return found
            except SmokeError as error:
                last = str(error)
            if time.monotonic() > deadline:
                raise SmokeError(f"{step}: not within {self._patience:.0f} s; {last}")
            time.sleep(_PAUSE)

    def health(self) -> None:
        self.eventually(lambda: self.call("GET", "health", {})["status"] == "ok", "health")

    @contextmanager
    def tenant(self, name: str) -> Iterator[dict[str, str]]:
        """A new tenant's headers. It is deleted at the end."""
        made = self.call("POST", "principal", self._operator, {"displayName": name})
        try:
            yield dict(made["headers"])
        finally:
            self.call("DELETE", f"principal/{made['uuid']}", self._operator)

    def connect(self, inviter: dict[str, str], invited: dict[str, str]) -> str:
        """Returns the uuid of the contact that `invited` has of `inviter`, once they are connected."""
        url = self.call("POST", "invitation", inviter, {"label": "smoke test"})["invitationUrl"]
        contact = str(self.call("POST", "contact", invited, {"invitationUrl": url})["uuid"])
        self.eventually(lambda: self.call("GET", f"contact/{contact}", invited)["status"] == "ACCEPTED", "connect")
        return contact

    def send(self, sender: dict[str, str], contact: str, receiver: dict[str, str]) -> None:
        """Sends a message, and waits until its receiver has it."""
        message = {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "Does it work?"}
        action = {"type": "DIDCOMM", "to": contact, "data": {"message": message}}
        sent = self.call("POST", "action", sender, action)["data"]["message"]["@id"]

        def arrived() -> bool:
            hits = self.call("GET", "message?direction=IN&limit=200", receiver)["hits"]
            return any(hit["messageId"] == sent for hit in hits)

        self.eventually(arrived, "send")


def run(service: Service, say: Callable[[str], None]) -> None:
    """Raises `SmokeError` at the first step that fails."""
    service.health()
    say("It answers, and storage answers it.")
    with service.tenant("smoke test, inviting") as one, service.tenant("smoke test, invited") as other:
        say("Two tenants are registered.")
        contact = service.connect(one, other)
        say("They are connected.")
        service.send(other, contact, one)
        say("A message arrived.")
    say("Both tenants are deleted: it works.")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m devtools.smoke", description=__doc__)
    parser.add_argument("url", help="where the service is, without /api")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for a step (%(default)s)")
    chosen = parser.parse_args(arguments)
    key = os.environ.get("OPERATOR", "")
    if not key:
        print("OPERATOR is not set: it has to be an operator's key with the role admin.", file=sys.stderr)
        return 2
    try:
        run(Service(chosen.url, key, chosen.patience), print)
    except SmokeError as error:
        print(f"The service does not work. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
