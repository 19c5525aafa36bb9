"""How a process confines itself: modes, limits, what it finds missing, how it ends."""

import os
import resource
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import confined
from harness.confined import (KERNEL_ABI, UID, World, check, connect, inside, needs_landlock,
                              needs_seccomp, prepare, read)
from letsencrypt_tiny.client import main as client
from letsencrypt_tiny.common.sandbox import confine, seccomp
from letsencrypt_tiny.common.sandbox.confine import Plan
from letsencrypt_tiny.signer import main as signer
from letsencrypt_tiny.tlsserver import main as tlsserver
from letsencrypt_tiny.webserver import main as webserver

ROOT = str(Path(__file__).resolve().parents[2])

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="drops from root to another user")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with confined.world() as made:
        yield made


@needs_landlock
@needs_seccomp
def test_required_is_satisfied() -> None:
    enforced = inside(Plan("webserver", "required"), dict, abi=KERNEL_ABI)["enforced"]
    # what an old Landlock lacks is said, but not refused: Debian 12 has ABI 2
    assert [what for what in enforced if not what.startswith("no ")] == [
        "no_new_privs", "not dumpable", "rlimits", f"landlock {min(KERNEL_ABI, 7)}", "seccomp"]


def test_required_names_what_is_missing() -> None:
    without_landlock = inside(Plan("client", "required"), dict, abi=0)["error"]
    assert without_landlock.startswith(
        "ConfinementError: client: confine = required, but there is no landlock (ENOSYS)")
    without_seccomp = inside(Plan("client", "required"), dict, with_seccomp=False)["error"]
    assert "python3-seccomp is not installed" in without_seccomp


def test_auto_says_what_is_missing() -> None:
    enforced = inside(Plan("client"), dict, abi=0, with_seccomp=False)["enforced"]
    assert enforced == ["no_new_privs", "not dumpable", "rlimits",
                        "no seccomp (python3-seccomp is not installed)", "no landlock (ENOSYS)"]


@needs_landlock
def test_auto_says_what_an_old_kernel_lacks() -> None:
    enforced = inside(Plan("client", connect=(443,)), dict, abi=1)["enforced"]
    assert "no TCP ports in landlock" in enforced and "no signals in landlock" in enforced


