/* The program of guests/http, without a library: the imports are those of wasi_http.h, and there is no WASI preview 1 below. */

#include "sha256.h"
#include "wasi_http.h"

/* What is read, and written, at once. */
#define PIECE 65536
/* Some 146 years. */
#define FOR_EVER ((uint64_t)1 << 62)

#define TEXT(literal) ((Bytes){(char *)(literal), sizeof(literal) - 1})

/* --- Memory: a heap that each request begins anew, for nothing that the host gives it is kept. */

extern char __heap_base;
static char *heap = &__heap_base;

__attribute__((export_name("cabi_realloc"))) void *allocate(void *old, size_t old_size, size_t align, size_t size) {
  char *at = (char *)(((uintptr_t)heap + align - 1) & ~(align - 1));
  size_t end = (size_t)at + size, pages = __builtin_wasm_memory_size(0);
  if (end > pages * 65536 && __builtin_wasm_memory_grow(0, (end - pages * 65536 + 65535) / 65536) == (size_t)-1) __builtin_trap();
  for (size_t i = 0; i < old_size && i < size; i++) at[i] = ((char *)old)[i];
  heap = (char *)end;
  return at;
}

static bool same(Bytes one, Bytes other) {
  bool is = one.length == other.length;
  for (size_t i = 0; is && i < one.length; i++) is = one.at[i] == other.at[i];
  return is;
}

/* The bytes after the first ones, if they are these. */
static bool after(Bytes all, Bytes first, Bytes *rest) {
  if (all.length < first.length || !same((Bytes){all.at, first.length}, first)) return false;
  *rest = (Bytes){all.at + first.length, all.length - first.length};
  return true;
}

static bool number(Bytes digits, uint32_t *value) {
  *value = 0;
  for (size_t i = 0; i < digits.length; i++) {
    if (digits.at[i] < '0' || digits.at[i] > '9' || *value > 100000000) return false;
    *value = *value * 10 + (uint32_t)(digits.at[i] - '0');
  }
  return digits.length > 0;
}

/* The digits, at the end of a buffer. */
static Bytes decimal(uint32_t value, char buffer[10]) {
  size_t at = 10;
  do buffer[--at] = (char)('0' + value % 10); while ((value /= 10) > 0);
  return (Bytes){buffer + at, 10 - at};
}

static char *put(char *at, Bytes bytes) {
  for (size_t i = 0; i < bytes.length; i++) *at++ = bytes.at[i];
  return at;
}

/* --- Requests and responses. */

/* Whether a stream goes on after a result. */
static bool goes_on(uint8_t error, Failed failed) {
  if (error && failed.tag == 0) drop_error(failed.error);
  return !error;
}

static void wait_for(Handle pollable) {
  pollable_block(pollable);
  drop_pollable(pollable);
}

/* Writes as much at a time as the host takes, and has each piece sent on. */
static bool write_all(Handle stream, Bytes bytes) {
  Piece done;
  while (bytes.length > 0) {
    Amount free;
    check_write(stream, &free);
    if (!goes_on(free.error, free.is.failed)) return false;
    if (free.is.bytes == 0) {
      wait_for(write_subscribe(stream));
      continue;
    }
    size_t length = bytes.length < PIECE ? bytes.length : PIECE;
    if (length > free.is.bytes) length = (size_t)free.is.bytes;
    write_bytes(stream, bytes.at, length, &done);
    if (!goes_on(done.error, done.is.failed)) return false;
    flush(stream, &done);
    if (!goes_on(done.error, done.is.failed)) return false;
    bytes = (Bytes){bytes.at + length, bytes.length - length};
  }
  return true;
}

static void append(Handle fields, Bytes name, Bytes value) {
  uint8_t refused[2];
  if (name.length > 0) fields_append(fields, name.at, name.length, value.at, value.length, refused);
}

static Handle fields_of(Bytes name, Bytes value) {
  Handle fields = fields_new();
  append(fields, name, value);
  return fields;
}

/* Sends the head of a response, and makes its body and that one's stream. What is no status is answered as what there is not. */
static void respond(Handle out, uint32_t code, Handle fields, Handle *body, Handle *stream) {
  Handle response = response_new(fields);
  if (code > 0xffff || response_set_status(response, (int32_t)code) != 0) response_set_status(response, 404);
  Made made;
  response_body(response, &made);
  *body = made.handle;
  outgoing_write(*body, &made);
  *stream = made.handle;
  outparam_set(out, 0, response, 0, 0, 0, 0, 0, 0);
}

