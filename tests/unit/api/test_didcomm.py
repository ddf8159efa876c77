import pytest

from tntcore.api.http import client_address
from tntcore.config import ConfigError, ServiceLimits


@pytest.mark.parametrize(
    ("header", "hops", "address"),
    [
        ("198.51.100.7", 1, "198.51.100.7"),
        ("198.51.100.7:50123", 1, "198.51.100.7"),
        ("10.0.0.1, 198.51.100.7:50123", 1, "198.51.100.7"),  # the first is the client's own invention
        ("10.0.0.1, 198.51.100.7, 203.0.113.1:443", 2, "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", 1, "2001:db8:1:2::"),
        ("[2001:db8:1:2:3:4:5:6]:50123", 1, "2001:db8:1:2::"),
        ("::ffff:198.51.100.7", 1, "198.51.100.7"),
        ("198.51.100.7", 0, ""),
        ("198.51.100.7", 2, ""),
        ("", 1, ""),
        ("198.51.100.7,", 1, ""),
        ("nonsense", 1, ""),
        ("a:b", 1, ""),
        ("[", 1, ""),
    ],
)
def test_the_clients_address(header: str, hops: int, address: str) -> None:
    assert client_address({"x-forwarded-for": header}, hops) == address
    assert client_address({}, hops) == ""


def test_limits_are_read_from_the_environment() -> None:
    assert ServiceLimits.read({}) == ServiceLimits()
    given = ServiceLimits.read({"TNT_KEY_RATE": "7", "TNT_TENANT_BYTES": "0", "TNT_FORWARDED_HOPS": "2"})
    assert (given.key, given.stored, given.forwarded_hops) == (7, 0, 2)
    for value in ("-1", "1.5", "x", "٣", "1" * 16):
        with pytest.raises(ConfigError, match="TNT_SENDER_RATE"):
            ServiceLimits.read({"TNT_SENDER_RATE": value})
