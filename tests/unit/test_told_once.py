"""What fails, since when, and when that is told: the file, and the text."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.master.commands import failures
from letsencrypt_tiny.master.report import failing as text
from letsencrypt_tiny.master.store.told import RUN, Failure, Failing

NOW = 1_800_000_000
HOUR = 3600


@pytest.fixture
def state() -> Iterator[str]:
    """A state directory."""
    with tempfile.TemporaryDirectory(dir="/srv" if os.geteuid() == 0 else None) as directory:
        yield directory


def test_since_the_first_time(state: str) -> None:
    """Until it doesn't fail any more; who wasn't looked at, or waits, stays."""
    Failing(state).settle({"a": Failure(NOW, "x"), "b": Failure(NOW, "x")}, (), None)
    Failing(state).told(NOW)
    Failing(state).settle({"a": Failure(NOW + 9, "y", expires=5)}, ["b"], None)
    assert Failing(state).all() == {"a": Failure(NOW, "y", NOW, 5), "b": Failure(NOW, "x", NOW)}
    Failing(state).settle({}, (), ["c"])
    assert set(Failing(state).all()) == {"a", "b"}
    Failing(state).settle({}, (), ["a"])
    assert set(Failing(state).all()) == {"b"}
    Failing(state).settle({}, (), None)
    assert Failing(state).all() == {}
    Failing(state).settle({"a": Failure(NOW + 99, "y")}, (), None)
    assert Failing(state).all()["a"] == Failure(NOW + 99, "y")


def test_a_run_that_failed_is_over_with_the_next(state: str) -> None:
    Failing(state).settle({"a": Failure(NOW, "x")}, (), None)
    Failing(state).run_failed("w", NOW)
    Failing(state).run_failed("v", NOW + 9)
    assert Failing(state).all() == {"a": Failure(NOW, "x"), RUN: Failure(NOW, "v")}
    Failing(state).settle({}, ["a"], ["b"])
    assert set(Failing(state).all()) == {"a"}


def test_once_a_day(state: str) -> None:
    """Runs each six hours, for a week, each some seconds early or late: seven mails."""
    Failing(state).settle({"a": Failure(NOW, "x")}, (), None)
    told = []
    for number in range(7 * 4):
        now = NOW + number * 6 * HOUR + (number % 3) * 40
        if Failing(state).untold(now):
            told.append(now)
            Failing(state).told(now)
    assert len(told) == 7 and all(after - before > 23 * HOUR
                                  for before, after in zip(told, told[1:]))
    assert Failing(state).untold(NOW - DAY), "told in the future, by a clock gone wrong"


def test_lines_once_a_day(state: str) -> None:
    """Numbers in them are no reason to tell them again."""
    line = "warning: order https://ca.example/1f3/7 at 08:00"
    assert Failing(state).fresh([line, "other", line], NOW) == [line, "other"]
    assert Failing(state).fresh([line.replace("7", "8"), "third"], NOW + HOUR) == ["third"]
    assert Failing(state).fresh([line], NOW + DAY) == [line]
    assert len(Failing(state)._part("lines")) <= 2, "what is long ago is forgotten"


@pytest.mark.parametrize("content", [
    "", "{", "[]", '{"sections": [], "lines": 3}',
    '{"sections": {"a": 3, "b": {"since": -1}}, "lines": {"x": ""}}'])
def test_a_file_that_is_none(state: str, content: str) -> None:
    (Path(state) / "told.json").write_text(content)
    assert Failing(state).all() == {} and not Failing(state).untold(NOW)
    assert Failing(state).fresh(["x"], NOW) == ["x"]
    Failing(state).run_failed("x", NOW)
    assert Failing(state).all() == {RUN: Failure(NOW, "x")}


def test_nothing_is_written_where_nothing_fails(state: str) -> None:
    Failing(state).settle({}, (), None)
    assert not os.listdir(state)


def told(**failures: Failure) -> str:
    """Return the text, unwrapped."""
    lines = "\n".join(text.lines({name.replace("_", ""): failure
                                  for name, failure in failures.items()}, NOW))
    return re.sub(r"\n {4}", " ", lines)


def test_the_text() -> None:
    shown = told(b=Failure(NOW - 9 * DAY, "No.", expires=NOW + 3 * DAY + 9, known=True,
                           again=NOW + HOUR),
                 a=Failure(NOW - DAY, "No.", expires=NOW + 9 * DAY, known=True),
                 c=Failure(NOW, "Other.", known=True), d=Failure(NOW, "Third."))
    first, second, third, last = shown.split("\n\n")
    assert first.splitlines() == ["c: Other.", "  since 2027-01-15 08:00 UTC",
                                  "  there is no valid certificate",
                                  "  tried again by the next run"]
    assert second.startswith("d: Third.\n") and "certificate" not in second
    assert third.splitlines() == [
        "a, b: No.", "  since 2027-01-06 08:00 UTC",
        "  the first certificate of them expires 2027-01-18 08:00 UTC, in 3 days",
        "  tried again by the next run"]
    assert "once a day" in last
    assert "has expired: 2027-01-15 07:00 UTC" in told(
        a=Failure(NOW, "x", expires=NOW - HOUR, known=True))
    assert "in 47 hours" in told(a=Failure(NOW, "x", expires=NOW + 2 * DAY - 9, known=True)) \
        or "in 1 days" not in told(a=Failure(NOW, "x", expires=NOW + 2 * DAY - 9, known=True))
    assert "first run after 2027-01-15 09:00 UTC" in told(a=Failure(NOW, "x", again=NOW + HOUR))


def test_the_text_is_lines_of_ours() -> None:
    """Whatever a server has said."""
    bad = "No.\n\n.\nSubject: x\n\x1b[31m " + "long " * 400 + "y" * 5000
    lines = list(text.lines({"a": Failure(NOW, bad)}, NOW))
    assert all(line.isprintable() for line in lines) and "." not in lines
    assert max(map(len, lines)) < 5100 and sum(len(line) > text.WIDTH for line in lines) == 1
    assert lines[0].startswith("a: No.\\x0a\\x0a.\\x0aSubject:")
    many = {f"s{number}": Failure(NOW, "x") for number in range(5000)}
    assert len(list(text.lines(many, NOW))) < 10


def test_the_subject() -> None:
    one = {"a": Failure(NOW, "x")}
    assert text.subject(one, "host") == "letsencrypt-tiny on host: a fails"
    assert text.subject({**one, "b": one["a"]}, "host").endswith("2 sections fail")
    assert text.subject({**one, RUN: one["a"]}, "host").endswith("nothing is renewed")
    assert "\n" not in text.subject({"a\nX: y": one["a"]}, "h")


@pytest.fixture
def mta(state: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands where sendmail does; the soak has a real one."""
    path = Path(state) / "sendmail"
    path.write_text(f'#!/bin/sh\necho "$@" >>{state}/argv\ncat >{state}/mail\n')
    path.chmod(0o755)
    monkeypatch.setattr(failures, "SENDMAIL", str(path))
    monkeypatch.setattr(failures, "_state_directory", lambda _config: state)
    monkeypatch.delenv("MONITOR_SERVICE_RESULT", raising=False)
    return path


