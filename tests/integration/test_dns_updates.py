"""dns-01 by a hoster's interface (lexicon), and by commands of the administrator's."""

import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness import run
from harness.bind import PRIMARY, RESOLVER, Bind, with_resolver
from harness.pebble import Pebble
from harness.powerdns import ADDRESS, HOST, KEY, PowerDNS
from harness.run import Result, Site

pytestmark = pytest.mark.root
needs_lexicon = pytest.mark.skipif(find_spec("lexicon") is None,
                                   reason="python3-lexicon is not installed (Debian 13 has none)")
EXAMPLES = run.ROOT / "examples"


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    zones = {"b.example": "", HOST: f"@ IN A {ADDRESS}"}
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


def order(site: Site, bind: Bind, *arguments: str, timeout: float = 90,
          ca_file: Path | None = None) -> "Result[str]":
    """Run newOrder where the resolver is BIND's, and ``ca_file`` trusted."""
    return run.run(with_resolver(bind.resolv_conf, site.command("newOrder", *arguments), ca_file),
                   timeout=timeout)


# --- lexicon -------------------------------------------------------------------------------------

def credentials(site: Site, text: str) -> None:
    path = site.write("credentials", text)
    path.chmod(0o600)
    site.main["dns"].update({"update": "lexicon powerdns", "credentials": str(path)})


@needs_lexicon
@pytest.mark.parametrize("confine", ["required", "no"])
def test_a_hoster(confine: str, dns: Site, bind: Bind, powerdns: PowerDNS) -> None:
    """Two values at one name, by HTTPS at the one port 443; its host is looked up by TCP, too."""
    dns.main["dns"]["confine"] = confine
    credentials(dns, f"# of the hoster\npdns-server = {powerdns.url}\nauth_token = {KEY}\n")
    done = order(dns, bind, "--debug", ca_file=powerdns.ca_file)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is published") == 2 and done.stderr.count("is taken back") == 2
    assert KEY not in done.stderr
    assert ("PATCH", "/api/v1/servers/localhost/zones/b.example.") in powerdns.requests


@pytest.mark.alike(2)
@needs_lexicon
@pytest.mark.parametrize("text, expected, trusted", [
    ("pdns_server = {url}\nauth_token = wrong-token\n", "lexicon powerdns: HTTPError: 401", True),
    ("pdns_server = {url}\nauth_token = {key}\n", "certificate verify failed", False),
    ("pdns_server = {url}\n", "PowerDNS API key not defined", True),
    ("pdns_server = http://pdns.test:1\nauth_token = {key}\n", "lexicon powerdns: Connection",
     True)])
def test_a_hoster_that_says_no(text: str, expected: str, trusted: bool, dns: Site, bind: Bind,
                               powerdns: PowerDNS) -> None:
    """… or that isn't who it says it is, to whom nothing is told."""
    credentials(dns, text.format(url=powerdns.url, key=KEY))
    done = order(dns, bind, ca_file=powerdns.ca_file if trusted else None)
    assert done.returncode == 1 and expected in done.stderr, done.stderr
    assert "wrong-token" not in done.stderr and KEY not in done.stderr
    assert trusted or powerdns.requests == []
    for file in (dns.lib / "state").glob("dns-*"):
        file.unlink()   # nothing could be taken back


@needs_lexicon
@pytest.mark.parametrize("update, text, expected", [
    ("lexicon nobody", "a = b\n", "lexicon has no provider “nobody”"),
    ("lexicon powerdns", "junk\n", "credentials: line 1 is not “option = value”")])
def test_settings_that_make_no_sense(update: str, text: str, expected: str, dns: Site,
                                     bind: Bind) -> None:
    credentials(dns, text)
    dns.main["dns"]["update"] = update
    done = order(dns, bind)
    assert done.returncode == 1 and expected in done.stderr


