// A TCP server that says in capitals what it is told, in plain blocking code: a process for each connection.
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define IMPORT(module, name) __attribute__((import_module("lunatic::" module), import_name(name)))
#define FOR_EVER UINT64_MAX
#define MESSAGE 0
#define CALLERS_OWN (-1)

typedef struct {
    const void *bytes;
    uint32_t length;
} Part;

IMPORT("process", "spawn")
uint32_t spawn(int64_t link, int64_t config, int64_t module, const char *name, uint32_t name_length, const void *parameters,
               uint32_t parameters_length, uint64_t *id);
IMPORT("message", "create_data") void create_data(int64_t tag, uint64_t capacity);
IMPORT("message", "push_tcp_stream") uint64_t push_tcp_stream(uint64_t stream);
IMPORT("message", "take_tcp_stream") uint64_t take_tcp_stream(uint64_t index);
IMPORT("message", "send") uint32_t send_message(uint64_t process);
IMPORT("message", "receive") uint32_t receive(const int64_t *tags, uint32_t count, uint64_t timeout_ms);
IMPORT("networking", "tcp_bind")
uint32_t tcp_bind(uint32_t type, const void *address, uint32_t port, uint32_t flow, uint32_t scope, uint64_t *id);
IMPORT("networking", "tcp_accept") uint32_t tcp_accept(uint64_t listener, uint64_t *stream, uint64_t *peer);
IMPORT("networking", "tcp_local_addr") uint32_t tcp_local_addr(uint64_t listener, uint64_t *addresses);
IMPORT("networking", "resolve_next")
uint32_t resolve_next(uint64_t addresses, uint32_t *type, void *address, uint16_t *port, uint32_t *flow, uint32_t *scope);
IMPORT("networking", "drop_dns_iterator") void drop_dns_iterator(uint64_t addresses);
IMPORT("networking", "tcp_read") uint32_t tcp_read(uint64_t stream, void *bytes, uint32_t length, uint64_t *count);
IMPORT("networking", "tcp_write_vectored")
uint32_t tcp_write_vectored(uint64_t stream, const Part *parts, uint32_t length, uint64_t *count);
IMPORT("networking", "drop_tcp_stream") void drop_tcp_stream(uint64_t stream);
IMPORT("error", "string_size") uint32_t error_size(uint64_t error);
IMPORT("error", "to_string") void error_text(uint64_t error, char *text);
IMPORT("error", "drop") void drop_error(uint64_t error);

// Says why something has failed, and ends the process.
static void fail(const char *what, uint64_t error) {
    uint32_t size = error_size(error);
    char *text = malloc(size);
    if (text == NULL) abort();
    error_text(error, text);
    fprintf(stderr, "%s: %.*s\n", what, (int)size, text);
    exit(1);
}

static int write_all(uint64_t stream, const char *bytes, uint32_t length) {
    while (length > 0) {
        Part part = {bytes, length};
        uint64_t count;
        if (tcp_write_vectored(stream, &part, 1, &count) != 0) {
            drop_error(count);
            return 0;
        }
        bytes += count;
        length -= (uint32_t)count;
    }
    return 1;
}

// What a connection's process runs; its first message has the connection.
__attribute__((export_name("serve"))) void serve(void) {
    char bytes[1024];
    uint64_t count;
    if (receive(NULL, 0, FOR_EVER) != MESSAGE) return;
    uint64_t stream = take_tcp_stream(0);
    while (tcp_read(stream, bytes, sizeof bytes, &count) == 0) {
        if (count == 0) return;
        for (uint64_t i = 0; i < count; i++) bytes[i] = (char)toupper((unsigned char)bytes[i]);
        if (!write_all(stream, bytes, (uint32_t)count)) return;
    }
    drop_error(count);
}

int main(void) {
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    static const char entry[] = "serve";
    uint64_t listener, addresses, stream, peer, child;
    if (tcp_bind(4, loopback, 0, 0, 0, &listener) != 0) fail("tcp_bind", listener);
    if (tcp_local_addr(listener, &addresses) != 0) fail("tcp_local_addr", addresses);

    uint8_t address[16];
    uint16_t port = 0;
    uint32_t type, flow, scope;
    if (resolve_next(addresses, &type, address, &port, &flow, &scope) != 0) return 1;
    drop_dns_iterator(addresses);
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);

    while (tcp_accept(listener, &stream, &peer) == 0) {
        drop_dns_iterator(peer);
        // Not linked: a connection that fails takes nobody with it.
        if (spawn(0, CALLERS_OWN, CALLERS_OWN, entry, sizeof entry - 1, NULL, 0, &child) != 0) {
            drop_tcp_stream(stream);
            drop_error(child);
            continue;
        }
        create_data(0, 0);
        push_tcp_stream(stream);
        send_message(child);
    }
    fail("tcp_accept", stream);
}
