"""The signer's policy: its settings, --policy and --explain of the real program."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import accountd
from harness.accountd import HELLO, TREE
from harness.policies import ORDER, ORIGIN, b64, certificate, good_csr, key, line, order
from letsencrypt_tiny.common.wire import policy as signer_policy
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.common.wire.policy import ORDERING, Policy
from letsencrypt_tiny.master.plan import signing
from letsencrypt_tiny.signer import config as signer_config


def run(*arguments: str, data: bytes = b"", **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the program to its end; what it says as text."""
    done = accountd.run(*arguments, data=data, **options)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(),
                                       done.stderr.decode())


class Place:
    """A key and a configuration file."""

    def __init__(self, path: Path) -> None:
        self.key, self.conf = path / "key.pem", path / "accountd.conf"
        self.key.write_text(key("ec:P-256", "account"))
        self.key.chmod(0o600)
        self.log = path / "log"
        self.write("identifiers = example.org .example.net")

    def write(self, *lines: str, section: str = "policy web1", top: str = "") -> None:
        """Write the configuration, ``lines`` in a section."""
        self.conf.write_text("\n".join([f"privkey = file:{self.key}", f"logfile = {self.log}",
                                        top, f"[{section}]", *lines]) + "\n")

    def talk(self, *requests: bytes, policies: tuple[str, ...] = ("web1",), **options: Any
             ) -> "subprocess.CompletedProcess[str]":
        """Hold one conversation."""
        return run(f"--config={self.conf}", "--stdio", "--quiet",
                   *(f"--policy={name}" for name in policies),
                   data=HELLO + b"".join(request + b"\r\n" for request in requests), **options)


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    return Place(tmp_path)


LE = "https://acme-v02.api.letsencrypt.org"


def le(payload: Any, member: str = "kid") -> bytes:
    """A signing input for the default origin."""
    changes = {"kid": f"{LE}/acme/acct/1"} if member == "kid" else {}
    return line(payload, member, url=f"{LE}/acme/new-order", **changes)


def test_a_policy_in_the_configuration(place: Place) -> None:
    good, bad = le(order("www.example.net")), le({"status": "deactivated"})
    done = place.talk(good, bad, good)
    answers = done.stdout.split("\r\n")[2:]
    assert len(answers) == 4 and len(answers[0]) == len(answers[2]) == 86
    assert done.returncode == 1
    assert answers[1] == 'NOSIGN policy "web1": deactivate is not allowed (setting "operations" ' \
        "of [policy web1])"
    assert done.stderr.startswith("warning: [stdio] NOSIGN ") and done.stderr.count("\n") == 1
    log = place.log.read_text()
    assert f"[stdio] AUDIT policy=web1 verdict=allowed operation=new-order origin={LE} " \
        "identifiers=www.example.net\n" in log
    assert f"[stdio] AUDIT policy=web1 verdict=refused operation=deactivate origin={LE} " in log
    assert log.count("AUDIT") == 3 and log.count("SIGNED") == 2 and log.count("NOSIGN") == 1
    # not without being asked for
    assert place.talk(bad, policies=()).returncode == 0
    assert "AUDIT" not in place.log.read_text()[len(log):]


def test_settings(place: Place) -> None:
    place.write(f"origins = {ORIGIN}, https://b.example:14000", "identifiers = *.Wild.example, "
                "192.0.2.1 2001:DB8:0::1", "profiles = short, long", "operations = revoke,read "
                "new-order", "requests-per-hour = 3")
    v6 = order("2001:db8::1", kind="ip", profile="long")
    lines = [line(None), line({"certificate": b64(certificate("DNS:*.wild.example"))}),
             line(v6), line(None)]
    done = place.talk(*lines)
    answers = done.stdout.split("\r\n")[2:-1]
    assert [answer[:6] == "NOSIGN" for answer in answers] == [False] * 3 + [True]
    assert answers[3] == 'NOSIGN policy "web1": more than 3 requests within an hour ' \
        '(setting "requests-per-hour" of [policy web1])'
    for refused in (line({}), le(None), line(order("wild.example"))):
        assert "NOSIGN policy" in place.talk(refused).stdout
    for origin in ("https://b.example:14000", LE):
        found = place.talk(line(None, url=f"{origin}/x")).stdout
        assert ("NOSIGN" in found) is (origin == LE)


@pytest.mark.parametrize("spelling", [
    "https://ca.example/", "https://ca.example:443", "HTTPS://CA.example", "https://ca.example:",
    "https://CA.EXAMPLE:0443/"])
