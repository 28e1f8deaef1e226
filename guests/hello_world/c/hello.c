// hello.c
#include "wapc.h"

static reply handle(bytes operation, bytes payload) {
  if (wapc_is(operation, "hello"))
    return (reply){1, wapc_join(wapc_text("Hello, "), payload, wapc_text("!"))};
  if (wapc_is(operation, "price"))
    return wapc_host(wapc_text("shop"), wapc_text("products"), wapc_text("price"), payload);
  return (reply){0, wapc_join(wapc_text("unknown operation: "), operation, wapc_text(""))};
}
