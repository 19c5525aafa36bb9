"""The master's command line: what is plain is read as argparse would."""

import random
import subprocess
from pathlib import Path

from letsencrypt_tiny.master.arguments import Arguments, parse, parser, plain

TREE = Path(__file__).resolve().parents[2]
WORDS = ["newOrder", "a.example", "", "-", "=", "a=b", "--", "-q", "-qq", "--quiet", "--debug",
         "--force", "--config=x", "--config=", "--config=a=b", "--config", "--ca=a", "--ca=b",
         "--contact=mailto:a@b", "--config-certs=c", "--min-days=7", "--min-days=-7",
         "--min-days=x", "--min-days= 7", "--min-days=٣", "--force=1", "--reason=4", "--json",
         "--new-key", "--new-ke", "--unknown", "-h", "-V", "--socket=s", "-x", "--tos-agreed"]


def given(arguments: Arguments) -> dict[str, object]:
    """What was given, and what holds otherwise."""
    names = {name for name in vars(Arguments) if not name.startswith("_")}
    return {name: getattr(arguments, name) for name in (*names, "words")}


def test_what_is_plain_means_what_it_means_to_argparse() -> None:
    chance, plainly = random.Random(5), 0
    for _ in range(3000):
        argv = chance.choices(WORDS, k=chance.randrange(6))
        found = plain(argv)
        if found is None:
            continue
        plainly += 1
        options, unknown = parser().parse_known_intermixed_args(argv)
        assert not unknown and vars(options) == given(found), argv
    assert plainly > 300


def test_every_option_is_known_to_both() -> None:
    for action in parser()._actions:
        for name in action.option_strings:
            if action.nargs == 0:
                assert (plain([name]) is not None) is (action.dest not in ("help", "version"))
            else:
                assert plain([f"{name}=1"]) is not None and plain([name, "1"]) is None


def test_what_is_not_plain_is_argparses() -> None:
    options, unknown = parse(["--config", "x", "newOrder", "--ca", "a", "--ca=b", "s"])
    assert (options.config, options.ca, options.words) == ("x", ["a", "b"], ["newOrder", "s"])
    assert unknown == [] and options.arguments == []
    assert parse(["newOrder", "--huh"])[1] == ["--huh"]


def test_a_plain_command_line_does_not_load_it() -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-B", "-c", "import sys\n"
         f"sys.path.insert(0, {str(TREE)!r})\n"
         "from letsencrypt_tiny.master.main import main\n"
         "main(['--config=/nonexistent', '-q', 'newOrder', 'a', '--force'])\n"
         "print('argparse' in sys.modules)"], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n" and "/nonexistent" in done.stderr
