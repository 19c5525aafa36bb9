"""One function for each openssl subcommand that the master needs.

Keys and certificates go in and out through descriptors and pipes, never through names
that others could guess.  openssl runs with an empty environment and an empty
configuration, because a value that reached its configuration language could load code
or read files: so every name was checked (``certs.py``) before it comes here.
"""

import os
import re
from collections.abc import Mapping, Sequence

from ...common import trusted
from ...common.complaint import complaint
from ...common.errors import Error, reason
from ...common.x509.der import read_block
from ..settings.certificates import Section
from ..store.keys import MAX_KEY

MAX_LEAVES = 64   # certificates verified by one process: descriptors are limited
TIMEOUT = 120   # seconds; RSA-4096 keys take a few
# A verdict of openssl-verify(1): error NUMBER at DEPTH depth lookup: REASON
_VERDICT = re.compile(r"error ([0-9]+) at ([0-9]+) depth lookup: ")
# A key whose passphrase openssl would ask for (RFC 7468 §11; RFC 1421 §4.6.1.1), and not what is
# written about one before it
_ENCRYPTED = re.compile(rb"^-----BEGIN (?:ENCRYPTED PRIVATE KEY-----|[A-Z ]*PRIVATE KEY-----\s+"
                        rb"Proc-Type:[^\n]*ENCRYPTED)", re.M)
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "OPENSSL_CONF": "/dev/null", "LANG": "C.UTF-8"}


class Unverified(Error):
    """A certificate does not chain to where it should; ``number`` is X509_V_ERR_…, ``depth``
    where in the chain (0 is the certificate's own)."""

    def __init__(self, message: str, number: int, depth: int) -> None:
        super().__init__(message)
        self.number = number
        self.depth = depth


def run(openssl: str, arguments: Sequence[str], descriptors: tuple[int, ...] = (),
        environment: Mapping[str, str] | None = None) -> bytes:
    """Run openssl and return its standard output; raises Error with its first complaint.

    ``environment`` adds to what it is given.
    """
    from ..peers import bounded
    trusted.check_program(openssl)
    try:
        done = bounded.run([openssl, *arguments], f"{openssl} {arguments[0]}", TIMEOUT,
                           {**_ENVIRONMENT, **(environment or {})}, descriptors)
    except OSError as exc:
        why = exc.strerror if exc.filename == openssl else reason(exc)   # or /dev/null is missing
        raise Error(f"{openssl}: cannot run it: {why}") from exc
    if done.signal:
        raise Error(f"{openssl} {arguments[0]} was ended by {done.signal}"
                    + (f": {complaint(done.stderr)}" if done.stderr else ""))
    if done.status != 0:
        why = f"openssl {arguments[0]} failed: {complaint(done.stderr)}"
        verdict = _VERDICT.search(done.stderr.decode("utf-8", "replace"))
        raise Unverified(why, *map(int, verdict.groups())) if verdict else Error(why)
    return done.stdout


def generate_key(openssl: str, key_type: str) -> bytes:
    """Return a new private key, PEM (PKCS#8); ``key_type`` is ``ec:CURVE`` or ``rsa:BITS``."""
    kind, _, parameter = key_type.partition(":")
    options = ["EC", *_curve(parameter)] if kind == "ec" else \
        ["RSA", "-pkeyopt", f"rsa_keygen_bits:{parameter}"]
    return run(openssl, ["genpkey", "-outform", "PEM", "-algorithm", *options])


def _curve(name: str) -> list[str]:
    return ["-pkeyopt", f"ec_paramgen_curve:{name}", "-pkeyopt", "ec_param_enc:named_curve"]


def public_key(openssl: str, key: int) -> bytes:
    """Return the SubjectPublicKeyInfo, DER, of the private key on descriptor ``key``."""
    return run(openssl, ["pkey", "-in", f"/dev/fd/{key}", "-passin", "pass:", "-pubout",
                         "-outform", "DER"], (key,))


def request(openssl: str, key: int, section: Section) -> bytes:
    """Return a certificate signing request, DER, for the private key on descriptor ``key``.

    Names and everything else come from the section (RFC 8555 §7.4, RFC 8738 §3).
    Raises Error, for instance if the key is encrypted.
    """
    if _ENCRYPTED.search(os.pread(key, MAX_KEY, 0)):
        raise Error("the private key is encrypted, and nobody is there to type the passphrase "
                    "(openssl pkey -in OLD -out NEW decrypts it)")
    return run(openssl, request_arguments(section) + ["-key", f"/dev/fd/{key}", "-passin", "pass:"],
               (key,))