def state() -> dict[str, Any]:
    """What even mode = no must change, as seen by the process itself."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {"limits": [resource.getrlimit(which) for which in (
                resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC,
                resource.RLIMIT_DATA)],
            "nnp": status["NoNewPrivs"], "owner": os.stat("/proc/self/environ").st_uid,
            "seccomp": status["Seccomp"], "locked": int(status["VmLck"].split()[0])}


def test_no_still_limits() -> None:
    plan = Plan("client", "no", files=50, processes=7, memory=1 << 32)

    def work() -> dict[str, Any]:
        with pytest.raises(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (51, 51))
        return state()

    result = inside(plan, work)
    assert result["enforced"] == ["no_new_privs", "not dumpable", "rlimits"]
    assert result["limits"] == [[0, 0], [50, 50], [7, 7], [1 << 32, 1 << 32]]
    # Files in /proc belong to root, and not to the user, when the process is not dumpable
    assert (result["nnp"], result["owner"], result["seccomp"]) == ("1", 0, "0")


@pytest.mark.parametrize("plan", [client.confinement("no", [443], 4), signer.confinement("no"),
                                  webserver.confinement("no", 4),
                                  tlsserver.confinement("no", 4)], ids=lambda plan: plan.name)
def test_memory_has_a_limit(plan: Plan) -> None:
    with open("/proc/self/status", encoding="ascii") as file:   # which the child has, too
        taken = next(int(line.split()[1]) for line in file if line.startswith("VmData:")) << 10

    def work() -> dict[str, Any]:
        data = bytearray(plan.memory // 2)   # so much it may have
        with pytest.raises(MemoryError):
            bytearray(plan.memory)
        return {"had": len(data)}

    limited = plan._replace(memory=taken + plan.memory)
    assert inside(limited, work)["had"] == plan.memory // 2


def test_not_dumpable_is_ours() -> None:
    def dumpable_first() -> int:
        check("prctl", 4, 1, 0, 0, 0)
        before = os.stat("/proc/self/environ").st_uid
        confine.enter(Plan("client", "no"))
        return before * 1000000 + os.stat("/proc/self/environ").st_uid

    assert inside(Plan("client", "no"), dumpable_first) == UID * 1000000


def test_locked_memory() -> None:
    result = inside(Plan("signer", "no", lock_memory=True), state, as_root=True)
    assert "locked memory" in result["enforced"] and result["locked"] > 1000

    def with_little_allowed() -> dict[str, Any]:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
        return {"then": confine.enter(Plan("signer", "no", lock_memory=True)), **state()}

    result = inside(Plan("signer", "no"), with_little_allowed)
    assert "no locked memory (ENOMEM)" in result["then"] and result["locked"] == 0


def test_network_namespace_while_privileged(world: World) -> None:
    def work() -> dict[str, Any]:
        with pytest.raises(OSError):
            connect(world.other)
        return {}

    plan = Plan("signer", network=False)
    result = inside(plan, work, abi=0, with_seccomp=False, as_root=True)
    assert "network namespace" in result["enforced"]
    assert "network namespace" not in inside(plan, dict)["enforced"]


def test_threads_before_are_refused() -> None:
    def work() -> dict[str, Any]:
        stop = threading.Event()
        threading.Thread(target=stop.wait, daemon=True).start()
        confine.enter(Plan("client", "no"))
        return {}

    assert "threads run" in inside(Plan("client", "no"), work)["error"]


@needs_landlock
@needs_seccomp
def test_missing_paths_are_skipped(world: World) -> None:
    plan = Plan("client", "required", read=("/nonexistent", "/etc/hosts/below", world.outside))
    assert inside(plan, lambda: {"text": read(world.outside)})["text"] == "content\n"


@needs_landlock
@needs_seccomp
def test_a_file_may_stand_where_directories_do(world: World) -> None:
    assert inside(Plan("client", "required", create=(world.outside,)), dict)["enforced"]


@needs_seccomp
@pytest.mark.parametrize("mode", [0o755, 0o775])
def test_seccomp_from_where_others_write_is_not_loaded(tmp_path: Any, monkeypatch: Any,
                                                       mode: int) -> None:
    for name in os.listdir(seccomp.DIRECTORY):
        if name.startswith("seccomp."):
            shutil.copy(f"{seccomp.DIRECTORY}/{name}", tmp_path)
    tmp_path.chmod(mode)
    monkeypatch.setattr(seccomp, "DIRECTORY", str(tmp_path))
    if mode == 0o755:
        assert seccomp._load_module()
    else:
        with pytest.raises(PermissionError, match="others than root"):
            seccomp._load_module()


def test_die_with_parent() -> None:
    reader, writer = os.pipe()
    ready, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        mine = os.getpid()
        if os.fork() == 0:
            confine.die_with_parent(mine)
            os.write(tell, b"x")
            signal.alarm(20)
            signal.pause()
        os.read(ready, 1)
        os._exit(0)
    os.close(writer)
    os.waitpid(parent, 0)
    # Its last writer is gone at once: the grandchild was killed
    assert select.select([reader], [], [], 5)[0] and os.read(reader, 1) == b""
    for end in (reader, ready, tell):
        os.close(end)


def test_die_with_parent_that_is_dead() -> None:
    def work() -> dict[str, Any]:
        confine.die_with_parent(os.getppid() + 1)
        return {}

    assert "has ended" in inside(Plan("client", "no"), work)["error"]


@needs_landlock
@needs_seccomp
def test_fresh_interpreter(world: World) -> None:
    """As the programs are started: no site-packages, and none afterwards."""
    script = f"""
import sys
sys.path.insert(0, {ROOT!r})
from letsencrypt_tiny.common.sandbox import confine
plan = confine.Plan("client", "required", read=(".",), connect=(443,))
before = sys.path[:]
confine.warm_up()
assert "seccomp" in confine.enter(plan)
assert sys.path == before
try:
    import Cryptodome
except ImportError:
    print("confined", open("token").read().strip())
"""
    prepare(world)
    done = subprocess.run(["/usr/bin/python3", "-IS", "-c", script], cwd=world.challenge,
                          capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("confined content\n", "", 0)


@needs_seccomp
def test_every_name_is_a_system_call() -> None:
    """A misspelt one would be passed over in silence."""
    module = seccomp._load_module()
    names = [name for name, _ in (*seccomp._always(), *seccomp._files(True, True, True),
                                  *seccomp._sockets(), *seccomp._connections())]
    names += f"{seccomp._MISSING} {seccomp._FATAL} {seccomp._ACCEPT}".split()
    assert [name for name in names if module.resolve_syscall(module.Arch(), name) == -1] == []


@needs_seccomp
def test_a_failure_in_a_confined_process_ends_as_any_other(world: World) -> None:
    """Traceback, daemon threads and all: the C library must not want to load anything."""
    script = f"""
import sys, threading, time
sys.path.insert(0, {ROOT!r})
from letsencrypt_tiny.common.sandbox import confine
plan = confine.Plan("signer", network=False)
confine.warm_up()
confine.enter(plan)
def spin():
    while True:
        time.sleep(0.0001)
for _ in range(4):
    threading.Thread(target=spin, daemon=True).start()
raise KeyError("lost")
"""
    done = subprocess.run(["/usr/bin/python3", "-IS", "-c", script], cwd=world.challenge,
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr.endswith("\nKeyError: 'lost'\n") and done.returncode == 1
