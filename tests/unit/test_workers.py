import asyncio
import errno
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tntcore.workers
from tntcore.shares import Busy, on_behalf_of, within_budget
from tntcore.workers import Workers, WorkTimeout

ROOT = Path(__file__).parents[2]


def _die_the_first_time(marker: str) -> str:
    if not os.path.exists(marker):
        open(marker, "w").close()
        os._exit(1)
    return "alive"


async def test_a_task_runs_in_another_process() -> None:
    workers = Workers(1)
    try:
        assert await workers.run(os.getpid) != os.getpid()
        with pytest.raises(ZeroDivisionError):
            await workers.run(divmod, 1, 0)
    finally:
        await workers.close()


async def test_one_that_takes_too_long_is_ended_and_the_next_one_runs() -> None:
    workers = Workers(1, seconds=3)
    try:
        await workers.run(os.getpid)
        stuck = asyncio.create_task(workers.run(time.sleep, 60))
        await asyncio.sleep(0)
        with pytest.raises(WorkTimeout):
            await stuck
        assert await workers.run(max, 1, 2) == 2
    finally:
        await workers.close()


async def test_one_that_needs_too_much_memory_costs_only_itself() -> None:
    workers = Workers(1)
    try:
        process = await workers.run(os.getpid)
        with pytest.raises(WorkTimeout, match="memory"):
            await workers.run(bytes, 4 * 1024**3)
        assert await workers.run(os.getpid) == process
    finally:
        await workers.close()


_kept: list[bytes] = []


def _keep_memory() -> int:
    _kept.append(b"1" * (300 * 1024 * 1024))
    return os.getpid()


async def test_a_process_that_keeps_much_memory_is_not_used_again() -> None:
    workers = Workers(1)
    try:
        process = await workers.run(_keep_memory)
        assert await workers.run(os.getpid) != process
        assert len(workers._processes) == 1
    finally:
        await workers.close()


async def test_a_task_whose_process_died_is_done_again(tmp_path: object) -> None:
    workers = Workers(1)
    try:
        assert await workers.run(_die_the_first_time, f"{tmp_path}/marker") == "alive"
    finally:
        await workers.close()


async def test_a_process_that_died_while_idle_is_forgotten() -> None:
    workers = Workers(1)
    try:
        for _ in range(3):
            os.kill(await workers.run(os.getpid), signal.SIGKILL)
            [process] = workers._processes
            while not process._broken:  # noqa: ASYNC110  nobody tells of it
                await asyncio.sleep(0.01)
            assert await workers.run(abs, -1) == 1
            assert len(workers._processes) == 1
    finally:
        await workers.close()


async def test_ctrl_c_ends_a_process_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """A terminal tells all processes of it at once; the one that they work for decides what follows."""
    workers = Workers(processes=1)
    try:
        os.kill(await workers.run(os.getpid), signal.SIGINT)
        assert await workers.run(abs, -1) == 1
    finally:
        await workers.close()
    assert capfd.readouterr().err == ""


async def test_one_that_takes_too_long_costs_only_its_own_process() -> None:
    workers = Workers(4, seconds=3)
    try:
        with on_behalf_of("honest"):
            before = await workers.run(os.getpid)
            with on_behalf_of("greedy"):
                stuck = asyncio.create_task(workers.run(time.sleep, 60))
            working = [asyncio.create_task(workers.run(_sleep, 0.1)) for _ in range(40)]
            with pytest.raises(WorkTimeout):
                await stuck
            assert len(set(await asyncio.gather(*working)) | {before}) <= 3
    finally:
        await workers.close()


def _sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


async def test_one_tenant_leaves_a_process_for_others() -> None:
    workers = Workers(2, patience=0.2)
    try:
        with on_behalf_of("greedy"):
            flood = [asyncio.create_task(workers.run(_sleep, 0.5)) for _ in range(8)]
        await asyncio.sleep(0.1)
        with on_behalf_of("honest"):
            assert await workers.run(_sleep, 0.0)
        done = await asyncio.gather(*flood, return_exceptions=True)
        assert any(isinstance(one, Busy) for one in done)
    finally:
        await workers.close()


def _spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


