"""Free ports: nobody's by accident, and no two processes find the same one."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from debfleet_cli.ports import free_port

_MANY = (
    "from debfleet_cli.ports import free_port\nprint(*(free_port() for _ in range(200)))\ninput()"
)


def test_a_port_lies_below_those_that_connections_are_given() -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if int(outgoing.read_text().split()[0]) < 32_768:
        pytest.skip("this machine gives more than the usual ports to connections")
    assert all(10_000 <= free_port() < 32_768 for _ in range(20))


def test_processes_at_one_time_are_given_different_ports() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MANY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    try:
        given: list[str] = []
        for process in processes:
            assert process.stdout is not None
            given += process.stdout.readline().split()
    finally:
        for process in processes:
            process.communicate("\n")
    assert len(given) == len(set(given)) == 800


def test_a_port_that_is_listened_at_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("debfleet_cli.ports._LOWEST", port)
        monkeypatch.setattr("debfleet_cli.ports._below_outgoing", lambda: port + 2)
        assert free_port() == port + 1
        with pytest.raises(OSError, match="no free port"):
            free_port()


def test_an_address_that_is_not_of_this_machine_is_said() -> None:
    with pytest.raises(OSError, match="assign"):
        free_port("192.0.2.1")
