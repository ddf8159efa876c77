"""An honest tenant beside attacks that once stopped everybody for a minute and more: `make siege` has all of them."""

from __future__ import annotations

import pytest

from devtools.bench.measure import percentile
from devtools.siege.__main__ import Options, besiege, times
from devtools.siege.honest import Group

# For a machine that is busy with other tests; what is borne is in `devtools.siege.__main__.BOUNDS`.
_SECONDS: dict[Group, float] = {"messages": 8.0, "credentials": 16.0}


@pytest.mark.parametrize("attack", ["hanging-webhooks", "heavy-presentations-at-three"])
async def test_an_honest_tenant_notices_little_of_an_attack_and_loses_nothing(attack: str) -> None:
    outcome = await besiege(attack, Options(seconds=6, latest=60))
    assert outcome.lost == []
    assert outcome.attackers[202] >= 20
    for group, seconds in _SECONDS.items():
        before, during = (percentile(times(trials, group), 95) for trials in (outcome.before, outcome.during))
        assert during < max(seconds, 10 * before), (group, before, during)
