"""Files that take their places together: killed anywhere, failing anywhere, repeated."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import soak
from harness.steps import killed
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import files, keys, placing, versions
from letsencrypt_tiny.master.store.entry import Entries, Entry, is_there
from letsencrypt_tiny.master.store.files import File
from letsencrypt_tiny.master.store.placing import Target, repair

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

NAMES = ("privkey.pem", "fullchain.pem", "cert.pem", "chain.pem")
OTHER = 12345


@pytest.fixture(name="top")
def _top(places: Path) -> Path:
    return places


def contents(directory: Path, generation: int, key: Path | None = None, suffix: str = "",
             owner: int = 0) -> list[File]:
    """What a renewal with a new key brings."""
    text = b"%d\n" % generation
    names = [name.replace(".pem", f"{suffix}.pem") for name in NAMES]
    return [*keys.replacement(str(key or directory / names[0]), text, owner),
            *(File(f"{directory}/{name}", text) for name in names[1:])]


def put(top: Path, what: list[File], keep: int = 3, owner: int = 0) -> None:
    Target(f"{top}/state", f"{top}/certs").install("a", what, owner, keep)


def generations(directory: Path, key: Path | None = None) -> list[str]:
    """What is read of the key and then of the rest; "" is nothing."""
    found = [key or directory / NAMES[0], *(directory / name for name in NAMES[1:])]
    return [path.read_text() if path.exists() else "" for path in found]


def left(top: Path) -> set[str]:
    """What there is, but for names of versions."""
    found = set()
    for path in (path for path in top.rglob("*")):
        parts = path.relative_to(top).parts
        if parts[0] == "certs" and len(parts) > 2 and parts[1].startswith("."):
            parts = (*parts[:2], "version" if len(parts[2]) == 18 else parts[2], *parts[3:])
        found.add("/".join(parts))
    return found


def versions_of(top: Path) -> list[str]:
    return sorted(os.listdir(top / "certs/.a"))


def test_the_short_form_is_switched(top: Path) -> None:
    place = top / "certs/a"
    for generation in range(1, 6):
        put(top, contents(place, generation))
        assert place.is_symlink() and generations(place) == [f"{generation}\n"] * 4
    assert (place / "privkey.pem.old").read_text() == "4\n"
    assert len(versions_of(top)) == 3 and not is_there(f"{top}/state")
    assert stat.S_IMODE((place / "privkey.pem").stat().st_mode) == 0o600
    put(top, contents(place, 6), keep=1)
    assert versions_of(top) == [os.readlink(place).rpartition("/")[2]]
    assert (place / "privkey.pem.old").read_text() == "5\n"


def test_what_is_in_place_is_no_new_version(top: Path) -> None:
    place = top / "certs/a"
    put(top, contents(place, 1))
    put(top, contents(place, 2))
    before, old = versions_of(top), (place / "privkey.pem.old").read_bytes()
    put(top, contents(place, 2))
    assert versions_of(top) == before and (place / "privkey.pem.old").read_bytes() == old
    put(top, [file._replace(mode=0o640) for file in contents(place, 2)])
    assert len(versions_of(top)) == 3 and stat.S_IMODE((place / "cert.pem").stat().st_mode) == 0o640


def test_what_is_not_renewed_goes_on(top: Path) -> None:
    """The key that stays, the other type's files, and what somebody put there."""
    place = top / "certs/a"
    put(top, [*contents(place, 1), *contents(place, 1, suffix=".rsa")])
    (place / "dhparam.pem").write_text("dh")
    (place / ".cert.pem.new").write_text("left by a run that was killed")
    put(top, contents(place, 2))
    assert generations(place) == ["2\n"] * 4 and (place / "dhparam.pem").read_text() == "dh"
    for name in NAMES:
        assert (place / name.replace(".pem", ".rsa.pem")).read_text() == "1\n"
    assert not (place / ".cert.pem.new").exists()
    put(top, contents(place, 3)[2:])   # with the key that there is
    assert generations(place) == ["2\n", "3\n", "3\n", "3\n"]
    key, certificate = (place / "privkey.pem").stat(), (place / "fullchain.pem").stat()
    assert key.st_ctime_ns <= certificate.st_ctime_ns, "else it would be compared at each run"


def test_a_plain_directory(top: Path) -> None:
    """Taken over with all that is in it; an empty one makes room."""
    place = top / "certs/a"
    place.mkdir()
    os.chown(place, OTHER, 23456)
    place.chmod(0o750)
    put(top, contents(place, 1, owner=OTHER), owner=OTHER)
    info = place.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (OTHER, 23456, 0o750)
    assert len(versions_of(top)) == 1
    place.unlink()
    shutil.copytree(top / "certs/.a" / versions_of(top)[0], place)
    shutil.rmtree(top / "certs/.a")
    (place / "dhparam.pem").write_text("dh")
    put(top, contents(place, 2))
    assert place.is_symlink() and generations(place) == ["2\n"] * 4
    assert (place / "dhparam.pem").read_text() == "dh"
    first = top / "certs/.a" / versions_of(top)[0]
    assert generations(first) == ["1\n"] * 4 and len(versions_of(top)) == 2


