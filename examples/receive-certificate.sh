#!/bin/sh
# Take a certificate and its key from push-certificate.sh on another host, which can do nothing
# else here; in ~root/.ssh/authorized_keys, on one line:
#   restrict,command="/usr/local/sbin/receive-certificate.sh /etc/ssl/NAME systemctl reload nginx" …
# /etc/ssl/NAME/privkey.pem and fullchain.pem change at one moment, because /etc/ssl/NAME is a
# link, which is replaced; then the command runs.  Nobody but root can ever read the key.  What is
# no certificate with its key, or has been there already, changes nothing.
set -eu
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
directory=$1; shift

die() { echo "receive-certificate: $*" >&2; exit 1; }

finish() {  # run the command; one that fails is run again with the next push
    [ $# -eq 0 ] || "$@" 9>&- || die "it is in place, but “$*” failed"
    rm -f -- "$directory.due"
    exit 0
}

[ -L "$directory" ] || [ ! -e "$directory" ] || die "$directory is there and no link: move it away"
exec 9>"$directory.lock"
flock 9
old=$(readlink -- "$directory" || true)
for left in "$directory".new-*; do    # of one that was killed
    [ ! -d "$left" ] || [ "${left##*/}" = "$old" ] || rm -rf -- "$left"
done
new=$(mktemp -d -- "$directory.new-XXXXXXXXXX")
trap 'rm -rf -- "$new"' EXIT

head -c 262145 >"$new/all"
[ "$(wc -c <"$new/all")" -le 262144 ] || die "more than 256 KiB"
openssl pkey -in "$new/all" -out "$new/privkey.pem" -passin pass: 2>/dev/null || die "no private key"
sed -n '/^-----BEGIN CERTIFICATE-----$/,/^-----END CERTIFICATE-----$/p' "$new/all" \
    >"$new/fullchain.pem"
openssl x509 -in "$new/fullchain.pem" -noout -pubkey >"$new/public" 2>/dev/null ||
    die "no certificate"
openssl pkey -in "$new/privkey.pem" -pubout | cmp -s - "$new/public" ||
    die "the certificate is for another key"
openssl x509 -in "$new/fullchain.pem" -noout -checkend 0 >/dev/null ||
    die "the certificate has expired"
rm "$new/all" "$new/public"

if [ -n "$old" ] && cmp -s "$new/fullchain.pem" "$directory/fullchain.pem" &&
        cmp -s "$new/privkey.pem" "$directory/privkey.pem"; then
    [ -e "$directory.due" ] || exit 0
    finish "$@"
fi
chmod 0644 "$new/fullchain.pem"
chmod 0755 "$new"
sync -- "$new/fullchain.pem" "$new/privkey.pem" "$new"
ln -s -- "${new##*/}" "$new/link"
: >"$directory.due"
mv -T -- "$new/link" "$directory"
trap - EXIT
case $old in "${directory##*/}".new-*) rm -rf -- "${directory%/*}/$old" ;; esac
finish "$@"
