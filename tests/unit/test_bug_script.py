"""What reportbug(1) adds to a report, which anybody can read."""

import subprocess
from pathlib import Path

from harness.run import ENVIRONMENT, ROOT

SCRIPT = ROOT / "debian/letsencrypt-tiny.bug-script"
FILES = {
    "letsencrypt-tiny.conf": """\
config-certs = SECRET/certs
[client]
server = https://SECRET.example/SECRET
eab-kid = SECRET
timeout = 30   # SECRET
jobs = 4
proxy = http://me:SECRET@proxy.example
[ca SECRET]
key-type = ec:P-256
""",
    "letsencrypt-tiny.conf.d/SECRET.conf": "ari = no\n[dns]\ncredentials = SECRET\n",
    "certs.conf.d/SECRET.example.conf": """\
# SECRET
[SECRET.example]
names = SECRET.example
challenge = dns-01
notify = curl -H 'Authorization: SECRET' https://SECRET
update = '''SECRET
  timeout = x'SECRET'
jobs = SECRET/SECRET'''
min-days=21
password=SECRET
""",
    "accountd.conf": "privkey = file:SECRET\n[eab SECRET]\nkey = SECRET\nalgorithm = HS256\n"
                     "[policy SECRET]\nidentifiers = SECRET\nrequests-per-hour = 9\n",
    "nginx-mine.conf": "SECRET"}


def test_nothing_of_whose_machine_it_is(tmp_path: Path) -> None:
    """But what helps."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    done = subprocess.run(["/bin/sh", str(SCRIPT), str(tmp_path), str(tmp_path / "none")],
                          env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "SECRET" not in done.stdout + done.stderr and done.stderr == ""
    said = done.stdout.split("\n")
    assert {"[client]", "server = …", "jobs = 4", "timeout = …", "[…]", "key-type = ec:P-256",
            "ari = no", "credentials = …", "challenge = dns-01", "notify = …", "names = …",
            "min-days =21", "password = …", "key = …", "requests-per-hour = 9"} <= set(said)
    assert any(line.startswith("kernel ") for line in said)
    assert said.count(f"-- {tmp_path}/certs.conf.d/….conf:") == 1