def test_an_origin_in_other_spellings(spelling: str, place: Place) -> None:
    """Of the setting; a request has but one."""
    place.write("identifiers = a", f"origins = {spelling}")
    assert "NOSIGN" not in place.talk(line(None)).stdout
    if spelling.rstrip("/") != ORIGIN:
        assert "NOSIGN policy" in place.talk(line(None, url=f"{spelling.rstrip('/')}/x")).stdout


def test_urls_in_other_spellings(place: Place) -> None:
    odd = line(None, url=f"{ORIGIN}:443/acme?order=7"), line(None, kid=f"{ORIGIN}//a%2fb")
    place.write("identifiers = a", f"origins = {ORIGIN}")
    for request, member in zip(odd, ("url", "kid")):
        assert f'NOSIGN policy "web1": {member} is not canonical (setting "urls" of [policy ' \
            'web1])' in place.talk(request).stdout
    place.write("identifiers = a", f"origins = {ORIGIN}", "urls = any")
    assert "NOSIGN" not in place.talk(*odd).stdout
    assert f'NOSIGN policy "web1": url is of another origin than {ORIGIN} (setting "origins" of ' \
        "[policy web1])" in place.talk(line(None, url=f"{ORIGIN}:444/x")).stdout


def test_two_policies(place: Place) -> None:
    place.write("identifiers = example.org a.example.net", "[policy b]",
                "identifiers = .example.net", "operations = new-order")
    good, both = le(order("a.example.net")), ("web1", "b")
    assert place.talk(good, policies=both).returncode == 0
    for bad in (le(order("example.org")), le(order("b.example.net")), le(None)):
        assert place.talk(bad, policies=both).returncode == 1
    assert "policy=web1+b verdict=allowed operation=new-order" in place.log.read_text()


@pytest.mark.parametrize("lines, problem", [
    (["identifiers = a.example", "colour = red"], "unknown setting “colour” (valid: identifiers, "
     "operations, origins, profiles, requests-per-hour, urls)"),
    ([], "identifiers is missing"), (["identifiers ="], "identifiers is missing"),
    (["identifiers = a..b"], "“a..b” is not NAME, .NAME, *.NAME or an address"),
    (["identifiers = .*.b.example"], "is not NAME"), (["identifiers = *.*.b"], "is not NAME"),
    (["identifiers = **"], "is not NAME"), (["identifiers = ."], "is not NAME"),
    (["identifiers = a*.b"], "is not NAME"), (["identifiers = é.example"], "is not NAME"),
    (["identifiers = 192.0.2.300"], "192.0.2.300"), (["identifiers = ::g"], "::g"),
    (["identifiers = 192.0.2.0/24"], "is not NAME"), (["identifiers = a.b."], "is not NAME"),
    (["identifiers = a", "origins = ca.example"], "“ca.example” is not https://HOST[:PORT]"),
    (["identifiers = a", "origins = https://ca.example/x"], "HOST[:PORT]: it has a path or"),
    (["identifiers = a", "origins = https://ca.example?"], "HOST[:PORT]: it has a path or"),
    (["identifiers = a", "origins = https://ca.example."], "is not https://HOST"),
    (["identifiers = a", "origins = https://u@ca.example"], "is not https://HOST"),
    (["identifiers = a", "origins = https://ca.example:0"], "is not https://HOST"),
    (["identifiers = a", "origins = http://ca.example"], "is not https://HOST"),
    (["identifiers = fe80::1%eth0"], "an address with a zone"),
    (["identifiers = a", "operations = everything"], "“everything” is not one of read, respond"),
    (["identifiers = a", "urls = some"], "not one of canonical, any"),
    (["identifiers = a", "requests-per-hour = many"], "not a whole number from 0 to 100000")])
def test_bad_settings(lines: list[str], problem: str, place: Place) -> None:
    """Also of a policy that nobody asks for."""
    place.write(*lines)
    done = place.talk(policies=())
    assert done.returncode == 2 and problem in done.stderr and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {place.conf}, [policy web1]: ")


