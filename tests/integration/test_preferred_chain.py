"""The setting preferred-chain: alternates (RFC 8555 §7.4.2), cross-signs, odd ways to say it."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ca, judge, sid
from harness.alternates import LINKS, Authorities
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, expect
from harness.pebble import Pebble
from harness.run import Site

ALL = "one root-two root-three"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    return Authorities(tmp_path_factory.mktemp("authorities"))


@pytest.fixture
def ready(site: Site, hostile: Hostile, made: Authorities) -> Site:
    """A site with an account and the section "a", whose CAfile has all roots."""
    site.open_account(hostile)
    trust(site, made, ALL)
    return site


def trust(site: Site, made: Authorities, roots: str, **settings: str) -> None:
    """Let "a" trust these roots."""
    file = site.path / "roots.pem"
    file.write_text(made.pem(roots))
    site.certificate("a", ["a.example"], CAfile=str(file), **settings)


def installed(site: Site, made: Authorities, words: str) -> None:
    """Check that this chain is installed, in all of its files."""
    leaf = site.file("a", "cert.pem").read_text()
    assert site.file("a").read_text() == leaf + made.pem(words)
    assert site.file("a", "chain.pem").read_text() == made.pem(words)
    assert judge.matches(site.file("a"), site.file("a", "privkey.pem"))


def test_nothing_is_preferred(ready: Site, hostile: Hostile, made: Authorities) -> None:
    """The default is taken, and no alternate fetched."""
    made.serve(hostile, "lower upper", "lower two")
    expect(ready.run("--quiet", "newOrder"), 0)
    installed(ready, made, "lower upper")
    assert len(hostile.asked("certificate")) == 1


@pytest.mark.alike(2)
@pytest.mark.parametrize("preferred, words", [
    ("Root One", "lower upper"), ("Root Two", "lower two"), ("Root Three", "lower three"),
    ("root  THREE", "lower three"), ("Upper", "lower upper"), ("Lower", "lower upper")])
def test_by_the_name_of_any_issuer(ready: Site, hostile: Hostile, made: Authorities,
                                   preferred: str, words: str) -> None:
    made.serve(hostile, "lower upper", "lower two", "lower three")
    ready.certs["a"]["preferred-chain"] = preferred
    expect(ready.run("--quiet", "newOrder"), 0)
    installed(ready, made, words)


def test_where_it_ends_comes_first(ready: Site, hostile: Hostile, made: Authorities) -> None:
    """A chain that goes on beyond the issuer named is not the one meant, if there is another."""
    made.serve(hostile, "lower two root-two", "lower upper")
    # “Upper” has issued lower in both; only the alternate's last issuer is Root One
    ready.certs["a"]["preferred-chain"] = "Root One"
    expect(ready.run("--quiet", "newOrder"), 0)
    installed(ready, made, "lower upper")
    made.serve(hostile, "lower upper", "lower")
    ready.certs["a"].update({"preferred-chain": "Upper", "CAfile": ""})
    expect(ready.run("--quiet", "newOrder", "--force"), 0)
    installed(ready, made, "lower")


@pytest.mark.parametrize("preferred, words", [
    ("", "lower upper"), ("Root Two", "lower two"), ("Root Three", "lower three")])
def test_cross_signs_in_one_chain(ready: Site, hostile: Hostile, made: Authorities,
                                  preferred: str, words: str) -> None:
    """Of two certificates of one intermediate the first is taken, unless another is preferred."""
    made.serve(hostile, "lower upper two three")
    if preferred:
        ready.certs["a"]["preferred-chain"] = preferred
    expect(ready.run("--quiet", "newOrder"), 0)
    installed(ready, made, words)


def test_the_first_cross_sign_leads_nowhere(ready: Site, hostile: Hostile, made: Authorities
                                            ) -> None:
    """Whatever is preferred or comes first: what ends in CAfile is installed."""
    made.serve(hostile, "lower upper two three")
    trust(ready, made, "root-three")
    expect(ready.run("--quiet", "newOrder"), 0)
    installed(ready, made, "lower three")
    made.serve(hostile, "lower three", "lower two")
    trust(ready, made, "root-three", preferred_chain="Root Two")
    expect(ready.run("--quiet", "newOrder"), 0,
           "warning: a: preferred-chain = Root Two: that chain does not end at a CA of CAfile = "
           rf"{ready.path}/roots\.pem; another one is installed")
    installed(ready, made, "lower three")
    expect(ready.run("--quiet", "newOrder"), 0)
    assert len(hostile.orders) == 2


def test_an_unknown_one(ready: Site, hostile: Hostile, made: Authorities) -> None:
    """The default is installed, and one line names the setting and what there is; once."""
    made.serve(hostile, "lower upper", "lower two")
    ready.certs["a"]["preferred-chain"] = "DST Root CA X3"
    expect(ready.run("--quiet", "newOrder"), 0,
           "warning: a: preferred-chain = DST Root CA X3: the CA has no such chain, but those with "
           "“Lower”, “Upper”, “Root One”, “Root Two”; the default one is installed")
    installed(ready, made, "lower upper")
    expect(ready.run("--quiet", "newOrder"), 0)
    assert len(hostile.orders) == 1


def test_a_changed_setting(ready: Site, hostile: Hostile, made: Authorities) -> None:
    """It is a reason to renew, unless that chain is installed."""
    made.serve(hostile, "lower upper", "lower two")
    expect(ready.run("--quiet", "newOrder"), 0)
    ready.certs["a"]["preferred-chain"] = "Root One"
    expect(ready.run("--quiet", "newOrder"), 0)
    assert len(hostile.orders) == 1
    ready.certs["a"]["preferred-chain"] = "Root Two"
    reason = "its preferred-chain has changed, to Root Two"
    row, = json.loads(ready.run("status", "--json").stdout)["sections"]
    assert (row["due"], row["reason"]) == (True, reason)
    expect(ready.run("newOrder"), 0, f"a: {reason}", f"a: {INSTALLED}")
    installed(ready, made, "lower two")
    shutil.rmtree(ready.lib / "state")
    del ready.certs["a"]["preferred-chain"]
    expect(ready.run("--quiet", "newOrder"), 0)
    assert len(hostile.orders) == 2


@pytest.mark.alike(3)
@pytest.mark.parametrize("link", LINKS)
def test_odd_links(ready: Site, hostile: Hostile, made: Authorities, link: str) -> None:
    """Each is fetched once; those that can't be had are said, and are no hindrance."""
    made.serve(hostile, "lower upper", "lower two", "lower three", link=link)
    ready.certs["a"]["preferred-chain"] = "Root Three"
    left_out = "client: warning: a: an alternate chain is left out: "
    expect(ready.run("--quiet", "newOrder"), 0, *(
        [left_out + r".* of another origin .*other\.example.* \(setting “origins” of .*",
         left_out + ".*http://127.*", left_out + ".*no such resource.*"]
        if link == "others" else [left_out + ".*"] if link == "junk" else []))
    installed(ready, made, "lower three")
    assert len(hostile.asked("certificate")) == 3


