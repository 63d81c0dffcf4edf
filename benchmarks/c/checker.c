#include "checker.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"

void write_digits(uint8_t *out, uint64_t number) {
    for (int i = DIGITS - 1; i >= 0; i--, number /= 10) out[i] = (uint8_t)('0' + number % 10);
}

bool find_number(const uint8_t *bytes, size_t length, size_t *at, uint64_t *number) {
    size_t run = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && bytes[i] >= '0' && bytes[i] <= '9') {
            run++;
            continue;
        }
        if (run == DIGITS) {
            *at = i - DIGITS;
            *number = 0;
            for (size_t k = *at; k < i; k++) *number = *number * 10 + (uint64_t)(bytes[k] - '0');
            return true;
        }
        run = 0;
    }
    return false;
}

bool padding_follows(const uint8_t *bytes, size_t length, size_t at) {
    size_t from = at + DIGITS, padding = sizeof PADDING - 1;
    return from + padding <= length && memcmp(bytes + from, PADDING, padding) == 0;
}

void checker_init(struct checker *checker, uint32_t members, uint32_t in_flight) {
    *checker = (struct checker){.n = members};
    uint64_t size = 8;
    while (size < 2 * (uint64_t)in_flight) size *= 2;
    checker->ring_mask = size - 1;
    checker->ring = calloc(size, sizeof *checker->ring);
    checker->members = calloc(members, sizeof *checker->members);
    if (!checker->ring || !checker->members) abort();
}

void checker_free(struct checker *checker) {
    free(checker->ring);
    free(checker->members);
}

static void expect(struct checker *checker, uint64_t number) {
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    memcpy(slot->expected, checker->template, checker->frame_length);
    write_digits(slot->expected + checker->digits_at, number);
}

uint64_t checker_publish(struct checker *checker, uint64_t now_ns) {
    uint64_t number = ++checker->sent;
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    slot->sent_ns = now_ns;
    slot->arrived = 0;
    if (checker->frame_length) expect(checker, number);
    return number;
}

static inline void arrived(struct checker *checker, uint64_t number) {
    struct slot *slot = &checker->ring[number & checker->ring_mask];
    if (++slot->arrived < checker->n) return;
    checker->completed++;
    if (checker->on_complete) checker->on_complete(checker->context, slot);
}

/* The first frame that carries a number shows what this server's frames look like. */
static void learn(struct checker *checker, const uint8_t *bytes, size_t total, size_t digits_at) {
    if (checker->frame_length || total > EXPECTED_MAX) return;
    memcpy(checker->template, bytes, total);
    checker->frame_length = total;
    checker->digits_at = digits_at;
    uint64_t ring = checker->ring_mask + 1;
    for (uint64_t k = checker->sent > ring ? checker->sent - ring + 1 : 1; k <= checker->sent; k++) expect(checker, k);
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

static void check_frame(struct checker *checker, struct member *member, const uint8_t *bytes, struct frame *frame) {
    size_t at;
    uint64_t number;
    if (!find_number(frame->payload, frame->length, &at, &number)) {
        checker->tally.unexpected += checker->sent > 0; /* before the first message it is a greeting */
        return;
    }
    if (!padding_follows(frame->payload, frame->length, at)) checker->tally.altered++;
    learn(checker, bytes, frame->total, (size_t)(frame->payload - bytes) + at);
    count_number(checker, member, number);
}

/* Whole frames that are, byte for byte, what this member must see next: nearly all there ever is. */
static inline const uint8_t *take_expected(
    struct checker *checker, struct member *member, const uint8_t *p, const uint8_t *end) {
    size_t length = checker->frame_length;
    uint64_t last = member->last, taken = 0;
    while ((size_t)(end - p) >= length && last < checker->sent &&
           memcmp(p, checker->ring[(last + 1) & checker->ring_mask].expected, length) == 0) {
        arrived(checker, ++last);
        p += length;
        taken++;
    }
    member->last = last;
    member->missing = taken > 63 ? 0 : member->missing << taken;
    checker->tally.deliveries += taken;
    return p;
}

enum check_result checker_feed(
    struct checker *checker, uint32_t index, const uint8_t *bytes, size_t length, size_t *used) {
    struct member *member = &checker->members[index];
    const uint8_t *p = bytes, *end = bytes + length;
    for (;;) {
        if (checker->frame_length) p = take_expected(checker, member, p, end);
        *used = (size_t)(p - bytes);
        struct frame frame;
        enum frame_result result = frame_parse(p, (size_t)(end - p), &frame);
        if (result == FRAME_PARTIAL) return CHECK_WAITS;
        if (result == FRAME_BROKEN || frame.masked) return CHECK_BROKEN;
        if (frame.opcode >= 8) return CHECK_CONTROL;
        if (!frame.fin || frame.opcode == OP_CONTINUATION) return CHECK_BROKEN; /* none of the servers fragments */
        check_frame(checker, member, p, &frame);
        p += frame.total;
    }
}

void checker_give_up(struct checker *checker) {
    for (uint32_t i = 0; i < checker->n; i++) checker->tally.lost += checker->sent - checker->members[i].last;
}
