"""Whether a run in hell was what it should be: everything that is wrong with it, in sentences.

What is installed is judged by openssl alone, not by anything of ours.
"""

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from . import ca
from .run import Site

SECONDS = 60.0         # that a run may take, with answer-timeout = 3 and timeout = 5
MEMORY = 128 << 10     # KiB that any process of it may have
FILES = ("privkey.pem", "cert.pem", "chain.pem", "fullchain.pem")
_NAME = re.compile(r"DNS:([^,\s]+)")
_LEFT = re.compile(r"\.(new|tmp|part)\b|~$")


class Run(NamedTuple):
    """How a run ended (see ``hell_guard``)."""

    status: int
    stderr: str
    seconds: float
    memory: int             # KiB
    left: tuple[str, ...]   # processes

    @property
    def errors(self) -> list[str]:
        """The lines that tell of failures."""
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]


def installed(site: Site, section: str) -> dict[str, bytes]:
    """Return what there is of a section's files, by name."""
    directory = site.lib / "certs" / section
    return {name: (directory / name).read_bytes() for name in FILES
            if (directory / name).exists()}


def mismatch(files: Mapping[str, bytes], names: Collection[str], roots: Path) -> str:
    """Return what is wrong with a key and a certificate that are installed, "" if nothing is."""
    if set(files) != set(FILES):
        return f"only {', '.join(files) or 'nothing'}"
    try:
        key = ca.openssl("pkey", "-pubout", stdin=files["privkey.pem"])
        if ca.openssl("x509", "-noout", "-pubkey", stdin=files["cert.pem"]) != key:
            return "the certificate is of another key"
        text = ca.openssl("x509", "-noout", "-ext", "subjectAltName", "-checkend", "60",
                          stdin=files["cert.pem"]).decode()
        if set(_NAME.findall(text)) != set(names):
            return f"the certificate is for {_NAME.findall(text)}"
        if b"PRIVATE" in files["fullchain.pem"] or files["fullchain.pem"].split() != (
                files["cert.pem"] + files["chain.pem"]).split():
            return "fullchain.pem is not cert.pem and chain.pem"
        with tempfile.TemporaryDirectory() as work:
            leaf, chain = Path(work, "leaf"), Path(work, "chain")
            leaf.write_bytes(files["cert.pem"])
            chain.write_bytes(files["chain.pem"])
            ca.openssl("verify", "-CAfile", str(roots), "-untrusted", str(chain), str(leaf))
    except RuntimeError as exc:
        return str(exc)
    return ""


def unclear(run: Run, failed: Collection[str], sections: Collection[str], server: str
            ) -> Iterator[str]:
    """Tell what is wrong with what a run has said; ``failed`` are the sections without what they
    wanted, ``server`` is in the URLs of the CA."""
    lines = run.stderr.splitlines()
    for line in lines:
        if not line.startswith(("error: ", "warning: ")):
            yield f"a line of no kind: {line!r}"
        if not line.isprintable():
            yield f"controls: {line!r}"
        if server not in line and not any(section in line for section in sections):
            yield f"whose line is it? {line!r}"
    if "Traceback" in run.stderr:
        yield "a traceback"
    if len(set(lines)) < len(lines):
        yield "a line twice"
    if len(run.errors) > len(failed):
        yield f"{len(run.errors)} errors for {len(failed)} failures"
    for section in failed:
        if not any(section in line for line in run.errors):
            yield f"nothing of {section}"


def ended_badly(run: Run, failed: Collection[str]) -> Iterator[str]:
    """Tell what is wrong with the end of a run, its time, its memory and what it leaves."""
    if run.status != (1 if failed else 0):
        yield f"status {run.status}, and {len(failed)} failed"
    if run.seconds > SECONDS:
        yield f"it took {run.seconds:.0f} s"
    if run.memory > MEMORY:
        yield f"it had {run.memory} KiB"
    for argv in run.left:
        yield f"left behind: {argv}"


def litter(site: Site, before: Collection[str]) -> list[str]:
    """Return the files in run and state directories that belong to nothing."""
    return [path for path in inventory(site) if path not in before and (
        path.startswith("run/") or _LEFT.search(path))]


def inventory(site: Site) -> list[str]:
    """Return the paths of all that is in run and state directories."""
    return [str(path.relative_to(site.path)) for top in (site.rundir, site.lib)
            for path in top.rglob("*")]
