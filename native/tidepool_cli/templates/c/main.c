// A function of Tidepool: each operation is a branch of handle.
#include "wapc.h"

static reply handle(bytes operation, bytes payload) {
  if (wapc_is(operation, "hello"))
    return (reply){1, wapc_join(wapc_text("Hello, "), payload, wapc_text("!"))};
  return (reply){0, wapc_join(wapc_text("unknown operation: "), operation, wapc_text(""))};
}
