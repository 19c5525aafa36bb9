"""What integration tests stand on: real ACME servers, a hostile one, and eyes on ``/proc``.

=================  ============================================================
``netns``          a private network namespace for the whole test run
``net``            free ports, a listener that must not be reached
``daemon``         starts a server and never leaves it behind
``names``          a name server (pebble-challtestsrv)
``ca``             a throw-away certification authority, by openssl
``pebble``         Let's Encrypt's test server
``caddy``          Smallstep's ACME server, a second opinion on RFC 8555
``hostile``        an ACME server that says whatever a test wants
``misbehaviour``   ready-made things for it to say
``client``         the ACME client alone, as the master runs it, or without a socket
``threats``        the table of what it says, and what is then expected
``run``            the installed programs, in a prefix and configuration of their own
``lacme``          Debian's lacme, to hold the two against each other
``accountd``       our account key manager, its keys, and a client that sends it any lines
``policies``       a policy, and requests, CSRs and certificates to judge by it
``acme``           an ACME client that sends what it likes
``frontends``      nginx, apache2 and haproxy with the snippets that we ship
``sshd``           OpenSSH on loopback, for account keys on other machines
``judge``          what is expected of a run, and what openssl says of its files
``verdict``        what must hold after any run: clear errors, files as they were
``standins``       a signer, a client, a web server that do as they are told
``words``          what they may be told
``actor``          the program that each of them is
``machine``        a host of stand-ins, for tests of the master alone
``talk``           the master's conversations with them, in the test's own process
``parent``         who starts children, and ends them
``infiltrate``     a run with ``redteam`` in place of one of the children
``redteam``        a compromised child that tries everything
``proc``           what a running process really is: /proc, strace
=================  ============================================================

The fixtures are in ``tests/conftest.py``.
"""
