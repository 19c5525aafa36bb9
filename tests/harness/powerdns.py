"""A double of the PowerDNS API, which lexicon speaks to; what it is told goes to BIND's zones."""

import http.server
import json
import threading
import time
from typing import Any

from .bind import Bind

KEY = "a key of the interface"


class PowerDNS:
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

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://pdns.test:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "PowerDNS":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
