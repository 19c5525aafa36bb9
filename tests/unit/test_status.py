"""What status shows: in each form, in each way that a section can stand, and whatever the files of
the state directory hold."""

import json
import os
import re
import shutil
import stat
import subprocess
import time
from typing import Any

import pytest

from harness.machine import Machine
from harness.standing import DAY, SCHEMA, Ground, many, on_terminal
from letsencrypt_tiny.common.clock import parse_timestamp
from letsencrypt_tiny.master.commands.standing import Wanted, overview
from letsencrypt_tiny.master.commands.status import Options, status
from letsencrypt_tiny.master.report.picture import Picture
from letsencrypt_tiny.master.report.terminal import Terminal, width
from letsencrypt_tiny.master.settings import certificates, main as settings
from letsencrypt_tiny.master.store.journal import SectionState

jsonschema = pytest.importorskip("jsonschema", reason="python3-jsonschema is not installed")
pytestmark = pytest.mark.root

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def strict(schema: Any) -> Any:
    """Return a schema in which no object has a member that it doesn't tell of."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {**{name: strict(value) for name, value in schema.items()}, **closed}


VALID = jsonschema.Draft202012Validator(strict(json.loads(SCHEMA.read_text())))


def document(machine: Machine, *arguments: str, status: int = 1) -> Any:
    """Return what status --json prints, which the schema describes."""
    done = machine.run("status", "--json", *arguments)
    assert done.returncode == status and "Traceback" not in done.stderr, done
    found = json.loads(done.stdout)
    VALID.validate(found)
    return found


def rows(machine: Machine, *arguments: str, status: int = 1) -> dict[str, Any]:
    """Return the sections of it by name."""
    return {row["section"]: row for row in document(machine, *arguments, status=status)["sections"]}


@pytest.fixture
def ground(machine: Machine) -> Ground:
    """Sections that stand in every way."""
    return many(machine)


def test_the_schema_is_one() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["version"] == {"description": "Of this schema.", "const": 1}


def test_json(ground: Ground) -> None:
    machine, now = ground.machine, time.time()
    whole = document(machine)
    assert whole["complete"] and abs(parse_timestamp(whole["generated"]) - now) < 60
    found = {row["section"]: row for row in whole["sections"]}
    assert list(found) == [*(name for name in machine.certs if name != "wrong"), "wrong"]
    good = found["www.example.org"]
    assert (good["level"], good["due"], good["key_type"]) == ("OK", False, "ec:P-256")
    assert good["names"] == ["www.example.org", "example.org"]
    assert good["days_left"] == pytest.approx(60, abs=0.1)
    assert good["issuer"] == "CN=Throw-away Intermediate"
    assert [(link["subject"], link["issuer"]) for link in good["chain"]] == [
        ("CN=Throw-away Intermediate", "CN=Throw-away Root")]
    assert good["paths"] == {name: str(machine.file("www.example.org", f"{file}.pem"))
                             for name, file in (("key", "privkey"), ("certificate", "cert"),
                                                ("chain", "chain"), ("fullchain", "fullchain"))}
    assert parse_timestamp(good["renews"]) == pytest.approx(now + 30 * DAY, abs=60)
    assert good["renews_why"] == "a third of its lifetime is left then"
    assert found["suggested"]["renews"] == found["suggested"]["renewal"]["moment"]
    assert found["suggested"]["renews_why"] == "its CA suggests it"
    assert found["six-days"]["profile"] == "shortlived"
    assert {name: row["level"] for name, row in found.items()} == {
        "www.example.org": "OK", "suggested": "OK", "six-days": "OK", "due": "OK",
        "near": "CRITICAL", "expired": "CRITICAL", "untold": "WARNING", "never": "CRITICAL",
        "wrong": "WARNING"}
    assert found["untold"]["notify"] == {"command": "systemctl reload nginx", "pending": True}
    assert found["near"]["trouble"]["runs"] == 12 and good["trouble"] is None
    assert found["expired"]["days_left"] < 0 and found["never"]["expires"] is None
    assert found["wrong"]["paths"] is None and "a_.b..example" in found["wrong"]["fault"]
    assert [(left["name"], len(left["paths"])) for left in whole["leftovers"]] == [
        ("gone", 2), ("gone as well", 1)]


def test_json_of_named_sections(ground: Ground) -> None:
    whole = document(ground.machine, "due", status=0)
    assert [row["section"] for row in whole["sections"]] == ["due"] and not whole["leftovers"]


# --- what others, or nobody, have written --------------------------------------------------------

HOSTILE: list[bytes] = [
    b"", b"{", b'{"near": {"since": 1', b"[]", b"null", b'"x"', b"\xff\xfe\x00", b"\0" * 5000,
    b"{" * 5000, b'{"near": 7, "untold": [], "never": null, "due": "x"}',
    b'{"near": {"since": -1, "last": 1, "runs": 1, "why": "x"}}',
    b'{"near": {"since": 1, "last": 1099511627776, "runs": 1, "why": "x"}}',
    b'{"near": {"since": 1e99, "last": true, "runs": "1", "why": 5}}',
    b'{"near": {"since": 1, "last": 1, "runs": 0, "why": ""}}',
    b'{"near": {"since": 1, "last": 2, "runs": 1, "why": "\\u001b[2J\\u009b31m|\\n\\ud83d"}}',
    b'{"near": {"since": 1, "last": 2, "runs": 1, "why": "\\u001b[2J\\u009b31m\\u202e|x\\n%s"}}'
    % (b"y" * 5000),
    b'{"near": "c 9999999999999 9999999999999 9999999999999 9999999999999 0 0 0 0 u"}',
    b'{"installed": 1099511627776, "failed": 1099511627775, "failures": 999999, "why": "\\u001b"}',
    b'{"near": {"since": 5, "last": 1099511627776, "failures": 1, "why": "\\u001b[2J"}}']


def forms(machine: Machine, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what all forms show, none of which may fail otherwise than as ever."""
    config, text = settings.load(str(machine.configure())), ""
    for options in (Options(), Options(json=True), Options(check=True), Options(metrics="-")):
        assert status(config, options) in ((0, 1, 2) if options.check else (0, 1))
        shown = capsys.readouterr()
        assert not shown.err, shown
        if options.json:
            VALID.validate(json.loads(shown.out))
        text += shown.out
    screen = Terminal(80, True)
    text += "\n".join(Picture(overview(config, certificates.load(config), Wanted(leftovers=True)),
                              screen).lines())
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_state_that_is_half_written_or_worse(content: bytes, machine: Machine,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """What is readable of it is shown, and nothing that a terminal would obey."""
    ground = Ground(machine)
    ground.stands("near", 86)
    for file in ("troubles.json", "renewals.json", "outages.json", "cert-near.json", "pairs.json",
                 "tally.json", "revoked.json"):
        ground.write(file, content)
        text = forms(machine, capsys)
        assert not CONTROL.search(text) and "near" in text, text
        (machine.lib / "state" / file).unlink()


@pytest.mark.parametrize("file", ["troubles.json", "cert-near.json"])
def test_state_that_somebody_else_could_have_written(file: str, machine: Machine) -> None:
    Ground(machine).stands("near", 86)
    path = machine.lib / "state" / file
    path.write_text("{}")
    path.chmod(0o666)
    for arguments in ((), ("--json",), ("--metrics=-",)):
        done = machine.run("status", *arguments)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr == f"error: {path}: writable by everybody (chmod o-w it)\n"
    done = machine.run("status", "--check")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == ("LETSENCRYPT-TINY UNKNOWN - "
                           f"{path}: writable by everybody (chmod o-w it)\n")


def test_names_that_are_hostile(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Of sections that are no more, and in certificates."""
    ground = Ground(machine)
    ground.stands("near", 86)
    odd = 'x\x1b[2J"\\\n|' + "ü"
    ground.remembers(odd, SectionState())
    (machine.lib / "certs" / "\x1b[2J\udcff").mkdir()
    (machine.lib / "certs/.hidden").mkdir()
    (machine.lib / "certs/file").write_text("")
    text = forms(machine, capsys)
    assert not CONTROL.search(text) and "x\\x1b[2J" in text
    assert [left["name"] for left in document(machine, status=0)["leftovers"]] == sorted(
        [odd, "\x1b[2J\\xff", "hidden"])


# --- who else may look ---------------------------------------------------------------------------

def test_who_is_not_root(machine: Machine) -> None:
    """Sees what is installed, and is told that there is more to see."""
    ground = many(machine)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             *machine.argv("status", *arguments)],
            capture_output=True, text=True, check=False)
    done = run("--json")
    found = json.loads(done.stdout)
    VALID.validate(found)
    assert done.returncode == 1 and not found["complete"]
    assert done.stderr == (
        f"{machine.lib}/state cannot be read: what has failed, what waits and when CAs would renew "
        "is not shown (you are not root: run it as root)\n")
    row = found["sections"][0]
    assert row["days_left"] > 59 and row["key_type"] and row["trouble"] is None
    assert "www.example.org" in run().stdout
    done = run("--check", "www.example.org")
    assert done.returncode == 0 and "only to root" in done.stdout and done.stderr == "", done
    assert "letsencrypt_tiny_state_readable 0\n" in run("--metrics=-").stdout
    assert run("--metrics=/nonexistent/x.prom").returncode == 1
    target = ground.machine.path / "x.prom"
    done = run(f"--metrics={target}")
    assert done.returncode == 1 and done.stderr.count("\n") == 2 and not target.exists()
    assert "cannot write it: Permission denied (you are not root" in done.stderr


# --- a terminal ----------------------------------------------------------------------------------

@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("arguments", [(), ("near", "untold")], ids=["all", "named"])
def test_a_terminal(columns: int, arguments: tuple[str, ...], ground: Ground) -> None:
    """No line is longer than it is wide, and nothing is missing."""
    shown = on_terminal(ground.machine, "status", *arguments, columns=columns, LANG="C.UTF-8")
    assert max(map(width, shown.splitlines())) <= columns
    words = " ".join(shown.split())
    for word in ("near", "untold", "━", "fails since", "12 runs", "Connection refused",
                 "the notification “systemctl reload nginx” ended with status 1", "until 20"):
        assert word in words, shown
    if arguments:
        assert "CN=Throw-away Intermediate" in words and "serial" in words
    else:
        for word in ("six-days", "shortlived", "59 of 90 days", "136 of 160 h", "a third left",
                     "as its CA suggests", "┃", "✗", "gone as well: no such section",
                     "to be ordered by the next run: there is no certificate yet", "expired",
                     "a_.b..example", "www.example.org example.org", "ec:P-256"):
            assert word in words, (word, shown)


def test_colours(ground: Ground) -> None:
    machine = ground.machine
    styled = on_terminal(machine, "status", raw=True, LANG="C.UTF-8")
    assert "\x1b[31m✗" in styled and "\x1b[32m●" in styled and "\x1b[33m▲" in styled
    plain = on_terminal(machine, "status", LANG="C.UTF-8")
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}):
        shown = on_terminal(machine, "status", raw=True, **{"LANG": "C.UTF-8", **environment})
        assert "\x1b" not in shown
    assert "\x1b[32m●" in on_terminal(machine, "status", raw=True, NO_COLOR="", LANG="C.UTF-8")
    assert width(plain.splitlines()[0]) == 80
    assert "\x1b" not in machine.run("status", env={"TERM": "xterm", "LANG": "C.UTF-8"}).stdout


@pytest.mark.parametrize("environment, is_ascii", [
    ({}, True), ({"LANG": "C"}, True), ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, True),
    ({"LANG": "de_DE.ISO-8859-1"}, True), ({"LC_ALL": "C.UTF-8", "LANG": "C"}, False),
    ({"LC_CTYPE": "en_US.utf8"}, False)])
def test_locales(environment: dict[str, str], is_ascii: bool, machine: Machine) -> None:
    ground = Ground(machine)
    ground.stands("a", 30)
    shown = on_terminal(machine, "status", **environment)
    assert shown.isascii() == is_ascii, shown
    assert ("=" if is_ascii else "━") * 10 in shown


# --- monitoring ----------------------------------------------------------------------------------

PERFORMANCE = re.compile(r"(?:'(?:[^'=]|'')+'|[^\s'=]+)=-?\d+(?:\.\d+)?s?;(?:\d+:?)?;(?:\d+:?)?;"
                         r"\d*;\d*\Z")


def check(machine: Machine, *arguments: str) -> tuple[int, str, list[str]]:
    """Return exit status, the line up to its bar, and what follows the line."""
    done = machine.run("status", "--check", *arguments)
    assert done.stderr == "" and done.stdout.startswith("LETSENCRYPT-TINY "), done
    line, *more = done.stdout.splitlines()
    head, bar, data = line.partition(" | ")
    for one in re.findall(r"(?:'(?:[^']|'')*'|[^\s'])+", data):
        assert PERFORMANCE.match(one), one
    assert bool(bar) == (done.returncode != 3)
    return done.returncode, head.removeprefix("LETSENCRYPT-TINY "), more


@pytest.mark.parametrize("arguments, status, line", [
    (("www.example.org",), 0, r"OK - 1 certificate, which expires in (59|60) d"),
    (("www.example.org", "due", "six-days"), 0,
     r"OK - 3 certificates, the first to expire in 5 d: six-days"),
    (("near", "due"), 2, r"CRITICAL - near: expires in (3|4) d: the CA cannot connect to "
                         r"192\.0\.2\.7: Connection refused \(and 1 OK\)"),
    (("expired",), 2, r"CRITICAL - expired: expired (4|5) d ago"),
    (("never",), 2, "CRITICAL - never: there is no certificate: the CA cannot .*"),
    (("untold",), 1, "WARNING - untold: the notification “systemctl reload nginx” ended with .*"),
    (("wrong",), 1, "WARNING - wrong: .*a_.b..example.*"),
    ((), 2, "CRITICAL - 3 CRITICAL and 2 WARNING of 9 certificates"),
    (("due", "--warning=31"), 1, "WARNING - due: expires in (28|29) d"),
    (("due", "--warning=28", "--critical=10"), 0, "OK - .*"),
    (("due", "--warning=40:", "--critical=30:"), 2, "CRITICAL - due: expires in (28|29) d"),
    (("near", "--critical=2", "--warning=12.5"), 1, "WARNING - near: expires in .*"),
    (("near", "--critical=1h", "--warning=2h"), 1, "WARNING - near: has failed for 3 d: the CA .*"),
    (("six-days", "--warning=150h"), 1, "WARNING - six-days: expires in 5 d"),
    (("nowhere",), 3, r"UNKNOWN - there is no section \[nowhere\] .*"),
    (("--warning=x",), 3, "UNKNOWN - status: --warning: “x” is not a number of days, .*"),
    (("--warning=5", "--critical=6"), 3, "UNKNOWN - status: --warning=5 comes later than .*"),
    (("--bogus",), 3, "UNKNOWN - there are no such options .*")])
def test_monitoring(arguments: tuple[str, ...], status: int, line: str, ground: Ground) -> None:
    if arguments == ("--bogus",):
        done = ground.machine.run("status", "--check", *arguments)
        assert done.returncode == 3 and re.fullmatch(f"LETSENCRYPT-TINY {line}\n", done.stdout)
        return
    code, head, more = check(ground.machine, *arguments)
    assert code == status and re.fullmatch(line, head), head
    assert len(more) == (5 if not arguments else 0), more


def test_monitoring_what_cannot_be_known(machine: Machine) -> None:
    assert check(machine)[:2] == (3, "UNKNOWN - no certificate is configured")
    machine.main["client"]["colour"] = "blue"
    code, head, _ = check(machine)
    assert code == 3 and "[client]: unknown setting “colour”" in head
    done = machine.run("status", "--check", "--json")
    assert done.returncode == 3


def test_the_lasting_is_told_apart_from_the_passing(machine: Machine) -> None:
    """What fails for less than a day is mentioned, and no reason to wake anybody."""
    ground, now = Ground(machine), int(time.time())
    ground.stands("a", 61)
    for since, wanted in ((now - 3600, 0), (now - DAY - 60, 1)):
        ground.trouble(a={"since": since, "last": now, "runs": 3, "why": "x"})
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
    assert found["sections"] == 9 and found["leftovers"] == 2 and found["state_readable"] == 1
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
