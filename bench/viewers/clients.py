"""Viewers of the page, which ask a node as its scripts do: `clients.py KIND COUNT PORT`, until standard input ends.

    list      the list of functions: figures each second and a half, health each two
    function  one function: its figures each two seconds, it and its versions each ten, and its stream of lines and failures
    mixed     every other one of either kind
    silent    the stream of lines, of which nothing is read

Prints `ready` once all are there, and at the end `KIB ms`: what they were sent, and the processor time that they took for it.
"""

import http.client
import resource
import select
import socket
import sys
import threading
import time

kind, count, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
LIST = [("/figures", 1.5), ("/health", 2)]
FUNCTION = [("/figures/hello", 2), ("/functions/hello", 10), ("/functions/hello/versions", 10)]
STREAM = b"GET /events?topics=logs:hello,failures:hello&last=50 HTTP/1.1\r\nhost: localhost\r\n\r\n"
over = threading.Event()
received = [0] * count


def stream():
    client = socket.socket()
    if kind == "silent":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(STREAM)
    assert b" 200 " in client.recv(64)
    return client


def view(index, wanted, reader):
    """Asks for each path as often as its page does. Pages are opened at different times."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    due = {path: index * 2 / count for path, _every in wanted}
    begun = time.monotonic()
    while not over.is_set():
        path, every = min(wanted, key=lambda one: due[one[0]])
        if over.wait(max(0, begun + due[path] - time.monotonic())):
            return
        due[path] += every
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, (path, answer.status)
        received[index] += len(answer.read())
        while reader and select.select([reader], [], [], 0)[0]:
            received[index] += len(reader.recv(65536))


readers = [stream() if kind in ("function", "silent") or (kind == "mixed" and index % 2) else None for index in range(count)]
if kind != "silent":
    for index, reader in enumerate(readers):
        threading.Thread(target=view, args=(index, FUNCTION if reader else LIST, reader), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
over.set()
usage = resource.getrusage(resource.RUSAGE_SELF)
print(sum(received) // 1024, round((usage.ru_utime + usage.ru_stime) * 1000), flush=True)
