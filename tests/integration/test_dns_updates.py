"""dns-01 by a hoster's interface (lexicon), and by commands of the administrator's."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import run
from harness.bind import PRIMARY, RESOLVER, Bind, with_resolver
from harness.pebble import Pebble
from harness.powerdns import KEY, PowerDNS
from harness.run import Result, Site

pytestmark = pytest.mark.root
EXAMPLES = run.ROOT / "examples"


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    zones = {"b.example": "", "pdns.test": "@ IN A 127.0.0.1"}
    with tempfile.TemporaryDirectory(prefix="bind-", dir=run.PARENT) as directory:
        with Bind(Path(directory, "b"), zones) as running:
            yield running


@pytest.fixture(scope="module")
def pebble(bind: Bind) -> Iterator[Pebble]:
    with Pebble(nosleep=True, authzreuse=0, dns_server=f"{RESOLVER}:53") as server:
        yield server


@pytest.fixture
def powerdns(bind: Bind) -> Iterator[PowerDNS]:
    with PowerDNS(bind) as running:
        yield running


@pytest.fixture
def dns(site: Site, pebble: Pebble, bind: Bind) -> Iterator[Site]:
    """A site with an account, and [dns] without a way to update."""
    site.use(pebble)
    site.genkey()
    del site.main["webserver"]
    assert site.register().returncode == 0
    site.main["dns"] = {"confine": run.CONFINE, "propagation-timeout": "10", "update-timeout": "5"}
    site.certificate("b", ["b.example", "*.b.example"], challenge="dns-01")
    yield site
    assert bind.published() == []
    assert list((site.lib / "state").glob("dns-*")) == []


def order(site: Site, bind: Bind, *arguments: str, timeout: float = 90) -> "Result[str]":
    """Run newOrder where the resolver is BIND's."""
    return run.run(with_resolver(bind.resolv_conf, site.command("newOrder", *arguments)),
                   timeout=timeout)


# --- lexicon -------------------------------------------------------------------------------------

def credentials(site: Site, text: str) -> None:
    path = site.write("credentials", text)
    path.chmod(0o600)
    site.main["dns"].update({"update": "lexicon powerdns", "credentials": str(path)})


@pytest.mark.parametrize("confine", ["required", "no"])
def test_a_hoster(confine: str, dns: Site, bind: Bind, powerdns: PowerDNS) -> None:
    """Two values at one name; its host's name is looked up by TCP, too."""
    dns.main["dns"]["confine"] = confine
    credentials(dns, f"# of the hoster\npdns-server = {powerdns.url}\nauth_token = {KEY}\n")
    done = order(dns, bind, "--debug")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is published") == 2 and done.stderr.count("is taken back") == 2
    assert KEY not in done.stderr
    assert ("PATCH", "/api/v1/servers/localhost/zones/b.example.") in powerdns.requests


@pytest.mark.parametrize("text, expected", [
    ("pdns_server = {url}\nauth_token = wrong-token\n", "lexicon powerdns: HTTPError: 401"),
    ("pdns_server = {url}\n", "PowerDNS API key not defined"),
    ("pdns_server = http://pdns.test:1\nauth_token = {key}\n", "lexicon powerdns: Connection")])
def test_a_hoster_that_says_no(text: str, expected: str, dns: Site, bind: Bind,
                               powerdns: PowerDNS) -> None:
    credentials(dns, text.format(url=powerdns.url, key=KEY))
    done = order(dns, bind)
    assert done.returncode == 1 and expected in done.stderr, done.stderr
    assert "wrong-token" not in done.stderr
    for file in (dns.lib / "state").glob("dns-*"):
        file.unlink()   # nothing could be taken back


@pytest.mark.parametrize("update, text, expected", [
    ("lexicon nobody", "a = b\n", "lexicon has no provider “nobody”"),
    ("lexicon powerdns", "junk\n", "credentials: line 1 is not “option = value”")])
def test_settings_that_make_no_sense(update: str, text: str, expected: str, dns: Site,
                                     bind: Bind) -> None:
    credentials(dns, text)
    dns.main["dns"]["update"] = update
    done = order(dns, bind)
    assert done.returncode == 1 and expected in done.stderr


def test_a_hoster_that_is_slow(dns: Site, bind: Bind, powerdns: PowerDNS) -> None:
    """One update has a limit, although lexicon knows none."""
    powerdns.sleeps = 20
    dns.main["dns"]["update-timeout"] = "1"
    credentials(dns, f"pdns_server = {powerdns.url}\nauth_token = {KEY}\n")
    began = time.monotonic()
    done = order(dns, bind)
    assert done.returncode == 1 and "Timeout" in done.stderr, done.stderr
    assert time.monotonic() - began < 12
    for file in (dns.lib / "state").glob("dns-*"):
        file.unlink()


# --- commands ------------------------------------------------------------------------------------

HOOK = """#!/usr/bin/python3 -I
# a hook in dehydrated's form, which gets the key as its standard input
import os, re, sys
import dns.query, dns.tsigkeyring, dns.update
open({log!r}, "a").write(" ".join(sys.argv[1:]) + " " + " ".join(sorted(os.environ)) + "\\n")
name, secret = re.findall('"([^"]*)"', sys.stdin.read())
keyring = dns.tsigkeyring.from_text({{name: secret}})
update = dns.update.UpdateMessage("b.example", keyring=keyring)
change = {{"deploy_challenge": update.add, "clean_challenge": update.delete}}[sys.argv[1]]
ttl = [60] if sys.argv[1] == "deploy_challenge" else []
change("_acme-challenge." + sys.argv[2] + ".", *ttl, "TXT", sys.argv[4])
assert dns.query.tcp(update, "{primary}").rcode() == 0
"""