def test_the_mail(mta: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a day; its head is ours alone; none when nothing fails."""
    assert failures.failures(None, "root") == 0 and not (Path(state) / "mail").exists()
    Failing(state).settle({"ü": Failure(NOW, "No.\nBcc: x@y.example")}, (), None)
    for _ in range(3):
        assert failures.failures(None, "root@b.example") == 0
    assert (Path(state) / "argv").read_text() == "-oi -t\n"
    head, _, body = (Path(state) / "mail").read_text().partition("\n\n")
    names = [line.partition(":")[0] for line in head.splitlines()]
    assert names == ["To", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type",
                     "Content-Transfer-Encoding"] and head.isascii()
    assert body.startswith("ü: No.\\x0aBcc: x@y.example\n  since ")
    (Path(state) / "mail").unlink()
    monkeypatch.setenv("MONITOR_SERVICE_RESULT", "timeout")
    Failing(state).settle({}, (), None)
    assert failures.failures(None, "root") == 0
    assert "the run was ended by systemd: timeout" in " ".join(
        (Path(state) / "mail").read_text().split())


def test_a_mail_that_is_not_sent(mta: Path, state: str) -> None:
    """It is tried again."""
    Failing(state).settle({"a": Failure(NOW, "x")}, (), None)
    good = mta.read_text()
    for script in ("#!/bin/sh\nexit 75\n", None):
        if script is None:
            mta.unlink()
        else:
            mta.write_text(script)
        with pytest.raises(failures.Error, match="sendmail"):
            failures.failures(None, "root")
    mta.write_text(good)
    mta.chmod(0o755)
    assert failures.failures(None, "root") == 0 and (Path(state) / "mail").exists()


@pytest.mark.parametrize("address", ["", "-oQ/tmp", "a\nBcc: b", "a b", "a,b", "a\x7f"])
def test_addresses_that_are_none(mta: Path, state: str, address: str) -> None:
    Failing(state).settle({"a": Failure(NOW, "x")}, (), None)
    with pytest.raises(failures.UsageError):
        failures.failures(None, address)
    assert not (Path(state) / "mail").exists()
