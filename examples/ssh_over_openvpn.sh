#!/bin/sh
# A shell on the peer, or one command there, by ssh through the OpenVPN link of openvpn.sh:
#
#     remote#  holepunch --accept --exec ./openvpn.sh                            (and sshd, as ever)
#     local#   holepunch --peer remote --exec "./ssh_over_openvpn.sh root@{peer_name} uptime -p"
#
# Because of the placeholder no arguments are appended; the endpoints come from the environment.  The exit
# status is ssh's.  SSH_OPTIONS, split at spaces, are for ssh.
set -eu
here=$(dirname "$0")
. "$here/addresses.sh"
user=${1%@*} name=${1##*@}
shift

host() { bare=${1%:*} && bare=${bare#[} && echo "${bare%]}"; }
"$here/openvpn.sh" "$(host "$HOLEPUNCH_INNER")" "${HOLEPUNCH_INNER##*:}" - - \
    "$(host "$HOLEPUNCH_PEER")" "${HOLEPUNCH_PEER##*:}" >&2 &
tunnel=$!
trap 'kill "$tunnel" 2>/dev/null; wait "$tunnel" || :' EXIT
trap 'exit 143' TERM INT HUP

until ping -c 1 -W 1 "$tunnel_peer" >/dev/null 2>&1; do
    kill -0 "$tunnel" 2>/dev/null || exit 1
    sleep 0.1
done
# The host's key is remembered by the peer's name: its address in the tunnel says nothing.
# shellcheck disable=SC2086
ssh -o HostKeyAlias="$name" ${SSH_OPTIONS:-} "$user@$tunnel_peer" "$@"
