"""The ticket by which the browser that ``tips-med view`` opens gets the token, and the scan that it opens."""

from __future__ import annotations

import hmac
import threading

from tips_med.server.refusals import RequestError


class Page:
    """What the page knows before it asks anything.

    Args:
        token: Token of the server; None where it asks for none.
        ticket: Secret that is given for the token, once: links are kept in histories. None for no such link.
        local: Id of the registered scan that the page opens first; None for none.
        prior: Id of the registered scan that it opens as the prior one of it; None for none.
    """

    def __init__(
        self, token: str | None, ticket: str | None = None, local: str | None = None, prior: str | None = None
    ) -> None:
        self.token, self.local, self.prior = token, local, prior
        self._ticket = ticket
        self._lock = threading.Lock()

    def redeem(self, ticket: str) -> str | None:
        """Gives the token for the ticket, once.

        Raises:
            RequestError: ``wrong-ticket``.
        """
        with self._lock:
            own = self._ticket
            if own is None or not hmac.compare_digest(own.encode(), ticket.encode("utf-8", "replace")):
                raise RequestError(
                    403, "wrong-ticket", "this link was used before, or is none", remedy="run tips-med view again"
                )
            self._ticket = None
        return self.token
