"""The program of guests/http, by the imports of WASI as componentize-py has them. A trap is an exception that nobody catches."""

import hashlib

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import monotonic_clock, types
from wit_world.imports.streams import StreamError_Closed

PIECE = 65536
PLAIN = ("content-type", b"text/plain")
SCHEMES = {types.Scheme_Http: "http", types.Scheme_Https: "https"}
served = 0


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        global served
        served += 1
        try:
            answer(request, response_out)
        except Err:
            # A side has gone. The body is dropped without its end, which tells the other that it has not got all.
            pass


def answer(request, out):
    method = name_of(request.method())
    path, _, query = (request.path_with_query() or "").partition("?")
    match f"{method} {path}":
        case "GET /hello":
            text(out, b"hello")
        case "GET /headers":
            text(out, headers(request, method))
        case "GET /count":
            text(out, str(served).encode())
        case "GET /events":
            events(out, query)
        case "POST /echo":
            echo(request, out)
        case "POST /sha256":
            sha256(request, out)
        case "GET /trap-before":
            raise RuntimeError("before the response")
        case "GET /trap-after":
            response = Response(out, 200, PLAIN)
            response.stream.blocking_write_and_flush(b"half")
            raise RuntimeError("after half of the response")
        case "GET /loop":
            while True:
                pass
        case "GET /silent":
            response = Response(out, 200, PLAIN)
            response.stream.blocking_write_and_flush(b"one")
            monotonic_clock.subscribe_duration(1 << 62).block()
        case _:
            code = path.removeprefix("/status/")
            if path != code and code.isdigit() and int(code) < 65536:
                with Response(out, int(code), ("x-method", method.encode())):
                    pass
            else:
                with Response(out, 404):
                    pass


class Response:
    """The body of a response, whose head is sent: whole at its end, or not if an exception ends it. A stream goes before its body."""

    def __init__(self, out, code, *headers):
        response = types.OutgoingResponse(types.Fields.from_list(list(headers)))
        try:
            response.set_status_code(code)
        except Err:
            response.set_status_code(404)
        self.body = response.body()
        self.stream = self.body.write()
        self.trailers = None
        types.ResponseOutparam.set(out, Ok(response))

    def __enter__(self):
        return self

    def __exit__(self, exception, *_where):
        self.stream.__exit__(None, None, None)
        if exception is None:
            types.OutgoingBody.finish(self.body, self.trailers)
        else:
            self.body.__exit__(None, None, None)


def text(out, text):
    with Response(out, 200, PLAIN) as response:
        write(response.stream, text)


def write(stream, text):
    """Writes as much at a time as the host takes, and has each piece sent on."""
    while text:
        free = stream.check_write()
        if free == 0:
            stream.subscribe().block()
            continue
        length = min(free, PIECE)
        stream.write(text[:length])
        stream.flush()
        text = text[length:]


def read(request, take):
    """Gives the body of a request to a function, piece by piece. Returns its trailers."""
    body = request.consume()
    with body.stream() as stream:
        while True:
            try:
                take(stream.blocking_read(PIECE))
            except Err as error:
                if not isinstance(error.value, StreamError_Closed):
                    raise
                break
    future = types.IncomingBody.finish(body)
    future.subscribe().block()
    match future.get():
        case Ok(Ok(trailers)):
            return trailers
        case Ok(error):
            raise error


def echo(request, out):
    # Over HTTP/1 the second has to name the trailers.
    kept = [header for header in request.headers().entries() if header[0] in ("content-type", "trailer")]
    with Response(out, 200, *kept) as response:
        response.trailers = read(request, lambda piece: write(response.stream, piece))


def sha256(request, out):
    hashed = hashlib.sha256()
    read(request, hashed.update)
    text(out, f"{hashed.hexdigest()}\n".encode())


def events(out, query):
    count = query.removeprefix("n=")
    with Response(out, 200, ("content-type", b"text/event-stream")) as response:
        for event in range(int(count) if count.isdigit() else 1):
            response.stream.blocking_write_and_flush(f"data: {event + 1}\n\n".encode())


def headers(request, method):
    scheme = request.scheme()
    head = {
        ":method": method,
        ":path": request.path_with_query(),
        ":authority": request.authority(),
        ":scheme": SCHEMES.get(type(scheme)) or getattr(scheme, "value", None),
    }
    lines = request.headers().entries() + [(name, (value or "").encode()) for name, value in head.items()]
    return b"".join(name.encode() + b": " + value + b"\n" for name, value in sorted(lines, key=lambda line: line[0]))


def name_of(method):
    if isinstance(method, types.Method_Other):
        return method.value
    return type(method).__name__.removeprefix("Method_").upper()