def test_what_has_to_stay_plain(top: Path) -> None:
    """A directory of certs/ that is another's, an administrator's link, a link that leads out."""
    place, tls = top / "certs/a", top / "tls"
    place.symlink_to("../tls")
    for generation in (1, 2):
        put(top, contents(place, generation))
        assert generations(tls) == [f"{generation}\n"] * 4 and os.readlink(place) == "../tls"
    place.unlink()
    place.mkdir()
    (place / "out").symlink_to("../../tls/cert.pem")
    put(top, contents(place, 3))
    assert generations(place) == ["3\n"] * 4 and not place.is_symlink()
    shutil.rmtree(place)
    os.chown(top / "certs", OTHER, -1)
    place.mkdir()
    put(top, contents(place, 4, owner=OTHER), owner=OTHER)
    assert generations(place) == ["4\n"] * 4 and not place.is_symlink()
    assert not is_there(f"{top}/state")


def forever(top: Path, prepare: Callable[[], object], work: Callable[[], object],
            judge: Callable[[], object]) -> int:
    """Kill ``work`` at its steps, from a new start each time; return how many there are."""
    steps = 0
    while True:
        for name in ("certs", "tls", "state"):
            shutil.rmtree(top / name)
            (top / name).mkdir()
            (top / name).chmod(0o755)
        prepare()
        again = killed(steps, work)
        judge()
        if not again:
            return steps
        steps += soak.stride(2)


@pytest.mark.alike(2)
@pytest.mark.parametrize("start", ["nothing", "empty", "plain", "switched"])
def test_the_short_form_killed_anywhere(top: Path, start: str) -> None:
    """Who reads finds one generation at once; the next run finds nothing half, and it goes on."""
    place = top / "certs/a"
    seen: list[bool] = []
    before = "" if start in ("nothing", "empty") else "1\n"

    def prepare() -> None:
        if start in ("empty", "plain"):
            place.mkdir()
        if start == "plain":
            files.install([file._replace(path=file.path) for file in contents(place, 1)])
        elif start == "switched":
            put(top, contents(place, 1))
            put(top, contents(place, 2))
            put(top, contents(place, 1))

    def judge() -> None:
        found = generations(place)
        seen.append(found == ["9\n"] * 4)
        assert len(set(found)) == 1 and found[0] in ("9\n", before)
        if is_there(f"{top}/state"):
            repair(f"{top}/state")
        assert generations(place) == found or found[0] == "", "what is in use stays so"
        assert len(set(generations(place))) == 1 and not is_there(f"{top}/state")
        assert os.listdir(top / "state") == []
        if place.is_symlink():
            names = versions_of(top)
            assert os.readlink(place) == f".a/{names[-1]}", "the youngest is in use"
            assert all(len(name) == 18 for name in names) and len(names) <= 3
        put(top, contents(place, 9), keep=1)
        assert generations(place) == ["9\n"] * 4 and len(left(top)) == (
            10 + (place / "privkey.pem.old").exists())

    assert forever(top, prepare, lambda: put(top, contents(place, 9)), judge) > 20
    assert {True, False} == set(seen)


def test_files_in_a_row_killed_anywhere(top: Path) -> None:
    """All are the old ones, or the next run makes all the new ones: first thing, and whole."""
    place, bad = top / "tls", []

    def judge() -> None:
        found = generations(place)
        assert set(found) <= {"1\n", "2\n"}, "never half a file"
        half = len(set(found)) > 1
        bad.append(half)
        if is_there(f"{top}/state"):
            repair(f"{top}/state")
        now = generations(place)
        assert len(set(now)) == 1 and (not half or now[0] == "2\n")
        assert left(top) == {"state", "certs", "tls", "tls/privkey.pem.old"} | {
            f"tls/{name}" for name in NAMES} or left(top) == {"state", "certs", "tls"} | {
            f"tls/{name}" for name in NAMES} and now[0] == "1\n"
        put(top, contents(place, 3))
        assert generations(place) == ["3\n"] * 4

    steps = forever(top, lambda: put(top, contents(place, 1)), lambda: put(top, contents(place, 2)),
                    judge)
    print(f"{steps} steps, at {sum(bad)} of them files of two generations until the next run")
    assert steps >= 30 and 1 <= sum(bad) <= 4


def test_a_key_elsewhere_killed_anywhere(top: Path) -> None:
    """The key is renamed, then the directory switched: two steps."""
    place, key = top / "certs/a", top / "tls/key"
    bad = []

    def judge() -> None:
        found = generations(place, key)
        bad.append(len(set(found)) > 1)
        assert len(set(found[1:])) == 1
        if is_there(f"{top}/state"):
            repair(f"{top}/state")
        now = generations(place, key)
        assert len(set(now)) == 1 and (not bad[-1] or now[0] == "2\n")
        assert os.listdir(top / "state") == [] and set(os.listdir(top / "tls")) <= {
            "key", "key.old"}
        assert all(len(name) == 18 for name in versions_of(top))
    forever(top, lambda: put(top, contents(place, 1, key)),
            lambda: put(top, contents(place, 2, key)), judge)
    assert 1 <= sum(bad) <= 6


