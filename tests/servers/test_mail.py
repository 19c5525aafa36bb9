"""What is told, through a real cron, mail transport agent and syslog daemon (soak/test_servers.py).
"""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run import ENVIRONMENT

from . import test_examples
from .test_examples import ETC, LIB, master

pytestmark = test_examples.pytestmark
host = test_examples.host   # a fixture
JOB = Path("/etc/cron.d/letsencrypt-tiny")
SOURCE = Path(__file__).resolve().parents[2] / "debian/letsencrypt-tiny.cron.d"
BAD = ETC / "certs.conf.d/bad.conf"
MAILBOX, SYSLOG = Path("/var/mail/admin"), Path("/var/log/syslog")
TOLD = LIB / "state/told.json"
AGENT = "postfix" if Path("/etc/init.d/postfix").exists() else "exim4"


def service(name: str, verb: str) -> None:
    subprocess.run(["/usr/sbin/service", name, verb], stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, check=False,
                   env=ENVIRONMENT)


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """A section that is wrong; the daemons run, and root's mail is admin's."""
    request.getfixturevalue("host")
    subprocess.run(["/usr/sbin/useradd", "--create-home", "admin"], check=False,
                   capture_output=True)
    Path("/etc/aliases").write_text("root: admin\n")
    subprocess.run(["/usr/bin/newaliases"], check=False, capture_output=True, env=ENVIRONMENT)
    for path in MAILBOX, TOLD:
        path.unlink(missing_ok=True)
    BAD.write_text("[bad]\nnames = bad.example\nnonsense = 1\n")
    service(AGENT, "start")
    # it comes without an init script; a child, and so it is seen to end
    with subprocess.Popen(["/usr/sbin/rsyslogd", "-n", "-iNONE"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as syslogd:
        try:
            deadline = time.monotonic() + 20
            while not Path("/dev/log").exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            yield
        finally:
            syslogd.terminate()
    service(AGENT, "stop")
    BAD.unlink()


def mails() -> list[str]:
    """Return those that have arrived."""
    text = MAILBOX.read_text() if MAILBOX.exists() else ""
    return re.split(r"^From (?=\S+ .*\d\d:\d\d)", text, flags=re.M)[1:]


def wait_for_mails(number: int, seconds: float) -> list[str]:
    """Wait until so many have arrived."""
    deadline = time.monotonic() + seconds
    while len(found := mails()) < number and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def test_cron(machine: None) -> None:
    """Runs each minute: one mail; each run is in the log, and one that is well in neither."""
    begun = SYSLOG.stat().st_size if SYSLOG.exists() else 0
    job = re.sub(r"^\d+ [0-9,]+ ", "* * ", SOURCE.read_text(), flags=re.M)
    job = re.sub(r"sleep \$\(\(.*\)\); ", "", job)
    assert "* * * * * root test -d" in job and "sleep" not in job
    JOB.write_text(job)
    service("cron", "start")
    try:
        found = wait_for_mails(1, 100)
        assert len(found) == 1 and "Subject: Cron <root@" in found[0], found
        assert "unknown setting" in " ".join(found[0].split()) and "bad.conf" in found[0]
        assert "since 20" in found[0] and "once a day" in found[0]

        def logged() -> int:
            return SYSLOG.read_text()[begun:].count("unknown setting")
        deadline = time.monotonic() + 100
        while logged() < 2 and time.monotonic() < deadline:
            time.sleep(1)
        assert logged() >= 2
        assert re.search(r"letsencrypt-tiny\[\d+\]: error: .*nonsense", SYSLOG.read_text())
        BAD.write_text("")
        time.sleep(65)
        assert len(mails()) == 1
    finally:
        service("cron", "stop")
        JOB.unlink()


def test_what_on_failure_starts(machine: None) -> None:
    """The command of the unit: one mail a day."""
    unit = Path("/usr/lib/systemd/system/letsencrypt-tiny-failures.service").read_text()
    command, = re.findall(r"^ExecStart=/usr/sbin/letsencrypt-tiny (.*)$", unit, re.M)
    assert master(*command.split()).returncode == 0 and mails() == []
    assert master("newOrder").returncode == 1
    for _ in range(3):
        done = master(*command.split())
        assert (done.returncode, done.stderr) == (0, "")
    found = wait_for_mails(1, 30)
    time.sleep(3)
    assert len(mails()) == 1, mails()
    assert re.search(r"^Subject: letsencrypt-tiny on \S+: bad fails$", found[0], re.M)
    assert re.search(r"^To: (<?root\S*|admin\S*)$", found[0], re.M)
    assert "“letsencrypt-tiny status”" in found[0], "in UTF-8, as it left"


def test_who_asks_has_it_on_the_terminal(machine: None) -> None:
    """No mail, no log: an administrator sees what is wrong."""
    begun = SYSLOG.stat().st_size if SYSLOG.exists() else 0
    done = master("newOrder")
    assert done.returncode == 1 and "unknown setting" in done.stderr
    time.sleep(1)
    assert mails() == [] and "nonsense" not in SYSLOG.read_text()[begun:]
