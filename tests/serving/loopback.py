"""A network that has nothing but loopback: a peer that listens on all addresses is then reached from nowhere else."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000


@contextmanager
def only_loopback() -> Iterator[None]:
    """Moves this thread, and all threads and processes begun from it, into a network namespace of their own.

    Raises:
        OSError: When the system does not allow it (it needs root).
    """
    if shutil.which("ip") is None:
        raise OSError("ip (iproute2) is not installed")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no network namespace can be made")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            libc.setns(before, _CLONE_NEWNET)
    finally:
        os.close(before)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
