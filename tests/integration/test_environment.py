"""Whoever starts a program chooses its environment: none of it is loaded or believed (F 53)."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from harness.evil import WAYS, Evil
from harness.run import ENVIRONMENT, Prefix, Site, run


@pytest.fixture(scope="module")
def evil(prefix: Prefix) -> Evil:
    return Evil(prefix.path / "evil")


@pytest.fixture(params=WAYS)
def poison(request: pytest.FixtureRequest, evil: Evil) -> Iterator[dict[str, str]]:
    """Variables that have libcrypto load a shared object: a real one, as is seen before."""
    variables = evil.variables(request.param)
    assert evil.works(variables), "the attack doesn't work: the tests would show nothing"
    yield variables


@pytest.mark.alike(3)
@pytest.mark.parametrize("arguments", [("status",), ("check",), ("account",),
                                       ("newOrder", "--force")], ids=" ".join)
def test_the_master_loads_nothing(arguments: tuple[str, ...], good: Site, evil: Evil,
                                  poison: dict[str, str]) -> None:
    """Neither as root nor in what it starts."""
    done = good.run(*arguments, env=poison)
    assert evil.told() == ""
    assert done.returncode == 0, done.stderr


def test_the_signer_loads_nothing(good: Site, evil: Evil, poison: dict[str, str]) -> None:
    done = run(good.signer("--stdio"), env=poison)
    assert evil.told() == ""
    assert done.returncode == 0 and done.stdout.startswith("1 OK "), done.stderr


def test_the_signer_on_a_socket_loads_nothing(good: Site, evil: Evil,
                                              poison: dict[str, str]) -> None:
    path = good.lib / "accountd/S"
    with subprocess.Popen(good.signer(f"--socket={path}"), env={**ENVIRONMENT, **poison},
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(20) == 0
    assert evil.told() == ""


@pytest.mark.parametrize("program", ["client", "webserver", "tlsserver"])
def test_the_others_load_nothing(program: str, prefix: Prefix, evil: Evil,
                                 poison: dict[str, str]) -> None:
    """As their users start them; the master doesn't hand on such variables."""
    done = run([str(getattr(prefix, program)), "--help"], env=poison)
    assert evil.told() == ""
    assert done.returncode == 2 and "Traceback" not in done.stderr
