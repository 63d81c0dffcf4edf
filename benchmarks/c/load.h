/* The load client's command line and its modes. */
#ifndef LOAD_H
#define LOAD_H

#include "client.h"
#include "message.h"
#include "wire.h"

struct options {
    struct ports ports;
    enum wire wire;
    const char *path, *cookie, *origin;
    uint32_t n, window, count, concurrency;
    uint64_t messages; /* publish no more than so many; 0: no limit */
    struct shape shape;
    bool deflate, slow, hold;
    double seconds, warmup, rate, stall;
};

/* Each prints one line of JSON on stdout and returns the exit status. */
int mode_fanout(const struct options *options);
int mode_echo(const struct options *options);
int mode_connect(const struct options *options);
int mode_idle(const struct options *options);
int mode_selftest(void);

#endif
