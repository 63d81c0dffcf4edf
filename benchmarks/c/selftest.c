/* selftest: shows that the checker sees what it must see, and that cutting frames anywhere changes nothing. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"
#include "frame.h"
#include "load.h"
#include "selftest.h"
#include "slow.h"

uint32_t pings;
static const struct shape short_shape = {0}, records_shape = {.records = true, .size = 600};

static int failures;

void same(const char *what, uint64_t is, uint64_t should) {
    if (is == should) return;
    failures++;
    fprintf(stderr, "selftest: %s is %lu and should be %lu\n", what, is, should);
}

void add_frame(struct stream *stream, uint8_t opcode, const void *payload, size_t length) {
    stream->length += frame_header(stream->bytes + stream->length, opcode, length, NULL);
    memcpy(stream->bytes + stream->length, payload, length);
    stream->length += length;
}

static void add_text(struct stream *stream, const char *format, uint64_t number) {
    char digits[DIGITS + 1] = {0}, text[300];
    write_digits((uint8_t *)digits, number);
    int length = snprintf(text, sizeof text, format, digits);
    add_frame(stream, OP_TEXT, text, (size_t)length);
}

static void add_records(struct stream *stream, uint64_t number) {
    uint8_t text[MESSAGE_MAX];
    add_frame(stream, OP_TEXT, text, message_write(text, records_shape, number));
}

/* The same with a space behind each comma, and with another envelope, as `json.dumps` would write it. */
static void add_spaced_records(struct stream *stream, uint64_t number) {
    static const char envelope[] = "{\"type\": \"response\", \"content\": ", inner[] = "\"content\":";
    uint8_t text[MESSAGE_MAX] = {0};
    char spaced[2 * MESSAGE_MAX];
    message_write(text, records_shape, number);
    size_t length = sizeof envelope - 1;
    memcpy(spaced, envelope, length);
    for (const char *p = strstr((char *)text, inner) + sizeof inner - 1; *p; p++) {
        spaced[length++] = *p;
        if (*p == ',' || *p == ':') spaced[length++] = ' ';
    }
    add_frame(stream, OP_TEXT, spaced, length);
}

static void add_compressed(struct stream *stream, z_stream *deflater, const uint8_t *text, size_t length) {
    uint8_t out[STREAM_MAX];
    deflater->next_in = (uint8_t *)(uintptr_t)text;
    deflater->avail_in = (uInt)length;
    deflater->next_out = out;
    deflater->avail_out = sizeof out;
    deflate(deflater, Z_SYNC_FLUSH);
    size_t at = stream->length;
    add_frame(stream, OP_TEXT, out, (size_t)(deflater->next_out - out) - 4); /* without 00 00 ff ff */
    stream->bytes[at] |= RSV1;
}

static const char plain[] = "{\"type\":\"message\",\"content\":\"%s" PADDING "\"}";
static const char channels[] = "{\"type\": \"response\", \"content\": \"Message received: %s" PADDING "\"}";
static const char long_frame[] =
    "{\"type\":\"response\",\"filler\":\"................................................................\","
    "\"content\":\"%s" PADDING "\"}"; /* more than 125 bytes: the longer header */

static void add_plain(struct stream *stream, uint64_t number) { add_text(stream, plain, number); }

/* ---- one member, one connection, `published` messages, the stream cut into pieces of `piece` bytes ---- */

static size_t frames(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    size_t used = 0, part;
    for (;;) {
        enum check_result result = checker_feed(client->context, conn->index, bytes + used, length - used, &part);
        used += part;
        if (result == CHECK_WAITS) return used;
        if (result == CHECK_BROKEN) fail("selftest: broken stream");
        if (result == CHECK_PINGED) {
            pings++;
            continue;
        }
        struct frame frame;
        frame_parse(bytes + used, length - used, &frame);
        client_control(client, conn, &frame);
        used += frame.total;
    }
}

static const struct mode selftest_mode = {.frames = frames};

