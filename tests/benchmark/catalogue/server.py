"""A real HTTP server on this machine that behaves, and misbehaves, as servers of checkpoints do."""

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file and how it is served.

    Attributes:
        content: its bytes; a test may replace them between two requests.
        etag, last_modified: the headers; a callable of the content for the ETag, None for none.
        ranges: whether Range is understood; careless_ranges: If-Range is not looked at.
        breaks: after how many bytes of an answer the connection is closed, one for each request to come.
        stalls: after how many bytes of an answer nothing more is sent, until the server ends.
        status: an error to answer with, as often as `errors` says (None: always).
        redirect: where to, instead of content.
        chunked: without Content-Length.
    """

    content: bytes = b""
    etag: Callable[[bytes], str] | None = lambda content: f'"{hashlib.md5(content).hexdigest()}"'
    last_modified: str | None = None
    ranges: bool = True
    careless_ranges: bool = False
    breaks: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    status: int | None = None
    errors: int | None = None
    redirect: str | None = None
    chunked: bool = False
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    after_request: Callable[["Served"], None] | None = None


class Server:
    """The running server: ``files`` by path, ``requests`` as (method, path, Range or None)."""

    def __init__(self):
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.url = ""
        self.ended = threading.Event()

    def add(self, path: str, content: bytes = b"", **behaviour) -> str:
        """Serve `content` at `path`; return its URL."""
        self.files[path] = Served(content, **behaviour)
        return self.url + path

    def gets(self, path: str) -> list[str | None]:
        """Return the Range header of every GET of a path, in order."""
        return [wanted for method, where, wanted in self.requests if (method, where) == ("GET", path)]


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Run a server on a free port of this machine."""
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self._answer(False)

        def do_GET(self):
            self._answer(True)

        def _answer(self, with_body: bool):
            path = self.path.partition("?")[0]
            told.requests.append((self.command, path, self.headers.get("Range")))
            file = told.files.get(path)
            if file is None:
                return self._send(404, {}, b"", with_body)
            if file.status and (file.errors is None or file.errors > 0):
                file.errors = None if file.errors is None else file.errors - 1
                return self._send(file.status, {}, b"", with_body)
            if file.redirect:
                return self._send(302, {"Location": file.redirect}, b"", with_body)
            self._send_file(file, with_body)
            if file.after_request:
                file.after_request(file)

        def _send_file(self, file: Served, with_body: bool):
            content, status = file.content, 200
            headers = {"Content-Type": file.content_type, **file.headers}
            if file.etag:
                headers["ETag"] = file.etag(content)
            if file.last_modified:
                headers["Last-Modified"] = file.last_modified
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            condition = self.headers.get("If-Range")
            same = condition in (None, headers.get("ETag"), headers.get("Last-Modified")) or file.careless_ranges
            if file.ranges and wanted and same:
                start, size = int(wanted[1]), len(content)
                if start >= size:
                    return self._send(416, {"Content-Range": f"bytes */{size}"}, b"", with_body)
                end = min(int(wanted[2] or size - 1), size - 1)
                content, status = content[start : end + 1], 206
                headers["Content-Range"] = f"bytes {start}-{end}/{size}"
            self._send(status, headers, content, with_body, file)

        def _send(self, status, headers, content: bytes, with_body: bool, file: Served | None = None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            chunked = file is not None and file.chunked
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(content)))))
            self.end_headers()
            if not with_body:
                return
            cut = file.breaks.pop(0) if file is not None and file.breaks else None
            if cut is not None:
                self.wfile.write(content[:cut])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
            elif file is not None and file.stalls:
                self.wfile.write(content[: file.stalls.pop(0)])
                self.wfile.flush()
                told.ended.wait()
            elif chunked:
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))
            else:
                self.wfile.write(content)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # connections that the tests break

    with Quiet(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield told
        finally:
            told.ended.set()
            server.shutdown()
            thread.join()
