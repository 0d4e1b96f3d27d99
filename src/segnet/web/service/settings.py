"""Settings of ``segnet serve``: where it listens, what it refuses, and who may ask."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from segnet.errors import ConfigError

__all__ = ["TOKEN_VARIABLE", "ServiceConfig"]

TOKEN_VARIABLE = "SEGNET_TOKEN"  # noqa: S105  the name, not a token
"""Environment variable of the bearer token."""

_LEAST_TOKEN = 16  # characters


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """Address and limits of the HTTP service.

    Attributes:
        host: Address on which the service listens. The default is reached from this computer only. Set 0.0.0.0 to be
            reached from others, and then set a token.
        port: TCP port, 0 to 65535. 0 takes a free port, which the first log line names.
        queue: Number of images that are decoded, wait or are predicted at once. Further requests are answered with
            status 429. Lower it for a shorter wait.
        batch_wait: Milliseconds that an image waits for others of its size, to be predicted together, while other
            requests are being decoded. Set 0 to predict at once.
        max_upload: Largest request body in megabytes (10^6 bytes). Larger ones are answered with status 413.
        max_pixels: Largest image in megapixels (10^6 pixels). Larger ones are answered with status 413, before they
            are decoded.
        timeout: Seconds in which a request must arrive (else status 408), and then be answered (else status 504).
        token_file: File that holds the bearer token which every request to /v1/ and /metrics must carry. Default: the
            environment variable SEGNET_TOKEN, or no token.
        cors: Origins whose pages in a browser may read the answers, such as https://example.org; * allows all.
            Default: none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    queue: int = 64
    batch_wait: float = 5.0
    max_upload: float = 32.0
    max_pixels: float = 25.0
    timeout: float = 30.0
    token_file: Path | None = None
    cors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port={self.port} is not possible; give 0 (any free port) to 65535")
        if self.queue < 1:
            raise ConfigError(f"queue={self.queue} is not possible; give the number of images, 1 or more")
        if not 0 <= self.batch_wait <= 10_000:
            raise ConfigError(f"batch_wait={self.batch_wait:g} is not possible; give milliseconds, 0 to 10000")
        for name, value in (
            ("max_upload", self.max_upload), ("max_pixels", self.max_pixels), ("timeout", self.timeout),
        ):  # fmt: skip
            if not 0 < value < float("inf"):
                raise ConfigError(f"{name}={value:g} is not possible; give a number above 0")

    @property
    def body_limit(self) -> int:
        """Largest request body in bytes."""
        return int(self.max_upload * 1e6)

    @property
    def pixel_limit(self) -> int:
        """Largest number of pixels of an image."""
        return int(self.max_pixels * 1e6)

    @property
    def is_local(self) -> bool:
        """Whether only this computer reaches the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def read_token(self) -> str:
        """The bearer token; empty if there is none.

        Raises:
            ConfigError: the file cannot be read, or the token is shorter than 16 characters or holds blanks.
        """
        source, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "")
        if self.token_file is not None:
            source = str(self.token_file)
            try:
                token = self.token_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{source}: the token cannot be read ({error}); give a file of one line") from error
        elif not token:
            return ""
        if len(token) < _LEAST_TOKEN or not token.isascii() or any(each.isspace() for each in token):
            raise ConfigError(
                f"{source}: its token is too short or holds other signs than visible ASCII; give {_LEAST_TOKEN} or "
                "more letters and digits, such as those of: openssl rand -hex 32"
            )
        return token
