"""A hub on this machine: serves repositories at one commit as the real one does, and fails on demand."""

import hashlib
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" * 6 + "c0ff"


class Hub:
    """`repositories` is {"owner/name": {path: bytes}}. Plain files are served at `url`/files/<path>."""

    def __init__(self, repositories, files=None):
        self.repositories = repositories
        self.files = files or {}
        self.cuts = {}  # path -> bytes that each next answer is cut after
        self.announced = {}  # name -> the sha256 that is told instead of the true one
        self.abrupt = False  # a cut resets the connection instead of closing it
        self.asked = []  # (method, path, Range header)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def gets(self, name):
        """The ranges that were asked for of one file."""
        return [range_ for method, path, range_ in self.asked if method == "GET" and path.endswith(name)]

    def find(self, path):
        """(repository's commit or None, bytes) of a request path; None if there is no such file."""
        if path.startswith("/files/"):
            data = self.files.get(path.removeprefix("/files/"))
            return None if data is None else (None, data)
        repo, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        data = self.repositories.get(repo, {}).get(name)
        return (COMMIT, data) if data is not None and revision in ("main", COMMIT) else None

    def _handler(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self._answer()

            def do_GET(self):
                self._answer()

            def _answer(self):
                asked_range = self.headers.get("Range")
                hub.asked.append((self.command, self.path, asked_range))
                found = hub.find(self.path)
                if found is None:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                commit, data = found
                start = int(asked_range.removeprefix("bytes=").rstrip("-")) if asked_range else 0
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                if commit:
                    self.send_header("X-Repo-Commit", commit)
                    large = not self.path.endswith((".json", ".txt"))
                    kind = hashlib.sha256 if large else hashlib.sha1  # the hub names small files by their git hash
                    name = self.path.rpartition("/")[2]
                    self.send_header("ETag", f'"{hub.announced.get(name, kind(data).hexdigest())}"')
                self.end_headers()
                if self.command == "GET":
                    self._send(data[start:])

            def _send(self, data):
                cuts = hub.cuts.get(self.path.rpartition("/")[2])
                if not cuts:
                    self.wfile.write(data)
                    return
                self.wfile.write(data[: cuts.pop(0)])
                self.wfile.flush()
                if hub.abrupt:
                    time.sleep(0.3)  # a reset discards what the client has not read yet
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler
