"""The harness's ports."""

import subprocess

from harness import net


def test_two_runs_have_not_one_port() -> None:
    port = net.free_port()
    chosen = subprocess.run(
        ["/usr/bin/python3", "-c", f"from harness import net; print(net._is_free({port}))"],
        cwd=net.__file__.rpartition("/harness/")[0], capture_output=True, text=True, check=True)
    assert chosen.stdout == "False\n"
