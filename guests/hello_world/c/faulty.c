/* The faulty guest in C. The README one folder up says what each operation does. */

#include "wapc.h"

/* Each level keeps its room until the one below is done. */
static size_t deep(size_t n) {
  volatile char room[256];
  for (size_t i = 0; i < sizeof room; i++) room[i] = (char)n;
  return n == 0 ? 0 : deep(n - 1) + (room[n % sizeof room] == (char)n);
}

static reply handle(bytes operation, bytes payload) {
  if (wapc_is(operation, "deep")) {
    bytes nothing = wapc_text("");
    size_t levels = deep(strtoul(payload.at, NULL, 10));
    return (reply){1, wapc_join(wapc_text(levels > 0 ? "deep" : "flat"), nothing, nothing)};
  }
  return (reply){0, wapc_join(wapc_text("unknown operation: "), operation, wapc_text(""))};
}
