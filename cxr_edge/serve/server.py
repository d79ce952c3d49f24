"""uvicorn around the application: one process, one event loop, an orderly end."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from cxr_edge.classifier import Classifier
from cxr_edge.serve.app import Application, make_application
from cxr_edge.serve.connection import BoundedConnection
from cxr_edge.serve.listening import is_loopback, url_of
from cxr_edge.serve.log import Log
from cxr_edge.serve.settings import GRACE_SECONDS, Settings
from cxr_edge.stopping import stopping_signals

INTERRUPTED = 130
TICKS_BETWEEN_SWEEPS = 600  # of 0.1 s
HEADER_BYTES = 16 * 1024


def serve(
    classifier: Classifier,
    settings: Settings,
    bound: socket.socket,
    write_log: Callable[[str], object],
    on_start: Callable[[str], object],
) -> None:
    """Serve until a signal asks to stop; then finish what is at work. A second signal ends the process with code 130.

    Args:
        classifier: stays its owner's to close.
        settings: of this server.
        bound: from `listening.bind`; closed in the end.
        write_log: takes one line of JSON with its end.
        on_start: called with the page's address once connections are taken.
    """
    log = Log(write_log)
    port, local = bound.getsockname()[1], is_loopback(settings.host)
    application = make_application(classifier, settings, log, port=port, is_loopback=local)
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())  # its words go nowhere: they may quote a request
    logging.getLogger("uvicorn").propagate = False
    config = uvicorn.Config(
        application.asgi,
        http=BoundedConnection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(GRACE_SECONDS),
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    try:
        _Server(config, application, lambda: on_start(url_of(bound))).run(sockets=[bound])
    finally:
        application.close()
        log.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the application what happens to it."""

    def __init__(self, config: uvicorn.Config, application: Application, on_start: Callable[[], object]) -> None:
        super().__init__(config)
        self._application, self._on_start = application, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_BETWEEN_SWEEPS == 0:
            self._application.store.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._application.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal again in the end: a server that was asked to stop has done well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.signal(number, self.handle_exit) for number in stopping_signals()}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        if self.should_exit:
            os._exit(INTERRUPTED)  # the decoding processes end with this one
        self.should_exit = True
