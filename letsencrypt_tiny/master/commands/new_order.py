"""The newOrder command: due -> key and CSR -> client -> verify -> install -> notify.

What goes wrong with one section is told and leaves its files as they were; the others go on.
"""

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...common import log
from ...common.x509 import certificate as x509
from ...common.errors import ConfigError, Error, UsageError
from ...common.wire.order import Answer, Failed, Issued, Order, Progress
from ..peers import spawn as children, parallel, signals
from ..pki import openssl, verification
from ..plan import renewal
from ..responders.table import responders_for
from ..settings import certificates as certs
from ..store import files as store
from ..settings.certificates import Certificate
from ..settings.main import Config
from ..peers.client import Conversation, Messages
from ..report.run import Report
from ..store.journal import SectionState, State
from ..pki.verification import Arrived

NOTIFY_SECONDS = 300

_FINAL_PROBLEMS = ("rateLimited",)


class Task(NamedTuple):
    """A section on its way to a certificate."""

    certificate: Certificate
    csr: x509.Request
    order: Order


class Options(NamedTuple):
    """The options of the newOrder command."""

    sections: Sequence[str] = ()
    min_days: int | None = None          # negative: force
    config_certs: Sequence[str] | None = None


def new_order(config: Config, options: Options) -> int:
    """Obtain, verify and install every certificate that is due; return the exit status."""
    run = Run(config, options)
    return run.execute()


