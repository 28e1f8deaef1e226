"""Clients that hold connections open: `clients.py KIND COUNT PORT`, until standard input ends.

    idle     one call each, then nothing
    half     half of a head, then nothing
    sender   the body of a call, a byte a second
    reader   a large reply, a byte a second

Prints `ready` once all are connected.
"""

import select
import socket
import sys

kind, count, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
REPLY_BYTES = 256 << 10

HEADS = {
    "idle": b"GET /call/warm HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "half": b"GET /call/warm HTTP/1.1\r\nhost:",
    "sender": b"POST /call/warm HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n",
    "reader": b"POST /call/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % REPLY_BYTES,
}


def connect():
    client = socket.socket()
    if kind == "reader":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(HEADS[kind])
    if kind == "reader":
        client.sendall(b"x" * REPLY_BYTES)
    if kind in ("idle", "reader"):
        # The answer has begun, so the call is over.
        assert client.recv(1 if kind == "reader" else 4096)
    return client


clients = [connect() for _ in range(count)]
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 1.0)[0]:
    for client in clients:
        if kind == "sender":
            client.send(b"x")
        elif kind == "reader":
            client.recv(1)
