"""Counts the atomic read-modify-writes of calls, instruction by instruction: `atomics.py CALLS SUBJECT...`.

An instruction with a `lock` prefix, or an `xchg` with memory, which needs none, takes its cache line from all other cores. objdump
finds each of them in the native library (Tidepool and Wasmtime) and in libc. A node of one scheduler, which traced.exs is, makes
calls of a subject without end; each of these instructions becomes a breakpoint there (ptrace), and so do the entry of the NIF that
makes a call and its returns: what is hit between these, on the thread that has entered, is the call's. Nothing is sampled, so a
second run gives the same.

A breakpoint takes its time, and a call milliseconds. The epoch ticker is stopped meanwhile, or guests would use up their slices and
yield, which calls at their usual pace don't.

Prints JSON: for each subject the hits per call in the library, in libc, and in the library outside of calls (threads that drop what
calls have left); and the library's functions in calls, the most hit first, each with its lines, where its crate is compiled with
lines, and with those that have called it, which are breakpoints at its entry.
"""

import bisect
import collections
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

LIBRARY = pathlib.Path("priv/native/tidepool_nif.so").resolve()
# The NIFs of rustler's that make calls and go on with them; without the ticker a call is one of the former.
NIFS = re.compile(r"^(\w+) t tidepool_nif::function::call::.*::nif_func$", re.MULTILINE)
FOUND = re.compile(r"^ *([0-9a-f]+):\t(?:\w+ )*?(?:(lock\b|xchg .*\()|(ret\b))")
TICKER = "tidepool-epoch"
INT3 = b"\xcc"

