/* The slow member: it joins like the others, reads nothing while they are published to, and then reads what is left.
 *
 * What it gets may end early, if it is told: by a close frame, or because its connection is gone. What it misses while
 * its connection stays open was dropped in silence.
 */
#ifndef SLOW_H
#define SLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client.h"

struct slow {
    struct conn *conn; /* NULL: nobody is slow */
    bool joined;       /* has seen the probe, number 0 */
    bool is_over;      /* a close frame came, or the end of the stream */
    unsigned code;     /* of the close frame; 1006 where there was none (RFC 6455 §7.1.5); 0: it is still open */
    uint64_t received, last;
    uint64_t missed; /* numbers that were passed over, and the last ones if it is still open */
};

/* Takes whole frames; returns how many bytes were used up. */
size_t slow_frames(struct slow *slow, const uint8_t *bytes, size_t length);

/* Reads nothing from now on. */
void slow_stop(struct client *client, struct slow *slow);

/* Reads what is left, until all `sent` messages are there, the connection is over, or nothing came for `patience_s`. */
void slow_read_on(struct client *client, struct slow *slow, uint64_t sent, double patience_s);

#endif
