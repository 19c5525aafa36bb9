"""TASKS.md: what README's table counts is there, and ours is typed as it stands there."""

import re
from collections.abc import Iterator

import pytest

from harness import documents, soak
from harness.pebble import Pebble
from harness.run import ROOT, Prefix
from harness.typed import Host

pytestmark = pytest.mark.root

# Not typed here: what is tried by another test, which is named with it
ELSEWHERE = {"2": "test_add_behind.py", "3": "test_web_server.py", "5": "test_dns.py",
             "7": "test_eab.py"}
# what is to be seen of the others
SHOWN = {"1": "certificate installed", "4": "certificate installed", "6": "nginx",
         "8": "certificate installed", "10": "would be installed",
         "11": "● example.org", "12": "certificate installed", "13": "thumbprint is .* now",
         "14": "example.org: revoked", "15": "removed"}
ANSWERS = {"1": "yes\n", "14": "yes\n", "15": "no\nno\n"}


def test_readme_counts_them() -> None:
    rows = re.findall(r"^\| (\d+\. .*?) \| (.*) \|$", (ROOT / "README.md").read_text(), re.M)
    clients = "letsencrypt-tiny", "certbot", "lego", "acme.sh", "Caddy"
    tasks = documents.tasks()
    assert len(tasks) == 15
    assert rows == [(task, " | ".join(cells[client].counted() for client in clients))
                    for task, cells in tasks.items()]


@pytest.fixture
def host(prefix: Prefix) -> Iterator[Host]:
    with Pebble(nosleep=True, http_port=80, dns_port=53) as pebble, Host(prefix, pebble) as made:
        yield made


@pytest.mark.skipif(not soak.SOAK, reason="by the soak: README's commands are most of them")
def test_ours(host: Host) -> None:
    for heading, cells in documents.tasks().items():
        number = heading.partition(".")[0]
        if number in ELSEWHERE:
            assert ELSEWHERE[number] in (ROOT / "TASKS.md").read_text()
            assert list((ROOT / "tests").rglob(ELSEWHERE[number]))
            continue
        seen = ""
        for path, text in cells["letsencrypt-tiny"].steps:
            if path:
                host.write(path, text)
            else:
                done = host.type(text, ANSWERS.get(number, ""))
                assert done.returncode == 0, (heading, done.stdout)
                seen += done.stdout
        assert re.search(SHOWN.get(number, r"\A\Z"), seen), (heading, seen)
    assert not (host.conf / "certs.conf.d/example.org.conf").exists()
    assert host.told.read_text().splitlines()
