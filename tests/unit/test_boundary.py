"""The import boundary is the privilege boundary."""

import ast
import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from collections.abc import Iterator

import pytest

TREE = Path(__file__).resolve().parents[2]
PACKAGE = TREE / "letsencrypt_tiny"
COMMON = "common"
WINGS = ("master", "signer", "client", "webserver", "dns", "tlsserver")

# What costs much at each start, or drags in the network, and who may have it loaded at once.
HEAVY = {"dataclasses", "logging", "asyncio", "tempfile", "subprocess", "email", "urllib.request",
         "http.client", "ssl", "ctypes", "xml", "multiprocessing", "pickle", "inspect", "unittest",
         "Cryptodome", "Crypto", "seccomp", "decimal", "typing_extensions"}
NETWORK = {"ssl", "http.client", "urllib.request", "_ssl"}


def modules() -> list[Path]:
    """Return all sources."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(TREE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def wing_of(name: str) -> str:
    """Return the wing of a module; "" for the package itself and for others' modules."""
    parts = name.split(".")
    return "" if parts[0] != PACKAGE.name or parts[1:] in ([], ["__version__"]) else parts[1]


@functools.cache    # most tests look at all of them
def imports(path: Path) -> list[tuple[str, bool]]:
    """Return the absolute name of everything a source imports, and whether that's at its top."""
    return list(_imports(ast.parse(path.read_text()), path))


def _imports(tree: ast.Module, path: Path) -> Iterator[tuple[str, bool]]:
    top = set(map(id, tree.body))
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "__import__":
            yield ast.literal_eval(node.args[0]), False
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[:len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base, id(node) in top
            for alias in node.names:
                yield f"{base}.{alias.name}", id(node) in top


def test_each_module_is_in_a_wing() -> None:
    for path in modules():
        assert wing_of(name_of(path)) in ("", COMMON, *WINGS), path


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_wing_imports_another(path: Path) -> None:
    own = wing_of(name_of(path))
    allowed = {"", COMMON, own}
    for name, _ in imports(path):
        assert wing_of(name) in allowed, f"{path}: imports {name}"
        # what has a computed name is somebody else's: pycryptodome, or seccomp under -S
        assert not name.startswith("importlib") or name_of(path) in (
            "letsencrypt_tiny.common.sandbox.seccomp", "letsencrypt_tiny.common.pycryptodome",
            "letsencrypt_tiny.dns.updates.lexicon"), path
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Name) and node.id in ("exec", "eval")), path


# --- floors ------------------------------------------------------------------------------------

# What stands on what, the lowest floor first.  A room of a group may import from its own group
# and from lower floors; on one floor, from other groups as long as there is no circle.
FLOORS = {
    "master": (("store", "settings"), ("plan", "peers"), ("responders", "report", "pki"),
               ("commands",), ("arguments",), ("main",)),
    "common": (("environment", "process", "record", "shortage", "encoding", "errors", "paths",
                "names", "urls", "clock", "output", "journal", "pycryptodome"),
               ("accounts", "steps", "log", "specifiers", "inifile", "acl", "pkcs11"),
               ("ways", "complaint"), ("trusted",),
               ("wire", "x509", "sandbox", "serving")),
}


def floor_of(wing: str, name: str) -> "int | None":
    """Return the floor of a module or group of ``wing``; None for others'."""
    parts = name.split(".")
    if parts[:2] != [PACKAGE.name, wing] or len(parts) < 3:
        return None
    for number, groups in enumerate(FLOORS[wing]):
        if parts[2] in groups:
            return number
    return -1


@pytest.mark.parametrize("wing", FLOORS)
def test_each_room_stands_on_a_floor(wing: str) -> None:
    for path in (PACKAGE / wing).rglob("*.py"):
        if path != PACKAGE / wing / "__init__.py":
            assert floor_of(wing, name_of(path)) != -1, f"{path}: on no floor"


@pytest.mark.parametrize("path", [path for wing in FLOORS for path in modules()
                                  if wing_of(name_of(path)) == wing], ids=name_of)
def test_no_arrow_runs_up(path: Path) -> None:
    wing = wing_of(name_of(path))
    own = floor_of(wing, name_of(path))
    for name, _ in imports(path):
        floor = floor_of(wing, name)
        assert own is None or floor is None or floor <= own, f"{path}: imports {name}"


def circles(graph: dict[str, set[str]]) -> set[str]:
    """Return the nodes from which one comes back to where one was."""
    left = {name: needs & graph.keys() for name, needs in graph.items()}
    while True:
        leaves = {name for name, needs in left.items() if not needs}
        if not leaves:
            return set(left)
        left = {name: needs - leaves for name, needs in left.items() if name not in leaves}


def test_there_is_no_circle() -> None:
    """Neither among modules nor among groups of rooms; what only types need counts, too."""
    names = {name_of(path) for path in modules()}
    graph = {name_of(path): {name for name, _ in imports(path)} & names
             for path in modules() if path.name != "__init__.py"}
    assert sum(map(len, graph.values())) > 200, "the graph is read wrongly"
    assert not circles(graph)
    for wing in FLOORS:
        groups: dict[str, set[str]] = {}
        for name, needs in graph.items():
            if floor_of(wing, name) is not None:
                groups.setdefault(name.split(".")[2], set()).update(
                    need.split(".")[2] for need in needs if floor_of(wing, need) is not None)
        for group, targets in groups.items():
            targets.discard(group)
        assert not circles(groups), wing
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == {"a", "b", "c"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "master/plan").glob("*.py")), ids=name_of)
def test_the_plan_does_nothing(path: Path) -> None:
    for name, _ in imports(path):
        assert name.partition(".")[0] not in ("os", "subprocess", "socket", "select", "time"), path


