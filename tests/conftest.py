"""Where every test runs, and what it may stand on.

As root the whole run moves to a private network namespace: all ports are free and no firewall
rule is left behind.  Tests that need root (marker ``root``, or a fixture below that does) are
skipped without it.  After each test no process may be left.
"""

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import daemon, netns, proc, soak
from harness.ca import CA
from harness.caddy import CaddyACME
from harness.hostile import Hostile
from harness.machine import Machine
from harness.pebble import Pebble
from harness.run import Installed, Prefix, Site, Users

_NEED_ROOT = {"users", "prefix", "site", "machine", "caddy"}
_no_namespace: OSError | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Leave the machine's network, before any thread or server is started."""
    global _no_namespace
    _hear_signals()
    config.addinivalue_line("markers", "root: needs root and a private network namespace")
    config.addinivalue_line("markers", "once: comes to the same on either release, and installed")
    config.addinivalue_line("markers", "alike(n): each nth case, but all in the soak and by name")
    netns.adopt_orphans()
    if os.geteuid() == 0:
        try:
            netns.enter()
        except OSError as exc:
            _no_namespace = exc


def _hear_signals() -> None:
    """Let nothing that tests start inherit signals that a shell's “&” or nohup(1) has ignored.

    A handler, even of ours that does nothing, becomes the default with exec.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:   # Python's own
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is like other cases, for time; whoever asks for a test by name has it all."""
    if soak.SOAK or any("::" in argument for argument in config.args):
        return
    before: Counter[tuple[Path, str]] = Counter()
    kept, left = [], []
    for item in items:
        mark = item.get_closest_marker("alike")
        number = before[item.path, getattr(item, "originalname", item.name)]
        before[item.path, getattr(item, "originalname", item.name)] += 1
        (kept if mark is None or number % mark.args[0] == 0 else left).append(item)
    items[:] = kept
    if left:
        config.hook.pytest_deselected(items=left)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Skip what needs root; give up at once where root has no power."""
    needing = [item for item in session.items if item.get_closest_marker("root")
               or _NEED_ROOT & set(getattr(item, "fixturenames", ()))]
    if not needing:
        return
    if os.geteuid() != 0:
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="needs root"))
    elif _no_namespace is not None:
        pytest.exit(f"{len(needing)} of these tests need a private network namespace, and "
                    f"unshare(CLONE_NEWNET) fails ({_no_namespace.strerror}): run them as root "
                    "of a real or virtual machine, or in a container with CAP_SYS_ADMIN and "
                    "CAP_NET_ADMIN", returncode=3)


def pytest_runtest_setup() -> None:
    """Note where the logs of this test begin."""
    for server in daemon.running:
        server.mark()


def pytest_exception_interact(report: Any) -> None:
    """Show what the servers wrote during a test that failed."""
    for server in daemon.running:
        lines = server.since_mark().splitlines()
        if lines:
            report.sections.append((f"log of {server.name}", "\n".join(lines[-100:])))


def _children() -> list[int]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []  # the usual case, and much faster than /proc
    return proc.children(os.getpid())


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail if the test leaves a process; orphans become our children (PR_SET_CHILD_SUBREAPER)."""
    before = set(_children())
    yield
    servers = {server.pid for server in daemon.running}
    deadline = time.monotonic() + 2  # a child may still be about to end
    left = set(_children()) - before - servers
    while left:
        for pid in sorted(left):
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        left = set(_children()) - before - servers
        if time.monotonic() > deadline:
            break
        time.sleep(0.01 if left else 0)
    names = []
    for pid in left:
        try:
            names.append(f"{pid} {' '.join(proc.read(pid).argv)}")
        except ProcessLookupError:
            continue
        proc.kill_tree(pid)
        os.waitpid(pid, 0)
    if names:
        pytest.fail("processes left behind: " + "; ".join(names), pytrace=False)


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory of root's, not below a sticky one."""
    path = Path(tempfile.mkdtemp(prefix="test-", dir="/srv"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def places(top: Path) -> Path:
    """The same with a state directory, one of sections, and one of an administrator's."""
    for name in "state", "certs", "tls":
        (top / name).mkdir()
        (top / name).chmod(0o755)
    return top


@pytest.fixture(scope="session")
def pebble() -> Iterator[Pebble]:
    """Pebble that validates at once, but rejects nonces and re-uses authorizations."""
    with Pebble(nosleep=True) as server:
        yield server


@pytest.fixture(scope="session")
def pebble_nuisance() -> Iterator[Pebble]:
    """Pebble as it is, waiting up to 15 s before each validation."""
    with Pebble() as server:
        yield server


@pytest.fixture(scope="session")
def pebble_tame() -> Iterator[Pebble]:
    """Pebble without bad nonces, which lacme 0.8 takes for the end."""
    with Pebble(nosleep=True, noncereject=0) as server:
        yield server


@pytest.fixture(scope="session")
def caddy() -> Iterator[CaddyACME]:
    """Caddy's ACME server, which validates at port 80."""
    with CaddyACME() as server:
        yield server


@pytest.fixture(scope="session")
def hostile_ca() -> Iterator[CA]:
    """What all hostile servers issue with; making one takes longer than most tests."""
    with tempfile.TemporaryDirectory(prefix="hostile-ca-") as directory:
        os.chmod(directory, 0o755)
        yield CA(Path(directory), "Hostile")


@pytest.fixture
def hostile(hostile_ca: CA) -> Iterator[Hostile]:
    """An ACME server that does as it's told."""
    with Hostile(authority=hostile_ca) as server:
        yield server


@pytest.fixture(scope="session")
def users() -> Iterator[Users]:
    """The three system users."""
    with Users() as made:
        yield made


@pytest.fixture(scope="session")
def prefix(users: Users) -> Iterator[Prefix]:
    """The tree, installed; with INSTALLED in the environment the package, as it was installed."""
    installed = Installed() if os.environ.get("INSTALLED") else Prefix()
    yield installed
    installed.remove()


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine of stand-ins; the test must leave no descriptor of this process open."""
    before = set(os.listdir("/proc/self/fd"))
    made = Machine()
    yield made
    made.remove()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def site(prefix: Prefix) -> Iterator[Site]:
    """A host without configuration; ``site.use(pebble)`` comes first."""
    made = Site(prefix)
    yield made
    made.remove()