static void finish(Handle body, Handle stream, bool some, Handle trailers) {
  drop_output(stream);
  Finished finished;
  outgoing_finish(body, some, trailers, &finished);
}

/* The other side is told that it has not got all. */
static void leave(Handle body, Handle stream) {
  drop_output(stream);
  drop_outgoing(body);
}

static void answer(Handle out, uint32_t code, Bytes name, Bytes value, Bytes text) {
  Handle body, stream;
  respond(out, code, fields_of(name, value), &body, &stream);
  if (write_all(stream, text)) finish(body, stream, false, 0);
  else leave(body, stream);
}

static void plain(Handle out, Bytes text) { answer(out, 200, TEXT("content-type"), TEXT("text/plain"), text); }

/* The head of a response, and the first bytes of its body, which have left this guest then. */
static void begin(Handle out, Bytes text) {
  Handle body, stream;
  Piece done;
  respond(out, 200, fields_of(TEXT("content-type"), TEXT("text/plain")), &body, &stream);
  write_all(stream, text);
  blocking_flush(stream, &done);
}

static Bytes method_name(Text method) {
  static const Bytes names[] = {TEXT("GET"),     TEXT("HEAD"),    TEXT("POST"),  TEXT("PUT"),  TEXT("DELETE"),
                                TEXT("CONNECT"), TEXT("OPTIONS"), TEXT("TRACE"), TEXT("PATCH")};
  return method.tag < sizeof(names) / sizeof(*names) ? names[method.tag] : method.text;
}

/* The request's body and its stream. */
static void open(Handle request, Handle *body, Handle *stream) {
  Made made;
  request_consume(request, &made);
  *body = made.handle;
  incoming_stream(*body, &made);
  *stream = made.handle;
}

/* --- What is served. */

/* The host carries the bytes over, and this guest sees none of them. */
static void echo(Handle request, Handle out) {
  /* Over HTTP/1 the second has to name the trailers. */
  static const Bytes kept[] = {TEXT("content-type"), TEXT("trailer")};
  Handle headers = request_headers(request), fields = fields_new(), from, input, body, output;
  for (size_t i = 0; i < 2; i++) {
    Bytes values;
    fields_get(headers, kept[i].at, kept[i].length, &values);
    for (size_t j = 0; j < values.length; j++) append(fields, kept[i], ((Bytes *)values.at)[j]);
  }
  drop_fields(headers);
  respond(out, 200, fields, &body, &output);
  open(request, &from, &input);
  Amount carried;
  Piece done;
  do {
    splice(output, input, PIECE, &carried);
    if (!goes_on(carried.error, carried.is.failed)) break;
    flush(output, &done);
  } while (goes_on(done.error, done.is.failed));
  drop_input(input);
  /* A side that has gone is an end of the stream, too; only the whole body has trailers. */
  Handle future = incoming_finish(from);
  wait_for(trailers_subscribe(future));
  Trailers trailers;
  trailers_get(future, &trailers);
  drop_future(future);
  if (trailers.some && !trailers.taken_already && !trailers.error) finish(body, output, trailers.some_trailers, trailers.trailers);
  else leave(body, output);
}

static void sha256(Handle request, Handle out) {
  Handle body, stream;
  Piece piece;
  char line[65];
  Sha256 hash;
  char *mark = heap;
  open(request, &body, &stream);
  sha256_begin(&hash);
  for (;;) {
    heap = mark;
    read_piece(stream, PIECE, &piece);
    if (piece.error) break;
    sha256_add(&hash, (const uint8_t *)piece.is.bytes.at, piece.is.bytes.length);
  }
  bool whole = piece.is.failed.tag == 1;
  goes_on(piece.error, piece.is.failed);
  drop_input(stream);
  drop_incoming(body);
  if (!whole) return;
  sha256_end(&hash, line);
  line[64] = '\n';
  plain(out, (Bytes){line, sizeof(line)});
}

