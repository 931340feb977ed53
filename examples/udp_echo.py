#!/usr/bin/env python3
"""The smallest command: talks UDP on the path it is given.

remote$  holepunch --accept --exec ./udp_echo.py
local$   holepunch --peer remote --exec ./udp_echo.py

The acceptor sends everything back; the inviter sends five datagrams and says how long each took.
Nothing here is encrypted: a command brings its own (see openvpn.sh), or uses HOLEPUNCH_SECRET.
"""

import os
import socket
import sys
import time

inner_ip, inner_port, _, _, peer_ip, peer_port = sys.argv[1:7]
peer = (peer_ip, int(peer_port))

sock = socket.socket(socket.AF_INET6 if ":" in inner_ip else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((inner_ip, int(inner_port)))

data = b""
if os.environ["HOLEPUNCH_ROLE"] == "accept":
    sock.settimeout(15)  # the good-bye may be lost
    try:
        while data != b"bye":
            data, source = sock.recvfrom(65535)
            if source[:2] == peer:  # anybody may send to an open port
                sock.sendto(data, source)
    except TimeoutError:
        pass
    sys.exit()

answers = 0
sock.settimeout(1)
for number in range(5):
    start = time.monotonic()
    sock.sendto(b"ping %d" % number, peer)
    try:
        while sock.recvfrom(65535)[0] != b"ping %d" % number:
            pass  # late, or not ours
        answers += 1
        print(f"{os.environ['HOLEPUNCH_PEER_NAME']} answered in {(time.monotonic() - start) * 1000:.1f} ms")
    except OSError:  # a timeout, or the peer's command is not up yet
        print(f"no answer to ping {number}")
sock.sendto(b"bye", peer)
sys.exit(0 if answers else 1)
