"""What is installed of the chain that a CA sends: each certificate certifies the one before."""

from collections.abc import Callable

import pytest

from harness import ca, judge
from harness.hostile import Hostile
from harness.judge import expect
from harness.run import Site

Chain = list[str]    # leaf, intermediate, root, a stranger
KEPT = "it is kept, and tried again by the next run"


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """A site with an account and one section, "a"."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    return site


def send(hostile: Hostile, order: Callable[[Chain], Chain]) -> None:
    """Let the CA send these certificates."""
    stranger = ca.openssl("req", "-x509", "-config", "/dev/null", "-newkey", "ec", "-pkeyopt",
                          "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-subj",
                          "/CN=Stranger", "-addext", "basicConstraints=critical,CA:TRUE").decode()

    def issue(csr: str, _names: list[str]) -> str:
        return "".join(order([hostile.ca.issue(csr), hostile.ca.intermediate.read_text(),
                              hostile.ca.root.read_text(), stranger]))
    hostile.issuer = issue


@pytest.mark.alike(3)
@pytest.mark.parametrize("order, length", [
    ("0 1", 2), ("0 1 2", 3), ("0 3 1", 2), ("0 1 3", 2), ("0 0 1 1 0", 2), ("2 1 0", 3),
    ("3 1 0 3", 2)], ids=lambda item: str(item).replace(" ", ""))
def test_strangers_and_repeats(ready: Site, hostile: Hostile, order: str, length: int) -> None:
    """0 is the leaf, 1 its issuer, 2 the root, 3 a stranger."""
    send(hostile, lambda chain: [chain[int(index)] for index in order.split()])
    expect(ready.run("--quiet", "newOrder"), 0)
    leaf = ready.file("a", "cert.pem").read_text()
    above = [hostile.ca.intermediate.read_text(), hostile.ca.root.read_text()][:length - 1]
    assert ready.file("a").read_text() == leaf + "".join(above)
    assert ready.file("a", "chain.pem").read_text() == "".join(above)
    assert judge.names(ready.file("a")) == {"a.example"}
    assert judge.matches(ready.file("a"), ready.file("a", "privkey.pem"))


@pytest.mark.parametrize("ca_file, why", [
    (None, r"it does not chain to .* \(.*unable to get local issuer certificate\)"),
    ("", "none of the certificates that came with it certifies it")])
def test_no_chain_can_be_made(ready: Site, hostile: Hostile, ca_file: str | None,
                              why: str) -> None:
    """One line says why, at each run; nothing is installed, and no other one is ordered."""
    if ca_file is not None:
        ready.certs["a"]["CAfile"] = ca_file
    send(hostile, lambda chain: [chain[0], chain[3]])
    for _ in range(2):
        expect(ready.run("--quiet", "newOrder"), 1,
               f"error: a: the new certificate is not installed: {why}; {KEPT}")
    assert not ready.file("a").exists() and len(hostile.orders) == 1
