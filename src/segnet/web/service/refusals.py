"""Requests that are not answered with a prediction: the status code, and the reason in one line."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["DisconnectedError", "RefusedError"]


class RefusedError(Exception):
    """A request is refused.

    Args:
        status: HTTP status code, 400 or higher.
        reason: one sentence: what was given, what was expected.
        retry_after: seconds after which another attempt makes sense; 0: not said.
    """

    def __init__(self, status: HTTPStatus, reason: str, *, retry_after: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer besides its type and length."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == HTTPStatus.UNAUTHORIZED else {})


class DisconnectedError(Exception):
    """The client closed its connection, so nobody reads an answer."""
