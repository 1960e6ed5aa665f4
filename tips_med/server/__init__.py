"""Scans are uploaded or fetched, encoded once, and asked by many clients over HTTP; needs the extra ``serve``.

>>> app = create_app(open_model(), ServerSettings(folder))  # doctest: +SKIP
>>> run_server(app, "127.0.0.1", 8431)  # doctest: +SKIP
"""

from tips_med.server.app import create_app, run_server
from tips_med.server.settings import ServerSettings

__all__ = ["ServerSettings", "create_app", "run_server"]
