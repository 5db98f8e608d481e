"""Serves the live page of a folder by HTTP: reading only, to hosts that it goes by."""

import ipaddress
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup

from distill.sweeps.report.page import page
from distill.sweeps.report.references import References
from distill.sweeps.report.results import read
from distill.sweeps.watch.progress import TEMPLATES, Live, templates
from distill.utils.errors import UserError, one_line

POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class Server(ThreadingHTTPServer):
    """Listens from its creation on.

    Args:
        folder: of a run or a sweep.
        host: the address to listen on.
        port: 0: a free one.
        every: seconds between two refreshes of the page.

    Raises:
        UserError: the folder is none, or the system refuses the address.
    """

    daemon_threads = True

    def __init__(self, folder: Path, host: str, port: int, every: float) -> None:
        self.folder, self.host, self.every, self.live, self.lock = folder, host, every, Live(folder), Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise UserError(f"host={host} port={port} cannot be listened on: {one_line(error)}") from error

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Shows an error, but not that a browser went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def is_own(self, header: str | None) -> bool:
        """Whether a request's Host is this server: the names of another site may lead here (DNS rebinding)."""
        try:
            name = urlsplit(f"//{header or ''}").hostname or ""
        except ValueError:
            return False
        own = {"localhost", self.host.lower()} | (set() if _is_loopback(self.host) else {socket.gethostname().lower()})
        return name in own or _is_address(name)

    def html(self, path: str) -> str | None:
        """The page at a path; None: there is none."""
        if path == "/report":  # takes seconds: the live page goes on meanwhile
            results = read(self.folder)
            return page(results, References(results, None))
        if path not in ("/", "/live"):
            return None
        with self.lock:
            live = self.live.html()
        if path == "/live":
            return live
        title = f"{self.folder.name}: distill watch"
        return templates.get_template("watch.html").render(live=Markup(live), every=self.every, title=title)


def _is_address(name: str) -> bool:
    """Whether a name is an IP address, which no other site's name server can lead elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if _is_address(host) else host == "localhost"


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: Server
    server_version = "distill"
    sys_version = ""
    timeout = 30  # seconds for a request to arrive

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal shows the jobs."""

    def do_GET(self) -> None:
        """A page, its part that changes, or the whole report."""
        path = self.path.partition("?")[0]
        if not self.server.is_own(self.headers.get("Host")):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "this server goes by another name")
        elif path == "/watch.js":
            self._answer(HTTPStatus.OK, (TEMPLATES / "watch.js").read_text(encoding="utf-8"), "text/javascript")
        else:
            try:
                html = self.server.html(path)
            except (UserError, OSError, ValueError, KeyError, TypeError) as error:  # half-written files
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, one_line(error))
                return
            if html is None:
                self._answer(HTTPStatus.NOT_FOUND, "there is no such page")
            else:
                self._answer(HTTPStatus.OK, html, "text/html", None if path == "/report" else POLICY)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain", policy: str | None = POLICY) -> None:
        content = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