@pytest.mark.alike(2)
@pytest.mark.parametrize("answer, line", [
    (lambda _: Response.problem("serverInternal", "no", 403), ".* no .*"),
    (lambda response: response._replace(body=b"junk"), ".* holds no certificate"),
    (lambda response: response._replace(headers={"Content-Type": "text/html"}), ".*text/html.*"),
    (lambda _: Response(raw=b"", reset=True), ".*"),
    (lambda response: response._replace(body=response.body[:-200]), None),
    (lambda response: response._replace(body=b"-----BEGIN CERTIFICATE-----\n" * 20), None)],
    ids=["problem", "junk", "html", "reset", "truncated", "no end"])
def test_odd_alternates(ready: Site, hostile: Hostile, made: Authorities,
                        answer: Callable[[Response], Response], line: str | None) -> None:
    """The chain that is here is installed; one line says what was offered."""
    made.serve(hostile, "lower upper", "lower two")
    good = hostile.on["certificate"]

    def handler(request: Request, default: Default) -> Response:
        response = good(request, default)
        return answer(response) if "-" in request.id else response
    hostile.on["certificate"] = handler
    ready.certs["a"]["preferred-chain"] = "Root Two"
    expect(ready.run("--quiet", "newOrder"), 0,
           "warning: a: preferred-chain = Root Two: the CA has no such chain, but those with "
           "“Lower”, “Upper”, “Root One”; the default one is installed",
           *([] if line is None else [f"client: warning: a: an alternate chain is left out: {line}"
                                      ]))
    installed(ready, made, "lower upper")


