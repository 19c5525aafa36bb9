#!/bin/sh
# Push a certificate and its key to other hosts, where receive-certificate.sh takes them:
#   notify = /usr/local/sbin/push-certificate.sh /var/lib/letsencrypt-tiny/certs/NAME HOST …
# Each host is tried; if one of them fails, the next run of letsencrypt-tiny pushes again.
# root's ssh(1) has to know the hosts and have the key for them (~root/.ssh/config).
set -eu
cd -P -- "$1" && shift    # one version of both files, whatever happens meanwhile
status=0
for host; do
    # shellcheck disable=SC2086  # words
    cat privkey.pem fullchain.pem |
        ${SSH:-ssh} -T -o BatchMode=yes -o ConnectTimeout=20 -- "$host" receive-certificate || {
            echo "push-certificate: $host has not taken $PWD" >&2
            status=1
        }
done
exit $status
