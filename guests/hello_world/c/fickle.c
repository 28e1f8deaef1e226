/* The fickle guest in C. The README one folder up says what each operation does. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "wapc.h"

static const unsigned table[] = {10, 20, 30};

/* Of all calls of this instance. */
static uint64_t sum;

static reply handle(bytes operation, bytes payload) {
  bytes nothing = wapc_text("");
  (void)payload;
  if (!wapc_is(operation, "mix")) return (reply){0, wapc_join(wapc_text("unknown operation: "), operation, nothing)};
  struct timespec now;
  uint64_t random;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0 || getentropy(&random, sizeof random) != 0) __builtin_trap();
  uint64_t time = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
  char asked[48], chosen[16];
  snprintf(asked, sizeof asked, "%" PRIu64 " %" PRIu64, time, random);
  reply answer = wapc_host(wapc_text("fickle"), wapc_text("test"), wapc_text("weigh"), wapc_text(asked));
  if (!answer.ok) return answer;
  sum = sum * 31 + time + random;
  for (size_t i = 0; i < answer.bytes.len; i++) sum = sum * 31 + (unsigned char)answer.bytes.at[i];
  size_t index = (sum >> 7) % 4;
  if (index == sizeof table / sizeof *table) __builtin_trap();
  snprintf(chosen, sizeof chosen, " %u", table[index]);
  bytes weight = wapc_join(wapc_text(" "), answer.bytes, wapc_text(chosen));
  bytes whole = wapc_join(wapc_text(asked), weight, nothing);
  free(answer.bytes.at);
  free(weight.at);
  return (reply){1, whole};
}
