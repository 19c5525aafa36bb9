"""A throw-away certification authority: a root and an intermediate, made by openssl."""

import base64
import datetime
import subprocess
import tempfile
from pathlib import Path
from collections.abc import Iterable, Sequence

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_SIGNS = "keyUsage=critical,keyCertSign,cRLSign"

# The CSR's subject and extensions are taken as they are: `openssl ca` rather than
# `openssl x509 -req`, for the latter can't set dates before OpenSSL 3.4.
_CONFIG = """[ca]
default_ca = ca
database = index
new_certs_dir = .
default_md = sha256
policy = policy
rand_serial = yes
unique_subject = no
copy_extensions = {copy}
[policy]
commonName = optional
"""


def openssl(*args: str, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    """Run openssl without the machine's configuration; return its standard output.

    Raises RuntimeError with what it wrote to standard error if it fails.
    """
    done = subprocess.run(["/usr/bin/openssl", *args], input=stdin, capture_output=True, cwd=cwd,
                          env={"PATH": "/usr/bin:/bin", "OPENSSL_CONF": "/dev/null"}, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def genkey(kind: str = "ec:P-256") -> str:
    """Return a new private key in PEM: ``ec:P-256``, ``ec:P-384``, ``rsa:2048`` …, ``ed25519``."""
    algorithm, _, parameter = kind.partition(":")
    option = {"ec": f"ec_paramgen_curve:{parameter}", "rsa": f"rsa_keygen_bits:{parameter}"}
    pkeyopt = ["-pkeyopt", option[algorithm]] if algorithm in option else []
    return openssl("genpkey", "-algorithm", algorithm, *pkeyopt).decode()


def subject_alt_name(names: Iterable[str]) -> str:
    """Return ``names``, DNS names and IP addresses, in the form of openssl's subjectAltName."""
    return ",".join(("IP:" if ":" in name or name.replace(".", "").isdigit() else "DNS:") + name
                    for name in names)


def request(names: Iterable[str], key: str) -> str:
    """Return a CSR in PEM for ``names``, without subject, signed by ``key`` (PEM)."""
    return openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-subj", "/",
                   "-addext", f"subjectAltName=critical,{subject_alt_name(names)}",
                   stdin=key.encode()).decode()


def pem(der: bytes, label: str) -> str:
    """Return DER as PEM with the ``label``, such as CERTIFICATE REQUEST."""
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


class CA:
    """A root that signed an intermediate that signs certificates, kept in ``directory``.

    ``root`` and ``intermediate`` are the paths of their certificates.
    """

    def __init__(self, directory: Path, name: str = "Throw-away") -> None:
        self._directory = directory
        self._servers: dict[tuple[str, ...], tuple[Path, Path]] = {}
        self.root = directory / "root.pem"
        self.intermediate = directory / "intermediate.pem"
        openssl("req", "-x509", "-config", "/dev/null", *_EC_KEY, "-days", "3650",
                "-subj", f"/CN={name} Root", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", _SIGNS, "-keyout", "root.key", "-out", "root.pem", cwd=directory)
        csr = openssl("req", "-new", "-config", "/dev/null", *_EC_KEY,
                      "-subj", f"/CN={name} Intermediate",
                      "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
                      "-addext", _SIGNS, "-keyout", "intermediate.key", cwd=directory)
        self.intermediate.write_text(self._sign("root", csr.decode(), 1800))

    @classmethod
    def existing(cls, directory: Path | str) -> "CA":
        """Return one that another process made."""
        found = cls.__new__(cls)
        found._directory = Path(directory)
        found._servers = {}
        found.root = found._directory / "root.pem"
        found.intermediate = found._directory / "intermediate.pem"
        return found

    def issue(self, csr: str, names: Iterable[str] | None = None,
              not_before: datetime.datetime | None = None, days: float = 90) -> str:
        """Return a certificate in PEM, alone, as the CSR (PEM) asks for it.

        ``names`` replaces those of the CSR (and drops its other extensions); the certificate is
        valid for ``days`` from ``not_before`` (UTC, default: an hour ago).
        """
        return self._sign("intermediate", csr, days, names, not_before)

    def server(self, names: Sequence[str] = LOOPBACK) -> tuple[Path, Path]:
        """Return the paths of the chain and the key of a TLS server with these names."""
        made = self._servers.get(tuple(names))
        if made is None:
            made = self._servers[tuple(names)] = self._new_server(names)
        return made

    def nominal_server(self, name: str, *extensions: str) -> tuple[Path, Path]:
        """The same for one that bears its name as a common name only."""
        key = genkey()
        added = [word for extension in extensions for word in ("-addext", extension)]
        return self._keep(openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin",
                                  "-subj", f"/CN={name}", *added, stdin=key.encode()).decode(), key)

    def _new_server(self, names: Sequence[str]) -> tuple[Path, Path]:
        key = genkey()
        return self._keep(request(names, key), key)

    def _keep(self, csr: str, key: str) -> tuple[Path, Path]:
        directory = Path(tempfile.mkdtemp(dir=self._directory))
        chain, keyfile = directory / "chain.pem", directory / "key.pem"
        keyfile.write_text(key)
        chain.write_text(self.issue(csr) + self.intermediate.read_text())
        return chain, keyfile

    def _sign(self, issuer: str, csr: str, days: float, names: Iterable[str] | None = None,
              not_before: datetime.datetime | None = None) -> str:
        start = not_before or (datetime.datetime.now(datetime.timezone.utc)
                               - datetime.timedelta(hours=1))
        end = start + datetime.timedelta(days=days)
        config = _CONFIG.format(copy="copy" if names is None else "none")
        if names is not None:
            config += f"[san]\nsubjectAltName = critical,{subject_alt_name(names)}\n"
        # A database of its own for each certificate: threads may issue at the same time.
        with tempfile.TemporaryDirectory() as work:
            Path(work, "config").write_text(config)
            Path(work, "index").touch()
            return openssl(
                "ca", "-batch", "-notext", "-config", "config", "-in", "/dev/stdin",
                *(["-extensions", "san"] if names is not None else []),
                "-cert", str(self._directory / f"{issuer}.pem"),
                "-keyfile", str(self._directory / f"{issuer}.key"),
                "-startdate", f"{start:%Y%m%d%H%M%SZ}", "-enddate", f"{end:%Y%m%d%H%M%SZ}",
                stdin=csr.encode(), cwd=Path(work)).decode()
