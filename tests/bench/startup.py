"""What each of our programs imports before it looks at its arguments: milliseconds."""

import statistics
import subprocess
from typing import Any

from harness.run import ENVIRONMENT, Prefix
from harness.sid import say

PROGRAMS = {"master": "master", "signer": "signer", "client": "client", "web server": "webserver"}

_IMPORT = """
import sys, time
sys.path[:0] = [sys.argv[1]]
sys.path.append("/usr/lib/python3/dist-packages")
start = time.perf_counter()
__import__(f"letsencrypt_tiny.{sys.argv[2]}.main")
print(time.perf_counter() - start)
"""


def imports(prefix: Prefix, repeat: int) -> list[dict[str, Any]]:
    """Return the median and the least of ``repeat`` starts of each program, in seconds."""
    rows: list[dict[str, Any]] = []
    for name, wing in PROGRAMS.items():
        found = []
        for number in range(repeat + 1):   # the first warms up
            done = subprocess.run(["/usr/bin/python3", "-IS", "-c", _IMPORT,
                                   str(prefix.package.parent), wing], capture_output=True,
                                  text=True, env=ENVIRONMENT, check=True)
            if number:
                found.append(float(done.stdout))
        rows.append({"program": name, "median": statistics.median(found), "least": min(found)})
        say(f"{name}: {1000 * rows[-1]['median']:.1f} ms of imports")
    return rows
