"""The check command: all that can be known without asking the CA."""

import os
import shutil
from collections.abc import Callable, Iterator

from ...common import log
from ...common.errors import ConfigError, Error
from ..peers import signer as accountd, spawn as children
from ..pki import openssl
from ..responders.table import Responder, responders_for
from ..settings import certificates as certs
from ..store import trusted as directories, files as store
from ..settings.certificates import Certificate
from ..settings.main import Config, Program
from ..peers.client import Messages


def check(config: Config) -> int:
    """Check everything, one line for each fault; returns the exit status."""
    faults: list[Error] = []
    certificates: dict[str, Certificate] = {}
    responders: list[Responder] = []

    def attempt(action: Callable[[], object]) -> None:
        try:
            action()
        except Error as exc:
            if str(exc) not in map(str, faults):   # several checks may stumble over one
                log.error(exc)
            faults.append(exc)
        except FileNotFoundError as exc:
            faults.append(Error(str(exc)))
            log.error(f"{exc.filename}: no such file or directory")

    attempt(lambda: certificates.update(certs.load(config)))
    for program in config.programs:
        attempt(lambda p=program: _check_program(p))   # type: ignore[misc]
    attempt(lambda: _check_executable(config.openssl, f"{config.file}: openssl"))
    attempt(lambda: os.close(directories.open_directory(config.library_directory)))
    attempt(lambda: directories.make_directory(config.run_directory))
    attempt(lambda: _check_ca_file(config))
    attempt(lambda: responders.extend(responders_for(
        ("http-01",), config, children.identity(config.client.program), lambda _: os.dup(2))))
    for responder in responders:
        for fault in responder.faults():
            attempt(lambda f=fault: _raise(f))   # type: ignore[misc]
    for certificate in certificates.values():
        for action in _certificate_checks(config, certificate):
            attempt(action)
    attempt(lambda: _check_signer(config))
    if not faults:
        log.info(f"{len(certificates)} certificates configured; nothing wrong was found")
    return max((fault.exit_status for fault in faults), default=0)


def _raise(fault: Error) -> None:
    raise fault


def _check_program(program: Program) -> None:
    children.identity(program)
    if "%" not in program.command[0]:   # else it depends on the child's user
        _check_executable(program.command[0], f"{program.where}: command")


def _check_executable(path: str, where: str) -> None:
    if shutil.which(path, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        raise ConfigError(f"{where} = {path}: not an executable file")


def _readable_by(path: str, who: children.Identity) -> bool:
    """True if ``who`` can read ``path``, found out by trying as that user."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            children.drop(who)
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def _check_ca_file(config: Config) -> None:
    path = config.client.access.ca_file
    if path and not _readable_by(path, children.identity(config.client.program)):
        raise ConfigError(f"{config.file}, [client]: ca-file = {path}: "
                          f"{config.client.program.user or 'the client'} cannot read it")


def _certificate_checks(config: Config, certificate: Certificate
                        ) -> Iterator[Callable[[], object]]:
    if certificate.ca_file:
        def ca_file() -> None:
            if not os.access(certificate.ca_file, os.R_OK):
                raise ConfigError(f"{certificate.where}: CAfile = {certificate.ca_file}: "
                                  "cannot be read")
        yield ca_file
    yield lambda: _check_key(config, certificate)
    for path in certificate.outputs:
        parent = os.path.dirname(path)
        if not parent.startswith(config.certs_directory + "/"):   # those are made when needed
            owner = certificate.owner[0] if certificate.owner else 0
            yield lambda p=parent, o=owner: os.close(       # type: ignore[misc]
                directories.open_directory(p, o))


def _check_key(config: Config, certificate: Certificate) -> None:
    try:
        descriptor = store.open_key(certificate.key)
    except FileNotFoundError:
        return   # it is generated when needed
    try:
        openssl.request(config.openssl, descriptor, certificate)
    except Error as exc:
        raise Error(f"{certificate.where}: certificate-key = {certificate.key}: cannot be used: "
                    f"{exc}") from exc
    finally:
        os.close(descriptor)


def _check_signer(config: Config) -> None:
    messages = Messages()
    try:
        sock, child = accountd.connect(config, messages.pipe)
        try:
            greeting = accountd.read_greeting(sock)
        finally:
            sock.close()
            if child is not None:
                child.stop()
    finally:
        messages.close()
    log.info(f"the signer answers: {greeting.alg}, thumbprint {greeting.thumbprint}"
             + (f", account {greeting.kid}" if greeting.kid else ""))
