/* The checker: every member of the group must see 1, 2, 3 … without a hole, twice nothing, each message unaltered.
 *
 * Laws it checks, per member:
 *   lost        a number was passed over and never came
 *   reordered   a number came after a later one
 *   duplicates  a number came again
 *   altered     a frame carries a number but not the text that was published with it
 *   unexpected  a data frame without any number, or with one that was never published
 *   misplaced   a publication of Centrifuge's wire has another place in the stream than its number says: the offset of
 *               message k is that of the last probe, and k. So offsets have holes where numbers have, and nowhere else
 *
 * On Centrifuge's wire the same holds for publications, however many of them share a frame; on Socket.IO's, for events.
 *
 * Every frame is checked in full, but it is read only where it must be. What a short message's frame looks like is learnt
 * from the probe; of messages with records and of publications, the first one that was read and found right is
 * remembered, and those of other members that are the same, byte for byte, are right as well. That holds for compressed
 * ones, too, unless the server keeps its context: then each frame means something on its own connection only, and each
 * is inflated.
 *
 * It knows nothing of sockets, so that `load selftest` can show that it fails when it should.
 */
#ifndef CHECKER_H
#define CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inflate.h"
#include "message.h"
#include "wire.h"

struct tally {
    uint64_t deliveries, lost, reordered, duplicates, altered, unexpected, misplaced;
};

struct member {
    uint64_t last;    /* highest number seen */
    uint64_t missing; /* bit i: number last - i has not come yet */
    bool connected;   /* `connect` was answered, where the wire has that */
    bool joined;      /* has seen the probe, number 0 */
};

/* One message in flight, or the place for one. */
struct slot {
    uint64_t sent_ns;
    uint32_t arrived; /* members that have passed this number */
    uint32_t frame_length, text_length;
    uint32_t reply_at; /* where in the frame Centrifuge's reply begins: it may come in another frame, with others */
    uint8_t *frame; /* what members must see, if it is known: frame_length is 0 until then */
    uint8_t *text;  /* what was published */
};

struct checker {
    uint32_t n;
    enum wire wire;
    struct shape shape;
    struct member *members;
    uint32_t connected, joined;
    uint64_t probe_offset; /* of the last probe: the offset of message k is k more */
    bool wants_pong, pinged;
    struct slot *ring; /* message s lives in ring[s & ring_mask] while it is in flight */
    uint64_t ring_mask;
    uint8_t *frames, *texts; /* what the slots point to */
    uint64_t sent, completed; /* numbers 1 … sent are published, `completed` of them have reached everyone */
    size_t frame_max;
    size_t template_length; /* of the server's frame around a short message, learnt from the probe; 0: not known yet */
    size_t digits_at;       /* offset of the number in that frame */
    uint8_t *template;
    struct inflation *inflation; /* NULL: nobody compresses */
    uint64_t frame_bytes;        /* of all frames that were delivered */
    struct tally tally;
    void (*on_complete)(void *context, struct slot *slot);
    void *context;
};

enum check_result { CHECK_WAITS, CHECK_CONTROL, CHECK_PINGED, CHECK_BROKEN };

/* The wire is the plain one, unless `checker->wire` says something else before the first frame. */
void checker_init(struct checker *checker, uint32_t members, uint32_t in_flight, struct shape shape);
void checker_free(struct checker *checker);

/* Announces that message `checker->sent + 1` is published at `now_ns`; returns its place, with the text to publish. */
struct slot *checker_publish(struct checker *checker, uint64_t now_ns);

/* Takes the frames of one member out of `bytes`. Stops at a cut frame (CHECK_WAITS), in front of a control frame
 * (CHECK_CONTROL), or behind a frame with a ping of the wire's own that wants an answer (CHECK_PINGED); `*used` says how
 * far it came. */
enum check_result checker_feed(
    struct checker *checker, uint32_t member, const uint8_t *bytes, size_t length, size_t *used);

/* Counts everything that is still under way as lost. */
void checker_give_up(struct checker *checker);

#endif
