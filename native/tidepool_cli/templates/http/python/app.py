"""A handler of HTTP: `handle` is called with each request."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, IncomingBody, OutgoingBody, OutgoingResponse, ResponseOutparam

# What is read, and written, at once, in bytes. A write takes no more than 4,096.
PIECE = 4096


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        path, _, _query = (request.path_with_query() or "").partition("?")
        if path == "/":
            name = read(request)
            respond(response_out, 200, b"Hello, " + name + b"!")
        else:
            respond(response_out, 404, b"there is nothing here\n")


def read(request):
    """The body of a request, up to its end."""
    body = request.consume()
    pieces = []
    with body.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(PIECE))
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                raise
    IncomingBody.finish(body)
    return b"".join(pieces)


def respond(out, status, text):
    """Sends a response whole."""
    response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(out, Ok(response))
    with body.write() as stream:
        for at in range(0, len(text), PIECE):
            stream.blocking_write_and_flush(text[at : at + PIECE])
    OutgoingBody.finish(body, None)
