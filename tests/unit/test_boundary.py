"""The import boundary is the privilege boundary."""

import ast
import subprocess
import tempfile
from pathlib import Path
from collections.abc import Iterator

import pytest

TREE = Path(__file__).resolve().parents[2]
PACKAGE = TREE / "letsencrypt_tiny"
COMMON = "common"
WINGS = ("master", "signer", "client", "webserver")

# What costs much at each start, or drags in the network, and who may have it loaded at once.
HEAVY = {"dataclasses", "logging", "asyncio", "tempfile", "subprocess", "email", "urllib.request",
         "http.client", "ssl", "ctypes", "xml", "multiprocessing", "pickle", "inspect", "unittest",
         "configobj", "Cryptodome", "Crypto", "seccomp", "decimal", "typing_extensions"}
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


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the absolute name of everything a source imports, and whether that's at its top."""
    tree = ast.parse(path.read_text())
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
            "letsencrypt_tiny.common.sandbox.seccomp", "letsencrypt_tiny.signer.account_key"), path
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Name) and node.id in ("exec", "eval")), path


def test_common_has_no_circle() -> None:
    names = {name_of(path) for path in (PACKAGE / COMMON).rglob("*.py")}
    graph: dict[str, set[str]] = {
        name_of(path): {name for name, _ in imports(path)} & names - {f"{PACKAGE.name}.{COMMON}"}
        for path in (PACKAGE / COMMON).rglob("*.py")}
    assert sum(map(len, graph.values())) > 5, "the graph is read wrongly"
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & set(graph)}
        assert leaves, f"a circle among {sorted(graph)}"
        for name in leaves:
            del graph[name]


def test_who_alone_uses_what() -> None:
    users: dict[str, set[str]] = {}
    for path in modules():
        for name, top in imports(path):
            if name == "ssl" and not top:
                continue   # the master asks it whether a cipher is known, where one is set
            users.setdefault(name.partition(".")[0], set()).add(name_of(path)
                                                                .partition(".")[2])
    assert users["configobj"] == {"common.inifile"}
    assert {wing.partition(".")[0] for wing in users.get("Cryptodome", {"signer"})} == {"signer"}
    assert {wing.partition(".")[0] for wing in users.get("ssl", {"client"})} == {"client"}


def loaded(program: str, *arguments: str) -> set[str]:
    """Return what is in sys.modules of a program, started fresh, when it ends."""
    source = (TREE / "programs" / program).read_text()
    options = source.splitlines()[0].split()[1]
    assert source.startswith("#!/usr/bin/python3 -I") and "sys.exit(main())" in source
    with tempfile.NamedTemporaryFile("r") as file:
        source = source.replace('"/usr/share/letsencrypt-tiny"', repr(str(TREE))).replace(
            "sys.exit(main())", "try:\n    main()\nexcept SystemExit:\n    pass\n"
            f"open({file.name!r}, 'w').write(' '.join(sys.modules))")
        subprocess.run(["/usr/bin/python3", options, "-B", "-c", source, *arguments], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={}, cwd="/",
                       stderr=subprocess.DEVNULL, timeout=30)
        return set(file.read().split())


@pytest.mark.parametrize("program, wing, heavy", [
    ("letsencrypt-tiny", "master", set()), ("letsencrypt-tiny-accountd", "signer", set()),
    ("client", "client", {"ctypes", "email", "http.client", "ssl"}),
    ("webserver", "webserver", {"ctypes"})])
def test_each_program_started_fresh(program: str, wing: str, heavy: set[str]) -> None:
    found = loaded(program, "--help")
    assert f"letsencrypt_tiny.{wing}.main" in found
    assert {wing_of(name) for name in found} == {"", COMMON, wing}
    assert HEAVY & found <= heavy


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
    # openssl and configobj are waited for only when there is something to do
    assert HEAVY & found <= {"ctypes"}
