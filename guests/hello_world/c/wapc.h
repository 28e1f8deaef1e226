/* waPC by hand: a guest's imports, made safe to use. One file of the guest includes this. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define WAPC(name) __attribute__((import_module("wapc"), import_name(name)))

WAPC("__guest_request") void wapc_guest_request(char *operation, char *payload);
WAPC("__guest_response") void wapc_guest_response(const char *reply, size_t len);
WAPC("__guest_error") void wapc_guest_error(const char *text, size_t len);
WAPC("__host_call")
int wapc_host_call(const char *binding, size_t binding_len, const char *space, size_t space_len,
                   const char *operation, size_t operation_len, const char *payload, size_t payload_len);
WAPC("__host_response_len") size_t wapc_host_response_len(void);
WAPC("__host_response") void wapc_host_response(char *reply);
WAPC("__host_error_len") size_t wapc_host_error_len(void);
WAPC("__host_error") void wapc_host_error(char *text);
WAPC("__console_log") void wapc_console_log(const char *text, size_t len);

/* Bytes, with a 0 behind them that `len` does not count. Who gets them frees `at`, unless it passes them on. */
typedef struct { char *at; size_t len; } bytes;

/* Bytes for the caller, or the text of an error. */
typedef struct { int ok; bytes bytes; } reply;

/* The guest's own: answers an operation. Both arguments live until the call's end. */
static reply handle(bytes operation, bytes payload);

/* Room for `len` bytes. A guest without memory traps. */
static inline bytes wapc_room(size_t len) {
  bytes room = {malloc(len + 1), len};
  if (room.at == NULL) __builtin_trap();
  room.at[len] = 0;
  return room;
}

static inline bytes wapc_text(const char *text) { return (bytes){(char *)text, strlen(text)}; }

static inline int wapc_is(bytes some, const char *text) {
  return some.len == strlen(text) && memcmp(some.at, text, some.len) == 0;
}

/* A copy of three parts, one after the other. */
static inline bytes wapc_join(bytes head, bytes middle, bytes tail) {
  bytes whole = wapc_room(head.len + middle.len + tail.len);
  memcpy(whole.at, head.at, head.len);
  memcpy(whole.at + head.len, middle.at, middle.len);
  memcpy(whole.at + head.len + middle.len, tail.at, tail.len);
  return whole;
}

/* Calls the host. A refusal is an error with exactly the host's text. */
static inline reply wapc_host(bytes binding, bytes space, bytes operation, bytes payload) {
  int ok = wapc_host_call(binding.at, binding.len, space.at, space.len, operation.at, operation.len, payload.at,
                          payload.len);
  reply answer = {ok, wapc_room(ok ? wapc_host_response_len() : wapc_host_error_len())};
  if (ok) wapc_host_response(answer.bytes.at);
  else wapc_host_error(answer.bytes.at);
  return answer;
}

/* Answers one call: fetches the request, lets `handle` work on it, hands over the reply. */
__attribute__((export_name("__guest_call"))) int wapc_guest_call(size_t operation_len, size_t payload_len) {
  bytes operation = wapc_room(operation_len), payload = wapc_room(payload_len);
  wapc_guest_request(operation.at, payload.at);
  reply answer = handle(operation, payload);
  if (answer.ok) wapc_guest_response(answer.bytes.at, answer.bytes.len);
  else wapc_guest_error(answer.bytes.at, answer.bytes.len);
  if (answer.bytes.at != payload.at) free(answer.bytes.at);
  free(payload.at);
  free(operation.at);
  return answer.ok;
}
