/* What the program uses of wasi:http 0.2.12, as the canonical ABI has it: a handle is a number, a text or a list its address and
 * its length, and a result that is more than one number is written to the last argument, an address. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name))) extern
#define TYPES(name) IMPORT("wasi:http/types@0.2.12", name)
#define STREAMS(name) IMPORT("wasi:io/streams@0.2.12", name)

typedef int32_t Handle;
typedef struct { char *at; size_t length; } Bytes;
typedef struct { Bytes name, value; } Field;
/* An option, or a variant, whose case 0 or 1 has the text. */
typedef struct { uint8_t tag; Bytes text; } Text;
/* option<scheme>, and scheme is http, https, or another one. */
typedef struct { uint8_t some; Text scheme; } Scheme;
/* The tag is 0 unless it is an error. */
typedef struct { uint8_t error; Handle handle; } Made;
/* What became of a stream: the tag 0 has an error, 1 is the end. */
typedef struct { uint8_t tag; Handle error; } Failed;
typedef struct { uint8_t error; union { Bytes bytes; Failed failed; } is; } Piece;
/* A number of 64 bits has the error begin 4 bytes later. */
typedef struct { uint8_t error; union { uint64_t bytes; Failed failed; } is; } Amount;
/* option<result<result<option<trailers>, error-code>>>; an error's code is longer than trailers. */
typedef struct {
  uint8_t some;
  _Alignas(8) uint8_t taken_already;
  _Alignas(8) uint8_t error;
  _Alignas(8) uint8_t some_trailers;
  Handle trailers;
  uint8_t of_code[64];
} Trailers;
typedef struct { uint8_t error; _Alignas(8) uint8_t code[64]; } Finished;

TYPES("[method]incoming-request.method") void request_method(Handle request, Text *out);
TYPES("[method]incoming-request.path-with-query") void request_path(Handle request, Text *out);
TYPES("[method]incoming-request.scheme") void request_scheme(Handle request, Scheme *out);
TYPES("[method]incoming-request.authority") void request_authority(Handle request, Text *out);
TYPES("[method]incoming-request.headers") Handle request_headers(Handle request);
TYPES("[method]incoming-request.consume") void request_consume(Handle request, Made *body);

TYPES("[constructor]fields") Handle fields_new(void);
TYPES("[method]fields.append")
void fields_append(Handle fields, const char *name, size_t name_length, const char *value, size_t value_length, uint8_t *out);
TYPES("[method]fields.entries") void fields_entries(Handle fields, Bytes *list_of_fields);
TYPES("[method]fields.get") void fields_get(Handle fields, const char *name, size_t length, Bytes *list_of_bytes);

TYPES("[method]incoming-body.stream") void incoming_stream(Handle body, Made *stream);
TYPES("[static]incoming-body.finish") Handle incoming_finish(Handle body);
TYPES("[method]future-trailers.subscribe") Handle trailers_subscribe(Handle future);
TYPES("[method]future-trailers.get") void trailers_get(Handle future, Trailers *out);

TYPES("[constructor]outgoing-response") Handle response_new(Handle fields);
TYPES("[method]outgoing-response.set-status-code") int32_t response_set_status(Handle response, int32_t code);
TYPES("[method]outgoing-response.body") void response_body(Handle response, Made *body);
/* All that follows the response's handle is an error's code. */
TYPES("[static]response-outparam.set")
void outparam_set(Handle out, int32_t error, Handle response, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);
TYPES("[method]outgoing-body.write") void outgoing_write(Handle body, Made *stream);
TYPES("[static]outgoing-body.finish") void outgoing_finish(Handle body, int32_t some, Handle trailers, Finished *out);

STREAMS("[method]input-stream.blocking-read") void read_piece(Handle stream, uint64_t most, Piece *out);
STREAMS("[method]output-stream.check-write") void check_write(Handle stream, Amount *out);
STREAMS("[method]output-stream.write") void write_bytes(Handle stream, const char *bytes, size_t length, Piece *out);
STREAMS("[method]output-stream.flush") void flush(Handle stream, Piece *out);
STREAMS("[method]output-stream.blocking-flush") void blocking_flush(Handle stream, Piece *out);
STREAMS("[method]output-stream.blocking-splice") void splice(Handle to, Handle from, uint64_t most, Amount *out);
STREAMS("[method]output-stream.subscribe") Handle write_subscribe(Handle stream);

IMPORT("wasi:io/poll@0.2.12", "[method]pollable.block") void pollable_block(Handle pollable);
IMPORT("wasi:clocks/monotonic-clock@0.2.12", "subscribe-duration") Handle after_nanoseconds(uint64_t duration);

TYPES("[resource-drop]incoming-request") void drop_request(Handle request);
TYPES("[resource-drop]fields") void drop_fields(Handle fields);
TYPES("[resource-drop]incoming-body") void drop_incoming(Handle body);
TYPES("[resource-drop]future-trailers") void drop_future(Handle future);
TYPES("[resource-drop]outgoing-body") void drop_outgoing(Handle body);
STREAMS("[resource-drop]input-stream") void drop_input(Handle stream);
STREAMS("[resource-drop]output-stream") void drop_output(Handle stream);
IMPORT("wasi:io/error@0.2.12", "[resource-drop]error") void drop_error(Handle error);
IMPORT("wasi:io/poll@0.2.12", "[resource-drop]pollable") void drop_pollable(Handle pollable);
