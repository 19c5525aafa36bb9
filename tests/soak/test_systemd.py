"""The units under a real systemd, booted in systemd-nspawn(1), against a Pebble on loopback."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness import judge
from harness.nspawn import PROGRAM, Booted, NoBoot
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, SIGNER_USER, Result
from harness.throwaway import Throwaway

pytestmark = [pytest.mark.root, pytest.mark.skipif(
    not Path(PROGRAM).exists(), reason="systemd-nspawn is not installed")]

ETC, LIB = "etc/letsencrypt-tiny", "var/lib/letsencrypt-tiny"
SERVICE, SIGNER = "letsencrypt-tiny.service", "letsencrypt-tiny-accountd"
# As on a careful host: port 80 is opened by the run
FIREWALL = """table inet careful { chain input {
    type filter hook input priority 0; policy drop;
    iif lo tcp dport != 80 accept; iif lo udp dport 0-65535 accept;
    ct state established accept; }; }
"""


class Host(NamedTuple):
    """The machine, its CA, and what the tests do with them."""

    debian: Throwaway
    system: Booted
    pebble: Pebble

    def run(self, *argv: str, status: int = 0) -> str:
        """Run a command there; return what it wrote."""
        done = self.system.run(*argv)
        assert done.returncode == status, (argv, done, self.journal(SERVICE)[-15:])
        return done.stdout

    def path(self, name: str) -> Path:
        """A file there, seen from here."""
        return self.debian.path / name

    def section(self, name: str, **settings: str) -> None:
        """Configure a certificate."""
        words = {"names": f"{name}.example", "CAfile": "/srv/roots.pem", **self.pebble.settings,
                 **settings}
        self.path(f"{ETC}/certs.conf.d/{name}.conf").write_text(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in words.items()))

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """The entries of a unit."""
        done = self.system.run("journalctl", "--output=json", f"--unit={unit}", "--no-pager")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        return dict(line.split("=", 1) for line in self.run(
            "systemctl", "show", f"--property={','.join(names)}", unit).splitlines())

    def chain(self, section: str) -> Path:
        """Where the certificate is; certs/NAME is a relative link."""
        return self.path(f"{LIB}/certs/{section}/fullchain.pem")


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for it and return it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it doesn't come"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest, debs: list[Path]) -> Iterator[Host]:
    """Booted, with an account at Pebble and no certificate yet."""
    debian = Throwaway(request.param, ["systemd", "systemd-sysv", "nftables", "postfix"],
                       tree=False)
    try:
        (debian.path / "srv/new").mkdir()
        for package in debs:
            shutil.copy(package, debian.path / "srv/new")
        done = debian.run("/bin/sh", "-c", "dpkg -i /srv/new/*.deb && useradd --create-home admin "
                          "&& echo root: admin >/etc/aliases && newaliases", loopback=True)
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            system = Booted(debian)
        except NoBoot as exc:
            pytest.skip(f"systemd-nspawn can't boot here: {exc}")
        try:
            with Pebble(http_port=80, sleeptime=3, noncereject=0) as pebble:
                host = Host(debian, system, pebble)
                _configure(host)
                yield host
        finally:
            subprocess.run(["/usr/sbin/nft", "delete", "table", "inet", "careful"], check=False,
                           capture_output=True, env=ENVIRONMENT)
            system.stop()
    finally:
        debian.remove()


def _configure(host: Host) -> None:
    shutil.copy(host.pebble.ca_file, host.path("srv/ca.pem"))
    shutil.copy(host.pebble.roots(), host.path("srv/roots.pem"))
    host.path(f"{ETC}/letsencrypt-tiny.conf.d/ca.conf").write_text(
        f"[client]\nserver = {host.pebble.directory}\nca-file = /srv/ca.pem\n")
    host.run("setpriv", f"--reuid={SIGNER_USER}", f"--regid={SIGNER_USER}", "--clear-groups", "--",
             "letsencrypt-tiny-accountd", f"--config=/{ETC}/accountd.conf", "--genkey=ec:P-256")
    host.run("letsencrypt-tiny", "account", "--register", "--tos-agreed", "mailto:a@a.example")
    subprocess.run(["/usr/sbin/nft", "-f", "-"], input=FIREWALL, text=True, check=True,
                   env=ENVIRONMENT)


def rules(host: Host) -> list[str]:
    """Our rules in the firewall."""
    return [line for line in host.run("nft", "list", "ruleset").splitlines()
            if "letsencrypt-tiny" in line]


def service(host: Host) -> "Result[str]":
    """Start a run, wait for its end."""
    return host.system.run("systemctl", "start", SERVICE)


def test_the_timer_renews(host: Host) -> None:
    """It is enabled as it was installed; what it starts has its sandbox, and gets a certificate."""
    assert host.run("systemctl", "is-enabled", "letsencrypt-tiny.timer") == "enabled\n"
    assert host.run("systemctl", "is-active", "letsencrypt-tiny.timer") == "active\n"
    found = host.show("letsencrypt-tiny.timer", "NextElapseUSecRealtime", "RandomizedDelayUSec")
    assert found["NextElapseUSecRealtime"] and found["RandomizedDelayUSec"] == "6h"
    host.section("a")
    drop_in = host.path("etc/systemd/system/letsencrypt-tiny.timer.d")
    drop_in.mkdir()
    (drop_in / "soon.conf").write_text(
        "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=10ms\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "letsencrypt-tiny.timer")
    until(lambda: host.show(SERVICE, "ExecMainExitTimestamp")["ExecMainExitTimestamp"])
    assert host.show(SERVICE, "Result", "ExecMainStatus") == {
        "Result": "success", "ExecMainStatus": "0"}
    assert judge.names(host.chain("a").resolve()) == {"a.example"} and not rules(host)
    (drop_in / "soon.conf").unlink()
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "letsencrypt-tiny.timer")
    entry, = (entry for entry in host.journal(SERVICE) if "ACME_SECTION" in entry)
    assert (entry["ACME_SECTION"], entry["PRIORITY"]) == ("a", "5")
    assert entry["SYSLOG_IDENTIFIER"] == "letsencrypt-tiny"


def test_the_sandbox_is_on(host: Host) -> None:
    """As /proc has it of a run: what a section's “notify” command sees, which inherits it."""
    host.section("b", notify="cat /proc/self/status /proc/self/mountinfo >/run/seen; "
                             "touch /usr/mine 2>>/run/seen; touch /root/mine 2>>/run/seen; "
                             "touch /var/lib/mine")
    assert service(host).returncode == 0, host.journal(SERVICE)
    seen = host.run("cat", "/run/seen")
    assert re.search(r"^NoNewPrivs:\s*1$", seen, re.M) and re.search(r"^Seccomp:\s*2$", seen, re.M)
    bounding = int(re.findall(r"^CapBnd:\s*(\w+)$", seen, re.M)[0], 16)
    assert bounding & 1 << 12 and not bounding & 1 << 21    # CAP_NET_ADMIN, not CAP_SYS_ADMIN
    for path in "/usr/mine", "/root/mine":
        assert f"{path}': Read-only file system" in seen
    assert host.path("var/lib/mine").exists()
    figure = host.run("systemd-analyze", "security", "--no-pager", SERVICE)
    assert float(re.findall(r"exposure level for \S+: ([0-9.]+) ", figure)[-1]) <= 3.0


