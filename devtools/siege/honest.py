"""The honest tenant: it sends, receives, issues and asks for proofs at a steady pace, whatever goes on around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from devtools.agent import BASIC_MESSAGE, new_id
from devtools.siege.field import Partner, Refused, Side, Tenant, insist
from tntcore.dids.endpoint import didcomm_endpoint

Group = Literal["messages", "credentials"]

_V1 = "https://www.w3.org/2018/credentials/v1"
_CITIZENSHIP = "https://w3id.org/citizenship/v1"


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was done. `took`: seconds to its end, which another was told; None if that did not come."""

    group: Group
    took: float | None
    error: str = ""


@dataclass
class Honest:
    """
    Attributes:
        tenant: sends and receives, issues and verifies.
        friend: an agent outside, with whom it exchanges messages.
        holder, prover: its contacts, tenants as well; one is issued credentials, the other has one and shows it.
        key: public, of its identity.
        latest: seconds after which what has not come is lost.
    """

    tenant: Tenant
    latest: float
    key: str = field(init=False)
    friend: Partner = field(init=False)
    holder: str = field(init=False)
    prover: str = field(init=False)
    _arrivals: dict[str, asyncio.Future[None]] = field(default_factory=dict)

    @classmethod
    async def settle(cls, side: Side, latest: float) -> Honest:
        """With all that it needs, and after having done each thing once."""
        self = cls(await side.register("Honest"), latest)
        self.key = didcomm_endpoint(await self.tenant.document(), "v1").recipient_verkeys[0]
        told = await side.serve(self._told)
        await self.tenant.webhooks(f"{told}/messages")
        await self.tenant.webhooks(f"{told}/tasks", key="TASK_WEBHOOK")
        self.friend = await side.partner(self.tenant, await side.serve(self._heard))
        automatic = {"setting": {"autoRequest": True, "autoPresent": True}}
        contacts = []
        for name in ("Holder", "Prover"):
            other = await side.register(name)
            await other.post("settings/PRINCIPAL_SETTINGS", automatic)
            contacts.append(await side.introduce(self.tenant, other))
        self.holder, self.prover = contacts
        await self._issue(self.prover)
        for kind in self._paces():
            if (trial := await self._try(*kind)).took is None:
                raise RuntimeError(f"not even before any attack: {trial.error}")
        return self

    async def live(self, seconds: float) -> list[Trial]:
        """Does what it does for so long, each thing at its own pace however long those before take, and waits for all
        of it."""
        trials: list[asyncio.Task[Trial]] = []

        async def keep(group: Group, do: Callable[[], Awaitable[None]], pace: float) -> None:
            for _ in range(max(int(seconds / pace), 1)):
                trials.append(asyncio.create_task(self._try(group, do, pace)))
                await asyncio.sleep(pace)

        await asyncio.gather(*(keep(*kind) for kind in self._paces()))
        return await asyncio.gather(*trials)

    def _paces(self) -> list[tuple[Group, Callable[[], Awaitable[None]], float]]:
        """What it does, and every how many seconds."""
        return [
            ("messages", self._receive, 0.5),
            ("messages", self._send, 0.5),
            ("credentials", lambda: self._issue(self.holder), 2.0),
            ("credentials", self._ask, 2.0),
        ]

    async def _try(self, group: Group, do: Callable[[], Awaitable[None]], _pace: float) -> Trial:
        began = time.monotonic()
        try:
            await asyncio.wait_for(do(), self.latest)
        except (Refused, TimeoutError) as error:
            return Trial(group, None, str(error) or f"one of the {group} had not ended after {self.latest:.0f} s")
        return Trial(group, time.monotonic() - began)

    async def _receive(self) -> None:
        """From the friend's POST to our webhook."""
        message = {"@type": BASIC_MESSAGE, "@id": new_id(), "content": new_id()}
        packed = self.friend.agent.pack(message, self.friend.verkey)

        async def deliver() -> None:
            answer = await self.tenant.side.deliver(packed)
            if answer.status != 202:
                raise Refused(answer, "POST didcomm")

        await insist(deliver)
        await self._arrival(message["content"])

    async def _send(self) -> None:
        """From our action to the friend's endpoint."""
        message = {"@type": BASIC_MESSAGE, "content": new_id()}
        again = {"Idempotency-Key": new_id()}
        await insist(lambda: self.tenant.act(self.friend.contact, message, **again))
        await self._arrival(message["content"])

    async def _issue(self, to: str) -> None:
        """From our offer to the holder's acknowledgement."""
        credential = {
            "@context": [_V1, _CITIZENSHIP],
            "type": ["VerifiableCredential", "PermanentResident"],
            "credentialSubject": {"type": "PermanentResident", "givenName": "Alice"},
        }
        body = {"command": "offer", "to": to, "format": "ld-proof", "data": {"credential": credential}}
        await self._exchange("credential", body)

    async def _ask(self) -> None:
        """From our request to a presentation that was checked."""
        wanted = {
            "id": "residence",
            "schema": [{"uri": "https://w3id.org/citizenship#PermanentResident"}],
            "constraints": {"fields": [{"path": ["$.credentialSubject.givenName"]}]},
        }
        definition = {"presentation_definition": {"input_descriptors": [wanted]}}
        await self._exchange("proof-request", {"to": self.prover, "format": "dif", "data": definition})

    async def _exchange(self, path: str, body: dict[str, Any]) -> None:
        again = {"Idempotency-Key": new_id()}
        made = await insist(lambda: self.tenant.post(path, body, **again))
        await self._arrival(f"{made['uuid']} done")

    async def _told(self, body: bytes) -> None:
        """A call of our webhook."""
        hook = orjson.loads(body)
        if hook["type"] == BASIC_MESSAGE:
            self._arrived(hook["message"]["content"])
        elif hook["type"] == "exchange":
            self._arrived(f"{hook['uuid']} {hook['status']}")

    async def _heard(self, body: bytes) -> None:
        """A message to the friend."""
        opened = self.friend.agent.opened(body)
        if opened is not None:
            self._arrived(opened[0].get("content", ""))

    def _arrival(self, name: str) -> asyncio.Future[None]:
        return self._arrivals.setdefault(name, asyncio.get_running_loop().create_future())

    def _arrived(self, name: str) -> None:
        arrival = self._arrival(name)
        if not arrival.done():
            arrival.set_result(None)
