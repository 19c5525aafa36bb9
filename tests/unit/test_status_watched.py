"""What status says to programs that watch: monitoring plugins, and Prometheus."""

import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator

import pytest

from harness.machine import Machine
from harness.standing import DAY, Ground, everything
from letsencrypt_tiny.master.arguments import plain
from letsencrypt_tiny.master.commands.status import Options, status
from letsencrypt_tiny.master.report.metrics import exposition
from letsencrypt_tiny.master.report.standing import Overview, Standing
from letsencrypt_tiny.master.settings import main as settings

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with everything() as made:
        yield made


# --- monitoring ----------------------------------------------------------------------------------

PERFORMANCE = re.compile(r"(?:'(?:[^'=]|'')+'|[^\s'=]+)=-?\d+(?:\.\d+)?s?;(?:\d+:?)?;(?:\d+:?)?;"
                         r"\d*;\d*\Z")


def said(text: str, code: int) -> tuple[str, list[str]]:
    """Return the line up to its bar, and what follows it."""
    line, *more = text.splitlines()
    head, bar, data = line.partition(" | ")
    for one in re.findall(r"(?:'(?:[^']|'')*'|[^\s'])+", data):
        assert PERFORMANCE.match(one), one
    assert bool(bar) == (code != 3) and head.startswith("LETSENCRYPT-TINY ")
    return head.removeprefix("LETSENCRYPT-TINY "), more


def check(machine: Machine, *arguments: str) -> tuple[int, str, list[str]]:
    """Return exit status, and that."""
    done = machine.run("status", "--check", *arguments)
    assert done.stderr == "", done
    return done.returncode, *said(done.stdout, done.returncode)


@pytest.mark.parametrize("arguments, code, line", [
    (("www.example.org",), 0, r"OK - 1 certificate, which expires in (59|60) d"),
    (("www.example.org", "due", "six-days"), 0,
     r"OK - 3 certificates, the first to expire in 5 d: six-days"),
    (("near", "due"), 2, r"CRITICAL - near: expires in (3|4) d: the CA cannot connect to "
                         r"192\.0\.2\.7: Connection refused \(and 1 OK\)"),
    (("expired",), 2, r"CRITICAL - expired: expired (4|5) d ago"),
    (("never",), 2, "CRITICAL - never: there is no certificate: the CA cannot .*"),
    (("untold",), 1, "WARNING - untold: the notification “systemctl reload nginx” ended with .*"),
    (("wrong",), 1, "WARNING - wrong: .*a_.b..example.*"),
    ((), 2, "CRITICAL - 3 CRITICAL and 2 WARNING of 10 certificates"),
    (("due", "--warning=31"), 1, "WARNING - due: expires in (28|29) d"),
    (("due", "--warning=28", "--critical=10"), 0, "OK - .*"),
    (("due", "--warning=40:", "--critical=30:"), 2, "CRITICAL - due: expires in (28|29) d"),
    (("near", "--critical=2", "--warning=12.5"), 1, "WARNING - near: expires in .*"),
    (("near", "--critical=1h", "--warning=2h"), 1, "WARNING - near: has failed for 3 d: the CA .*"),
    (("six-days", "--warning=150h"), 1, "WARNING - six-days: expires in 5 d"),
    (("--warning=0h",), 2, "CRITICAL - 3 CRITICAL and 2 WARNING of 10 certificates")])
def test_monitoring(arguments: tuple[str, ...], code: int, line: str, ground: Ground,
                    capsys: pytest.CaptureFixture[str]) -> None:
    given = plain(["status", "--check", *arguments])
    assert given is not None
    config = settings.load(str(ground.machine.configure()))
    found = status(config, Options(given.words[1:], check=True, warning=given.warning,
                                   critical=given.critical))
    head, more = said(capsys.readouterr().out, found)
    assert found == code and re.fullmatch(line, head), head
    assert len(more) == (0 if given.words[1:] else 5), more


