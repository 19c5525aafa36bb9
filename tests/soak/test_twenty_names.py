"""How long 20 names over three zones and two types take, beside one name: at most half as long
again.  That nothing waits for anything else is shown in tests/integration/test_dns.py, without a
clock."""

import tempfile
import time
from pathlib import Path

from harness import run
from harness.bind import PRIMARY, RESOLVER, SIGNED, Bind, with_resolver
from harness.pebble import Pebble
from harness.run import Site

THREE = ("a.example", "b.example", SIGNED)
TIMES = 3    # measured, the shortest counts


def test_twenty_names(site: Site) -> None:
    zones = {zone: "*.web 60 IN A 127.0.0.1" for zone in THREE}
    with tempfile.TemporaryDirectory(prefix="bind-", dir=run.PARENT) as directory, \
            Bind(Path(directory, "b"), zones) as bind, \
            Pebble(nosleep=True, authzreuse=0, noncereject=0,
                   dns_server=f"{RESOLVER}:53") as pebble:
        site.open_account(pebble)
        site.main |= {f"dns {zone}": {
            "server": PRIMARY, "key-file": str(bind.key_file), "nameservers": PRIMARY}
            for zone in THREE}
        site.certificate("one", ["b.example"], challenge="dns-01")
        site.certificate("dns", [f"{number}.{zone}" for number in range(5) for zone in THREE][:14],
                         challenge="dns-01")
        site.certificate("web", [f"{number}.web.b.example" for number in range(6)],
                         challenge="http-01")
        took: dict[str, list[float]] = {"one": [], "dns web": []}
        for _ in range(TIMES):
            for sections, seconds in took.items():
                began = time.monotonic()
                done = run.run(with_resolver(bind.resolv_conf, site.command(
                    "--force", "newOrder", *sections.split())))
                seconds.append(time.monotonic() - began)
                assert done.returncode == 0, done.stderr
        one, twenty = (min(seconds) for seconds in took.values())
        print(f"one name: {one:.2f} s, twenty: {twenty:.2f} s")
        assert twenty <= 1.5 * one, took