struct tally feed_as(const struct stream *stream, struct feeding feeding, size_t piece, uint64_t *completed) {
    struct checker checker;
    struct inflation inflation;
    struct conn conn = {.fd = -1, .state = CONN_OPEN};
    struct client client = {.mode = &selftest_mode, .context = &checker, .buffer = malloc(CARRY_MAX + READ_SIZE)};
    size_t used;
    checker_init(&checker, feeding.before ? 2 : 1, 64, feeding.shape);
    checker.wire = feeding.wire;
    inflation_init(&inflation, 1, MESSAGE_MAX);
    if (feeding.context == CONTEXT_KEPT) inflation_keep(&inflation, 0);
    if (feeding.context != NOTHING_COMPRESSED) checker.inflation = &inflation;
    for (uint32_t i = 0; i < feeding.published; i++) checker_publish(&checker, 0);
    if (feeding.before) checker_feed(&checker, 1, feeding.before->bytes, feeding.before->length, &used);
    checker.tally = (struct tally){0};
    for (size_t at = 0; at < stream->length; at += piece) {
        size_t length = stream->length - at < piece ? stream->length - at : piece;
        client_feed(&client, &conn, stream->bytes + at, length);
    }
    same("bytes left over", conn.carried, 0);
    *completed = checker.completed;
    checker_give_up(&checker);
    free(client.buffer);
    free(conn.carry);
    checker_free(&checker);
    inflation_free(&inflation);
    return checker.tally;
}

static struct tally feed(const struct stream *stream, uint32_t published, size_t piece, uint64_t *completed) {
    return feed_as(stream, (struct feeding){.published = published}, piece, completed);
}

const struct expectation expectations[] = {
    {"in order", plain, {1, 2, 3, 4, 5, 6}, 6, {.deliveries = 6}, 6},
    {"in order, Channels' shape", channels, {1, 2, 3}, 3, {.deliveries = 3}, 3},
    {"in order, long frames", long_frame, {1, 2, 3}, 3, {.deliveries = 3}, 3},
    {"one lost", plain, {1, 2, 4, 5}, 5, {.deliveries = 4, .lost = 1}, 5},
    {"three lost at once", plain, {1, 5}, 5, {.deliveries = 2, .lost = 3}, 5},
    {"the last one lost", plain, {1, 2}, 3, {.deliveries = 2, .lost = 1}, 2},
    {"the first one lost", plain, {2, 3}, 3, {.deliveries = 2, .lost = 1}, 3},
    {"two swapped", plain, {1, 3, 2, 4}, 4, {.deliveries = 4, .reordered = 1}, 4},
    {"one late by three", plain, {1, 3, 4, 5, 2, 6}, 6, {.deliveries = 6, .reordered = 1}, 6},
    {"one twice", plain, {1, 2, 2, 3}, 3, {.deliveries = 4, .duplicates = 1}, 3},
    {"an old one again", plain, {1, 2, 3, 1, 4}, 4, {.deliveries = 5, .duplicates = 1}, 4},
    {"late and then twice", plain, {2, 1, 1, 3}, 3, {.deliveries = 4, .reordered = 1, .duplicates = 1}, 3},
    {"one never published", plain, {1, 2, 9}, 2, {.deliveries = 2, .unexpected = 1}, 2},
};
const size_t expectation_count = sizeof expectations / sizeof *expectations;

void compare(const char *name, struct tally is, struct tally should, uint64_t completed, uint64_t expected) {
    int before = failures;
    same("deliveries", is.deliveries, should.deliveries);
    same("lost", is.lost, should.lost);
    same("reordered", is.reordered, should.reordered);
    same("duplicates", is.duplicates, should.duplicates);
    same("altered", is.altered, should.altered);
    same("unexpected", is.unexpected, should.unexpected);
    same("misplaced", is.misplaced, should.misplaced);
    same("completed", completed, expected);
    if (failures > before) fprintf(stderr, "selftest: … in “%s”\n", name);
}

