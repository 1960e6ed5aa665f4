"""Other libraries' logs, silent while they speak to an archive for us: they may quote data sets, and so patients."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom import _config

_lock = threading.Lock()
_users = 0
_before: tuple[bool, bool, int] = (True, True, logging.NOTSET)

_WEB = ("dicomweb_client", "dicomweb_client.web", "retrying", "urllib3.connectionpool")
_web_users = 0
_web_before: dict[str, int] = {}


@contextmanager
def quiet_web() -> Iterator[None]:
    """Keeps the libraries of DICOMweb from logging what is asked for: it holds UIDs of studies.

    All is as it was when the last user leaves. What matters is raised.
    """
    global _web_users
    with _lock:
        if _web_users == 0:
            for name in _WEB:
                _web_before[name] = logging.getLogger(name).level
                logging.getLogger(name).setLevel(logging.CRITICAL)
        _web_users += 1
    try:
        yield
    finally:
        with _lock:
            _web_users -= 1
            if _web_users == 0:
                for name, level in _web_before.items():
                    logging.getLogger(name).setLevel(level)


@contextmanager
def quiet_dimse() -> Iterator[None]:
    """Keeps pynetdicom from logging identifiers and errors; all is as it was when the last user leaves.

    What matters is raised.
    """
    global _users, _before
    logger = logging.getLogger("pynetdicom")
    with _lock:
        if _users == 0:
            _before = _config.LOG_REQUEST_IDENTIFIERS, _config.LOG_RESPONSE_IDENTIFIERS, logger.level
            _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
            logger.setLevel(logging.CRITICAL)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _config.LOG_REQUEST_IDENTIFIERS, _config.LOG_RESPONSE_IDENTIFIERS = _before[:2]
                logger.setLevel(_before[2])
