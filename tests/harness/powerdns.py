"""A double of the PowerDNS API, which lexicon speaks to; what it is told goes to BIND's zones.

A hoster's: HTTPS at port 443 of the host pdns.test, whose CA is in ``ca_file``.
"""

import http.server
import json
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any

from . import serving
from .bind import Bind
from .ca import CA

KEY = "a key of the interface"
HOST, ADDRESS = "pdns.test", "127.0.0.4"


class PowerDNS(serving.Serving):
    """Zones with TXT records; ``requests`` are (method, path).  ``fails`` is a status to answer
    with, ``sleeps`` seconds before each answer."""

    def __init__(self, bind: Bind) -> None:
        self.requests: list[tuple[str, str]] = []
        self.fails = 0
        self.sleeps = 0.0
        self._bind = bind
        self._names: dict[str, list[str]] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers one request."""

            def do_GET(self) -> None:
                """Return a zone."""
                zone = self.path.rpartition("/")[2].rstrip(".")
                self.answer({"kind": "Native", "rrsets": [
                    {"name": name, "type": "TXT", "ttl": 60, "records": [
                        {"content": f'"{value}"', "disabled": False} for value in values]}
                    for name, values in outer._names.items() if name.endswith(f".{zone}.")]})

            def do_PATCH(self) -> None:
                """Change a name."""
                change, = json.loads(self.rfile.read(int(self.headers["content-length"])))["rrsets"]
                values = [entry["content"].strip('"') for entry in change["records"]]
                if not outer.fails:
                    outer._names[change["name"]] = values
                    outer._bind.update(change["name"].rstrip("."), *values)
                self.answer({})

            def answer(self, message: Any) -> None:
                """Answer JSON."""
                outer.requests.append((self.command, self.path))
                time.sleep(outer.sleeps)
                good = self.headers["x-api-key"] == KEY
                status = outer.fails or (200 if good else 401)
                body = json.dumps(message if good else {"error": "Unauthorized"}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except BrokenPipeError:
                    pass   # it waited long enough

            def log_message(self, format: str, *args: Any) -> None:
                """Keep still."""

        self._temporary = tempfile.TemporaryDirectory(prefix="powerdns-")
        directory = Path(self._temporary.name)
        directory.chmod(0o755)
        authority = CA(directory, "a hoster's")
        self.ca_file = authority.root
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.server([HOST]))
        server = http.server.ThreadingHTTPServer((serving.address(ADDRESS), 443), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
        super().__init__(server)
        self.url = f"https://{HOST}"

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._temporary.cleanup()
