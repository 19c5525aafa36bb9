"""A token of SoftHSM's, as Debian's softhsm2 sets it up, with keys made by openssl."""

import secrets
import subprocess
import tempfile
from pathlib import Path

from . import ca
from .run import ENVIRONMENT, as_user

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "739105"
GROUP = "softhsm"


class Token:
    """A token of its own, root's or a ``user``'s who is in the group that may use SoftHSM.

    >>> with Token() as token:
    ...     uri = token.key("web")    # pkcs11:…, without the file with the PIN
    """

    def __init__(self, user: str = "") -> None:
        self._user = user
        self.label = f"letsencrypt-tiny-{secrets.token_hex(6)}"

    def __enter__(self) -> "Token":
        self._run("--init-token", "--free", f"--label={self.label}", "--so-pin=4711471",
                  f"--pin={PIN}")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("--delete-token", f"--token={self.label}")

    def key(self, name: str, kind: str = "ec:P-256", number: int = 1) -> str:
        """Make a key; return its URI."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "key.pem")
            path.write_text(ca.genkey(kind))
            for place in (Path(directory), path):
                place.chmod(0o755)
            self._run(f"--import={path}", f"--token={self.label}", f"--label={name}",
                      f"--id={number:02x}", f"--pin={PIN}")
        return f"pkcs11:token={self.label};object={name}"

    def _run(self, *args: str) -> None:
        argv = ["/usr/bin/softhsm2-util", *args]
        if self._user:
            argv = as_user(self._user, argv)
            argv = [f"--regid={GROUP}" if item.startswith("--regid=") else item for item in argv]
        done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, cwd="/",
                              check=False)
        if done.returncode != 0:
            raise RuntimeError(f"softhsm2-util {args[0]}: {done.stdout}{done.stderr}")


def pin_file(path: Path, pin: str = PIN) -> Path:
    """Write a file with a PIN that only its owner can read."""
    path.touch(0o600)
    path.chmod(0o600)
    path.write_text(pin)
    return path