static void test_sequences(void) {
    for (size_t i = 0; i < expectation_count; i++) {
        const struct expectation *e = &expectations[i];
        struct stream stream = {.length = 0};
        add_text(&stream, e->format, 0);
        for (int k = 0; e->numbers[k]; k++) add_text(&stream, e->format, e->numbers[k]);
        for (size_t piece = 1; piece <= stream.length; piece++) {
            uint64_t completed;
            struct tally tally = feed(&stream, e->published, piece, &completed);
            compare(e->name, tally, e->tally, completed, e->completed);
        }
    }
}

static void test_other_frames(void) {
    struct stream stream = {.length = 0};
    add_text(&stream, plain, 0);
    add_text(&stream, plain, 1);
    add_frame(&stream, OP_PONG, "x", 1);
    add_text(&stream, "{\"type\":\"message\",\"content\":\"%s padding-padding-PADDING\"}", 2);
    add_frame(&stream, OP_TEXT, "{\"type\":\"error\"}", 16);
    add_text(&stream, plain, 3);
    for (size_t piece = 1; piece <= stream.length; piece++) {
        uint64_t completed;
        struct tally tally = feed(&stream, 3, piece, &completed);
        compare("other frames", tally, (struct tally){.deliveries = 3, .altered = 1, .unexpected = 1}, completed, 3);
    }
}

static void test_records(void) {
    struct stream stream = {.length = 0};
    for (uint64_t i = 0; i < 3; i++) add_records(&stream, i);
    for (uint64_t i = 3; i < 5; i++) add_spaced_records(&stream, i);
    size_t at = stream.length;
    add_records(&stream, 5);
    uint8_t *figure = memmem(stream.bytes + at, stream.length - at, "\"volume\":", 9);
    figure[9] = figure[9] == '1' ? '2' : '1';
    struct feeding feeding = {.published = 5, .shape = records_shape};
    for (size_t piece = 1; piece <= stream.length; piece++) {
        uint64_t completed;
        struct tally tally = feed_as(&stream, feeding, piece, &completed);
        compare("records", tally, (struct tally){.deliveries = 5, .altered = 1}, completed, 5);
    }
}

/* Messages 1, 2, 4 with one of the records of message 5 in place of its own; behind them an uncompressed one. */
static void compressed_stream(struct stream *stream, enum context context) {
    z_stream deflater = {0};
    deflateInit2(&deflater, 6, Z_DEFLATED, -12, 5, Z_DEFAULT_STRATEGY);
    for (uint64_t i = 0; i <= 4; i++) {
        uint8_t text[MESSAGE_MAX];
        size_t at, length = message_write(text, records_shape, i == 4 ? 5 : i);
        uint64_t number;
        if (i == 3) continue;
        if (i == 4 && find_number(text, length, &at, &number)) write_digits(text + at, 4);
        add_compressed(stream, &deflater, text, length);
        if (context == CONTEXT_FRESH) deflateReset(&deflater);
    }
    deflateEnd(&deflater);
    add_records(stream, 5);
}

static void test_compressed(enum context context) {
    struct stream stream = {.length = 0};
    compressed_stream(&stream, context);
    struct feeding feeding = {.published = 5, .shape = records_shape, .context = context};
    for (size_t piece = 1; piece <= stream.length; piece++) {
        uint64_t completed;
        struct tally tally = feed_as(&stream, feeding, piece, &completed);
        compare(
            context == CONTEXT_KEPT ? "compressed, context kept" : "compressed, no context", tally,
            (struct tally){.deliveries = 4, .lost = 1, .altered = 1}, completed, 5);
    }
}