class Run:
    """One newOrder run, under the lock."""

    def __init__(self, config: Config, options: Options) -> None:
        self._config = config
        self._options = options
        self._state = State(config.state_directory)
        self._sections: dict[str, SectionState] = {}
        self._tasks: dict[str, Task] = {}
        self._report = Report()
        self._arrived: list[tuple[Task, str]] = []       # chains that were not looked at yet
        self._notifications: dict[str, list[str]] = {}   # command -> sections

    def execute(self) -> int:
        """Do it; returns 0 or 1, raises ConfigError before anything is touched."""
        due = self._find_due()
        if due:
            self._check_settings(due)
            self._order(due)
        self._notify()
        self._report.summary()
        return self._report.exit_status

    # --- what is to do ---

    def _find_due(self) -> list[Certificate]:
        certificates = certs.load(self._config, self._options.config_certs)
        for name in self._options.sections:
            if name not in certificates:
                raise UsageError(f"there is no section [{name}] in the certificates' configuration")
        selected = self._options.sections or list(certificates)
        known = self._state.known()
        now = time.time()
        due = []
        for name in selected:
            certificate = certificates[name]
            state = self._state.section(name) if self._state.has(name, known) else SectionState()
            self._sections[name] = state
            verdict = renewal.is_due(self._config, certificate, state, self._options.min_days,
                                     now)
            if not verdict.due:
                log.info(f"{name}: {verdict.reason}")
                if state.notify:
                    self._notifications.setdefault(certificate.notify, []).append(name)
            elif state.not_before > now and not self._options.sections \
                    and self._options.min_days is None:
                log.info(f"{name}: {verdict.reason}, but the server asked not to order again "
                         f"before {renewal.when(state.not_before)} (name the section to try "
                         "all the same)")
            else:
                log.info(f"{name}: {verdict.reason}")
                due.append(certificate)
        return due

    def _check_settings(self, due: Sequence[Certificate]) -> None:
        """What the configuration refers to must be there before anything is touched."""
        for program in self._config.programs:
            children.identity(program)
        for certificate in due:
            if certificate.ca_file and not os.access(certificate.ca_file, os.R_OK):
                raise ConfigError(f"{certificate.where}: CAfile = {certificate.ca_file}: "
                                  "cannot be read")

    # --- from here on a section's failure is its own ---

    def _order(self, due: Sequence[Certificate]) -> None:
        self._prepare_all(due)
        if not self._tasks:
            return
        messages = Messages()
        client = children.identity(self._config.client.program)
        responder, = responders_for(("http-01",), self._config, client, messages.pipe)
        conversation = Conversation(self._config, self._state, messages)
        left = dict(self._tasks)
        try:
            requests = [task.order for task in self._tasks.values()]
            conversation.start_signer(requests)
            responder.open([identifier for task in self._tasks.values()
                            for identifier in task.certificate.identifiers])
            conversation.start_client(requests, client, responder.directory)
            responder.serve([conversation.thumbprint()])
            self._report.begin(self._tasks)

            def interrupt() -> None:
                log.warning("interrupted: finishing what can be finished; "
                            "interrupt again to stop at once")
                conversation.interrupt()

            def tick() -> None:
                responder.check()
                self._install_arrived()
                self._report.tick()

            with signals.gracefully(interrupt):
                for answer in conversation.run(requests, client, responder.directory, tick):
                    self._answered(left, answer)
                self._install_arrived()
            if left:
                raise Error("the client ended before its work was done")
        except ConfigError:
            raise   # no section's failure
        except Error as exc:
            for section in left:
                self._report.failed(section, str(exc))
        finally:
            self._report.end()
            responder.close()
            conversation.close()
            messages.close()

    def _answered(self, left: dict[str, Task], answer: Answer) -> None:
        section = getattr(answer, "section", "")
        if section not in left:
            raise Error("the client answers for a section that it was not asked for")
        if isinstance(answer, Progress):
            self._progress(left[section], answer)
        elif isinstance(answer, Issued):
            self._arrived.append((left.pop(section), answer.chain))
        elif isinstance(answer, Failed):
            self._failed(left.pop(section), answer)
        else:
            raise Error("the client answers something that it was not asked for")

    def _prepare_all(self, due: Sequence[Certificate]) -> None:
        """Make keys and CSRs, several at once; sections with one key take turns."""
        by_key: dict[str, list[Certificate]] = {}
        for certificate in due:
            by_key.setdefault(certificate.key, []).append(certificate)

        def prepare(group: list[Certificate]) -> None:
            for certificate in group:
                try:
                    made[certificate.section] = self._prepare(certificate)
                except Error as exc:
                    made[certificate.section] = exc

        made: dict[str, Task | Error] = {}
        parallel.each(prepare, list(by_key.values()))
        for certificate in due:   # in their order again
            task = made[certificate.section]
            if isinstance(task, Error):
                self._report.failed(certificate.section, str(task))
            else:
                self._tasks[certificate.section] = task

    def _prepare(self, certificate: Certificate) -> Task:
        """Make the CSR, and before it the key if there is none yet."""
        for path in certificate.outputs:
            parent = os.path.dirname(path)
            if parent.startswith(self._config.certs_directory + "/"):
                self._make_directory(parent)
            store.check(path, certificate.owner)   # rather now than with a certificate in hand
        store.tidy_key(certificate.key)
        try:
            key = store.open_key(certificate.key)
        except FileNotFoundError:
            key = self._new_key(certificate)
        try:
            der = openssl.request(self._config.openssl, key, certificate)
        except Error as exc:
            raise Error(f"cannot make a signing request with {certificate.key}: {exc}") from exc
        finally:
            os.close(key)
        csr = x509.parse_request(der)
        state = self._sections[certificate.section]
        order = None
        if state.order and state.directory == self._config.client.access.server \
                and state.order_key == _digest(csr.spki):
            order = state.order
        return Task(certificate, csr, Order(certificate.section, certificate.identifiers, der,
                                            url=order))

    def _make_directory(self, path: str) -> None:
        from ..store import trusted as directories
        for directory in (self._config.certs_directory, path):
            try:
                directories.make_directory(directory)
            except FileNotFoundError as exc:
                raise Error(f"{exc.filename}: no such directory; create it, or set "
                            "library-directory") from exc

    def _new_key(self, certificate: Certificate) -> int:
        parent = os.path.dirname(certificate.key)
        if parent.startswith(self._config.certs_directory + "/"):
            self._make_directory(parent)
        log.info(f"{certificate.section}: generating the private key {certificate.key} "
                 f"({certificate.key_type})")
        store.create_key(certificate.key,
                         openssl.generate_key(self._config.openssl, certificate.key_type))
        return store.open_key(certificate.key)

    # --- what the client answers ---

    def _remember(self, section: str, **changes: Any) -> None:
        state = self._sections[section]._replace(**changes)
        if state == self._sections[section]:
            return
        try:
            self._state.remember(section, state)
            self._sections[section] = state
        except Error as exc:
            self._report.failed(section, str(exc))

    def _progress(self, task: Task, progress: Progress) -> None:
        self._report.progress(progress)
        if progress.url:
            self._remember(task.certificate.section, directory=self._config.client.access.server,
                           order=progress.url, order_key=_digest(task.csr.spki))

    def _failed(self, task: Task, failed: Failed) -> None:
        section = task.certificate.section
        self._report.failed(section, failed.message)
        not_before = 0
        if failed.type in _FINAL_PROBLEMS and failed.retry_after:
            not_before = int(time.time()) + failed.retry_after
        # an order that failed is of no further use; one that waits is taken up by the next run
        order = None if failed.outcome == "refused" else self._sections[section].order
        self._remember(section, order=order, not_before=not_before)

    def _install_arrived(self) -> None:
        """Verify the certificates that arrived since, and install those that are good."""
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        chains = verification.verify(self._config.openssl, [
            Arrived(pem, task.csr.spki, task.certificate.identifiers, task.certificate.ca_file)
            for task, pem in arrived])
        for (task, _), chain in zip(arrived, chains):
            if isinstance(chain, Error):
                section = task.certificate.section
                self._report.failed(section, f"the server's certificate is not installed: {chain}")
                self._remember(section, order=None)
            else:
                self._install(task.certificate, chain)

    def _install(self, certificate: Certificate, chain: Sequence[x509.Certificate]) -> None:
        section = certificate.section
        # Killed from here on, the next run finds that there is work left
        self._remember(section, installing=True, notify=bool(certificate.notify))
        try:
            store.install(_files(certificate, chain))
        except Error as exc:
            self._report.failed(section, str(exc))
            return
        self._remember(section, installing=False, order=None, order_key=None, not_before=0)
        self._report.installed(section, chain[0])
        if certificate.notify:
            self._notifications.setdefault(certificate.notify, []).append(section)

    # --- afterwards ---

    def _notify(self) -> None:
        """Run each command once for all the sections that have it."""
        for command, sections in self._notifications.items():
            if command:
                log.info(f"running “{command}” for {', '.join(sections)}")
                status = children.run_shell(
                    command, {"LETSENCRYPT_TINY_SECTIONS": " ".join(sections)}, NOTIFY_SECONDS)
                if status != 0:
                    self._report.notify_failed(command, status, sections)
                    continue
            for section in sections:
                self._remember(section, notify=False)


def _files(certificate: Certificate, chain: Sequence[x509.Certificate]) -> list[store.File]:
    pem = [x509.encode_pem(item.der) for item in chain]
    contents = ((certificate.fullchain, b"".join(pem)), (certificate.certificate, pem[0]),
                (certificate.chain, b"".join(pem[1:])))
    return [store.File(path, data, certificate.owner, certificate.mode)
            for path, data in contents if path]


def _digest(data: bytes) -> str:
    import hashlib
    return hashlib.sha256(data).hexdigest()
