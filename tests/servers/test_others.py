"""TASKS.md: what a person types with other clients, as it stands there (soak/test_tasks.py)."""

import os
from collections.abc import Iterator

import pytest

from harness import documents
from harness.pebble import Pebble
from harness.run import Installed, Users
from harness.typed import Host

pytestmark = [pytest.mark.root, pytest.mark.skipif(
    "THROWAWAY" not in os.environ, reason="needs the clients: see soak/test_tasks.py")]

BY_MANUAL = {"2", "3", "5", "7"}      # which need a server, or an authority, of their own
# what is asked on the terminal the first time: a mail address, terms, whether to share the former
ANSWERS = {("certbot", "1"): "root@example.org\nyes\nno\n", ("certbot", "6"): "d\n",
           ("certbot", "15"): "yes\n", ("lego", "1"): "y\n", ("lego", "8"): "y\n",
           ("lego", "10"): "y\n"}


@pytest.fixture
def host(users: Users) -> Iterator[Host]:
    with Pebble(nosleep=True, http_port=80, dns_port=53) as pebble, \
            Host(Installed(), pebble) as made:
        yield made


@pytest.mark.parametrize("client", ["certbot", "lego", "acme.sh"])
def test_typed(client: str, host: Host) -> None:
    for heading, cells in documents.tasks().items():
        number = heading.partition(".")[0]
        for path, text in cells[client].steps if number not in BY_MANUAL else ():
            if path:
                host.write(path, text)
                continue
            done = host.type(text, ANSWERS.get((client, number), ""), 120)
            assert done.returncode == 0, (heading, text, done.stdout[-3000:])