def test_an_alternate_of_another_certificate(ready: Site, hostile: Hostile, made: Authorities
                                             ) -> None:
    """It is none, be it for the same key and names."""
    made.serve(hostile, "lower upper")
    expect(ready.run("--quiet", "newOrder"), 0)
    key = ready.file("a", "privkey.pem")
    csr = ca.request(["a.example"], key.read_text())
    made.serve(hostile, "lower upper", "lower two", leaf=made.issue(csr))
    ready.certs["a"]["preferred-chain"] = "Root Two"
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 0 and len(hostile.asked("certificate")) == 3
    assert "those with “Lower”, “Upper”, “Root One”;" in done.stderr
    installed(ready, made, "lower upper")


def test_kept_with_its_alternates(ready: Site, hostile: Hostile, made: Authorities) -> None:
    """What can't be installed now is kept whole: the choice is the next run's."""
    made.serve(hostile, "lower upper", "lower two")
    trust(ready, made, "root-three", preferred_chain="Root One")
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 1 and "it is kept" in done.stderr
    trust(ready, made, ALL, preferred_chain="Root Two")
    expect(ready.run("--quiet", "newOrder"), 0)
    installed(ready, made, "lower two")
    assert len(hostile.orders) == 1


# --- Pebble --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pebble_chains() -> Iterator[Pebble]:
    """Pebble with three roots and three intermediates below each."""
    with Pebble(nosleep=True, noncereject=0, alternate_roots=2, chain_length=3,
                program=sid.newest("pebble")) as server:
        yield server


def subjects(path: Path) -> list[str]:
    """Return the issuers' common names of a chain in a file."""
    text = ca.openssl("crl2pkcs7", "-nocrl", "-certfile", str(path))
    shown = ca.openssl("pkcs7", "-print_certs", "-noout", stdin=text).decode()
    return re.findall(r"issuer=.*?CN ?= ?(.*)", shown)


def root_name(pebble: Pebble, number: int) -> str:
    """Return the common name of one of its roots."""
    match = re.search(r"CN ?= ?(.*)", judge.x509(pebble.root(number), "-subject"))
    assert match is not None
    return match.group(1)


def test_pebble(site: Site, pebble_chains: Pebble) -> None:
    """Each root has its chain of three intermediates, which openssl verifies to it alone."""
    site.open_account(pebble_chains)
    for number in range(3):
        name = root_name(pebble_chains, number)
        site.certificate("a", ["a.preferred.example"], preferred_chain=name)
        expect(site.run("--quiet", "newOrder"), 0)
        found = subjects(site.file("a"))
        assert len(found) == 4 and found[-1] == name
        judge.verify(site.file("a", "cert.pem"), site.file("a", "chain.pem"),
                     pebble_chains.root(number))
        with pytest.raises(RuntimeError):
            judge.verify(site.file("a", "cert.pem"), site.file("a", "chain.pem"),
                         pebble_chains.root((number + 1) % 3))
    site.certs["a"]["preferred-chain"] = "Pebble Root CA 000000"
    done = site.run("--quiet", "newOrder")
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    for number in range(3):
        assert f"“{root_name(pebble_chains, number)}”" in done.stderr
