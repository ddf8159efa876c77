"""TCP ports of the local tools: free ones for tests, and a clear word about taken ones."""

import socket


class PortTaken(OSError):
    """A port that was asked for by number is in use. The message says which, and how to choose another."""

    def __init__(self, what: str, port: int, option: str) -> None:
        super().__init__(f"{what}: port {port} is in use; stop what uses it or choose another with {option}")


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different port numbers that nothing listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


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
