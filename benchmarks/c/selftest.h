/* What the parts of the self-test share: streams of frames, and what comes of feeding them to one member. */
#ifndef SELFTEST_H
#define SELFTEST_H

#include "checker.h"

enum { STREAM_MAX = 1 << 14 };

struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t length;
};

/* How the server of a stream compresses. */
enum context { NOTHING_COMPRESSED, CONTEXT_FRESH, CONTEXT_KEPT };

/* Who is fed: a member of this wire, after so many messages were published. */
struct feeding {
    uint32_t published;
    enum wire wire;
    struct shape shape;
    enum context context;
    const struct stream *before; /* what another member gets before, and is not counted; NULL: there is none */
};

struct expectation {
    const char *name, *format;
    uint64_t numbers[16]; /* what the member receives, after the probe; 0 ends the list */
    uint32_t published;
    struct tally tally;
    uint64_t completed;
};

extern const struct expectation expectations[];
extern const size_t expectation_count;
extern uint32_t pings; /* that wanted an answer */

/* Counts a failure where the two differ. */
void same(const char *what, uint64_t is, uint64_t should);
void compare(const char *name, struct tally is, struct tally should, uint64_t completed, uint64_t expected);

void add_frame(struct stream *stream, uint8_t opcode, const void *payload, size_t length);

/* Feeds the stream to one member of one connection, in pieces of `piece` bytes. */
struct tally feed_as(const struct stream *stream, struct feeding feeding, size_t piece, uint64_t *completed);

void test_centrifuge(void);
void test_socketio(void);

#endif
