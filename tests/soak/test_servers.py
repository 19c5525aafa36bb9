"""The examples for servers and what is told by mail, tried in a Debian of each release."""

import re
from collections.abc import Iterator

import pytest

from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

PACKAGES = ("apache2", "cockpit-ws", "cron", "dovecot-imapd", "haproxy", "ldap-utils", "nginx",
            "postfix", "postgresql", "prosody", "rsyslog", "slapd")
SERVERS = ("nginx", "apache2", "haproxy", "postfix", "dovecot", "prosody", "postgresql", "slapd",
           "cockpit")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest) -> Iterator[Throwaway]:
    """One for all tests."""
    made = Throwaway(request.param, PACKAGES)
    yield made
    made.remove()


def passed(output: str) -> int:
    """Return how many tests have."""
    found = re.search(r"(\d+) passed", output)
    return int(found[1]) if found else 0


def test_servers(debian: Throwaway) -> None:
    done = debian.test("/srv/tree/tests/servers/test_examples.py")
    assert done.returncode == 0 and passed(done.stdout) == len(SERVERS), done.stdout + done.stderr


def test_web_server(debian: Throwaway) -> None:
    """add --web-server where apache2 has port 80."""
    done = debian.test("/srv/tree/tests/servers/test_web_server.py")
    assert done.returncode == 0 and passed(done.stdout) == 1, done.stdout + done.stderr


def test_mail(debian: Throwaway) -> None:
    """By cron and by what OnFailure= starts, through Postfix; syslog by rsyslogd."""
    done = debian.test("/srv/tree/tests/servers/test_mail.py")
    assert done.returncode == 0 and passed(done.stdout) >= 3, done.stdout + done.stderr


def test_exim(debian: Throwaway) -> None:
    """In Postfix's place."""
    for argv in (["update"], ["--no-install-recommends", "install", "exim4-daemon-light"]):
        done = debian.run("/usr/bin/apt-get", "-q", "-y", *argv, network=True)
        assert done.returncode == 0, done.stdout + done.stderr
    done = debian.test("/srv/tree/tests/servers", "-k", "exim4 or mail")
    assert done.returncode == 0 and passed(done.stdout) == 4, done.stdout + done.stderr
