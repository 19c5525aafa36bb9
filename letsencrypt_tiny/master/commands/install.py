"""What has arrived -> verified -> installed; then whoever uses the files is told."""

from collections.abc import Sequence

from ...common import log
from ...common.errors import Error
from ...common.x509.certificate import Certificate
from ...common.x509.der import encode_pem
from ..peers.shell import run_shell
from ..pki import verification
from ..pki.verification import Arrived
from ..plan import lifecycle
from ..plan.lifecycle import Facts
from ..plan.orders import OrderPlan
from ..report.run import Report
from ..settings.certificates import Section
from ..store import files
from .life import Life

NOTIFY_SECONDS = 300


def install_arrived(openssl: str, arrived: Sequence[tuple[OrderPlan, Life, str]],
                    report: Report) -> None:
    """Verify chains (PEM) that arrived for plans, together, and install those that are good."""
    if not arrived:
        return
    chains = verification.verify(openssl, [
        Arrived(pem, plan.csr.spki, plan.section.identifiers, plan.section.ca_file)
        for plan, _, pem in arrived])
    for (_, life, _), chain in zip(arrived, chains):
        if isinstance(chain, Error):
            report.failed(life.name, f"the server's certificate is not installed: {chain}")
            life.happens(lifecycle.REJECTED)
        else:
            _install(life, chain, report)


def _install(life: Life, chain: Sequence[Certificate], report: Report) -> None:
    life.happens(lifecycle.VERIFIED, Facts(notify=bool(life.section.notify)))
    try:
        files.install(_files(life.section, chain))
    except Error as exc:
        report.failed(life.name, str(exc))
        life.happens(lifecycle.NOT_WRITTEN)
        return
    life.happens(lifecycle.WRITTEN)
    report.installed(life.name, chain[0])


def _files(section: Section, chain: Sequence[Certificate]) -> list[files.File]:
    pem = [encode_pem(item.der) for item in chain]
    contents = ((section.fullchain, b"".join(pem)), (section.certificate, pem[0]),
                (section.chain, b"".join(pem[1:])))
    return [files.File(path, data, section.owner, section.mode)
            for path, data in contents if path]


def notify(lives: Sequence[Life], report: Report) -> None:
    """Run each command once for all the sections that have it and are in the phase INSTALLED."""
    waiting: dict[str, list[Life]] = {}
    for life in lives:
        if life.phase == lifecycle.INSTALLED:
            waiting.setdefault(life.section.notify, []).append(life)
    for command, members in waiting.items():
        names = [life.name for life in members]
        status = 0
        if command:
            log.info(f"running “{command}” for {', '.join(names)}")
            status = run_shell(command, {"LETSENCRYPT_TINY_SECTIONS": " ".join(names)},
                               NOTIFY_SECONDS)
            if status != 0:
                report.notify_failed(command, status, names)
        for life in members:
            life.happens(lifecycle.NOTIFIED if status == 0 else lifecycle.NOT_NOTIFIED)
