#include "checker.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"

enum { ENVELOPE_MAX = 448 }; /* what a server may put around a message: its frame's header, and JSON of its own */

void checker_init(struct checker *checker, uint32_t members, uint32_t in_flight, struct shape shape) {
    size_t text_max = message_max(shape), frame_max = text_max + ENVELOPE_MAX;
    *checker = (struct checker){.n = members, .shape = shape, .frame_max = frame_max};
    uint64_t size = 8;
    while (size < 2 * (uint64_t)in_flight) size *= 2;
    checker->ring_mask = size - 1;
    checker->ring = calloc(size, sizeof *checker->ring);
    checker->frames = calloc(size, frame_max);
    checker->texts = calloc(size, text_max);
    checker->template = calloc(1, frame_max);
    checker->members = calloc(members, sizeof *checker->members);
    if (!checker->ring || !checker->frames || !checker->texts || !checker->template || !checker->members) abort();
    for (uint64_t i = 0; i < size; i++) {
        checker->ring[i].frame = checker->frames + i * frame_max;
        checker->ring[i].text = checker->texts + i * text_max;
    }
}

void checker_free(struct checker *checker) {
    free(checker->ring);
    free(checker->frames);
    free(checker->texts);
    free(checker->template);
    free(checker->members);
}

static void expect(struct checker *checker, uint64_t number) {
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    memcpy(slot->frame, checker->template, checker->template_length);
    write_digits(slot->frame + checker->digits_at, number);
    slot->frame_length = (uint32_t)checker->template_length;
}

struct slot *checker_publish(struct checker *checker, uint64_t now_ns) {
    uint64_t number = ++checker->sent;
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    slot->sent_ns = now_ns;
    slot->arrived = 0;
    slot->frame_length = 0;
    slot->text_length = (uint32_t)message_write(slot->text, checker->shape, number);
    if (checker->template_length) expect(checker, number);
    return slot;
}

static inline void arrived(struct checker *checker, uint64_t number) {
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    if (++slot->arrived < checker->n) return;
    checker->completed++;
    if (checker->on_complete) checker->on_complete(checker->context, slot);
}

/* The first frame of a short message shows what this server's frames look like. */
static void learn(struct checker *checker, const uint8_t *bytes, size_t total, size_t digits_at) {
    if (checker->template_length || total > checker->frame_max) return;
    memcpy(checker->template, bytes, total);
    checker->template_length = total;
    checker->digits_at = digits_at;
    for (uint64_t k = checker->completed + 1; k <= checker->sent; k++) expect(checker, k);
}

static void count_number(struct checker *checker, struct member *member, uint64_t number) {
    struct tally *tally = &checker->tally;
    if (number == 0) { /* the probe; it may come more than once and is not counted */
        if (!member->joined) checker->joined++;
        member->joined = true;
        return;
    }
    if (number > checker->sent) {
        tally->unexpected++;
        return;
    }
    tally->deliveries++;
    if (number > member->last) {
        uint64_t step = number - member->last;
        tally->lost += step - 1;
        uint64_t passed = step > 1 ? (step > 64 ? UINT64_MAX : (UINT64_MAX >> (64 - step))) & ~1ULL : 0;
        member->missing = (step > 63 ? 0 : member->missing << step) | passed;
        /* What was passed over counts as arrived, or the publisher would wait for it for ever. */
        for (uint64_t k = member->last + 1; k <= number; k++) arrived(checker, k);
        member->last = number;
        return;
    }
    uint64_t back = member->last - number;
    if (back < 64 && member->missing >> back & 1) {
        member->missing &= ~(1ULL << back);
        tally->lost--;
        tally->reordered++;
    } else {
        tally->duplicates++;
    }
}

static bool keeps_context(const struct checker *checker, uint32_t index) {
    return checker->inflation && checker->inflation->kept[index];
}

/* True if the place of the number is still its own. */
static bool is_in_flight(const struct checker *checker, uint64_t number) {
    return number && number <= checker->sent && checker->sent - number <= checker->ring_mask;
}

/* True if `text` with `number` at `at` is what was published. */
static bool is_published(const struct checker *checker, const uint8_t *text, size_t length, size_t at, uint64_t number) {
    if (is_in_flight(checker, number)) {
        const struct slot *slot = &checker->ring[number & checker->ring_mask];
        return message_follows(text, length, at, slot->text, slot->text_length);
    }
    static uint8_t published[MESSAGE_MAX];
    return message_follows(text, length, at, published, message_write(published, checker->shape, number));
}

/* Remembers a frame that was found right, if it would be right for any other member. */
static void remember(struct checker *checker, uint32_t index, const uint8_t *bytes, const struct frame *frame,
                     size_t at, uint64_t number) {
    if (!checker->shape.records) {
        if (!frame->compressed) learn(checker, bytes, frame->total, (size_t)(frame->payload - bytes) + at);
        return;
    }
    if (keeps_context(checker, index) || frame->total > checker->frame_max || !is_in_flight(checker, number)) return;
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    if (slot->frame_length) return;
    memcpy(slot->frame, bytes, frame->total);
    slot->frame_length = (uint32_t)frame->total;
}

/* Remembers a publication that was found right, as the frame that it would be by itself. */
static void remember_reply(struct checker *checker, struct span reply, uint64_t number) {
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    if (!is_in_flight(checker, number) || slot->frame_length) return;
    if (FRAME_HEADER_MAX + reply.length > checker->frame_max) return;
    slot->reply_at = (uint32_t)frame_header(slot->frame, wire_opcode(checker->wire), reply.length, NULL);
    memcpy(slot->frame + slot->reply_at, reply.bytes, reply.length);
    slot->frame_length = slot->reply_at + (uint32_t)reply.length;
}