def test_a_failure_beforehand(top: Path) -> None:
    """Nothing is replaced, nothing is left; the line names the place that the file is for."""
    place = top / "certs/a"
    put(top, contents(place, 1))
    before = left(top)
    with pytest.raises(Error, match="^/none/x: no such directory|^/none: no such directory"):
        put(top, [*contents(place, 2), File("/none/x", b"x")])
    assert left(top) == before and generations(place) == ["1\n"] * 4
    (place / "cert.pem").unlink()
    os.mkdir(place / "cert.pem")
    long = File(f"{place}/{'x' * 300}", b"x")
    with pytest.raises(Error, match=f"^{place}/x*: cannot write it: File name too long"):
        put(top, [*contents(place, 2), long])
    assert not is_there(f"{top}/state") and all(len(name) == 18 for name in versions_of(top))


def test_a_failure_on_the_way(top: Path, capfd: pytest.CaptureFixture[str],
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not taken its place waits; each run tries again, and says so until it can."""
    place = top / "tls"
    put(top, contents(place, 1))
    real = files.together

    def meanwhile(work: Callable[[], object]) -> None:
        (place / "cert.pem").unlink()
        (place / "cert.pem").mkdir()
        real(work)
    monkeypatch.setattr(files, "together", meanwhile)
    with pytest.raises(Error, match=f"^{place}/cert.pem: cannot install it: Is a directory"):
        put(top, contents(place, 2))
    assert is_there(f"{top}/state")
    for _ in range(2):
        repair(f"{top}/state")
        assert f"a: what a run left that was killed can't be cleared up: {place}/cert.pem: Is a " \
            "directory; the next run tries again" in capfd.readouterr().err
    (place / "cert.pem").rmdir()
    repair(f"{top}/state")
    assert generations(place) == ["2\n"] * 4 and not is_there(f"{top}/state")


def test_what_waits_and_is_another_is_not_renamed(top: Path) -> None:
    place = top / "tls"
    put(top, contents(place, 1))
    steps = placing._Work("a", Entries(f"{top}/state"), Entry(), {})
    steps.begin(contents(place, 2))
    steps.fill()
    (place / ".cert.pem.new").write_text("forged")
    (place / ".chain.pem.new").unlink()
    (place / ".chain.pem.new").symlink_to("/etc/hostname")
    repair(f"{top}/state")
    assert generations(place) == ["2\n", "2\n", "1\n", "1\n"]
    assert sorted(os.listdir(place)) == sorted([*NAMES, "privkey.pem.old"])


@pytest.mark.parametrize("text", [
    "", "{", "[]", '{"a":1}', '{"a":{"steps":[1],"owner":0,"keep":3,"ready":true}}',
    '{"a":{"steps":[{"place":"x"}],"owner":0,"keep":3,"ready":true}}',
    '{"a":{"steps":[{"place":"/none/x","digest":"0"}],"owner":0,"keep":3,"ready":true}}',
    '{"a":{"steps":[{"place":"/none/x","version":"2026-11-25T012644Z"}],"owner":0,"keep":3,'
    '"ready":true}}',
    *('{"a":{"steps":[{"place":%s}],"owner":0,"keep":3,"ready":true}}' % place for place in (
        r'"/usr/\u0000"', r'"/usr/\ud800"', r'"/usr/x\u0000","digest":"0"', r'"x","digest":"0"',
        r'"/","version":"2026-11-25T012644Z"', r'"/usr/x","version":"../x"'))])
def test_an_entry_that_means_nothing(top: Path, text: str) -> None:
    (top / "state/installing.json").write_text(text)
    repair(f"{top}/state")
    put(top, contents(top / "tls", 1))
    assert generations(top / "tls") == ["1\n"] * 4 and not is_there(f"{top}/state")


def test_an_old_entry_takes_nothing_back(top: Path) -> None:
    """As a power cut may leave it: its version is in use no more."""
    place = top / "certs/a"
    put(top, contents(place, 1))
    old = os.readlink(place).rpartition("/")[2]
    put(top, contents(place, 2))
    (top / "state/installing.json").write_text(json.dumps({"a": {
        "steps": [{"place": str(place), "version": old}], "owner": 0, "keep": 3, "ready": True}}))
    repair(f"{top}/state")
    assert generations(place) == ["2\n"] * 4 and not is_there(f"{top}/state")


def test_a_version_that_somebody_removed(top: Path) -> None:
    place = top / "certs/a"
    put(top, contents(place, 1))
    shutil.rmtree(top / "certs/.a")
    with versions.Versions(str(place)) as known:
        known.mend()
    assert not os.path.lexists(place)
    put(top, contents(place, 2))
    assert generations(place) == ["2\n"] * 4
