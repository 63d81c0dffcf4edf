/* The receiving end of permessage-deflate (RFC 7692 §7.2.2).
 *
 * Where the server keeps its context from message to message, so does each connection here; where it does not, all
 * connections share one state, which begins anew with each message.
 */
#ifndef INFLATE_H
#define INFLATE_H

#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

struct inflation {
    z_stream fresh;
    z_stream **kept; /* by member; NULL where the server keeps no context */
    uint32_t n;
    uint8_t *text; /* the message that was inflated last */
    size_t text_max;
};

void inflation_init(struct inflation *inflation, uint32_t members, size_t text_max);
void inflation_free(struct inflation *inflation);

/* The server keeps its context for this member. */
void inflation_keep(struct inflation *inflation, uint32_t member);

/* Inflates one message into `text`; returns its length, or -1 where it is no DEFLATE or longer than text_max. */
long inflation_run(struct inflation *inflation, uint32_t member, const uint8_t *payload, size_t length);

#endif
