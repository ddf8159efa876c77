"""The way of a message through the code, in the order in which it runs, climbs back up at most twice.

A climb is the first call into a module of a higher layer than the module that was entered before it. The layers are
those that `make lint` checks, down to the protocols: what stands below them knows no message's way.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Awaitable
from pathlib import Path
from types import FrameType

import pytest

import tntcore
from tests.faults.exchanges import PASSED_ON, Issued
from tests.faults.flows import Between, basic
from tests.faults.world import World, run

PACKAGE = Path(tntcore.__file__).parent
MOST = 2


def _floors() -> dict[str, int]:
    """The floor of each folder from the app down to the protocols, the highest first."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    [layers] = [one["layers"] for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    own = layers[: layers.index("credentials")]
    return {name: number for number, names in enumerate(own) for name in names.split(" | ")}


class Walk:
    """Notes each module of these folders when it is first entered."""

    def __init__(self) -> None:
        self._floors = _floors()
        self.entered: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE) and self._floor(str(file.relative_to(PACKAGE))) is not None:
            module = str(file.relative_to(PACKAGE))
            if module not in self.entered:
                self.entered.append(module)

    def _floor(self, module: str) -> int | None:
        return self._floors.get(Path(module).parts[0].removesuffix(".py"))

    async def follow(self, way: Awaitable[object]) -> None:
        sys.setprofile(self)
        try:
            await way
        finally:
            sys.setprofile(None)

    @property
    def climbs(self) -> list[str]:
        floors = [self._floor(module) or 0 for module in self.entered]
        pairs = zip(self.entered, floors, self.entered[1:], floors[1:], strict=False)
        return [f"{before} -> {after}" for before, above, after, below in pairs if below < above]


@pytest.fixture(autouse=True)
def nothing_but_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the webhook's calls are not held against the API's description, which would count as a climb."""
    monkeypatch.setattr("tests.faults.sites.note_webhook", lambda headers, body: None)


def test_a_received_message(tmp_path: Path) -> None:
    async def work() -> None:
        flow = Between(World(tmp_path))
        await flow.prepare()
        await flow.acme.act(flow.contact, basic("hello"))
        await received(flow.world, "inbound")

    run(work)


def test_an_offer(tmp_path: Path) -> None:
    async def work() -> None:
        flow, walk = Issued(World(tmp_path)), Walk()
        await flow.prepare()
        await flow.world.settle()
        offered = {"command": "offer", "format": "plain", "to": flow.contact, **PASSED_ON}
        await walk.follow(flow.acme.post("credential", offered))
        assert "exchanges/issuance.py" in walk.entered
        assert len(walk.climbs) <= MOST, walk.climbs
        await received(flow.world, "inbound")
        await received(flow.world, "exchange")

    run(work)


async def received(world: World, queue: str) -> None:
    """Follows the next item of the queue."""
    while True:
        message = min(world.durable.queue.values(), key=lambda one: one.visible)
        if message.queue == queue:
            break
        await world.give_out(message)
    walk = Walk()
    await walk.follow(world.give_out(message))
    assert "pipeline/consequences.py" in walk.entered
    assert len(walk.climbs) <= MOST, walk.climbs
