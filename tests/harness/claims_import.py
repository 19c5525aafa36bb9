"""Rows of “make mutants”: what is claimed of files that other clients have left."""

from .claims import row

IMPORT, TAKING = "integration/test_import.py", "unit/test_signer_taking.py"
SHELL, READERS = "unit/test_importing_shell.py", "unit/test_importing.py"

IMPORTED = (
    row("another client's account key never replaces ours", "signer/taking.py",
        "if os.path.lexists(place.where):", "if False:", f"{TAKING}::test_again_and_another"),
    row("… nor is anything written on trial", "signer/taking.py", "            if not dry_run:",
        "            if True:", f"{TAKING}::test_again_and_another"),
    row("the master doesn't read it", "master/commands/importing/accounts.py",
        "os.sendfile(copy, descriptor, 0, MAX_KEY)",
        "os.write(copy, os.read(descriptor, MAX_KEY))",
        f"{IMPORT}::test_nobody_reads_the_account_key_but_its_manager"),
    row("shell is read as far as it is assignments", "master/commands/importing/assignments.py",
        "    if not _END.match(rest):", "    if False:",
        f"{SHELL}::test_what_is_more_than_an_assignment"),
    row("… and not where it may not be executed", "master/commands/importing/assignments.py",
        "                if opens(line):", "                if False:",
        f"{SHELL}::test_what_may_go_on_in_the_next_line"),
    row("of others' files plain ones only are opened", "master/commands/importing/reading.py",
        "trusted.open_file(path, anybody=True)", "os.open(path, os.O_RDONLY | os.O_NONBLOCK)",
        f"{READERS}::test_a_link_of_others"),
    row("… up to a size", "master/commands/importing/reading.py", "    if len(found) > limit:",
        "    if False:", f"{IMPORT}::test_what_is_not_believed"),
    row("nothing but one line gets into a setting", "master/commands/importing/sections.py",
        "        if not value.isprintable():", "        if False:",
        f"{IMPORT}::test_nothing_is_smuggled_in"),
    row("a key that is there stays", "master/commands/importing/pairs.py", "        if not same:",
        "        if False:", f"{IMPORT}::test_what_is_there_stays"),
)
