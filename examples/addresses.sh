# Sourced by the scripts beside it: which addresses the tunnel has.
#
# Both sides must agree without asking each other.  The network, 10.X.Y.0/30, comes from the two
# certificates' fingerprints, so that a pair of machines always gets the same one; the acceptor is .1 and
# the inviter .2.  TUNNEL_LOCAL and TUNNEL_PEER override them.  They are then to be set on both sides.

: "${HOLEPUNCH_ROLE:?run me with holepunch --exec}"

number=$(printf '%s\n' "${HOLEPUNCH_FINGERPRINT:-}" "${HOLEPUNCH_PEER_FINGERPRINT:-}" | sort | cksum | cut -d ' ' -f 1)
network=10.$((number / 256 % 256)).$((number % 256))
if [ "$HOLEPUNCH_ROLE" = accept ]; then
    tunnel_local=${TUNNEL_LOCAL:-$network.1} tunnel_peer=${TUNNEL_PEER:-$network.2}
else
    tunnel_local=${TUNNEL_LOCAL:-$network.2} tunnel_peer=${TUNNEL_PEER:-$network.1}
fi
echo "tunnel: here $tunnel_local, ${HOLEPUNCH_PEER_NAME:-the peer} $tunnel_peer" >&2