def test_our_own_file_shows_the_defaults(tmp_path: Path) -> None:
    """What is shown commented out is what holds without it."""
    text = (TREE / "config/accountd.conf").read_text()
    shown = re.sub(r"^#(?=\[|[a-z-]+ =)", "", text, flags=re.M).replace(
        "key =\nkey-file =\n", f"key = {'A' * 43}\n")   # which has none
    (tmp_path / "shown").write_text(shown)
    (tmp_path / "shown").chmod(0o600)
    (tmp_path / "short").write_text("privkey = file:/x\n[policy web1]\n"
                                    "identifiers = .example.org example.org\n")
    full, plain = (signer_config.read(signer_config.Options(
        config=str(tmp_path / name), policies=("web1",))) for name in ("shown", "short"))
    (binding,) = full.bindings
    assert (binding.kid, binding.algorithm) == ("KID", "HS256")
    assert full._replace(file=None, privkey=plain.privkey, bindings=()) == plain._replace(file=None)
    assert full.policies == (Policy("web1", frozenset([LE]), frozenset(ORDERING), frozenset(
        ["example.org", ".example.org"]), frozenset(), 1000),)


@pytest.mark.parametrize("section", ["policy", "policies", "web1", "policy a b", "policy fd:3",
                                     "policy é", "Policy a", "policy -a", "policy " + "a" * 64])
def test_bad_sections(section: str, place: Place) -> None:
    place.write("identifiers = a", section=section)
    done = place.talk(policies=())
    assert done.returncode == 2 and f"unknown section [{section}]" in done.stderr


@pytest.mark.parametrize("name, problem", [
    ("web2", "there is no such section in"), ("", "there is no such section"),
    ("fd:77", "Bad file descriptor"), ("fd:0", "the policy is not valid JSON"),
    ("fd:x", "there is no such section"), ("policy web1", "there is no such section")])
def test_bad_option(name: str, problem: str, place: Place) -> None:
    done = place.talk(policies=(name,))
    assert (done.returncode, done.stdout) == (2, "") and problem in done.stderr
    assert done.stderr.startswith(f"error: --policy={name}: ")


def test_policy_and_no_file(place: Place) -> None:
    done = run("--config=/dev/null", f"--privkey=file:{place.key}", "--policy=a", "--stdio")
    assert done.returncode == 2 and "(there is none)" in done.stderr


def test_explain(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "requests"
    file.write_bytes(le(order("example.org")) + b"\r\n" + le({"contact": []}) + b"\njunk\n")
    done = run(f"--config={place.conf}", "--policy=web1", f"--explain={file}")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"1: policy=web1 verdict=allowed operation=new-order origin={LE} identifiers=example.org",
        f"2: policy=web1 verdict=refused operation=account-update origin={LE} "
        'why="policy “web1”: account-update is not allowed (setting “operations” of '
        '[policy web1])" identifiers=-',
        '3: policy=web1 verdict=refused operation=- origin=- why="not a JWS signing input '
        '(RFC 7515 §5.1)" identifiers=-']
    good = le(order("example.org")) + b"\n"
    done = run(f"--config={place.conf}", "--policy=web1", "--explain=-", data=good * 2000)
    assert done.returncode == 0 and done.stdout.count("verdict=allowed") == 2000
    done = run(f"--config={place.conf}", "--explain=-", data=le({"status": "x"}))
    assert done.stdout.startswith("1: policy=none verdict=allowed operation=deactivate ")
    done = run(f"--config={place.conf}", f"--explain={file}.not")
    assert done.returncode == 1 and "No such file" in done.stderr
    done = run("--explain=-", "--stdio")
    assert done.returncode == 2 and "--stdio and --explain exclude each other" in done.stderr


def test_policy_on_a_descriptor(place: Place) -> None:
    """What the master hands over; together with one that the administrator chose."""
    def talk(request: bytes, *policies: str) -> int:
        reader, writer = os.pipe()
        os.write(writer, signer_policy.format_policy(
            signing.derive(Access(f"{LE}/directory"), [ORDER])))
        os.close(writer)
        try:
            return place.talk(request, policies=(f"fd:{reader}", *policies),
                              pass_fds=(reader,)).returncode
        finally:
            os.close(reader)

    address = le(order("2001:db8::1", kind="ip"))
    assert (talk(address), talk(address, "web1"), talk(le({"contact": []}))) == (0, 1, 1)
    assert talk(le({"csr": b64(good_csr())}), "web1") == 0


def test_ipv6_requests_of_a_confined_signer(place: Place) -> None:
    """What reading one needs is loaded before."""
    place.write("identifiers = 2001:db8::1")
    request = le({"csr": b64(good_csr("IP:2001:db8::1"))})
    done = place.talk(request)
    assert (done.returncode, done.stderr) == (0, "")
