"""The ports that the bench holds for the servers it starts."""

import socket
import struct

import pytest

from bench import processes
from bench.processes import BenchError, reserved_port

IP_LOCAL_PORT_RANGE = 51  # ip(7), since Linux 6.3


def test_a_server_can_listen_on_a_port_that_is_held() -> None:
    with reserved_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)):  # with SO_REUSEADDR, as all have it
            socket.create_connection(("127.0.0.1", port)).close()


def test_a_port_is_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with reserved_port() as port:
        monkeypatch.setattr(processes, "PORTS", range(port, port + 1))
        with pytest.raises(BenchError, match="is free"), reserved_port():
            pytest.fail("the port was held twice")
    with reserved_port() as again:
        assert again == port


def test_a_port_is_not_held_where_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(processes, "PORTS", range(taken, taken + 1))
        with pytest.raises(BenchError, match="is free"), reserved_port():
            pytest.fail("a port was held that has a server")


def test_a_connection_to_a_port_that_is_held_never_has_that_port_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ephemeral = probe.getsockname()[1]
    monkeypatch.setattr(processes, "PORTS", range(ephemeral, ephemeral + 1))
    with reserved_port() as port, socket.socket() as client:
        try:
            # The kernel has this one port to choose from. Not held, it connects to itself.
            client.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("HH", port, port))
        except OSError:
            pytest.skip("Linux before 6.3 chooses from one range for all")
        with pytest.raises(OSError, match="Cannot assign requested address"):
            client.connect(("127.0.0.1", port))
