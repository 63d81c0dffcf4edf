/* The load client's command line and its modes. */
#ifndef LOAD_H
#define LOAD_H

#include "client.h"

struct options {
    uint16_t port;
    const char *path, *cookie, *origin;
    uint32_t n, window, count, concurrency;
    double seconds, warmup, rate, stall;
};

/* Each prints one line of JSON on stdout and returns the exit status. */
int mode_fanout(const struct options *options);
int mode_echo(const struct options *options);
int mode_connect(const struct options *options);
int mode_idle(const struct options *options);
int mode_selftest(void);

enum { MESSAGE_MAX = 128 };
/* {"type":"message","content":"000000000123 padding-padding-padding"}; returns the length. */
size_t write_message(uint8_t *out, uint64_t number);

#endif
