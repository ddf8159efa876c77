"""TCP ports of the local tools: free ones for tests, and a clear word about taken ones."""

import fcntl
import os
import random
import socket
import tempfile
from itertools import islice
from pathlib import Path

# Below what systems hand out themselves, to port 0 and to outgoing connections: Linux from 32768, others from 49152.
_RANGE = range(20_000, 32_768)


class PortTaken(OSError):
    """A port that was asked for by number is in use. The message says which, and how to choose another."""

    def __init__(self, what: str, port: int, option: str) -> None:
        super().__init__(f"{what}: port {port} is in use; stop what uses it or choose another with {option}")


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Returns `count` port numbers that nothing listens on.

    No other process gets them from here while this one lives, so that tests can run side by side.
    """
    candidates = iter(random.Random().sample(_RANGE, len(_RANGE)))
    return list(islice((port for port in candidates if is_free(port, host) and _hold(port)), count))


def _hold(port: int) -> bool:
    """Takes the port's lock, which ends with this process; False if this or another process has it."""
    folder = Path(tempfile.gettempdir(), f"tntcore-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    file = os.open(folder / str(port), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    return True  # the file stays open, and with it the lock


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something could listen on `port` now."""
    with socket.socket() as probe:
        # Without it a port whose last connections are in TIME_WAIT counts as taken, which no server would mind.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
