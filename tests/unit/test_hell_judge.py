"""The judge of the server from hell sees what it is there for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca, hell_guard, hell_judge
from harness.hell_judge import Run
from harness.run import run

NAMES = ["a.example", "www.a.example"]


@pytest.fixture(name="authority", scope="module")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ca.CA]:
    yield ca.CA(tmp_path_factory.mktemp("ca"))


def pair(authority: ca.CA, days: float = 90, names: list[str] | None = None) -> dict[str, bytes]:
    key = ca.genkey()
    leaf = authority.issue(ca.request(names or NAMES, key), days=days).encode()
    chain = authority.intermediate.read_bytes()
    return {"privkey.pem": key.encode(), "cert.pem": leaf, "chain.pem": chain,
            "fullchain.pem": leaf + chain}


def test_a_good_pair(authority: ca.CA) -> None:
    assert hell_judge.mismatch(pair(authority), NAMES, authority.root) == ""


def test_bad_pairs(authority: ca.CA, tmp_path: Path) -> None:
    good, other = pair(authority), pair(authority)

    def wrong(files: dict[str, bytes], root: Path = authority.root) -> str:
        return hell_judge.mismatch(files, NAMES, root)
    assert "another key" in wrong({**good, "privkey.pem": other["privkey.pem"]})
    assert "is for" in wrong(pair(authority, names=["a.example"]))
    assert wrong(pair(authority, days=0.01))
    assert "fullchain" in wrong({**good, "fullchain.pem": other["fullchain.pem"]})
    assert "only" in wrong({"privkey.pem": good["privkey.pem"]})
    assert wrong(good, ca.CA(tmp_path).root)


@pytest.mark.parametrize("stderr, what", [
    ("error: a: no\n", ""), ("error: https://h:1/dir, for a: no\n", ""),
    ("hello\n", "no kind"), ("error: a: \x1b[1m\n", "controls"),
    ("error: somebody\n", "whose"), ("error: a: no\nerror: a: no\n", "twice"),
    ("error: a: no\nerror: a: never\n", "2 errors"), ("warning: a: no\n", "nothing of a")])
def test_words(stderr: str, what: str) -> None:
    found = list(hell_judge.unclear(Run(1, stderr, 1, 1, ()), ["a"], ["a"], "h:1"))
    assert any(what in word for word in found) if what else not found, found


def test_ends() -> None:
    good = Run(0, "", 1.0, 1000, ())
    assert not list(hell_judge.ended_badly(good, ()))
    for bad in (good._replace(status=1), good._replace(seconds=1e6),
                good._replace(memory=1 << 30), good._replace(left=("sleep",))):
        assert len(list(hell_judge.ended_badly(bad, ()))) == 1
    assert list(hell_judge.ended_badly(good, ["a"]))


def test_the_guard_tells_of_what_is_left(tmp_path: Path) -> None:
    report = tmp_path / "report"
    run(["/usr/bin/python3", "-IS", str(Path(hell_guard.__file__)), str(report), "20",
         "/bin/sh", "-c", "sleep 100 & exit 3"])
    assert '"status": 3' in report.read_text() and "sleep 100" in report.read_text()
