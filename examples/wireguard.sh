#!/bin/sh
# WireGuard over a punched path, with nothing to configure:
#
#     remote#  holepunch --accept --exec ./wireguard.sh
#     local#   holepunch --peer remote --exec ./wireguard.sh
#
# Both key pairs and the pre-shared key come from the session's secret, which only these two machines have
# and which is new each time.  Needs root, wireguard-go, wg, openssl and ip.
# Arguments: innerip innerport outerip outerport peerip peerport
set -eu
. "$(dirname "$0")/addresses.sh"
inner_port=$2 peer_ip=$5 peer_port=$6
device=hp$(printf %.8s "$HOLEPUNCH_SESSION")$(printf %.1s "$HOLEPUNCH_ROLE")
case $peer_ip in *:*) endpoint=[$peer_ip]:$peer_port ;; *) endpoint=$peer_ip:$peer_port ;; esac

# printf is a builtin and keys go through pipes: no key is ever in an argument list.
key() { printf 'wireguard %s %s' "$1" "$HOLEPUNCH_SECRET" | openssl dgst -sha256 -binary | openssl base64; }
if [ "$HOLEPUNCH_ROLE" = accept ]; then ours=accept theirs=connect; else ours=connect theirs=accept; fi

wireguard-go -f "$device" &
daemon=$!
# wireguard-go removes its device when it ends.
trap 'kill "$daemon" 2>/dev/null' EXIT
trap 'exit 143' TERM INT HUP
await() { until "$@" 2>/dev/null; do kill -0 "$daemon" 2>/dev/null || exit 1; sleep 0.05; done; }
await wg show "$device" >/dev/null

wg setconf "$device" /dev/stdin <<CONFIGURATION
[Interface]
PrivateKey = $(key "$ours")
ListenPort = $inner_port
[Peer]
PublicKey = $(key "$theirs" | wg pubkey)
PresharedKey = $(key psk)
Endpoint = $endpoint
AllowedIPs = $tunnel_peer/32
CONFIGURATION
ip address add "$tunnel_local" peer "$tunnel_peer" dev "$device"
ip link set "$device" mtu "${TUNNEL_MTU:-1380}" up

# The inviter begins: two handshakes that cross are lost, and tried again only after 5 s.  Then both keep
# their NATs' mappings alive.
shaken() { [ "$(wg show "$device" latest-handshakes | cut -f 2)" != 0 ]; }
[ "$HOLEPUNCH_ROLE" = connect ] || await shaken
wg set "$device" peer "$(key "$theirs" | wg pubkey)" persistent-keepalive 15
wait "$daemon"
