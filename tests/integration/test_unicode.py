"""Names in Unicode, from the configuration to the certificate, and back in what is told."""

import json

from harness import judge
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import Site
from test_renewal import tidy

ASCII, UNICODE = "xn--bcher-kva.example", "bücher.example"


def test_from_the_configuration_to_the_certificate(site: Site, pebble: Pebble) -> None:
    """names, CN and subjectAltName."""
    site.open_account(pebble)
    site.certificate("a", ["BÜCHER.example"], subject=f"/CN=www.{UNICODE}",
                     subjectAltName=f"DNS:日本語.example, DNS:{ASCII}")
    expect(site.run("newOrder"), 0, f"a: {NEW}",
           r"a: generating the private key \S+ \(ec:P-256\)", f"a: {INSTALLED}")
    assert judge.names(site.file("a")) == {ASCII, f"www.{ASCII}", "xn--wgv71a119e.example"}
    shown = site.run("status").stdout
    assert f"www.{UNICODE} (www.{ASCII}) {UNICODE} ({ASCII}) 日本語.example" in shown
    row, = json.loads(site.run("status", "--json").stdout)["sections"]
    assert set(row["names"]) == judge.names(site.file("a"))
    tidy(site)


def test_a_failure_names_it_in_both_forms(site: Site, pebble: Pebble) -> None:
    site.open_account(pebble)
    site.main["webserver"]["listen"] = "127.0.0.1:1"   # where nobody looks
    site.certificate("a", [UNICODE])
    done = site.run("newOrder")
    assert done.returncode == 1 and f"error: a: {UNICODE} ({ASCII}): " in done.stderr, done.stderr
