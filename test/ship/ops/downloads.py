"""Serves a folder on a port of the loopback: downloads.py FOLDER PORT

Below /cut/ each archive ends in its middle, though its length is told; below /stalled/ it stops there and goes on waiting;
below /changed/ one byte of it is another. Below /endless/ sums have no end.
"""

import http.server
import os
import shutil
import sys
import threading

folder, port = sys.argv[1], int(sys.argv[2])


class Downloads(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        fault, name = os.path.split(self.path.lstrip("/"))
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            self.send_error(404)
            return
        if fault == "endless" and name.endswith("SUMS"):
            self.endless()
            return
        fault = fault if name.endswith(".tar.gz") else ""
        size = os.path.getsize(path)
        self.send_response(200)
        self.send_header("content-length", str(size))
        self.end_headers()
        with open(path, "rb") as file:
            if not fault:
                shutil.copyfileobj(file, self.wfile)
                return
            self.wfile.write(file.read(size // 2))
            if fault == "stalled":
                self.wfile.flush()
                threading.Event().wait()
            elif fault == "changed":
                byte = file.read(1)
                self.wfile.write(bytes([byte[0] ^ 1]))
                shutil.copyfileobj(file, self.wfile)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except ConnectionError:
            pass

    def log_message(self, *_arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Downloads).serve_forever()
