"""Hostile clients of the edge on loopback: `attackers.py ATTACK PORT`, until standard input ends.

    windows     HTTP/2 with windows of 0: 120 answers of 8 MiB each, and PING
    readers     HTTP/1.1 that asks for 8 MiB and reads a byte a second
    ping        HTTP/2 connections that do nothing but PING
    bodies      64 MiB for functions that don't exist
    payloads    payloads that come a byte a second, in many streams
    uploads     deploys that come a byte a second
    starts      deploys whose start function never ends, with a day's time
    fields      deploys with two million limits, or a number of 300,000 digits
    lists       lists of a function with 100,000 imports
    hosts       requests without a host, with two, and for others
    burn:X      no attack: computes for X of its time, for comparison

Prints `ready` once all have begun. An attacker that is refused or cut begins again.
"""

import os
import select
import socket
import struct
import sys
import threading
import time

attack, port = sys.argv[1], int(sys.argv[2])
attack, _, share = attack.partition(":")
PERIOD_S = 0.01
START_LOOP = "guests/build/wat/start_section_loop.wasm"
PAUSE_S = 0.02
STREAMS = 120


def connect(receive_bytes=None):
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(30)
    client.connect(("127.0.0.1", port))
    return client


def head(method, path, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", *lines, "", ""]).encode()


def form(wasm, **fields):
    parts = [f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    file = b'--b\r\ncontent-disposition: form-data; name="wasm"; filename="a.wasm"\r\n\r\n' + wasm
    return "".join(parts).encode() + file + b"\r\n--b--\r\n"


def deploy(client, body):
    client.sendall(head("POST", "/deploy", "content-type: multipart/form-data; boundary=b", f"content-length: {len(body)}"))
    client.sendall(body)
    while client.recv(65536):
        pass


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def fields(method, path):
    text = lambda value: bytes([len(value)]) + value.encode()
    return bytes([method, 0x86]) + b"\0" + text(":path") + text(path) + b"\0" + text(":authority") + text("localhost")


def http2(window):
    client = connect()
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack("!HI", 4, window)))
    return client


def ping(client):
    """PING, and what comes back thrown away, until the edge has had enough."""
    client.setblocking(False)
    while True:
        time.sleep(0.2)
        client.send(frame(6, 0, 0, bytes(8)))
        try:
            if not client.recv(1 << 16):
                return
        except BlockingIOError:
            pass


def windows():
    client = http2(0)
    for number in range(STREAMS):
        client.sendall(frame(1, 5, 2 * number + 1, fields(0x82, "/call/large")))
    ping(client)


def readers():
    client = connect(4096)
    client.sendall(head("GET", "/call/large"))
    drip(lambda: client.recv(1))


def pings():
    client = http2(65535)
    client.sendall(frame(1, 5, 1, fields(0x82, "/call/good")))
    ping(client)


def bodies():
    client = connect()
    client.sendall(head("POST", "/call/nobody", f"content-length: {64 << 20}"))
    for _ in range(64):
        client.sendall(bytes(1 << 20))
    client.recv(1)


def payloads():
    client = http2(65535)
    for number in range(STREAMS):
        client.sendall(frame(1, 4, 2 * number + 1, fields(0x83, "/call/good")))
    while True:
        for number in range(STREAMS):
            client.sendall(frame(0, 0, 2 * number + 1, b"x"))
        time.sleep(1)


def uploads():
    client = connect()
    client.sendall(head("POST", "/deploy", "content-type: multipart/form-data; boundary=b", f"content-length: {60 << 20}"))
    client.sendall(bytes(1 << 20))
    drip(lambda: client.send(b"x"))


def starts():
    with open(START_LOOP, "rb") as file:
        wasm = file.read()
    name = f"start{os.getpid()}_{threading.get_ident()}"
    deploy(connect(), form(wasm, name=name, limits='{"time":86400000,"cpu_time":86400000}'))


def many_fields():
    limits = "{" + ",".join(f'"k{number}":1' for number in range(2_000_000)) + "}"
    for body in [form(b"x", name="a", limits=limits), form(b"x", name="a", instances="warm:" + "9" * 300_000)]:
        deploy(connect(), body)


def lists():
    client = connect()
    client.sendall(head("GET", "/functions", "connection: close"))
    while client.recv(1 << 20):
        pass


def hosts():
    for lines in ["", "host: a\r\nhost: a\r\n", "host: evil.example\r\n"]:
        client = connect()
        client.sendall(f"POST /deploy HTTP/1.1\r\n{lines}content-length: 1000000\r\n\r\n".encode())
        client.recv(1)


def burn():
    begun = time.monotonic()
    while time.monotonic() < begun + PERIOD_S * float(share):
        pass
    time.sleep(max(begun + PERIOD_S - time.monotonic(), 0))


def drip(step):
    while True:
        step()
        time.sleep(1)


ATTACKS = {
    "windows": (windows, 4),
    "readers": (readers, 100),
    "ping": (pings, 100),
    "bodies": (bodies, 8),
    "payloads": (payloads, 20),
    "uploads": (uploads, 8),
    "starts": (starts, 4),
    "fields": (many_fields, 1),
    "lists": (lists, 1),
    "hosts": (hosts, 2),
    "burn": (burn, 1),
}


def again_and_again(run):
    while True:
        try:
            run()
        except OSError:
            pass
        if attack != "burn":
            time.sleep(PAUSE_S)


run, count = ATTACKS[attack]
for _ in range(count):
    threading.Thread(target=again_and_again, args=(run,), daemon=True).start()
print("ready", flush=True)
select.select([sys.stdin], [], [])
os._exit(0)