@needs_lexicon
def test_a_hoster_that_is_slow(dns: Site, bind: Bind, powerdns: PowerDNS) -> None:
    """One update has a limit, although lexicon knows none."""
    powerdns.sleeps = 20
    dns.main["dns"]["update-timeout"] = "1"
    credentials(dns, f"pdns_server = {powerdns.url}\nauth_token = {KEY}\n")
    done = order(dns, bind, ca_file=powerdns.ca_file, timeout=19)   # seconds: one answer takes 20
    assert done.returncode == 1 and "Timeout" in done.stderr, done.stderr
    for file in (dns.lib / "state").glob("dns-*"):
        file.unlink()


# --- commands ------------------------------------------------------------------------------------

UPDATE = """#!/usr/bin/python3 -I
# what all hooks do in the end: add|remove NAME VALUE, the key as standard input
import os, re, sys
import dns.query, dns.tsigkeyring, dns.update
what, name, value = sys.argv[1:]
fds = [number for number in os.listdir("/proc/self/fd") if os.path.exists("/dev/fd/" + number)]
told = [what, name, ",".join(sorted(fds)), *sorted(os.environ)]
open({log!r}, "a").write(" ".join(told) + "\\n")
key, secret = re.findall('"([^"]*)"', sys.stdin.read())
update = dns.update.UpdateMessage("b.example", keyring=dns.tsigkeyring.from_text({{key: secret}}))
if what == "add":
    update.add(name + ".", 60, "TXT", value)
else:
    update.delete(name + ".", "TXT", value)
assert dns.query.tcp(update, "{primary}").rcode() == 0
"""

# Hooks as others have them: files, and what is written behind the example that wraps them
HOOKS = {
    "dns-dehydrated": ({"hook": """#!/bin/sh -e
deploy_challenge() { {update} add "_acme-challenge.$1" "$3"; }
clean_challenge() { {update} remove "_acme-challenge.$1" "$3"; }
verb=$1; shift; "$verb" "$@"
"""}, "hook"),
    "dns-acme.sh": ({"acme.sh": """#!/bin/sh
_info() { echo "$@"; }
[ -n "$1" ] || _info "Usage: acme.sh <command> ..."
""", "dnsapi/dns_x.sh": """#!/bin/sh
dns_x_add() { _info "adding $1"; {update} add "$1" "$2"; }
dns_x_rm() { _info "removing $1"; {update} remove "$1" "$2"; }
"""}, "acme.sh dns_x"),
    "dns-certbot": ({"auth": """#!/bin/sh
exec {update} add "_acme-challenge.$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION"
""", "cleanup": """#!/bin/sh
exec {update} remove "_acme-challenge.$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION"
"""}, "auth {path}/cleanup")}


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


@pytest.mark.alike(2)
@pytest.mark.parametrize("example, confine", [
    ("dns-dehydrated", "required"), ("dns-dehydrated", "no"), ("dns-acme.sh", "required"),
    ("dns-certbot", "required")])
def test_hooks_of_others(example: str, confine: str, dns: Site, bind: Bind) -> None:
    """By the examples: five lines each."""
    assert len((EXAMPLES / example).read_text().splitlines()) <= 5
    update = hook(dns, UPDATE.format(log=str(dns.path / "log"), primary=PRIMARY))
    directory = dns.path / "hooks"
    files, words = HOOKS[example]
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text.replace("{update}", str(update)))
        (directory / name).chmod(0o755)
    dns.main["dns"].update({
        "update": f"command {EXAMPLES}/{example} {directory}/{words.format(path=directory)}",
        "confine": confine, "credentials": str(bind.key_file)})
    done = order(dns, bind)
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in lines(dns)]
    assert [line[:3] for line in told] == [
        [what, "_acme-challenge.b.example", "0,1,2"]
        for what in ("add", "add", "remove", "remove")]
    own = {"CERTBOT_DOMAIN", "CERTBOT_VALIDATION"} if example == "dns-certbot" else set()
    assert {name for line in told for name in line[3:]} - {"_"} == own | {
        "HOME", "LANG", "PATH", "PWD", "USER"}


@pytest.mark.alike(2)
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
    text = ("#!/bin/sh\necho $1 >>{log}; [ $1 = add ] && {{ sleep 98765 & sleep 98765; }}\n"
            "! pgrep -f '^sleep 98765' >>{log}\n")
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
