"""What is expected of a run, and what openssl says of the files it installed."""

import ipaddress
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Union

from . import ca, proc

NEW = "there is no certificate yet"
INSTALLED = r"certificate installed, valid until [-0-9]{10} [:0-9]{5} UTC"
_MOMENT = re.compile(r"/\d{4}-\d\d-\d\dT\d{6}Z\b")

Ended = Union["subprocess.CompletedProcess[str]", proc.Watched]


def expect(done: Ended, status: int, *lines: str, stdout: str = "") -> None:
    """Fail unless the exit status is ``status`` and nothing unexpected was written.

    Each of ``lines``, regular expressions, is a whole line on standard error, and each line
    there is one of them; ``stdout`` is all of the standard output.
    """
    assert done.returncode == status, done.stderr
    written = done.stderr.splitlines()
    strange = [line for line in written if not any(re.fullmatch(want, line) for want in lines)]
    missing = [want for want in lines if not any(re.fullmatch(want, line) for line in written)]
    assert not strange and not missing, f"unexpected: {strange}\nmissing: {missing}"
    assert re.fullmatch(stdout, done.stdout, re.DOTALL), done.stdout


def x509(path: Path, *options: str) -> str:
    """Return what ``openssl x509`` shows of the first certificate in a file."""
    return ca.openssl("x509", "-noout", "-in", str(path), *options).decode()


def names(path: Path) -> frozenset[str]:
    """Return the names, DNS and IP, in the first certificate of a file."""
    text = x509(path, "-ext", "subjectAltName")
    return frozenset([*re.findall(r"DNS:([^,\s]+)", text),
                      *(str(ipaddress.ip_address(address))
                        for address in re.findall(r"IP Address:([^,\s]+)", text))])


def serial(path: Path) -> str:
    """Return the serial number in hexadecimal."""
    return x509(path, "-serial").strip().partition("=")[2]


def matches(certificate: Path, key: Path) -> bool:
    """Tell whether a certificate is for a private key."""
    public = ca.openssl("pkey", "-pubout", "-in", str(key)).decode()
    return x509(certificate, "-pubkey") == public


def verify(certificate: Path, chain: Path, roots: Path) -> None:
    """Verify a certificate for a TLS server with the chain given; raises RuntimeError."""
    ca.openssl("verify", "-purpose", "sslserver", "-CAfile", str(roots), "-no-CApath",
               "-untrusted", str(chain), str(certificate))


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def timeless(name: str) -> str:
    """Return the path of a file of a version, which is called after the moment it was made at,
    without that moment."""
    return _MOMENT.sub("/MOMENT", name)


def tree(path: Path) -> set[str]:
    """Return the names of all that is below a directory, relative to it."""
    return {os.path.relpath(os.path.join(parent, name), path)
            for parent, directories, files in os.walk(path) for name in directories + files}
