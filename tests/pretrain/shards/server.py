"""A real HTTP server on this machine that sends parts of files, as object storage does, and can be made to fail."""

import http.server
import re
import threading
from contextlib import contextmanager


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(send=False)

    def do_GET(self):
        self._answer(send=True)

    def _answer(self, send):
        server = self.server
        path = server.folder / self.path.lstrip("/").partition("?")[0]
        with server.lock:
            server.requests.append((self.command, self.path, self.headers.get("Range")))
            failing = server.failing > 0
            server.failing -= failing
        if failing or not path.is_file():
            return self._send(503 if failing else 404, b"", send)
        content = path.read_bytes()
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part is None or not server.ranges:
            return self._send(200, content, send)
        begin, end = int(part[1]), int(part[2] or len(content) - 1)
        extra = {"Content-Range": f"bytes {begin}-{min(end, len(content) - 1)}/{len(content)}"}
        return self._send(206, content[begin : end + 1], send, extra)

    def _send(self, status, content, send, extra=None):
        self.send_response(status)
        for key, value in {"Content-Length": len(content), **({"Accept-Ranges": "bytes"} if self.server.ranges else {}),
                           **(extra or {})}.items():  # fmt: skip
            self.send_header(key, str(value))
        self.end_headers()
        if send:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder, ranges=True):
    """Serve a folder; yield the server: its ``address``, the ``requests`` so far, how many are still ``failing``."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.folder, server.ranges, server.requests, server.failing = folder, ranges, [], 0
    server.lock, server.address = threading.Lock(), f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
