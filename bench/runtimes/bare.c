/*
 * The floor: connect and close in a loop with the plain socket API, nothing counted but the connections.
 *
 *   bare ADDR PORT THREADS SECONDS [SOURCE...]
 *
 * Each thread takes its own source address in turn, so that client ports don't run out. Prints connections per second,
 * CPU microseconds per connection (user and system), and the failures. ADDR must be on the loopback.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static struct sockaddr_in target;
static double end;
static int sources;
static char **source;

struct worker {
    pthread_t thread;
    int index;
    long done, failed;
};

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void *loop(void *arg)
{
    struct worker *worker = arg;
    int one = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    long n = worker->index;
    while (seconds(CLOCK_MONOTONIC) < end) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
        int bad = fd < 0;
        if (!bad && sources > 0) {
            inet_pton(AF_INET, source[n++ % sources], &from.sin_addr);
            setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
            bad = bind(fd, (struct sockaddr *)&from, sizeof from) < 0;
        }
        bad = bad || connect(fd, (struct sockaddr *)&target, sizeof target) < 0;
        if (fd >= 0)
            close(fd);
        if (bad)
            worker->failed++;
        else
            worker->done++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: bare ADDR PORT THREADS SECONDS [SOURCE...]\n");
        return 2;
    }
    target.sin_family = AF_INET;
    target.sin_port = htons((unsigned short)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &target.sin_addr) != 1 || strncmp(argv[1], "127.", 4) != 0) {
        fprintf(stderr, "bare: %s is not on the loopback\n", argv[1]);
        return 2;
    }
    int threads = atoi(argv[3]);
    double length = atof(argv[4]);
    if (threads < 1 || threads > 256 || length <= 0 || length > 60) {
        fprintf(stderr, "bare: 1 to 256 threads, at most 60 seconds\n");
        return 2;
    }
    source = argv + 5;
    sources = argc - 5;
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    double start = seconds(CLOCK_MONOTONIC);
    end = start + length;
    for (int k = 0; k < threads; k++) {
        workers[k].index = k;
        if (pthread_create(&workers[k].thread, NULL, loop, &workers[k]) != 0) {
            perror("bare");
            return 4;
        }
    }
    long done = 0, failed = 0;
    for (int k = 0; k < threads; k++) {
        pthread_join(workers[k].thread, NULL);
        done += workers[k].done;
        failed += workers[k].failed;
    }
    double took = seconds(CLOCK_MONOTONIC) - start;
    printf("{\"rate\": %.1f, \"cpu_us\": %.3f, \"failed\": %ld}\n", done / took,
           done > 0 ? seconds(CLOCK_PROCESS_CPUTIME_ID) * 1e6 / done : 0.0, failed);
    return 0;
}
