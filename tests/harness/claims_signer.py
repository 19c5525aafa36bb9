"""Rows of “make mutants”: what is claimed of a signer that many hosts use at once."""

from .claims import row

SOCKET, MANY = "unit/test_signer_socket.py", "unit/test_signer_fleet.py"
WORKERS, INHERITED = "unit/test_signer_workers.py", "unit/test_signer_inherited.py"

FLEET = (
    row("no process takes others' places", "signer/room.py",
        "(_greediest(self._processes, newcomer.process)", "(None",
        f"{SOCKET}::test_one_peer_does_not_take_the_places_of_others"),
    row("no user takes others' places", "signer/room.py",
        "or _greediest(self._users, newcomer.process[0]))",
        "or None)", f"{SOCKET}::test_one_user_does_not_take_the_places_of_others"),
    row("processes take turns", "signer/turns.py",
        "            self._owners.append(owner)\n        else:",
        "            self._owners.appendleft(owner)\n        else:",
        f"{MANY}::test_turns", "::test_many_connections_have_one_share"),
    row("who comes waits for room", "signer/server.py", "                self._door = conn",
        "                conn.closed = True", f"{SOCKET}::test_a_newcomer_waits_for_room"),
    row("who takes no answer is asked nothing", "signer/server.py",
        "            self._due[conn] = time.monotonic() + SEND_TIME", "            pass",
        f"{MANY}::test_one_that_takes_no_answer"),
    row("what waits is bounded", "signer/server.py", "if self._held > MAX_HELD:", "if False:",
        f"{MANY}::test_lines_that_take_too_much_room"),
    row("it ends with who signs for it", "signer/workers.py", '        raise Died("has ended")',
        '        return b"-"', f"{WORKERS}::test_the_signer_ends_with_one_of_them"),
    row("… they are confined", "signer/workers.py", "        confine()", "        pass",
        f"{WORKERS}::test_what_a_process_that_signs_has"),
    row("… and have one descriptor", "signer/workers.py",
        "                sock.close()", "                pass",
        f"{WORKERS}::test_what_a_process_that_signs_has"),
    row("… and end with it only", "signer/workers.py",
        "            signal.signal(number, signal.SIG_IGN)",
        "            signal.signal(number, signal.SIG_DFL)\n"
        "        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)",
        f"{WORKERS}::test_they_end_with_the_signer"),
    row("… and are believed what was asked for only", "signer/workers.py",
        "        if not self.jobs:", "        if False:",
        f"{WORKERS}::test_answers_that_nobody_asked_for"),
    row("sockets that are for this process", "common/environment.py",
        'if name in _SOCKETS and os.environ.get("LISTEN_PID") != str(os.getpid()):', "if False:",
        f"{INHERITED}::test_sockets_for_another_process"),
    row("… and not for those that sign", "signer/main.py",
        "        for listener in listeners:\n            listener.close()\n        _confine",
        "        _confine", f"{INHERITED}::test_processes_that_sign_have_none_of_them"),
)