/* The first member's frame is read; the second's is compared with it; a third's, which differs, is read again. */
static void test_remembered_frames(void) {
    struct checker checker;
    struct inflation inflation;
    struct stream stream = {.length = 0}, other = {.length = 0};
    size_t used;
    checker_init(&checker, 3, 4, records_shape);
    inflation_init(&inflation, 3, MESSAGE_MAX);
    checker.inflation = &inflation;
    for (int i = 0; i < 2; i++) checker_publish(&checker, 0);
    z_stream deflater = {0};
    deflateInit2(&deflater, 6, Z_DEFLATED, -12, 5, Z_DEFAULT_STRATEGY);
    for (uint64_t i = 1; i <= 2; i++) {
        uint8_t text[MESSAGE_MAX];
        size_t length = message_write(text, records_shape, i);
        add_compressed(&stream, &deflater, text, length);
        deflateReset(&deflater);
        text[length - 20] ^= 1;
        add_compressed(&other, &deflater, text, length);
        deflateReset(&deflater);
    }
    deflateEnd(&deflater);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    uint64_t inflated = inflation.fresh.total_in;
    inflation.fresh.total_in = 0;
    checker_feed(&checker, 1, stream.bytes, stream.length, &used);
    same("bytes inflated for the first member", inflated > 0, true);
    same("bytes inflated for the second member", inflation.fresh.total_in, 0);
    same("altered before the third member", checker.tally.altered, 0);
    checker_feed(&checker, 2, other.bytes, other.length, &used);
    same("altered for the third member", checker.tally.altered, 2);
    same("complete when all three have them", checker.completed, 2);
    same("bytes of their frames", checker.frame_bytes, 2 * stream.length + other.length);
    checker_free(&checker);
    inflation_free(&inflation);
}

static bool follows(const char *text, const char *published) {
    size_t at;
    uint64_t number;
    return find_number((const uint8_t *)text, strlen(text), &at, &number) &&
           message_follows((const uint8_t *)text, strlen(text), at, (const uint8_t *)published, strlen(published));
}

static void test_spaces(void) {
    static const char published[] = "{\"n\":\"000000000007\",\"a\":[1,2]}";
    same("the same text", follows(published, published), true);
    same("spaces between its parts", follows("{\"other\": \"000000000007\", \"a\": [1, 2]}", published), true);
    same("another figure", follows("{\"n\":\"000000000007\",\"a\":[1,3]}", published), false);
    same("spaces and another figure", follows("{\"n\": \"000000000007\", \"a\": [1, 3]}", published), false);
    same("spaces and a figure too many", follows("{\"n\": \"000000000007\", \"a\": [1, 2, 3]}", published), false);
    same("spaces and an end that is missing", follows("{\"n\": \"000000000007\", \"a\": [1, 2", published), false);
}

/* The same bytes to two members for whom the server keeps its context: each reads them for itself. */
static void test_kept_contexts_are_apart(void) {
    struct checker checker;
    struct inflation inflation;
    struct stream stream = {.length = 0};
    size_t used;
    checker_init(&checker, 2, 4, records_shape);
    inflation_init(&inflation, 2, MESSAGE_MAX);
    checker.inflation = &inflation;
    for (uint32_t i = 0; i < 2; i++) inflation_keep(&inflation, i);
    for (int i = 0; i < 5; i++) checker_publish(&checker, 0);
    compressed_stream(&stream, CONTEXT_KEPT);
    for (uint32_t i = 0; i < 2; i++) checker_feed(&checker, i, stream.bytes, stream.length, &used);
    same("bytes inflated for each", inflation.kept[1]->total_in, inflation.kept[0]->total_in);
    checker_free(&checker);
    inflation_free(&inflation);
}

/* Messages that end with a final block of DEFLATE (RFC 7692 §7.2.3.4), and a byte 0 behind it. */
static void test_final_blocks(void) {
    struct inflation inflation;
    inflation_init(&inflation, 1, MESSAGE_MAX);
    for (uint64_t i = 0; i < 2; i++) {
        uint8_t text[MESSAGE_MAX], out[STREAM_MAX] = {0};
        size_t length = message_write(text, records_shape, i);
        z_stream deflater = {.next_in = text, .avail_in = (uInt)length, .next_out = out, .avail_out = sizeof out};
        deflateInit2(&deflater, 6, Z_DEFLATED, -12, 5, Z_DEFAULT_STRATEGY);
        deflate(&deflater, Z_FINISH);
        long is = inflation_run(&inflation, 0, out, deflater.total_out + 1);
        deflateEnd(&deflater);
        same("length with a final block", (uint64_t)is, length);
        same("text with a final block", (uint64_t)memcmp(inflation.text, text, length), 0);
    }
    inflation_free(&inflation);
}