CONT, SINGLESTEP, GETREGS, SETREGS, DETACH, SEIZE, INTERRUPT = 7, 9, 12, 13, 17, 0x4206, 0x4207
O_TRACECLONE = 8
# Of a wait's status: what stopped the thread, when that is no signal.
EVENT_STOP = 128
RIP, RSP, REGISTERS = 16, 19, 27
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread, data=0):
    if libc.ptrace(request, thread, 0, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace: {os.strerror(error)}")


class Binary:
    """A library, and where its atomic instructions and its returns are: by itself, and once `mapped`, in a process."""

    def __init__(self, path):
        self.path = path
        command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ, LC_ALL="C")) as dump:
            found = (FOUND.match(line) for line in dump.stdout if "lock" in line or "xchg" in line or "ret" in line)
            self.found = [(int(match[1], 16), match[2]) for match in found if match]

    def mapped(self, pid):
        maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
        # The first mapping is that of the file's start, whose address is 0 in the file's own terms.
        self.base = next(int(line.split("-")[0], 16) for line in maps if line.endswith(str(self.path)))
        self.atomics = {self.base + address for address, atomic in self.found if atomic}
        self.returns = sorted(self.base + address for address, atomic in self.found if not atomic)
        return self

    def symbols(self):
        """The NIFs' functions, each with its returns, and all functions in the order of their addresses."""
        output = subprocess.run(["nm", "-C", self.path], capture_output=True, text=True, check=True).stdout
        functions = (line.split(" ", 2) for line in output.splitlines())
        functions = sorted((self.base + int(f[0], 16), f[2]) for f in functions if len(f) == 3 and f[0] and f[1] in "tTwW")
        starts = [start for start, _name in functions]
        nifs = {}
        for start in (self.base + int(address, 16) for address in NIFS.findall(output)):
            end = starts[bisect.bisect_right(starts, start)]
            nifs[start] = self.returns[bisect.bisect_left(self.returns, start) : bisect.bisect_left(self.returns, end)]
        return nifs, functions

    def lines(self, addresses):
        """For each address the functions inlined there and their lines, the innermost first."""
        command = ["addr2line", "-afiC", "-e", self.path, *(hex(address - self.base) for address in addresses)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = []
        for block in re.split(r"^0x[0-9a-f]+\n", output, flags=re.MULTILINE)[1:]:
            lines = block.splitlines()
            found.append([(name, shorter(line)) for name, line in zip(lines[::2], lines[1::2])])
        return found


def shorter(line):
    """`src/call/task.rs:12` of a path on the machine that compiled it."""
    line = re.sub(r" \(discriminator \d+\)$", "", line)
    return re.sub(r"^.*/(?=\w[^/]*/src/|library/)", "", line)


class Node:
    """The node that makes the calls, with all of its threads traced."""

    def __init__(self, folder):
        # The last flags win. What the node writes is in the folder: it may have to be killed.
        env = dict(os.environ, TMPDIR=folder, ERL_FLAGS=f"{os.environ.get('ERL_FLAGS', '')} +S 1:1")
        command = ["mix", "run", "--no-compile", "--no-start", "bench/scale/traced.exs"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.pid = self.memory = None
        self.original = {}

    def wait_until_ready(self):
        self.pid = int(self.hear("ready"))
        self.memory = os.open(f"/proc/{self.pid}/mem", os.O_RDWR)

    def hear(self, word):
        for line in self.process.stdout:
            if line.startswith(word):
                return line[len(word) :].strip()
        sys.exit("the traced node ended before it was asked to")

    def log(self,*a):
        import time; print(time.time(),*a,file=sys.stderr,flush=True)

    def begin(self, subject):
        self.process.stdin.write(f"{subject}\n")
        self.process.stdin.flush()
        self.hear("calling")

    def threads(self):
        return [int(thread) for thread in os.listdir(f"/proc/{self.pid}/task")]

    def is_ticker(self, thread):
        return pathlib.Path(f"/proc/{self.pid}/task/{thread}/comm").read_text().strip() == TICKER

    def arm(self, addresses):
        self.original = {address: os.pread(self.memory, 1, address) for address in addresses}
        for address in addresses:
            os.pwrite(self.memory, INT3, address)

    def disarm(self):
        for address, byte in self.original.items():
            os.pwrite(self.memory, byte, address)

    def back(self, thread):
        """Puts a thread that has hit a breakpoint before it again; returns that address, or None if there is no such, and its stack."""
        registers = (ctypes.c_ulonglong * REGISTERS)()
        ptrace(GETREGS, thread, ctypes.addressof(registers))
        address = registers[RIP] - 1
        if address not in self.original:
            return None, registers[RSP]
        registers[RIP] = address
        ptrace(SETREGS, thread, ctypes.addressof(registers))
        return address, registers[RSP]

    def pass_over(self, thread):
        """Carries out the instruction under the breakpoint that a thread has hit; returns what `back` does."""
        address, stack = self.back(thread)
        if address:
            os.pwrite(self.memory, self.original[address], address)
            ptrace(SINGLESTEP, thread)
            _thread, status = os.waitpid(thread, WALL)
            os.pwrite(self.memory, INT3, address)
            if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGTRAP:
                raise RuntimeError(f"a single step ended with status {status:#x}")
        return address, stack

    def count(self, subject, calls, addresses, nifs, whence=False):
        """Hits of each address in `calls` calls, and outside of them; of each address and the return address at its stack, for entries."""
        self.begin(subject)
        stopped = self.threads()
        for thread in stopped:
            ptrace(SEIZE, thread, O_TRACECLONE)
            ptrace(INTERRUPT, thread)
        for thread in stopped:
            os.waitpid(thread, WALL)
        returns = {address for found in nifs.values() for address in found}
        self.arm(addresses | returns | set(nifs))
        for thread in stopped:
            if not self.is_ticker(thread):
                ptrace(CONT, thread)
        counts, outside, entered, inside = collections.Counter(), collections.Counter(), 0, None
        # A call that has begun before is not counted, and neither is the last, which is not over.
        while entered <= calls:
            thread, status = os.waitpid(-1, WALL)
            if not os.WIFSTOPPED(status):
                if thread == self.pid:
                    sys.exit(f"the traced node ended with status {status:#x}")
                continue
            deliver = 0
            if status >> 16 == 0 and os.WSTOPSIG(status) != signal.SIGTRAP:
                deliver = os.WSTOPSIG(status)
            elif status >> 16 == 0:
                address, stack = self.pass_over(thread)
                if address in nifs:
                    entered, inside = entered + 1, thread
                elif address in returns:
                    inside = None
                elif entered and address:
                    hit = (address, int.from_bytes(os.pread(self.memory, 8, stack), "little")) if whence else address
                    (counts if thread == inside else outside)[hit] += 1
            ptrace(CONT, thread, deliver)
        self.let_go()
        return counts, outside

    def let_go(self):
        """Takes the breakpoints away, and traces no thread any more."""
        self.disarm()
        waiting = {thread for thread in self.threads() if not self.is_ticker(thread)}
        for thread in waiting:
            ptrace(INTERRUPT, thread)
        while waiting:
            thread, status = os.waitpid(-1, WALL)
            if os.WIFSTOPPED(status) and status >> 16 != EVENT_STOP:
                # One that was hit before all of them were gone.
                breakpoint_hit = status >> 16 == 0 and os.WSTOPSIG(status) == signal.SIGTRAP
                deliver = 0 if status >> 16 or breakpoint_hit and self.back(thread)[0] else os.WSTOPSIG(status)
                ptrace(CONT, thread, deliver)
            else:
                waiting.discard(thread)
        for thread in self.threads():
            ptrace(DETACH, thread)

    def end(self):
        if self.memory is not None:
            os.close(self.memory)
        self.process.kill()
        self.process.wait()


def per_call(counts, binary, calls):
    return sum(count for address, count in counts.items() if address in binary.atomics) / calls


class Sites:
    """Where the hits of one subject are in the library."""

    def __init__(self, library, functions, counts, calls):
        self.library, self.functions, self.calls = library, functions, calls
        self.starts = [start for start, _name in functions]
        self.by_function = collections.defaultdict(list)
        addresses = [address for address in counts if address in library.atomics]
        for address, inlined in zip(addresses, library.lines(addresses)):
            lines = [f"{name} {line}" for name, line in inlined if not line.endswith("?")]
            self.by_function[self.function(address)].append({"per_call": counts[address] / calls, "inlined": lines})

    def function(self, address):
        """The start and the name of the function that an address is in."""
        if not self.starts[0] <= address < self.starts[-1] + (1 << 16):
            return None, "what is not in the library"
        return self.functions[bisect.bisect_right(self.starts, address) - 1]

    def found(self, hits_from):
        """Functions with their hits, the most first: as they are compiled, by the lines in them, and by who has called them."""
        callers = collections.defaultdict(collections.Counter)
        for (entry, back_to), count in hits_from.items():
            callers[entry][self.function(back_to)[1]] += count / self.calls
        found = [
            {
                "function": name,
                "per_call": sum(line["per_call"] for line in lines),
                "lines": sorted(lines, key=lambda line: -line["per_call"]),
                "callers": [{"function": caller, "per_call": count} for caller, count in callers[start].most_common()],
            }
            for (start, name), lines in self.by_function.items()
        ]
        return sorted(found, key=lambda site: -site["per_call"])


def count(folder, calls, subjects):
    node = Node(folder)
    try:
        # While the node starts.
        library = Binary(LIBRARY)
        node.wait_until_ready()
        maps = pathlib.Path(f"/proc/{node.pid}/maps").read_text()
        library = library.mapped(node.pid)
        system = Binary(re.search(r"(/\S*/libc[.-]\S*)$", maps, re.MULTILINE)[1]).mapped(node.pid)
        nifs, functions = library.symbols()
        results = {}
        for subject in subjects:
            counts, outside = node.count(subject, calls, library.atomics | system.atomics, nifs)
            sites = Sites(library, functions, counts, calls)
            entries = {start for start, _name in sites.by_function} - set(nifs)
            hits_from, _outside = node.count(subject, calls, entries, nifs, whence=True)
            results[subject] = {
                "library": per_call(counts, library, calls),
                "libc": per_call(counts, system, calls),
                "outside": per_call(outside, library, calls),
                "sites": sites.found(hits_from),
            }
        return results
    finally:
        node.end()


def main():
    calls, subjects = int(sys.argv[1]), sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="tidepool-bench-") as folder:
        print(json.dumps(count(folder, calls, subjects)))


if __name__ == "__main__":
    main()
