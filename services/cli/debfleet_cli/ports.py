"""Ports for servers that are told theirs before they start.

A port that the kernel gives (bind to 0) is out of the range that it also takes the ends of outgoing
connections from: until the server binds it, any connection of the machine may have taken it. Ports
below that range are nobody's, and a claim keeps two of us from finding the same one.
"""

import errno
import random
import socket
from pathlib import Path

_LOWEST = 10_000
_TAKEN = (errno.EADDRINUSE, errno.EACCES)
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nothing listens at, and that no other process of ours is given until
    this one ends.

    Raises:
        OSError: `host` is not an address of this machine, or has no port left.
    """
    highest = _below_outgoing()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    count = highest - _LOWEST
    first = random.randrange(count)
    for port in (_LOWEST + (first + n) % count for n in range(count)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a connection that lingers from the last run is no one listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if _claimed(port) and _binds(probe, host, port):
                return port
    raise OSError(f"{host} has no free port from {_LOWEST} to {highest}")


def free_address() -> str:
    """HOST:PORT of the loopback, as `free_port`."""
    return f"127.0.0.1:{free_port()}"


def _below_outgoing() -> int:
    try:
        lowest = int(_OUTGOING.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        lowest = 32_768
    # A machine that gives nearly all its ports to connections leaves none to prefer.
    return lowest if lowest > _LOWEST + 1000 else 32_768


def _claimed(port: int) -> bool:
    """Claim the number: a name in the kernel's table, which goes with this process."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0debfleet-port-{port}")
    except OSError:
        claim.close()
        return False
    claim.detach()  # open until the process ends
    return True


def _binds(probe: socket.socket, host: str, port: int) -> bool:
    try:
        probe.bind((host, port))
    except OSError as e:
        if e.errno in _TAKEN:
            return False
        raise
    return True
