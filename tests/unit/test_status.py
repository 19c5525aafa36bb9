"""What status shows: in each form, in each way that a section can stand, and whatever the files of
the state directory hold."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.machine import Machine
from harness.standing import DAY, SCHEMA, Ground, everything, on_terminal
from letsencrypt_tiny.common.clock import parse_timestamp
from letsencrypt_tiny.master.commands.standing import Wanted, overview
from letsencrypt_tiny.master.commands.status import Options, status
from letsencrypt_tiny.master.report import document as forms_of
from letsencrypt_tiny.master.report.picture import Picture
from letsencrypt_tiny.master.report.standing import Limits
from letsencrypt_tiny.master.report.terminal import Terminal, _is_utf8, width
from letsencrypt_tiny.master.settings import certificates, main as settings
from letsencrypt_tiny.master.store.journal import SectionState, filename_of

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


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with everything() as made:
        yield made


@pytest.fixture(scope="module")
def near() -> Iterator[Ground]:
    """One section, whose state is to be whatever a test makes it."""
    machine = Machine()
    try:
        ground = Ground(machine)
        ground.stands("near", 86)
        ground.compared()
        yield ground
    finally:
        machine.remove()


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
        "waiting": "OK", "wrong": "WARNING"}
    waiting = found["waiting"]
    assert parse_timestamp(waiting["waits"]) == pytest.approx(now + 3600, abs=60)
    assert waiting["waits_why"] == "the CA asked not to order again"
    assert found["untold"]["notify"] == {"command": "systemctl reload nginx", "pending": True}
    assert found["near"]["trouble"]["runs"] == 12 and good["trouble"] is None
    assert found["expired"]["days_left"] < 0 and found["never"]["expires"] is None
    assert found["wrong"]["paths"] is None and "a_.b..example" in found["wrong"]["fault"]
    assert [(left["name"], len(left["paths"])) for left in whole["leftovers"]] == [
        ("gone", 2), ("gone as well", 1)]


def test_what_is_left(machine: Machine) -> None:
    """All that is called after a section that is no more, and nothing of one that is wrong."""
    ground = Ground(machine)
    ground.remembers("wrong (rsa)", SectionState())
    for name in ("a", "gone", "wrong"):
        ground.stands(name, 10)
        (machine.lib / f"certs/.{name}").mkdir()
        key = f"{machine.lib}/certs/{name}/privkey.pem"
        for file in (filename_of(name, "issued-", ".pem"), filename_of(key, "key-", ".pem"),
                     filename_of(name, "requests/csr-")):
            (machine.lib / "state/requests").mkdir(exist_ok=True)
            ground.write(file, "x")
    del machine.certs["gone"]
    machine.certs["wrong"]["names"] = "a_.b..example"
    left, = document(machine)["leftovers"]
    lib = machine.lib
    assert left["name"] == "gone" and set(left["paths"]) == {
        f"{lib}/certs/gone", f"{lib}/certs/.gone", f"{lib}/state/cert-gone.json",
        f"{lib}/state/issued-gone.pem", f"{lib}/state/requests/csr-gone.json",
        f"{lib}/state/" + filename_of(f"{lib}/certs/gone/privkey.pem", "key-", ".pem")}
    assert parse_timestamp(left["expires"]) == pytest.approx(time.time() + 80 * DAY, abs=60)


def test_json_of_many(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line a section, and the same."""
    config = settings.load(str(ground.machine.configure()))
    shown = overview(config, certificates.load(config), Wanted(chains=True, leftovers=True))
    whole = forms_of.document(shown, Limits())
    monkeypatch.setattr(forms_of, "MANY", 0)
    lines = forms_of.document(shown, Limits())
    assert json.loads(lines) == json.loads(whole) and lines.count("\n") < 20 < whole.count("\n")


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
def test_state_that_is_half_written_or_worse(content: bytes, near: Ground,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """What is readable of it is shown, and nothing that a terminal would obey."""
    state = near.machine.lib / "state"
    for file in ("troubles.json", "renewals.json", "outages.json", "cert-near.json", "pairs",
                 "tally.json", "revoked.json"):
        before = (state / file).read_bytes() if (state / file).exists() else None
        near.write(file, content)
        text = forms(near.machine, capsys)
        assert not CONTROL.search(text) and "near" in text, text
        (state / file).unlink()
        if before is not None:
            near.write(file, before)


@pytest.mark.parametrize("file", ["troubles.json", "cert-near.json"])
def test_state_that_somebody_else_could_have_written(file: str, near: Ground) -> None:
    machine, path = near.machine, near.machine.lib / "state" / file
    before = path.read_text() if path.exists() else "{}"
    path.write_text(before)
    path.chmod(0o666)
    try:
        for arguments in ((), ("--json",), ("--metrics=-",)):
            done = machine.run("status", *arguments)
            assert (done.returncode, done.stdout) == (1, ""), done
            assert done.stderr == f"error: {path}: writable by everybody (chmod o-w it)\n"
        done = machine.run("status", "--check")
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout == ("LETSENCRYPT-TINY UNKNOWN - "
                               f"{path}: writable by everybody (chmod o-w it)\n")
    finally:
        path.chmod(0o600)


def test_names_that_are_hostile(near: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """Of sections that are no more, and of directories."""
    machine, odd = near.machine, 'x\x1b[2J"\\\n|' + "ü"
    near.remembers(odd, SectionState())
    (machine.lib / "certs" / "\x1b[2J\udcff").mkdir()
    (machine.lib / "certs/.hidden").mkdir()
    (machine.lib / "certs/file").write_text("")
    text = forms(machine, capsys)
    assert not CONTROL.search(text) and "x\\x1b[2J" in text
    assert [left["name"] for left in document(machine, status=0)["leftovers"]] == sorted(
        [odd, "\x1b[2J\\xff", "hidden"])


# --- who else may look ---------------------------------------------------------------------------

def test_who_is_not_root(ground: Ground) -> None:
    """Sees what is installed, and is told that there is more to see."""
    machine = ground.machine

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
                     "as its CA suggests", "┃", "✗", "waits until", "gone as well: no such section",
                     "to be ordered by the next run: there is no certificate yet", "expired",
                     "a_.b..example", "www.example.org example.org", "ec:P-256"):
            assert word in words, (word, shown)


def test_a_wide_terminal(ground: Ground) -> None:
    """There a section is a line: its name, its bar, what is left of it, and when it ends."""
    line, = (line for line in on_terminal(ground.machine, "status", columns=200,
                                          LANG="C.UTF-8").splitlines()
             if line.startswith("● www.example.org"))
    for word in ("━", "59 of 90 days", "ec:P-256", "until 20", "a third left"):
        assert word in line, (word, line)
    narrow = on_terminal(ground.machine, "status", columns=80, LANG="C.UTF-8").splitlines()
    assert not any("until 20" in line for line in narrow if line.startswith("● "))


def test_a_notification_that_waits(machine: Machine) -> None:
    """Until it is delivered it is shown, whoever looks and however."""
    Ground(machine).stands("a", 3, state=SectionState(notify=True), notify="systemctl reload x")
    told = "the notification “systemctl reload x” of 20.* is not delivered yet"
    assert re.search(f"^a: {told}$", machine.run("status").stdout, re.M)
    assert re.search(told, " ".join(on_terminal(machine, "status", LANG="C.UTF-8").split()))
    row, = document(machine, status=0)["sections"]
    assert row["notify"] == {"command": "systemctl reload x", "pending": True}


def test_colours(ground: Ground) -> None:
    machine = ground.machine
    styled = on_terminal(machine, "status", raw=True, LANG="C.UTF-8")
    assert "\x1b[31m✗" in styled and "\x1b[32m●" in styled and "\x1b[33m▲" in styled
    plain = on_terminal(machine, "status", LANG="C.UTF-8")
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = on_terminal(machine, "status", raw=True, **{"LANG": "C.UTF-8", **environment})
        assert "\x1b" not in shown
    assert "\x1b[32m●" in on_terminal(machine, "status", raw=True, NO_COLOR="", LANG="C.UTF-8")
    assert width(plain.splitlines()[0]) == 80
    assert "\x1b" not in machine.run("status", env={"TERM": "xterm", "LANG": "C.UTF-8"}).stdout


@pytest.mark.parametrize("environment, is_utf8", [
    ({}, False), ({"LANG": "C"}, False), ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, False),
    ({"LANG": "de_DE.ISO-8859-1"}, False), ({"LC_ALL": "C.UTF-8", "LANG": "C"}, True),
    ({"LC_CTYPE": "en_US.utf8"}, True), ({"LC_ALL": "", "LANG": "sr_RS.UTF-8@latin"}, True)])
def test_locales(environment: dict[str, str], is_utf8: bool) -> None:
    assert _is_utf8(environment) == is_utf8


def test_a_terminal_without_unicode(ground: Ground) -> None:
    """The locale C is not what Python makes of it."""
    for environment in ({"LANG": "C"}, {}):
        shown = on_terminal(ground.machine, "status", "www.example.org", **environment)
        assert shown.isascii() and "=" * 10 in shown, shown
