"""A server of the standard library's at work in a thread, at an address of its own."""

import socketserver
import subprocess
import threading
from typing import Self


def address(text: str) -> str:
    """Let this machine have one more address of loopback's; return it."""
    subprocess.run(["ip", "address", "replace", f"{text}/8", "dev", "lo"], check=True)
    return text


class Serving:
    """It serves while a with statement lasts."""

    def __init__(self, server: socketserver.BaseServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
