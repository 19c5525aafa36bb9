#!/bin/sh
# An interface of acme.sh's:  update = command /PATH/dns-acme.sh /PATH/acme.sh dns_NAME
sh=$1 api=$2 verb=$3 name=$4 value=$5; set --
. "$sh" >/dev/null && . "${sh%/*}/dnsapi/$api.sh" || exit
case $verb in add) "${api}_add" "$name" "$value" ;; remove) "${api}_rm" "$name" "$value" ;; esac