_MESSAGES = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(flush=True)
while True: pass
"""


async def test_one_that_is_cancelled_ends_without_a_word() -> None:
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(str(context)))
    workers = Workers(1)
    try:
        await workers.run(os.getpid)
        task = asyncio.create_task(workers.run(time.sleep, 60))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Its process ends a moment later.
        await workers.run(os.getpid)
    finally:
        await workers.close()
    gc.collect()
    assert said == []


async def test_who_needs_little_waits_behind_nobody_who_needs_much() -> None:
    """Those who computed for long hold all processes that there are for them, and more of them wait."""
    workers = Workers(2)
    greedy = [f"greedy {number}" for number in range(4)]
    for tenant in greedy:
        workers._used.add(tenant, 100)
    try:
        flood = []
        for tenant in greedy:
            with on_behalf_of(tenant):
                assert not workers.needs_little()
                flood += [asyncio.create_task(workers.run(_sleep, 30)) for _ in range(3)]
        await asyncio.sleep(0.1)
        with on_behalf_of("honest"):
            async with asyncio.timeout(60):
                await workers.run(_sleep, 0.0)
            # Waiting is not computing.
            assert workers.needs_little()
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
    finally:
        await workers.close()


async def test_what_is_likely_to_take_long_does_not_keep_quick_ones_waiting() -> None:
    workers = Workers(1)
    try:
        long = [asyncio.create_task(workers.run(_sleep, 60, long=True)) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert workers.needs_little()
        async with asyncio.timeout(30):
            await workers.run(_sleep, 0.0)
        assert len(workers._processes) == 2
        for task in long:
            task.cancel()
        await asyncio.gather(*long, return_exceptions=True)
    finally:
        await workers.close()


def _spin_on_one_processor(seconds: float) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _spin(seconds)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how long a process waited")
async def test_one_that_got_no_processor_may_come_again() -> None:
    """Such as a long one beside a flood of messages."""
    workers = Workers(1, seconds=3.0)
    messages = await asyncio.create_subprocess_exec(sys.executable, "-c", _MESSAGES, stdout=subprocess.PIPE)
    try:
        assert messages.stdout is not None
        await messages.stdout.readline()
        await workers.run(os.getpid, long=True)
        with pytest.raises(Busy):
            await workers.run(_spin_on_one_processor, 60, long=True)
        # Its tenant did not compute in that time, so its quick tasks need not wait among the long ones.
        assert workers.needs_little()
    finally:
        messages.kill()
        await messages.wait()
        await workers.close()


def test_where_the_system_refuses_the_policy_for_idle_tasks_long_ones_are_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes such as gVisor know only the usual policy."""

    def refuse(pid: int, policy: int, param: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    nice: list[int] = []
    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    monkeypatch.setattr(os, "nice", nice.append)
    tntcore.workers._yield_processor(yields=True)
    tntcore.workers._yield_processor(yields=False)
    assert nice == [19, 4]


async def test_cpu_of_tasks_counts_whatever_comes_of_them() -> None:
    workers = Workers(1)
    try:
        with on_behalf_of("computing"):
            await workers.run(_spin, 0.2)
            with pytest.raises(ValueError, match="not a number"):
                await workers.run(float, "not a number")
            assert workers._used.lately("computing") >= 0.15
    finally:
        await workers.close()


async def test_all_that_one_message_causes_has_one_budget() -> None:
    workers = Workers(2)
    try:
        await workers.run(_sleep, 0.0)  # starting a process is not what is measured
        with within_budget(2.5):
            done = [await asyncio.gather(workers.run(_sleep, 0.6), return_exceptions=True) for _ in range(5)]
            assert isinstance(done[0][0], int)
            assert isinstance(done[-1][0], WorkTimeout)
            with pytest.raises(WorkTimeout):
                await workers.run(abs, -1)
        assert await workers.run(abs, -1) == 1
    finally:
        await workers.close()


PARENT = """
import asyncio, os, time
from tntcore.workers import Workers

async def main():
    workers = Workers(2)
    idle = await workers.run(os.getpid)
    busy = asyncio.create_task(workers.run({task}))
    await asyncio.sleep(0.5)
    print(idle, *(child for process in workers._processes for child in process._processes), flush=True)
    await busy

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("task", ["time.sleep, 60", "sum, range(10**12)"])
def test_the_processes_end_with_a_parent_that_is_killed(task: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(task=task))
    with subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-1) as parent:
        assert parent.stdout is not None
        children = {int(text) for text in parent.stdout.readline().split()}
        assert children
        parent.kill()
    deadline = time.monotonic() + 10
    while any(_lives(child) for child in children):
        assert time.monotonic() < deadline, "processes outlived their parent"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Where nobody reaps orphans, one that has ended stays as a zombie.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_processes_are_ended_by_their_parent_alone() -> None:
    """A platform may send its SIGTERM to all processes, while the service still lets messages finish."""
    workers = Workers(1)
    try:
        child = await workers.run(os.getpid)
        os.kill(child, signal.SIGTERM)
        assert await workers.run(os.getpid) == child
    finally:
        await workers.close()
    assert not _lives(child)


async def test_closing_does_not_wait_for_what_is_computed() -> None:
    workers = Workers(1)
    task = asyncio.create_task(workers.run(time.sleep, 60))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await workers.close()
        await asyncio.gather(task, return_exceptions=True)