def request_with_new_key(openssl: str, section: Section) -> tuple[bytes, bytes]:
    """Return a new private key of the type of the section's, PEM (PKCS#8), and a certificate
    signing request, DER, made with it: by one process, as most of its time is its start.

    Raises Error.  What looks like a key may be none.
    """
    kind, _, parameter = section.key_type.partition(":")
    made = run(openssl, [*request_arguments(section), "-outform", "PEM", "-noenc", "-newkey",
                         *(["ec", *_curve(parameter)] if kind == "ec" else [section.key_type])])
    key, begin, _ = made.partition(b"-----BEGIN CERTIFICATE REQUEST-----")
    if not begin or not 0 < len(key) <= MAX_KEY:
        raise Error(f"openssl req made no private key with a request ({len(made)} bytes)")
    return key, read_block(made, len(key))[1]


def request_arguments(section: Section) -> list[str]:
    """Return the arguments for a request of the section's, but for its key."""
    subject = "/" + "/".join(f"{kind}={value}" for kind, value in section.subject)
    names = ",".join(f"{kind.upper()}:{value}" for kind, value in section.identifiers)
    if not section.subject:   # RFC 5280 §4.2.1.6, for a CA that takes the extension as it is
        names = f"critical,{names}"
    arguments = ["req", "-new", "-batch", "-config", "/dev/null", "-utf8", "-outform", "DER",
                 "-subj", subject, "-addext", f"subjectAltName={names}"]
    if section.hash:
        arguments.append(f"-{section.hash}")
    if section.key_usage:
        arguments += ["-addext", "keyUsage=critical," + ",".join(section.key_usage)]
    if section.tls_feature:
        arguments += ["-addext", "tlsfeature=" + ",".join(section.tls_feature)]
    return arguments


def verify(openssl: str, leaves: Sequence[bytes], intermediates: bytes, ca_file: str,
           at: int | None = None) -> None:
    """Verify that certificates (PEM) chain to ``ca_file`` for a TLS server, ``at`` a moment (Unix
    time; None is now).

    Raises Unverified with openssl's reason if one of them does not, and Error.
    """
    descriptors: list[int] = []
    try:
        arguments = ["verify", "-CAfile", ca_file, "-no-CApath", "-no-CAstore",
                     "-purpose", "sslserver"]
        if at is not None:
            arguments += ["-attime", str(at)]
        if intermediates:
            descriptors.append(_memory(intermediates))
            arguments += ["-untrusted", f"/dev/fd/{descriptors[-1]}"]
        for leaf in leaves:
            descriptors.append(_memory(leaf))
            arguments.append(f"/dev/fd/{descriptors[-1]}")
        run(openssl, arguments, tuple(descriptors))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def verify_within(openssl: str, chain: Sequence[bytes]) -> None:
    """Verify that the last certificate (PEM) of a ``chain`` certifies the first, whoever that is.

    Raises Error, as ``verify`` does.
    """
    if len(chain) < 2:
        raise Error("no certificate came with it that certifies it")
    descriptors = [_memory(part) for part in (chain[-1], b"".join(chain[1:-1]), chain[0])]
    try:
        last, between, leaf = (f"/dev/fd/{descriptor}" for descriptor in descriptors)
        run(openssl, ["verify", "-partial_chain", "-CAfile", last, "-no-CApath", "-no-CAstore",
                      "-purpose", "sslserver", *(["-untrusted", between] if chain[1:-1] else []),
                      leaf], tuple(descriptors))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def verify_each(openssl: str, leaves: Sequence[bytes], intermediates: bytes, ca_file: str,
                at: int | None = None) -> list[Error | None]:
    """Return for each of ``leaves`` None, or the Error that ``verify`` raises for it alone."""
    results: list[Error | None] = []
    for start in range(0, len(leaves), MAX_LEAVES):
        batch = leaves[start:start + MAX_LEAVES]
        try:
            verify(openssl, batch, intermediates, ca_file, at)
            results += [None] * len(batch)
        except Error as exc:
            if len(batch) == 1:
                results.append(exc)
                continue
            for leaf in batch:   # at least one is bad: which, and why
                results += verify_each(openssl, [leaf], intermediates, ca_file, at)
    return results


def _memory(data: bytes) -> int:
    """Return a descriptor of an anonymous file with ``data``, for /dev/fd."""
    try:
        descriptor = os.memfd_create("letsencrypt-tiny", os.MFD_CLOEXEC)
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    except OSError as exc:
        raise Error(f"openssl can't be given what it is to read: {exc.strerror}") from exc
