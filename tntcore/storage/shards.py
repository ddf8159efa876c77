"""The shards of a large tenant: partitions of the records, `<tenant>` and `<tenant>.1`, `<tenant>.2` and so on.

A shard's name takes the place of the tenant's uuid wherever it says in which partition records are: in lookups, in
queue items and in the table `due`. See docs/decisions/0021-shards.md.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 16


def shard_name(principal: str, number: int) -> str:
    """Returns the partition of a tenant's shard: the tenant's uuid for number 0."""
    return f"{principal}.{number}" if number else principal


def principal_of(partition: str) -> str:
    """Returns the tenant that a shard belongs to."""
    return partition.partition(".")[0]


def number_of(partition: str) -> int:
    """Returns the number of a shard; -1 if it is not the name of one."""
    number = partition.partition(".")[2]
    if not number:
        return 0
    return int(number) if number.isdecimal() and number == str(int(number)) and 0 < int(number) < MOST else -1
