"""What Linux shows of a process: proc(5)."""

from __future__ import annotations

import os


def handles(pid: int) -> int:
    """Open files and sockets of a process; 0 where the system does not show them as Linux does."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where the system does not show them as Linux does."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            pages = file.read().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
