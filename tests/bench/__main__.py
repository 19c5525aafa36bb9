"""Usage: cd tests && python3 -B -m bench [OPTION …], as root

  --quick          small numbers: to see whether it works, not to quote
  --peers=A,B      these peers only (of lacme, acme-tiny, dehydrated, certbot, lego, uacme);
                   "none" for none.  Default: all that are installed, certbot in a root directory
                   of its own
  --counts=1,10,50 certificates in a run
  --parts=A,B      of issuance, names, memory, far, scan, signer, fleet, web, startup, confine
  --limit=SECONDS  a run that would take longer is extrapolated (default 300)
  --out=DIR        for bench.md, bench.json, bench.svg (default build/bench)
  --against=DIR    compare this tree with another checkout, nothing else: each figure of ours
                   measured alternately from both, each installed by its own "make install".
                   Parts are then startup, issuance, scan, signer, memory; into against.md,
                   against.json.  Exit status 1 if a figure is worse by more than 3 %
  --runs=N         … in so many pairs, rather than as many as suit each figure

Progress goes to standard error, the tables to standard output.
"""

import argparse
import datetime
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from harness import sid
from harness.run import Prefix, Users
from harness.sid import say

from . import against, chroot, far, fleet, ground, plot, scan, signer, startup, table, web
from .issuance import Bench
from .peers import PEERS

PARTS = ("issuance", "names", "memory", "far", "scan", "signer", "fleet", "web", "startup",
         "confine")
FEWEST_OPEN = 8192    # files that we may have open: a thousand hosts, as many idle connections


def main() -> int:
    """Run the benchmark; return the exit status, 0 also where a target is missed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # tidy up
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FEWEST_OPEN, hard), hard))
    if options.against is not None:
        return _against(options)
    quick = options.quick
    counts = options.counts or ([1, 5] if quick else [1, 10, 50])
    ours = counts if quick or options.counts else [*counts, 100, 200]
    repeat = 1 if quick else 3
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "quick": quick, "retry after": ground.RETRY_AFTER,
        "machine": {**ground.machine(), "speed": signer.yardstick()}}
    pebble = sid.newest("pebble")  # while there is a network
    if options.peers is None or "lego" in options.peers:
        sid.newest("lego")
    if (options.peers is None or "certbot" in options.peers) and "issuance" in options.parts:
        chroot.certbot()
    results["machine"]["pebble"] = sid.version("pebble", pebble)
    ground.leave_the_machine()
    with Users(), ground.pebble(pebble) as server, ground.trusted(server):
        prefix = Prefix()
        try:
            with Bench(server, prefix, options.limit) as bench:
                if "issuance" in options.parts:
                    bench.ours(ours, repeat)
                    results["account keys"] = bench.by_account_key(max(ours))
                    bench.peers(options.peers, counts, repeat)
                if "names" in options.parts:
                    bench.many_names(10 if quick else 100, repeat)
                if "memory" in options.parts:
                    for count in ([20] if quick else [50, 500, 3000]):
                        bench.memory(count)
                results["issuance"] = [sample._asdict() for sample in bench.samples]
                results["programs"] = [fact._asdict() for fact in bench.facts]
                results["memory"] = bench.peaks
            if "far" in options.parts:
                results["far"] = far.measure(pebble, prefix, options.peers, options.limit,
                                             1 if quick else 7)
            if "scan" in options.parts:
                sizes = [100, 1000] if quick else [1000, 10000, 100000]
                results["scan"] = scan.measure(server, prefix, sizes, repeat, options.peers)
            _without_server(prefix, options, results)
        finally:
            prefix.remove()
    _write(options.out, results)
    return 0


def _without_server(prefix: Prefix, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """The parts that need no ACME server."""
    quick = options.quick
    if "signer" in options.parts:
        results["signer"] = signer.throughput(prefix, 0.5 if quick else 2.0)
        results["growth"] = signer.growth(prefix, 500 if quick else 20000)
    if "fleet" in options.parts:
        results["fleet"] = fleet.measure(prefix, 100 if quick else fleet.HOSTS)
    if "web" in options.parts:
        results["web"] = web.throughput(prefix, 0.5 if quick else 2.0, 1 if quick else 5)
    if "startup" in options.parts:
        results["startup"] = startup.imports(prefix, 3 if quick else 21)
    if "confine" in options.parts:
        results["confine"] = signer.confinement(prefix, 3 if quick else 11)


def _against(options: argparse.Namespace) -> int:
    machine = {**ground.machine(), "speed": signer.yardstick()}
    pebble = sid.newest("pebble")
    ground.leave_the_machine()
    with Users(), ground.pebble(pebble) as server, ground.trusted(server):
        figures = against.compare(options.against, server, options.parts, options.runs,
                                  options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    text = (", ".join(f"{name} {value}" for name, value in machine.items()) + "\n\n"
            + table.table(against.HEAD, against.rows(figures), against.ALIGN) + "\n")
    (options.out / "against.md").write_text(text)
    (options.out / "against.json").write_text(json.dumps(
        [figure._asdict() for figure in figures], indent=1) + "\n")
    print(text)
    return int(any("worse" in figure.verdict for figure in figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m bench", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peers", type=_words, help=argparse.SUPPRESS)
    parser.add_argument("--counts", type=_numbers, help=argparse.SUPPRESS)
    parser.add_argument("--parts", type=_words, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=300.0, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ground.OUT, help=argparse.SUPPRESS)
    parser.add_argument("--against", type=_tree, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = PARTS if options.against is None else against.PARTS
    options.parts = options.parts or parts
    unknown = set(options.parts) - set(parts)
    if unknown:
        parser.error(f"--parts: {', '.join(sorted(unknown))}? There are {', '.join(parts)}")
    unknown = set(options.peers or ()) - {peer.package for peer in PEERS} - {"none"}
    if unknown:
        parser.error(f"--peers: {', '.join(sorted(unknown))}? See --help")
    return options


def _tree(text: str) -> Path:
    if not Path(text, "Makefile").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no checkout of this project")
    return Path(text)


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return sorted({int(word) for word in text.split(",")})


def _write(out: Path, results: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    text = table.tables(results)
    (out / "bench.md").write_text(text)
    if results["issuance"]:
        (out / "bench.svg").write_text(plot.svg(results))
    print(text)
    say(f"written: {', '.join(str(path) for path in sorted(out.glob('bench.*')))}")


if __name__ == "__main__":
    sys.exit(main())
