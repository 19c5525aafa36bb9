"""Everything that reads what others wrote, guided by what the input reaches (atheris).

    PYTHONPATH=.. python3 -m fuzz.guided [--runs=N] [--seconds=N] [--targets=A,B] [--keep]

Each reader of ``readers.py`` in a process of its own, for so many inputs (default 20,000) or
seconds; a crash, an input that takes more than a second, or memory beyond its limit ends with
status 1, and the input is left in build/fuzz/.  What has reached something new is kept in
build/fuzz/NAME/ for the next time; what once did harm is in corpus/NAME/, and with --keep some of
what has reached something new in reached/NAME, in the tree.
atheris comes from PyPI, into build/; where it can't be had that is said, and the status is 0.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness import pypi
from harness.run import ROOT

MEMORY = 256      # MB, of which atheris and Python take some 60
LONGEST = 1       # seconds for one input, of its own: others may be at work here
HANGS = 60        # seconds, whoever else is
OUT = ROOT / "build/fuzz"


def main() -> int:
    """Run them all, one after the other; return the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz whatever reads what others wrote.")
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--targets", default="")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.one:
        return _one(options.one, rest)
    try:
        # whose Python finds Debian's modules, too, and none that servers have brought
        python = pypi.installed("atheris", "atheris")
    except pypi.Unavailable as exc:
        print(f"not guided by what is reached, as there is no atheris: {exc}")
        return 0
    from fuzz.readers import corpus, folder, keep, readers
    found, failed = readers(), 0
    chosen = options.targets.split(",") if options.targets else list(found)
    if unknown := set(chosen) - set(found):
        parser.error(f"no reader “{min(unknown)}”: there are {', '.join(found)}")
    for name in chosen:
        failed += _run(python, name, [*found[name].seeds, *corpus(name)], options.runs,
                       options.seconds)
        if options.keep:
            keep(name, [path.read_bytes() for path in (OUT / folder(name)).iterdir()
                        if not path.name.startswith("seed")])
    print(f"{len(chosen)} readers, {failed} failed")
    return 1 if failed else 0


def _run(python: Path, name: str, seeds: Sequence[bytes], runs: int, seconds: int) -> bool:
    """Fuzz one; True if that found something."""
    from fuzz.readers import folder
    room = OUT / folder(name)
    room.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (room / f"seed{number}").write_bytes(seed)
    # It ends without Python's own end, which would remove its files
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        done = subprocess.run(
            [python, "-B", "-m", "fuzz.guided", f"--one={name}", f"-runs={runs}",
             f"-max_total_time={seconds}", f"-timeout={HANGS}", f"-rss_limit_mb={MEMORY}",
             f"-artifact_prefix={room}-", "-max_len=8192", "-print_final_stats=1", room],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            check=False, env={
                **os.environ, "TMPDIR": temporary,
                "PYTHONPATH": f"{ROOT}:{ROOT}/tests:/usr/lib/python3/dist-packages"})
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)", done.stdout, re.M))
    print(f"{name}: {stats.get('number_of_executed_units', '?')} inputs, "
          f"{len(list(room.iterdir()))} kept, {stats.get('peak_rss_mb', '?')} MB"
          + (": FAILED" if done.returncode else ""), flush=True)
    if done.returncode:
        print(done.stdout[-3000:])
    return done.returncode != 0


def _one(name: str, arguments: "list[str]") -> int:
    """In a process of its own, by atheris's Python."""
    import atheris
    with atheris.instrument_imports(include=["letsencrypt_tiny"]):
        from fuzz import readers as table
    reader = table.readers()[name]

    def test(data: bytes) -> None:
        begin = time.process_time()
        try:
            reader.read(data)
        except reader.error:
            pass
        if time.process_time() - begin > LONGEST:
            raise AssertionError(f"{LONGEST} s for one input")
    atheris.Setup([sys.argv[0], *arguments], test)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
