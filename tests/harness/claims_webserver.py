"""Rows of “make mutants”: what the challenge web server answers, and whom."""

from .claims import REDTEAM, row

WEB, SERVER = "unit/test_webserver.py", "unit/test_webserver_server.py"

SERVED = (
    row("no link is a challenge", "webserver/challenges.py", "os.O_NOFOLLOW | ", "",
        f"{WEB}::test_unusual_files"),
    row("no large file is a challenge", "webserver/challenges.py",
        "return len(content) <= MAX_KEY_AUTHORIZATION", "return True",
        f"{WEB}::test_unusual_files"),
    row("key authorizations of our keys only", "webserver/challenges.py",
        "return content in [key_authorization(token, key) for key in self._thumbprints]",
        "return True", f"{WEB}::test_key_authorizations_of_other_accounts",
        f"{REDTEAM}::test_it_validates_no_account_of_its_own"),
    row("one path only", "webserver/http.py",
        "if not target.startswith(_PREFIX) or not is_token(token):", "if not is_token(token):",
        f"{WEB}::test_other_paths"),
    row("it can't list or write the directory", "master/responders/challenge_directory.py",
        "os.chmod(name, 0o710, dir_fd=parent)", "os.chmod(name, 0o770, dir_fd=parent)",
        f"{REDTEAM}::test_reach"),
    row("no wait is long", "common/serving.py",
        "timeout = PAUSE if due is None else min(due, PAUSE)",
        "timeout = 1e9 if due is None else due",
        f"{SERVER}::test_no_wait_is_long"),
    row("no peer takes others' places", "common/serving.py",
        "if self.places[conn.peer] == most and conn is not newcomer)",
        "if conn is not newcomer)", f"{SERVER}::test_who_makes_room"),
    row("no ambiguous Host", "webserver/http.py", "return host_needed <= hosts <= 1",
        "return True", f"{WEB}::test_host"),
    row("no misspelt field", "webserver/http.py",
        "if not (colon and name) or name.translate(None, _TOKEN):", "if False:",
        f"{WEB}::test_host"),
)