static void events(Handle out, Bytes query) {
  Handle body, stream;
  Bytes digits;
  uint32_t count = 1;
  if (after(query, TEXT("n="), &digits)) number(digits, &count);
  respond(out, 200, fields_of(TEXT("content-type"), TEXT("text/event-stream")), &body, &stream);
  for (uint32_t event = 1; event <= count; event++) {
    char line[18], digits_of[10];
    char *end = put(put(put(line, TEXT("data: ")), decimal(event, digits_of)), TEXT("\n\n"));
    Piece done;
    if (!write_all(stream, (Bytes){line, (size_t)(end - line)})) return leave(body, stream);
    blocking_flush(stream, &done);
    if (!goes_on(done.error, done.is.failed)) return leave(body, stream);
  }
  finish(body, stream, false, 0);
}

static bool precedes(Bytes one, Bytes other) {
  size_t i = 0;
  while (i < one.length && i < other.length && one.at[i] == other.at[i]) i++;
  return i < other.length && (i == one.length || (uint8_t)one.at[i] < (uint8_t)other.at[i]);
}

static void headers(Handle request, Handle out, Bytes method, Bytes target) {
  Handle fields = request_headers(request);
  Bytes list;
  Scheme scheme;
  Text authority;
  fields_entries(fields, &list);
  drop_fields(fields);
  request_scheme(request, &scheme);
  request_authority(request, &authority);
  Bytes scheme_name = !scheme.some             ? TEXT("")
                      : scheme.scheme.tag == 0 ? TEXT("http")
                      : scheme.scheme.tag == 1 ? TEXT("https")
                                               : scheme.scheme.text;
  size_t count = list.length + 4, length = 0;
  Field *lines = allocate(list.at, list.length * sizeof(Field), 4, count * sizeof(Field));
  lines[count - 4] = (Field){TEXT(":method"), method};
  lines[count - 3] = (Field){TEXT(":path"), target};
  lines[count - 2] = (Field){TEXT(":authority"), authority.tag ? authority.text : TEXT("")};
  lines[count - 1] = (Field){TEXT(":scheme"), scheme_name};
  /* Those of one name stay in their order. */
  for (size_t i = 1; i < count; i++) {
    Field line = lines[i];
    size_t at = i;
    for (; at > 0 && precedes(line.name, lines[at - 1].name); at--) lines[at] = lines[at - 1];
    lines[at] = line;
  }
  for (size_t i = 0; i < count; i++) length += lines[i].name.length + 2 + lines[i].value.length + 1;
  char *text = allocate(NULL, 0, 1, length), *end = text;
  for (size_t i = 0; i < count; i++) end = put(put(put(put(end, lines[i].name), TEXT(": ")), lines[i].value), TEXT("\n"));
  plain(out, (Bytes){text, length});
}

static void count(Handle out, uint32_t served) {
  char digits[10];
  plain(out, decimal(served, digits));
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.12#handle"))) void handle(Handle request, Handle out) {
  static uint32_t served;
  heap = &__heap_base;
  Text method, target;
  request_method(request, &method);
  request_path(request, &target);
  Bytes path = target.tag ? target.text : TEXT(""), query = TEXT(""), code;
  for (size_t i = 0; i < path.length; i++) {
    if (path.at[i] != '?') continue;
    query = (Bytes){path.at + i + 1, path.length - i - 1};
    path.length = i;
  }
  uint32_t status;
  bool get = method.tag == 0, post = method.tag == 2;
  served++;
  if (get && same(path, TEXT("/hello"))) plain(out, TEXT("hello"));
  else if (get && same(path, TEXT("/headers"))) headers(request, out, method_name(method), target.text);
  else if (get && same(path, TEXT("/count"))) count(out, served);
  else if (get && same(path, TEXT("/events"))) events(out, query);
  else if (post && same(path, TEXT("/echo"))) echo(request, out);
  else if (post && same(path, TEXT("/sha256"))) sha256(request, out);
  else if (get && same(path, TEXT("/trap-before"))) __builtin_trap();
  else if (get && same(path, TEXT("/trap-after"))) begin(out, TEXT("half")), __builtin_trap();
  else if (get && same(path, TEXT("/loop"))) for (volatile int i = 0;; i++);
  else if (get && same(path, TEXT("/silent"))) begin(out, TEXT("one")), wait_for(after_nanoseconds(FOR_EVER));
  else if (after(path, TEXT("/status/"), &code) && number(code, &status))
    answer(out, status, TEXT("x-method"), method_name(method), TEXT(""));
  else answer(out, 404, TEXT(""), TEXT(""), TEXT(""));
  drop_request(request);
}
