/*
 * Clients of an echo server on 127.0.0.1, by the plain socket API:
 *
 *   client connect PORT THREADS SECONDS        connect, send 32 bytes, read them back, close; in a loop
 *   client rounds PORT CONNECTIONS SECONDS     32 bytes there and back on each of so many connections, again and again
 *
 * Prints how many of these a second, and ends with 1 if any fails.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BYTES 32
#define EVENTS 256

static struct sockaddr_in server;
static double end;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int connected(void)
{
    int on = 1, socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) fail("socket");
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(socket_, (struct sockaddr *)&server, sizeof server) != 0) fail("connect");
    return socket_;
}

static void ask(int socket_)
{
    static const char bytes[BYTES];
    if (send(socket_, bytes, BYTES, MSG_NOSIGNAL) != BYTES) fail("send");
}

/* An answer of so few bytes comes whole. */
static void answered(int socket_)
{
    char bytes[BYTES];
    if (recv(socket_, bytes, BYTES, MSG_WAITALL) != BYTES) fail("recv");
}

static void *connect_again(void *count)
{
    while (now() < end) {
        int socket_ = connected();
        ask(socket_);
        answered(socket_);
        close(socket_);
        ++*(long *)count;
    }
    return NULL;
}

static long connects(int threads)
{
    pthread_t *ids = calloc(threads, sizeof *ids);
    long *counts = calloc(threads, sizeof *counts), all = 0;
    if (ids == NULL || counts == NULL) fail("calloc");
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, connect_again, &counts[i]) != 0) fail("pthread_create");
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        all += counts[i];
    }
    return all;
}

static long rounds(int connections, double seconds)
{
    struct epoll_event events[EVENTS];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0) fail("epoll_create1");
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = connected()};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event) != 0) fail("epoll_ctl");
        /* Each is served before the time begins. */
        ask(event.data.fd);
        answered(event.data.fd);
        ask(event.data.fd);
    }
    end = now() + seconds;
    long count = 0;
    while (now() < end) {
        int ready = epoll_wait(poll, events, EVENTS, 1000);
        if (ready < 0) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            answered(events[i].data.fd);
            ask(events[i].data.fd);
            count++;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    double seconds = atof(argv[4]);
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(argv[2]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    end = now() + seconds;
    long count = strcmp(argv[1], "connect") == 0 ? connects(atoi(argv[3])) : rounds(atoi(argv[3]), seconds);
    printf("%ld\n", (long)(count / seconds));
    return 0;
}
