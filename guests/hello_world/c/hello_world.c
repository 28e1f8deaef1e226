/* The hello_world guest in C. The README one folder up says what each operation does. */

#include "wapc.h"

static reply fail(const char *text, const char *colon, bytes rest) {
  return (reply){0, wapc_join(wapc_text(text), wapc_text(colon), rest)};
}

static bytes hello(bytes name) {
  return wapc_join(wapc_text("Hello, "), name.len == 0 ? wapc_text("world") : name, wapc_text("!"));
}

/* What stands before and after the first `at`; 0 when there is none. */
static int split(bytes some, char at, bytes *head, bytes *tail) {
  char *found = memchr(some.at, at, some.len);
  if (found == NULL) return 0;
  *head = (bytes){some.at, found - some.at};
  *tail = (bytes){found + 1, some.len - head->len - 1};
  return 1;
}

/* The payload's first line names the call, binding/namespace/operation; the rest is passed on. */
static reply host(bytes payload) {
  bytes target = payload, rest = {payload.at, 0}, binding, space, operation;
  if (payload.len == 0) return wapc_host(wapc_text("host"), wapc_text("test"), wapc_text("echo"), payload);
  split(payload, '\n', &target, &rest);
  if (!split(target, '/', &binding, &operation) || !split(operation, '/', &space, &operation))
    return fail("not a host call", ": ", target);
  return wapc_host(binding, space, operation, rest);
}

/* Decimal digits only, up to the largest 32-bit number; -1 for anything else. */
static long long number(bytes digits) {
  long long n = digits.len == 0 ? -1 : 0;
  for (size_t i = 0; i < digits.len; i++) {
    if (digits.at[i] < '0' || digits.at[i] > '9') return -1;
    n = n * 10 + digits.at[i] - '0';
    if (n > 0xffffffffLL) return -1;
  }
  return n;
}

/* Naive on purpose: the work doubles with every other n. */
static unsigned long long fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static bytes decimal(unsigned long long n) {
  char digits[20];
  size_t at = sizeof digits;
  do digits[--at] = '0' + n % 10;
  while ((n /= 10) > 0);
  return wapc_join((bytes){digits + at, sizeof digits - at}, wapc_text(""), wapc_text(""));
}

static reply handle(bytes operation, bytes payload) {
  if (wapc_is(operation, "hello_world") || wapc_is(operation, "hello")) return (reply){1, hello(payload)};
  if (wapc_is(operation, "echo")) return (reply){1, payload};
  if (wapc_is(operation, "fail")) return fail("failed as asked", payload.len == 0 ? "" : ": ", payload);
  if (wapc_is(operation, "host")) return host(payload);
  if (wapc_is(operation, "fib")) {
    long long n = number(payload);
    if (n < 0) return fail("not a number", ": ", payload);
    return (reply){1, decimal(fib((unsigned)n))};
  }
  if (wapc_is(operation, "log")) {
    wapc_console_log(payload.at, payload.len);
    return (reply){1, wapc_room(0)};
  }
  return fail("unknown operation", ": ", operation);
}
