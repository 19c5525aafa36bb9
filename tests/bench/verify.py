"""Whether what a program left behind is what it was asked for: a certificate that can be verified.

By openssl, and never while the clock runs.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from harness.ca import openssl


def faults(results: Sequence[Path], certificates: Sequence[Sequence[str]], roots: Path
           ) -> list[str]:
    """Return what is wrong with files that were to hold certificates of these names, and chains
    that lead to ``roots`` (PEM)."""
    if len(results) != len(certificates):
        return [f"{len(results)} files for {len(certificates)} certificates"]
    found = (_fault(path, names, roots) for path, names in zip(results, certificates))
    return [fault for fault in found if fault]


def _fault(path: Path, names: Sequence[str], roots: Path) -> str:
    if not is_certificate(path):
        return f"{path.name}: no certificate"
    try:
        openssl("verify", "-CAfile", str(roots), "-untrusted", str(path), "-purpose",
                "sslserver", str(path))
        text = openssl("x509", "-in", str(path), "-noout", "-ext", "subjectAltName").decode()
    except RuntimeError as exc:
        return f"{path.name}: {' '.join(str(exc).split())}"
    given = set(re.findall(r"DNS:([^,\s]+)", text))
    return "" if given == set(names) else f"{path.name}: it is of {', '.join(sorted(given))}"


def is_certificate(path: Path) -> bool:
    """Tell whether a file that a run was to make is there."""
    try:
        return "BEGIN CERTIFICATE" in path.read_text()
    except FileNotFoundError:
        return False
