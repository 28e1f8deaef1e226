// A WASI program, for tests of one as a process: reads all of its input, sleeps for as many ms as its argument says, and tells.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int count, char **arguments) {
    long ms = count > 1 ? atol(arguments[1]) : 0;
    int bytes = 0;
    while (getchar() != EOF) {
        bytes++;
    }
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
    printf("%d bytes of input, slept %ld ms\n", bytes, ms);
    return 0;
}