def hook(site: Site, text: str) -> Path:
    """Write a program that everybody may execute, and a log that everybody may write."""
    path = site.path / "hook"
    path.write_text(text)
    path.chmod(0o755)
    log = site.path / "log"
    log.touch()
    log.chmod(0o666)
    return path


def lines(site: Site) -> list[str]:
    return (site.path / "log").read_text().splitlines()


@pytest.mark.parametrize("confine", ["required", "no"])
def test_a_hook_of_dehydrateds(confine: str, dns: Site, bind: Bind) -> None:
    program = hook(dns, HOOK.format(log=str(dns.path / "log"), primary=PRIMARY))
    dns.main["dns"].update({
        "update": f"command {EXAMPLES}/dns-dehydrated {program}", "confine": confine,
        "credentials": str(bind.key_file)})
    done = order(dns, bind)
    assert done.returncode == 0, done.stderr
    told = lines(dns)
    assert [line.split()[:3] for line in told] == [
        ["deploy_challenge", "b.example", "-"]] * 2 + [["clean_challenge", "b.example", "-"]] * 2
    assert {" ".join(line.split()[4:]) for line in told} <= {
        "HOME LANG PATH PWD USER", "HOME LANG PATH PWD USER _"}


@pytest.mark.parametrize("text, expected", [
    ("#!/bin/sh\necho first >&2\necho second >&2\nexit 3\n",
     "add _acme-challenge.b.example: first"),
    ("#!/bin/sh\nexit 3\n", "add _acme-challenge.b.example: status 3"),
    ("#!/bin/sh\nprintf '\\033[31mred\\n' >&2; kill -9 $$\n",
     r"add _acme-challenge.b.example: \x1b[31mred"),
    ("junk", "can't be executed: Exec format error")])
def test_a_command_that_fails(text: str, expected: str, dns: Site, bind: Bind) -> None:
    """What it published nevertheless it is asked to take back."""
    dns.main["dns"]["update"] = f"command {hook(dns, text)}"
    dns.certificate("b", ["b.example"], challenge="dns-01")
    done = order(dns, bind)
    assert expected in done.stderr, done.stderr
    assert "second" not in done.stderr and done.returncode == 1
    assert (text == "junk") == (not [*(dns.lib / "state").glob("dns-*")])
    for file in (dns.lib / "state").glob("dns-*"):
        file.unlink()


def test_a_command_that_does_not_end(dns: Site, bind: Bind) -> None:
    """It is killed, with what it started, and the other challenge has its turn."""
    text = "#!/bin/sh\necho $1 >>{log}; [ $1 = add ] || exit 0; sleep 98765 & sleep 98765\n"
    program = hook(dns, text.format(log=dns.path / "log"))
    dns.main["dns"].update({"update": f"command {program}", "update-timeout": "1"})
    done = order(dns, bind)
    assert done.returncode == 1 and "not done after 1 seconds: killed" in done.stderr, done.stderr
    assert sorted(lines(dns)) == ["add", "add", "remove", "remove"]
    assert subprocess.run(["pgrep", "-f", "^sleep 98765"], check=False).returncode == 1


def test_what_a_command_leaves(dns: Site, bind: Bind) -> None:
    """What got out of its session ends with the run."""
    text = "#!/bin/sh\nsetsid sleep 98764 & sleep 0.3; [ $1 = remove ]\n"
    dns.main["dns"]["update"] = f"command {hook(dns, text)}"
    dns.certificate("b", ["b.example"], challenge="dns-01")
    assert order(dns, bind).returncode == 1
    assert subprocess.run(["pgrep", "-f", "^sleep 98764"], check=False).returncode == 1


def test_the_other_examples(tmp_path: Path) -> None:
    """acme.sh's interfaces are functions, certbot's hooks programs with two variables."""
    (tmp_path / "dnsapi").mkdir()
    (tmp_path / "acme.sh").write_text('_say() { echo "$@"; }\n[ -z "$1" ] && echo help\n')
    (tmp_path / "dnsapi/dns_x.sh").write_text(
        'dns_x_add() { _say "add $1 $2"; }\ndns_x_rm() { _say "rm $1 $2"; }\n')
    certbot = tmp_path / "certbot"
    certbot.write_text('#!/bin/sh\necho "${0##*/} $CERTBOT_DOMAIN $CERTBOT_VALIDATION"\n')
    certbot.chmod(0o755)
    (tmp_path / "cleanup").symlink_to(certbot)

    def said(*argv: object) -> str:
        return subprocess.run([*map(str, argv)], check=True, capture_output=True, text=True).stdout
    for what, expected in (("add", "add"), ("remove", "rm")):
        assert said(EXAMPLES / "dns-acme.sh", tmp_path / "acme.sh", "dns_x", what,
                    "_acme-challenge.b.example", "v") == f"{expected} _acme-challenge.b.example v\n"
    for what, expected in (("add", "certbot"), ("remove", "cleanup")):
        assert said(EXAMPLES / "dns-certbot", certbot, tmp_path / "cleanup", what,
                    "_acme-challenge.b.example", "v") == f"{expected} b.example v\n"
    for example in EXAMPLES.iterdir():
        assert len(example.read_text().splitlines()) <= 5