static void test_broken_compression(void) {
    static const uint8_t garbage[] = {0xff, 0xff, 0xff, 0xff};
    struct inflation inflation;
    inflation_init(&inflation, 1, MESSAGE_MAX);
    same("what can't be inflated", (uint64_t)inflation_run(&inflation, 0, garbage, sizeof garbage), (uint64_t)-1);
    inflation_free(&inflation);
    struct frame frame;
    static const uint8_t compressed[] = {0x80 | RSV1 | OP_TEXT, 0}, pong[] = {0x80 | RSV1 | OP_PONG, 0};
    same("a compressed frame that nobody agreed on", frame_parse(compressed, 2, &frame), FRAME_BROKEN);
    same("a compressed control frame", frame_parse_extended(pong, 2, RSV1, &frame), FRAME_BROKEN);
}

static void test_slow_member(void) {
    struct slow slow = {0};
    struct stream stream = {.length = 0};
    add_text(&stream, plain, 0);
    add_text(&stream, plain, 1);
    add_text(&stream, plain, 2);
    add_text(&stream, plain, 5);
    static const uint8_t close_frame[] = {1013 >> 8, 1013 & 255};
    add_frame(&stream, OP_CLOSE, close_frame, sizeof close_frame);
    for (size_t at = 0, piece = 10; at < stream.length && !slow.is_over; piece++) {
        size_t length = stream.length - at < piece ? stream.length - at : piece;
        size_t used = slow_frames(&slow, stream.bytes + at, length);
        at += used;
        if (used) piece = 10;
    }
    same("received by the slow member", slow.received, 3);
    same("missed by the slow member", slow.missed, 2);
    same("the slow member's close code", slow.code, 1013);
    same("the slow member's probe", slow.joined, true);
}

static void test_all_members_complete(void) {
    struct checker checker;
    size_t used;
    checker_init(&checker, 2, 4, short_shape);
    for (int i = 0; i < 2; i++) checker_publish(&checker, 0);
    struct stream stream = {.length = 0};
    for (uint64_t i = 0; i < 3; i++) add_text(&stream, plain, i);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    same("complete when one of two has them", checker.completed, 0);
    checker_feed(&checker, 1, stream.bytes, stream.length, &used);
    same("complete when both have them", checker.completed, 2);
    checker_free(&checker);
}

/* The place of a message still holds an old one before it is published, and no more of it after: it must not pass. */
static void test_old_number_in_a_reused_place(struct shape shape) {
    struct checker checker;
    size_t used;
    checker_init(&checker, 1, 4, shape);
    uint64_t ring = checker.ring_mask + 1;
    struct stream stream = {.length = 0};
    for (uint64_t i = 1; i <= ring; i++) checker_publish(&checker, 0);
    void (*add)(struct stream *, uint64_t) = shape.records ? add_records : add_plain;
    for (uint64_t i = 0; i <= ring; i++) add(&stream, i);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    stream.length = 0;
    add(&stream, 1);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    same("duplicates of an old number", checker.tally.duplicates, 1);
    checker_publish(&checker, 0);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    same("duplicates of an old number whose place is taken", checker.tally.duplicates, 2);
    same("completed with an old number", checker.completed, ring);
    checker_free(&checker);
}

static void test_accept(void) { /* the example of RFC 6455 §1.3 */
    char accept[WS_ACCEPT_LENGTH + 1];
    ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept);
    same("the handshake's example", (uint64_t)strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), 0);
}

int mode_selftest(void) {
    test_sequences();
    test_other_frames();
    test_records();
    test_compressed(CONTEXT_FRESH);
    test_compressed(CONTEXT_KEPT);
    test_remembered_frames();
    test_kept_contexts_are_apart();
    test_final_blocks();
    test_broken_compression();
    test_spaces();
    test_slow_member();
    test_all_members_complete();
    test_old_number_in_a_reused_place(short_shape);
    test_old_number_in_a_reused_place(records_shape);
    test_accept();
    test_centrifuge();
    test_socketio();
    printf("{\"mode\":\"selftest\",\"failures\":%d}\n", failures);
    return failures > 0;
}