def test_a_run_that_is_killed_leaves_no_rule(host: Host) -> None:
    """ExecStopPost=; nor its children, nor challenges.  The next run goes on."""
    host.section("c")
    host.run("systemctl", "start", "--no-block", SERVICE)
    until(lambda: rules(host))
    host.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", SERVICE)
    until(lambda: host.show(SERVICE, "ActiveState")["ActiveState"] == "failed")
    assert host.show(SERVICE, "Result")["Result"] == "signal"
    assert not rules(host) and not host.chain("c").exists()
    assert not [name for name in host.run("ls", "/run/letsencrypt-tiny").split()
                if name.startswith("challenges")]
    assert service(host).returncode == 0
    assert judge.names(host.chain("c").resolve()) == {"c.example"} and not rules(host)


def test_who_fails_is_told_of(host: Host) -> None:
    """By entries with priority and fields; by OnFailure=, and so by mail, once."""
    host.pebble.set_a("bad.example", "192.0.2.1")
    host.section("bad")
    box = host.path("var/mail/admin")
    before = box.read_text() if box.exists() else ""
    try:
        for _ in range(2):
            assert service(host).returncode == 1
            until(lambda: [host.show("letsencrypt-tiny-failures.service", "ActiveState", "Result")]
                  == [{"ActiveState": "inactive", "Result": "success"}])
        found = [entry for entry in host.journal(SERVICE) if entry.get("ACME_SECTION") == "bad"]
        assert found and {entry["PRIORITY"] for entry in found} <= {"3", "4"}
        assert host.pebble.directory.split("/")[2].split(":")[0] in found[0]["ACME_CA"], found[0]
        assert found[0]["ACME_PROBLEM"] == "connection"
        text = until(lambda: box.exists() and box.read_text() != before and box.read_text())
        time.sleep(2)
        text = box.read_text()[len(before):]
        assert len(re.findall(r"^Subject: letsencrypt-tiny on \S+: bad fails$", text, re.M)) == 1
    finally:
        host.path(f"{ETC}/certs.conf.d/bad.conf").unlink()
        host.pebble.set_a("bad.example")
    assert service(host).returncode == 0


def test_the_signers_socket(host: Host) -> None:
    """systemd starts it when it is asked for a signature; the key is a credential, root's alone."""
    key = host.path(f"{LIB}/accountd/account.key")
    credential = host.path(f"etc/credstore/{SIGNER}.key")
    credential.parent.mkdir(mode=0o700, exist_ok=True)
    credential.write_bytes(key.read_bytes())
    credential.chmod(0o600)
    key.unlink()
    accountd, config = (host.path(f"{ETC}/{name}.conf") for name in ("accountd",
                                                                     "letsencrypt-tiny"))
    accountd.write_text(re.sub(r"^privkey = .*$", "privkey = file:%d/account.key",
                               accountd.read_text(), flags=re.M))
    text = config.read_text()
    assert re.search(r"^\[accountd\]$", text, re.M)
    config.write_text(re.sub(r"^\[accountd\]$", "#", text, flags=re.M))
    with open(host.path(f"{ETC}/letsencrypt-tiny.conf.d/ca.conf"), "a") as file:
        file.write(f"socket = /run/{SIGNER}/S.accountd\n")
    host.run("systemctl", "enable", "--now", f"{SIGNER}.socket")
    assert host.show(f"{SIGNER}.service", "ActiveState")["ActiveState"] == "inactive"
    host.section("d")
    assert service(host).returncode == 0, host.journal(SERVICE)[-10:]
    assert judge.names(host.chain("d").resolve()) == {"d.example"}
    found = host.show(f"{SIGNER}.service", "ActiveState", "MainPID", "NRestarts")
    assert found["ActiveState"] == "active" and found["NRestarts"] == "0"
    status = host.run("cat", f"/proc/{found['MainPID']}/status")
    uid = host.run("id", "-u", SIGNER_USER).strip()
    assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", status, re.M)
    figure = host.run("systemd-analyze", "security", "--no-pager", f"{SIGNER}.service")
    assert float(re.findall(r"exposure level for \S+: ([0-9.]+) ", figure)[-1]) <= 0.5