# --- rooms -------------------------------------------------------------------------------------

MOST_LINES = 300
MOST_PATHS = 15


def complexity(function: ast.AST) -> int:
    """Return McCabe's number of a function: 1 and one for each branch; nested ones left out."""
    count, todo = 1, list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp)):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
        todo += ast.iter_child_nodes(node)
    return count


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_rooms_are_small(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert complexity(node) <= MOST_PATHS, f"{path}: {node.name}"
    if path.name == "__init__.py":
        assert len([line for line in source.splitlines() if line]) <= 3, path
        assert not imports(path), path


def test_tests_are_no_attics() -> None:
    for path in (TREE / "tests").rglob("*.py"):
        assert path.read_text().count("\n") <= 500, path


def importers(module: str) -> set[str]:
    """Return the modules that import this one."""
    return {name_of(path) for path in modules() for name, _ in imports(path) if name == module}


def test_who_alone_uses_what() -> None:
    users: dict[str, set[str]] = {}
    for path in modules():
        for name, top in imports(path):
            if name == "ssl" and not top:
                continue   # the master asks it whether a cipher is known, where one is set
            users.setdefault(name.partition(".")[0], set()).add(name_of(path)
                                                                .partition(".")[2])
    assert users["Cryptodome"] == users["Crypto"] == {"common.pycryptodome"}
    assert {name.partition(".")[2].partition(".")[0] for name in importers(
        "letsencrypt_tiny.common.pycryptodome")} == {"signer", "tlsserver"}
    assert {wing.partition(".")[0] for wing in users["ssl"]} == {"client", "tlsserver"}
    for module in ("lexicon", "requests"):
        assert {wing.partition(".")[0] for wing in users[module]} == {"dns"}
    # dnspython's modules: the client's in functions, of the probes alone
    assert {wing if wing.startswith("client") else wing.partition(".")[0]
            for wing in users["dns"]} == {"dns", "client.online.asking"}
    assert not any(top for name, top in imports(PACKAGE / "client/online/asking.py")
                   if name.startswith("dns."))


def loaded(program: str, *arguments: str) -> set[str]:
    """Return what is in sys.modules of a program, started fresh, when it ends."""
    source = (TREE / "programs" / program).read_text()
    options = source.splitlines()[0].split()[1]
    ending = source.splitlines()[-1]
    assert source.startswith("#!/usr/bin/python3 -I") \
        and ending in ("sys.exit(main())", "process.end(main())")
    with tempfile.NamedTemporaryFile("r") as file:
        source = source.replace('"/usr/share/letsencrypt-tiny"', repr(str(TREE))).replace(
            ending, "try:\n    main()\nexcept SystemExit:\n    pass\n"
            f"open({file.name!r}, 'w').write(' '.join(sys.modules))")
        subprocess.run(["/usr/bin/python3", options, "-B", "-c", source, *arguments], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={}, cwd="/",
                       stderr=subprocess.DEVNULL, timeout=30)
        return set(file.read().split())


@pytest.mark.parametrize("program, wing, heavy", [
    ("letsencrypt-tiny", "master", set()), ("letsencrypt-tiny-accountd", "signer", set()),
    ("client", "client", {"ctypes", "ssl"}),
    ("webserver", "webserver", {"ctypes"}), ("tlsserver", "tlsserver", {"ctypes"}),
    # dnspython 2.7 asks importlib.metadata what there is
    ("dns", "dns", {"ctypes", "inspect", "email", "tempfile"})])
def test_each_program_started_fresh(program: str, wing: str, heavy: set[str]) -> None:
    found = loaded(program, "--help")
    assert f"letsencrypt_tiny.{wing}.main" in found
    assert {wing_of(name) for name in found} == {"", COMMON, wing}
    newer = sys.version_info >= (3, 14)   # its argparse colours --help with dataclasses
    assert HEAVY & found <= heavy | ({"dataclasses", "inspect"} if newer else set())
    # see common/record.py and webserver/http.py
    assert wing != "webserver" or newer or not found & {"typing", "re"}


def test_a_master_with_work_has_no_network_code() -> None:
    """All that the master could need, imported at once."""
    code = ["import sys", f"sys.path.insert(0, {str(TREE)!r})"]
    code += [f"import {name_of(path)}" for path in sorted((PACKAGE / "master").rglob("*.py"))]
    code.append("print(' '.join(sys.modules))")
    done = subprocess.run(["/usr/bin/python3", "-I", "-B", "-c", "\n".join(code)], check=True,
                          stdout=subprocess.PIPE, text=True, env={}, cwd="/")
    found = set(done.stdout.split())
    assert "letsencrypt_tiny.master.commands.new_order" in found
    assert {wing_of(name) for name in found} == {"", COMMON, "master"}
    assert not NETWORK & found
    # openssl is waited for only when there is something to do
    assert HEAVY & found <= {"ctypes"}