@pytest.mark.parametrize("arguments, line", [
    (("nowhere",), r"UNKNOWN - there is no section \[nowhere\] .*"),
    (("--warning=x",), "UNKNOWN - status: --warning: “x” is not a number of days, .*"),
    (("--warning=5", "--critical=6"), "UNKNOWN - status: --warning=5 comes later than .*"),
    (("--json",), "UNKNOWN - status: --json and --check exclude each other")])
def test_monitoring_what_makes_no_sense(arguments: tuple[str, ...], line: str, ground: Ground
                                        ) -> None:
    code, head, _ = check(ground.machine, *arguments)
    assert code == 3 and re.fullmatch(line, head), head


def test_monitoring_with_no_such_option(ground: Ground) -> None:
    """Standard error says which; the exit status is not 2, which would be CRITICAL."""
    done = ground.machine.run("status", "--check", "--bogus")
    assert done.returncode == 3 and "there is no option --bogus" in done.stderr
    assert done.stdout.startswith("LETSENCRYPT-TINY UNKNOWN - ")


def test_monitoring_performance_data(ground: Ground) -> None:
    """Seconds that are left, and the thresholds: as given, or a third and a sixth of the month in
    which renewals are tried."""
    for arguments, warning, critical in ((), 10 * DAY, 5 * DAY), (
            ("--warning=20", "--critical=36h"), 20 * DAY, DAY * 3 // 2):
        done = ground.machine.run("status", "--check", "www.example.org", *arguments)
        assert done.stdout.startswith("LETSENCRYPT-TINY OK"), done
        data = done.stdout.partition(" | ")[2].strip()
        found = re.search(r"'left www\.example\.org'=([0-9]+)s;([0-9]+):;([0-9]+):;;", data)
        assert found is not None, data
        left, *limits = map(int, found.groups())
        assert 59 * DAY < left <= 60 * DAY and limits == [warning, critical], data
        assert data.startswith("sections=1;;;0; warning=0;;;0;1 critical=0;;;0;1"), data


def test_monitoring_what_cannot_be_known(machine: Machine) -> None:
    assert check(machine)[:2] == (3, "UNKNOWN - no certificate is configured")
    machine.main["client"]["colour"] = "blue"
    code, head, _ = check(machine)
    assert code == 3 and "[client]: unknown setting “colour”" in head


def test_the_lasting_is_told_apart_from_the_passing(machine: Machine) -> None:
    """What fails for less than a day is mentioned, and no reason to wake anybody."""
    ground, now = Ground(machine), int(time.time())
    ground.stands("a", 61)
    for since, wanted in ((now - 3600, 0), (now - DAY - 60, 1)):
        ground.trouble(a={"since": since, "last": now, "runs": 3, "why": "x | 'y=1"})
        code, head, _ = check(machine)
        assert code == wanted and ("failed in the last run" in head) == (not wanted)


# --- metrics -------------------------------------------------------------------------------------

def samples(text: str) -> dict[str, float]:
    """Return the samples of a text in Prometheus' format, each of a family that is explained."""
    found, families = {}, set()
    for line in text.splitlines():
        if line.startswith("#"):
            kind, name, rest = re.fullmatch(r"# (HELP|TYPE) (\w+) (.+)", line).groups()
            assert (kind == "HELP") != (name in families) and (kind == "HELP" or rest == "gauge")
            families.add(name)
            continue
        name, labels, value = re.fullmatch(
            r'(\w+)((?:\{(?:\w+="(?:[^"\\]|\\[\\"n])*",?)*\})?) (-?[0-9.]+)', line).groups()
        assert name in families and name + labels not in found
        found[name + labels] = float(value)
    return found


def test_metrics(ground: Ground) -> None:
    machine = ground.machine
    done = machine.run("status", "--metrics=-")
    found = {name.removeprefix("letsencrypt_tiny_"): value
             for name, value in samples(done.stdout).items()}
    assert found["sections"] == 10 and found["leftovers"] == 2 and found["state_readable"] == 1
    left = found['certificate_not_after_timestamp_seconds{section="www.example.org"}'] - time.time()
    assert left == pytest.approx(60 * DAY, abs=60)
    assert found['section_certificate_missing{section="never"}'] == 1
    assert found['section_fault{section="wrong"}'] == 1
    assert found['section_notification_pending{section="untold"}'] == 1
    assert found['section_failing_runs{section="near"}'] == 12
    assert 'section_failing_runs{section="due"}' not in found
    assert any(name.startswith('certificate_info{section="six-days",name="six-days.example",')
               and 'profile="shortlived"' in name for name in found)
    if shutil.which("promtool") is None:
        pytest.skip("promtool (package prometheus) is not installed")
    subprocess.run(["promtool", "check", "metrics"], input=done.stdout, text=True, check=True)


def test_labels_of_odd_names() -> None:
    """Quotes, backslashes, controls and lone surrogates, of sections that have them."""
    odd = 'a"b\\c\nd\x1be\udcfff'
    text = exposition(Overview([Standing(odd, fault="x")], [], 5), "1.0")
    assert text.encode().isascii() and len(samples(text)) > 3
    shown = r'a\"b\\c\\x0ad\\x1be\\udcfff'
    assert f'letsencrypt_tiny_section_fault{{section="{shown}"}} 1\n' in text


def test_metrics_in_a_file(machine: Machine) -> None:
    """It is replaced as a whole, a link in its place too; whoever owns the directory, or the one
    above, as in Debian."""
    Ground(machine).stands("a", 30)
    directory = machine.path / "prometheus/textfile"
    directory.mkdir(parents=True)
    os.chown(directory.parent, 65534, 65534)
    assert machine.run("status", f"--metrics={directory}/x.prom").returncode == 0
    os.chown(directory, 65534, 65534)
    file, victim = directory / "x.prom", machine.path / "victim"
    victim.write_text("old")
    (directory / "x.prom").unlink()
    file.symlink_to(victim)
    done = machine.run("status", f"--metrics={file}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert victim.read_text() == "old" and not file.is_symlink() and samples(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o644 and os.listdir(directory) == ["x.prom"]
    before = file.stat().st_ino
    machine.run("status", "--metrics=x.prom", cwd=str(directory))
    assert file.stat().st_ino != before
    for path, why in ((f"{machine.path}/none/x", "there is no directory"),
                      ("/proc/x", "cannot write it"), (str(directory), "Is a directory")):
        done = machine.run("status", f"--metrics={path}")
        assert done.returncode == 1 and why in done.stderr and done.stderr.count("\n") == 1, done
    for change, why in ((lambda: os.chown(directory, 65533, 0), "belongs to uid "),
                        (lambda: directory.chmod(0o777), "writable by everybody")):
        change()
        done = machine.run("status", f"--metrics={file}")
        assert done.returncode == 1 and why in done.stderr, done
        os.chown(directory, 65534, 65534)


def test_metrics_after_each_run(machine: Machine) -> None:
    """And no run fails because of them."""
    Ground(machine).stands("a", 30)
    file = machine.path / "x.prom"
    machine.main[""]["metrics-file"] = str(file)
    begin = int(time.time())
    assert machine.run("--quiet", "newOrder").returncode == 0
    found = samples(file.read_text())
    assert begin <= found["letsencrypt_tiny_run_timestamp_seconds"] <= time.time()
    assert found["letsencrypt_tiny_run_exit_status"] == 0
    machine.section("b")
    machine.signer.stops_listening()
    assert machine.run("--quiet", "newOrder", "b").returncode == 1
    found = samples(file.read_text())
    assert (found["letsencrypt_tiny_run_exit_status"], found["letsencrypt_tiny_sections"]) == (1, 2)
    assert found['letsencrypt_tiny_section_failing_runs{section="b"}'] == 1
    del machine.certs["b"]
    machine.main[""]["metrics-file"] = f"{machine.path}/none/x.prom"
    done = machine.run("--quiet", "newOrder")
    assert done.returncode == 0 and done.stderr.startswith("warning: metrics-file: ")
    assert done.stderr.count("\n") == 1
