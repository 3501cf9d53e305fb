"""Ports on this machine, and what answers there."""

from __future__ import annotations

import contextlib
import socket
import time

__all__ = ["answer_as_head", "free_port"]


def free_port() -> int:
    """Returns a port of the loopback address that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answer_as_head(server: socket.socket, seconds: float) -> None:
    """Answers as the head of a cluster does, for some time from the first connection on."""
    server.settimeout(30.0)
    until = None
    with contextlib.suppress(TimeoutError):
        while until is None or time.monotonic() < until:
            stream, _ = server.accept()
            until = until or time.monotonic() + seconds
            server.settimeout(max(0.1, until - time.monotonic()))
            with stream:
                stream.recv(64)
                stream.sendall(b"\0\0\0\4\0\0\0\0\0")  # a SETTINGS frame
