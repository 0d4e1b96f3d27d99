"""HTTP/1.1 for clients that are slow on purpose, or send something else.

uvicorn waits forever for the rest of a request's headers, and for the rest of a body that was already refused; here who
owes data for too long is disconnected. It refuses what is no HTTP/1.1 in plain text; here in JSON, as all else.
Imported where uvicorn is installed.
"""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["TimedProtocol", "limit_time"]


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, with a limit of seconds on what a client must send without being asked for it.

    Attributes:
        seconds: from the connection, or from the last answer, to the end of the headers of the next request; and from
            the refusal of a request to the end of its body.
    """

    seconds = 30.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stop the clock at the end of the headers."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Start the clock for the next request."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP/1.1."""
        body = json.dumps({"error": "the request is no valid HTTP/1.1; send it with an HTTP client, and without TLS"})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (answer, h11.Data(data=body.encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        owes = self.conn.their_state is h11.IDLE or (
            self.conn.our_state in (h11.DONE, h11.MUST_CLOSE) and self.conn.their_state is h11.SEND_BODY
        )
        if owes and self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self.transport.close)
        elif not owes and self._timer is not None:
            self._timer.cancel()
            self._timer = None


def limit_time(seconds: float) -> type[TimedProtocol]:
    """The protocol with this limit."""
    return type("LimitedProtocol", (TimedProtocol,), {"seconds": seconds})
