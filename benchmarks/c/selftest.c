/* selftest: shows that the checker sees what it must see, and that cutting frames anywhere changes nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"
#include "frame.h"
#include "load.h"

enum { STREAM_MAX = 1 << 14 };

struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t length;
};

static int failures;

static void same(const char *what, uint64_t is, uint64_t should) {
    if (is == should) return;
    failures++;
    fprintf(stderr, "selftest: %s is %lu and should be %lu\n", what, is, should);
}

static void add_frame(struct stream *stream, uint8_t opcode, const void *payload, size_t length) {
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

static const char plain[] = "{\"type\":\"message\",\"content\":\"%s" PADDING "\"}";
static const char channels[] = "{\"type\": \"response\", \"content\": \"Message received: %s" PADDING "\"}";
static const char long_frame[] =
    "{\"type\":\"response\",\"filler\":\"................................................................\","
    "\"content\":\"%s" PADDING "\"}"; /* more than 125 bytes: the longer header */

/* ---- one member, one connection, `published` messages, the stream cut into pieces of `piece` bytes ---- */

static size_t frames(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    size_t used = 0, part;
    for (;;) {
        enum check_result result = checker_feed(client->context, conn->index, bytes + used, length - used, &part);
        used += part;
        if (result == CHECK_WAITS) return used;
        if (result == CHECK_BROKEN) fail("selftest: broken stream");
        struct frame frame;
        frame_parse(bytes + used, length - used, &frame);
        client_control(client, conn, &frame);
        used += frame.total;
    }
}

static const struct mode selftest_mode = {.frames = frames};

static struct tally feed(const struct stream *stream, uint32_t published, size_t piece, uint64_t *completed) {
    struct checker checker;
    struct conn conn = {.fd = -1, .state = CONN_OPEN};
    struct client client = {.mode = &selftest_mode, .context = &checker, .buffer = malloc(CARRY_MAX + READ_SIZE)};
    checker_init(&checker, 1, 64);
    for (uint32_t i = 0; i < published; i++) checker_publish(&checker, 0);
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
    return checker.tally;
}

struct expectation {
    const char *name, *format;
    uint64_t numbers[16]; /* what the member receives, after the probe; 0 ends the list */
    uint32_t published;
    struct tally tally;
    uint64_t completed;
};

static const struct expectation expectations[] = {
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

static void compare(const char *name, struct tally is, struct tally should, uint64_t completed, uint64_t expected) {
    int before = failures;
    same("deliveries", is.deliveries, should.deliveries);
    same("lost", is.lost, should.lost);
    same("reordered", is.reordered, should.reordered);
    same("duplicates", is.duplicates, should.duplicates);
    same("altered", is.altered, should.altered);
    same("unexpected", is.unexpected, should.unexpected);
    same("completed", completed, expected);
    if (failures > before) fprintf(stderr, "selftest: … in “%s”\n", name);
}

static void test_sequences(void) {
    for (size_t i = 0; i < sizeof expectations / sizeof *expectations; i++) {
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

static void test_all_members_complete(void) {
    struct checker checker;
    size_t used;
    checker_init(&checker, 2, 4);
    for (int i = 0; i < 2; i++) checker_publish(&checker, 0);
    struct stream stream = {.length = 0};
    for (uint64_t i = 0; i < 3; i++) add_text(&stream, plain, i);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    same("complete when one of two has them", checker.completed, 0);
    checker_feed(&checker, 1, stream.bytes, stream.length, &used);
    same("complete when both have them", checker.completed, 2);
    checker_free(&checker);
}

/* The place of a message that is not published yet still holds an old one, which must not pass for it. */
static void test_old_number_in_a_reused_place(void) {
    struct checker checker;
    size_t used;
    checker_init(&checker, 1, 4);
    uint64_t ring = checker.ring_mask + 1;
    struct stream stream = {.length = 0};
    for (uint64_t i = 1; i <= ring; i++) checker_publish(&checker, 0);
    for (uint64_t i = 0; i <= ring; i++) add_text(&stream, plain, i);
    add_text(&stream, plain, 1);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    same("duplicates of an old number", checker.tally.duplicates, 1);
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
    test_all_members_complete();
    test_old_number_in_a_reused_place();
    test_accept();
    printf("{\"mode\":\"selftest\",\"failures\":%d}\n", failures);
    return failures > 0;
}
