#!/bin/sh
# OpenVPN over a punched path, with nothing to configure:
#
#     remote#  holepunch --accept --exec ./openvpn.sh
#     local#   holepunch --peer remote --exec ./openvpn.sh
#
# Each side has a certificate in its holepunch home, and knows the other's fingerprint from the sealed
# offer: there is no authority and no file to copy.  Needs root and OpenVPN 2.6.
# Arguments: innerip innerport outerip outerport peerip peerport
set -eu
. "$(dirname "$0")/addresses.sh"
inner_ip=$1 inner_port=$2 peer_ip=$5 peer_port=$6

case $inner_ip in *:*) family=udp6 ;; *) family=udp4 ;; esac
if [ "$HOLEPUNCH_ROLE" = accept ]; then side="--tls-server --dh none"; else side=--tls-client; fi
# A path that has died does not come back by itself: end then, and be started anew.  With --proxy it is
# healed under us, so go on, and shake hands again where that took long.
if [ "${HOLEPUNCH_MODE:-}" = proxy ]; then dead=; else dead="--remap-usr1 SIGTERM"; fi

# $side and $dead are several words each.
# shellcheck disable=SC2086
exec openvpn --dev tun --proto $family --local "$inner_ip" --lport "$inner_port" --remote "$peer_ip" "$peer_port" \
    --ifconfig "$tunnel_local" "$tunnel_peer" --topology p2p --persist-tun \
    --ping 5 --ping-restart 60 $dead --explicit-exit-notify 1 \
    $side --cert "$HOLEPUNCH_CERT" --key "$HOLEPUNCH_KEY" --peer-fingerprint "$HOLEPUNCH_PEER_FINGERPRINT" \
    --tls-version-min 1.3 --data-ciphers AES-256-GCM:CHACHA20-POLY1305 --auth-nocache --verb "${OPENVPN_VERB:-1}"
