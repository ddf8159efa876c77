"""Tables of states, written as text."""

from __future__ import annotations


def cells(table: str) -> dict[tuple[str, str, str], list[str]]:
    """The states that may follow, by role, state and event; none where the table has `-`. A line with a colon begins a
    role's part and names its events, words joined by dots; the others are a state, and what follows each event."""
    read: dict[tuple[str, str, str], list[str]] = {}
    role, events = "", [""]
    for line in table.strip().splitlines():
        name, *entries = line.split()
        if name.endswith(":"):
            role, events = name[:-1], [entry.replace(".", " ") for entry in entries]
            continue
        for event, entry in zip(events, entries, strict=True):
            read[role, name, event] = [] if entry == "-" else entry.split("|")
    return read
