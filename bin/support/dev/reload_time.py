#!/usr/bin/env python3
"""How long an edit of the core takes until a request sees it, in one shell: `python3 bin/support/dev/reload_time.py [RUNS]`.

It starts `TIDEPOOL_NIF=dev iex -S mix tidepool.server`, deploys a guest, and then, RUNS times (5 without): edits a line in
native/tidepool_core/src/call, says `recompile_nif()` in the shell, and asks the node until the answer is that of the new line. The
file is put back as it was. The machine's load is in the figures.
"""

import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
EDITED = ROOT / "native/tidepool_core/src/call/target.rs"
LINE = "let allowed = self.limits().payload_bytes;"
GUEST = ROOT / "guests/build/rust/hello_world.wasm"
PATIENCE = 900


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body):
    """The status and the text; `None` while nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


def until(answered, shell):
    """Seconds until the condition holds."""
    began = time.monotonic()
    while not answered():
        if shell.poll() is not None or time.monotonic() - began > PATIENCE:
            sys.exit("the shell has ended, or the edit is not seen: its output is above")
        time.sleep(0.05)
    return time.monotonic() - began


def deploy(url):
    boundary = "tidepool-reload-time"
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="wasm"; filename="edited.wasm"\r\n\r\n'
    body = head.encode() + GUEST.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/deploy", data=body, headers=headers), timeout=60).close()


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    original, stat = EDITED.read_text(), EDITED.stat()
    if original.count(LINE) != 1:
        sys.exit(f"{EDITED} has changed: `{LINE}` is to be in it once")
    data, port = tempfile.TemporaryDirectory(), free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"TIDEPOOL_NIF": "dev", "TIDEPOOL_DATA": data.name, "PORT": str(port), "TIDEPOOL_CLUSTER": "false", "MIX_ENV": "dev"}
    shell = subprocess.Popen(
        ["iex", "-S", "mix", "tidepool.server"], cwd=ROOT, env={**os.environ, **own}, stdin=subprocess.PIPE, text=True, process_group=0
    )
    figures = []
    # The file is put back, however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        until(lambda: ask(f"{url}/health", None), shell)
        deploy(url)
        for run in range(runs):
            most = 10 + run
            EDITED.write_text(original.replace(LINE, f"let allowed = self.limits().payload_bytes.min({most});"))
            shell.stdin.write("recompile_nif()\n")
            shell.stdin.flush()

            def seen():
                answer = ask(f"{url}/call/edited/hello", b"x" * 100)
                return answer and answer[0] == 413 and str(most) in answer[1]

            figures.append(round(until(seen, shell), 1))
            print(f"edit {run + 1}: seen after {figures[-1]} s, load {os.getloadavg()[0]:.1f}", flush=True)
    finally:
        EDITED.write_text(original)
        os.utime(EDITED, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        data.cleanup()
    print(json.dumps({"median_s": statistics.median(figures), "all_s": figures, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
