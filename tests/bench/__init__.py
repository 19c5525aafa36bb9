"""A clock for letsencrypt-tiny and its peers: all in one run, against the same Pebble.

=============  ================================================================
``__main__``   the options, the order of the parts, what is written
``ground``     the newest Pebble, counters of connections and requests, a web root
``measure``    a command: wall clock, CPU of the whole tree, peak memory
``peers``      how each program is set up and started for a list of names
``chroot``     a root directory for certbot, whose timer this machine is spared
``verify``     whether what a program obtained is a certificate of those names
``issuance``   certificates: 1, 10, 50 … of one name, one of many names, 500 orders
``far``        the same where each answer is long on its way
``scan``       nothing due: what the daily run costs then
``signer``     signatures per second; what confinement costs a process
``fleet``      a thousand hosts and one signer
``web``        the challenge web server beside nginx
``startup``    what each program imports
``against``    two trees of this project, measured alternately
``targets``    what is to be reached
``table``      the results as text
``plot``       the wall clock over the number of certificates, as SVG
=============  ================================================================

``make bench`` runs it; BENCHMARKS.md keeps the last full table.
"""
