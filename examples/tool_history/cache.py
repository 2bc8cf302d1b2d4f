"""Answers PING like Redis, which is all that is asked of it here."""

import socketserver
import sys

from examples.tool_history.parent import end_with_parent


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(b"+PONG\r\n" if line.strip().upper() == b"PING" else b"-ERR unknown command\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    end_with_parent()
    Server(("127.0.0.1", int(sys.argv[1])), Session).serve_forever()