static void check_publication(struct checker *checker, struct member *member, struct span reply, struct reply found) {
    size_t at;
    uint64_t number;
    if (!find_number(found.data.bytes, found.data.length, &at, &number)) {
        checker->tally.unexpected++;
        return;
    }
    bool is_unaltered = is_published(checker, found.data.bytes, found.data.length, at, number);
    bool is_in_place =
        !number || !wire_has_offsets(checker->wire) || found.offset == checker->probe_offset + number;
    if (!number && found.offset > checker->probe_offset) checker->probe_offset = found.offset;
    checker->tally.altered += !is_unaltered;
    checker->tally.misplaced += !is_in_place;
    if (is_unaltered && is_in_place) remember_reply(checker, reply, number);
    count_number(checker, member, number);
}

/* False if it can't be read. */
static bool check_reply(struct checker *checker, struct member *member, struct span reply) {
    struct reply found = wire_read(checker->wire, reply);
    switch (found.kind) {
    case REPLY_PUBLICATION: check_publication(checker, member, reply, found); break;
    case REPLY_PING: checker->pinged = checker->wants_pong; break;
    case REPLY_CONNECTED:
        checker->connected += !member->connected;
        checker->wants_pong = found.wants_pong;
        member->connected = true;
        break;
    case REPLY_OTHER: checker->tally.unexpected += checker->sent > 0; break;
    case REPLY_BROKEN: return false;
    }
    return true;
}

/* True if the reply is, byte for byte, what this member must see next. */
static bool take_expected_reply(struct checker *checker, struct member *member, struct span reply) {
    const struct slot *slot = &checker->ring[(member->last + 1) & checker->ring_mask];
    if (member->last >= checker->sent || slot->frame_length != slot->reply_at + reply.length) return false;
    if (memcmp(reply.bytes, slot->frame + slot->reply_at, reply.length) != 0) return false;
    arrived(checker, ++member->last);
    member->missing <<= 1;
    checker->tally.deliveries++;
    return true;
}

/* The replies of one frame; false if one can't be read. */
static bool check_replies(struct checker *checker, struct member *member, const struct frame *frame) {
    struct span payload = {frame->payload, frame->length}, reply;
    uint64_t before = checker->tally.deliveries;
    if (frame->opcode != wire_opcode(checker->wire)) return false;
    do {
        if (!wire_next(checker->wire, &payload, &reply)) return false;
        if (!take_expected_reply(checker, member, reply) && !check_reply(checker, member, reply)) return false;
    } while (payload.length);
    if (checker->tally.deliveries > before) checker->frame_bytes += frame->total;
    return true;
}

/* False if the frame can't be read. */
static bool check_frame(struct checker *checker, uint32_t index, const uint8_t *bytes, const struct frame *frame) {
    if (checker->wire != WIRE_PLAIN) return check_replies(checker, &checker->members[index], frame);
    const uint8_t *text = frame->payload;
    long length = (long)frame->length;
    size_t at;
    uint64_t number;
    if (frame->compressed) {
        length = inflation_run(checker->inflation, index, frame->payload, frame->length);
        if (length < 0) return false;
        text = checker->inflation->text;
    }
    if (!find_number(text, (size_t)length, &at, &number)) {
        checker->tally.unexpected += checker->sent > 0; /* before the first message it is a greeting */
        return true;
    }
    if (is_published(checker, text, (size_t)length, at, number)) remember(checker, index, bytes, frame, at, number);
    else checker->tally.altered++;
    checker->frame_bytes += number ? frame->total : 0;
    count_number(checker, &checker->members[index], number);
    return true;
}

/* Whole frames that are, byte for byte, what this member must see next: nearly all there ever is. */
static inline const uint8_t *take_expected(
    struct checker *checker, struct member *member, const uint8_t *p, const uint8_t *end) {
    const uint8_t *begin = p;
    uint64_t last = member->last, taken = 0;
    while (last < checker->sent) {
        const struct slot *slot = &checker->ring[(last + 1) & checker->ring_mask];
        size_t length = slot->frame_length;
        if (!length || (size_t)(end - p) < length || memcmp(p, slot->frame, length) != 0) break;
        arrived(checker, ++last);
        p += length;
        taken++;
    }
    member->last = last;
    member->missing = taken > 63 ? 0 : member->missing << taken;
    checker->tally.deliveries += taken;
    checker->frame_bytes += (uint64_t)(p - begin);
    return p;
}

enum check_result checker_feed(
    struct checker *checker, uint32_t index, const uint8_t *bytes, size_t length, size_t *used) {
    const uint8_t *p = bytes, *end = bytes + length;
    uint8_t extended = checker->inflation ? RSV1 : 0;
    for (;;) {
        p = take_expected(checker, &checker->members[index], p, end);
        *used = (size_t)(p - bytes);
        struct frame frame;
        enum frame_result result = frame_parse_extended(p, (size_t)(end - p), extended, &frame);
        if (result == FRAME_PARTIAL) return CHECK_WAITS;
        if (result == FRAME_BROKEN || frame.masked) return CHECK_BROKEN;
        if (frame.opcode >= 8) return CHECK_CONTROL;
        if (!frame.fin || frame.opcode == OP_CONTINUATION) return CHECK_BROKEN; /* none of the servers fragments */
        if (!check_frame(checker, index, p, &frame)) return CHECK_BROKEN;
        p += frame.total;
        if (!checker->pinged) continue;
        checker->pinged = false;
        *used = (size_t)(p - bytes);
        return CHECK_PINGED;
    }
}

void checker_give_up(struct checker *checker) {
    for (uint32_t i = 0; i < checker->n; i++) checker->tally.lost += checker->sent - checker->members[i].last;
}
