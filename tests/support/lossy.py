"""A way to a server on which things get lost: connections hang, or break just when an answer comes back."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.ports import free_port


class LossyLine:
    """Listens on loopback, and passes on to *port*. `hang` holds everything back until `go_on`."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open = threading.Event()
        self._open.set()
        self._lost_after: bytes | None = None
        self._hangs_then = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def url(self, url: str) -> str:
        """The same by this line."""
        parts = urlsplit(url)
        place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=place))

    def lose_the_answer_to(self, request: bytes, *, then_hang: bool = False) -> None:
        """Of the next request with these bytes: the server gets it and answers, then the connection breaks."""
        self._lost_after, self._hangs_then = request, then_hang

    def hang(self) -> None:
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._open.set()
        for one in self._sockets:
            _end(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                lost = threading.Event()
                for one, other, asks in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=(one, other, asks, lost), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, asks: bool, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                self._open.wait()
                if asks and self._is_to_be_lost(chunk):
                    lost.set()
                if not asks and lost.is_set():
                    if self._hangs_then:
                        self.hang()
                    break
                target.sendall(chunk)
        _end(source)
        _end(target)

    def _is_to_be_lost(self, chunk: bytes) -> bool:
        with self._lock:
            if self._lost_after is None or self._lost_after not in chunk:
                return False
            self._lost_after = None
            return True


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
