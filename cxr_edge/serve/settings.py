"""What a server is started with, and the limits that nobody needs to choose."""

from dataclasses import dataclass, field

MB = 1_000_000
LEAST_TOKEN_CHARACTERS = 32
IDLE_SECONDS = 10.0  # without one byte of a body that was announced
LEAST_BYTES_PER_SECOND = 16_000  # of a client that sends or takes something
GRACE_SECONDS = 8.0  # for what is at work when the server is asked to stop; `docker stop` kills after 10
RETRY_SECONDS = 1  # what a client that was turned away is asked to wait
HELD_BODIES = 4  # bodies of the greatest size that may be in memory together


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one server listens and what it takes.

    Attributes:
        host: a name or address to listen on; anything but loopback needs a token.
        port: 0 for one that the system chooses.
        token: what every request but those for the page itself has to bring; None: nothing.
        allowed_hosts: names under which clients reach the server besides its own address, as a proxy has them.
        max_body_bytes: of one request, all its files together.
        max_files: of one request.
        queue: requests that may be uploading, waiting or at work together; the next one is turned away.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 100 * MB
    max_files: int = 50
    queue: int = 64

    @property
    def held_bytes(self) -> int:
        """Bodies of all requests together, in memory."""
        return HELD_BODIES * self.max_body_bytes
