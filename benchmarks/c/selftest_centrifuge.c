/* The self-test of the wires of Centrifuge: what holds for frames holds for publications, however they share frames. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "frame.h"
#include "protobuf.h"
#include "selftest.h"

static const enum wire wires[] = {WIRE_CENTRIFUGE_JSON, WIRE_CENTRIFUGE_PROTOBUF};
static const char group[] = "bench-kept";

static void append(struct stream *out, const void *bytes, size_t length) {
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

/* Appends a field of Protobuf's with a length. */
static void append_field(struct stream *out, uint32_t number, const struct stream *content) {
    out->length += protobuf_begin(out->bytes + out->length, number, content->length);
    append(out, content->bytes, content->length);
}

/* Appends a reply to a frame's payload. */
static void add_reply(struct stream *payload, enum wire wire, const void *bytes, size_t length) {
    if (wire == WIRE_CENTRIFUGE_JSON && payload->length) append(payload, "\n", 1);
    if (wire == WIRE_CENTRIFUGE_PROTOBUF) payload->length += varint_write(payload->bytes + payload->length, length);
    append(payload, bytes, length);
}

/* As the server of antiphon writes it: the members in the order of the schema, and the epoch with the first of all. */
static void add_json_push(struct stream *payload, struct span data, uint64_t offset) {
    char push[400];
    int length = snprintf(
        push, sizeof push, "{\"push\":{\"channel\":\"%s\",\"pub\":{\"data\":%.*s,\"offset\":%lu%s}}}", group,
        (int)data.length, (const char *)data.bytes, offset, offset == 1 ? ",\"epoch\":\"1a2b3c4d.1\"" : "");
    add_reply(payload, WIRE_CENTRIFUGE_JSON, push, (size_t)length);
}

static void add_protobuf_push(struct stream *payload, struct span data, uint64_t offset) {
    struct stream text = {0}, channel = {0}, pub = {0}, push = {0}, reply = {0};
    append(&text, data.bytes, data.length);
    append(&channel, group, sizeof group - 1);
    append_field(&pub, 4, &text);
    append(&pub, "\x30", 1);
    pub.length += varint_write(pub.bytes + pub.length, offset);
    append_field(&push, 2, &channel);
    append_field(&push, 4, &pub);
    append_field(&reply, 4, &push);
    add_reply(payload, WIRE_CENTRIFUGE_PROTOBUF, reply.bytes, reply.length);
}

static void add_push(struct stream *payload, enum wire wire, struct span data, uint64_t offset) {
    (wire == WIRE_CENTRIFUGE_JSON ? add_json_push : add_protobuf_push)(payload, data, offset);
}

static void add_publication(struct stream *payload, enum wire wire, uint64_t number, uint64_t offset) {
    uint8_t text[MESSAGE_MAX];
    add_push(payload, wire, (struct span){text, message_write(text, (struct shape){0}, number)}, offset);
}

static struct span altered_text(uint64_t number) {
    static uint8_t text[MESSAGE_MAX];
    size_t length = message_write(text, (struct shape){0}, number);
    text[length - 3] ^= 1;
    return (struct span){text, length};
}

/* Ends a frame: what was added to the payload goes to the stream. */
static void flush(struct stream *stream, enum wire wire, struct stream *payload) {
    if (payload->length) add_frame(stream, wire_opcode(wire), payload->bytes, payload->length);
    payload->length = 0;
}

/* The sequences of the plain wire, where the probe has `offset` and frames have up to `crowd` publications: to a member
 * whose publications are read, and to one for whom they are remembered. */
static void test_sequence(const struct expectation *e, enum wire wire, uint64_t offset, int crowd) {
    struct stream stream = {0}, all = {0}, payload = {0};
    add_publication(&payload, wire, 0, offset);
    flush(&stream, wire, &payload);
    for (int k = 0; e->numbers[k]; k++) {
        add_publication(&payload, wire, e->numbers[k], offset + e->numbers[k]);
        if ((k + 1) % crowd == 0) flush(&stream, wire, &payload);
    }
    flush(&stream, wire, &payload);
    for (uint64_t i = 0; i <= e->published; i++) add_publication(&payload, wire, i, offset + i);
    flush(&all, wire, &payload);
    for (size_t piece = 1; piece <= stream.length; piece++) {
        const struct stream *before = piece % 2 ? NULL : &all;
        struct feeding feeding = {.published = e->published, .wire = wire, .before = before};
        uint64_t completed;
        struct tally tally = feed_as(&stream, feeding, piece, &completed);
        compare(e->name, tally, e->tally, completed, e->completed);
    }
}

static void test_sequences(enum wire wire) {
    for (size_t i = 0; i < expectation_count; i++) {
        test_sequence(&expectations[i], wire, 1, 1);
        test_sequence(&expectations[i], wire, 97, 2);   /* an offset gets a digit more */
        test_sequence(&expectations[i], wire, 125, 16); /* and here a byte more in Protobuf */
    }
}

static const char json_connect[] =
    "{\"id\":1,\"connect\":{\"client\":\"c\",\"subs\":{\"bench-kept\":{\"recoverable\":true,\"epoch\":\"1a2b3c4d.1\","
    "\"positioned\":true}},\"ping\":25,\"pong\":true}}";
static const uint8_t protobuf_connect[] = {8, 1, 42, 7, 10, 1, 'c', 56, 25, 64, 1};
static const char json_error[] = "{\"id\":2,\"error\":{\"code\":100,\"message\":\"internal server error\"}}";
static const uint8_t protobuf_error[] = {8, 2, 18, 2, 8, 100};
static const char json_join[] =
    "{\"push\":{\"channel\":\"bench-kept\",\"join\":{\"info\":{\"client\":\"d\",\"user\":\"\"}}}}";
static const uint8_t protobuf_join[] = {34, 5, 18, 1, 'x', 42, 0};

static void add_either(
    struct stream *payload, enum wire wire, const char *json, const uint8_t *protobuf, size_t protobuf_length) {
    if (wire == WIRE_CENTRIFUGE_JSON) add_reply(payload, wire, json, strlen(json));
    else add_reply(payload, wire, protobuf, protobuf_length);
}

static void add_ping(struct stream *payload, enum wire wire) { add_either(payload, wire, "{}", protobuf_connect, 0); }

/* Answers, pings and pushes of other kinds between publications; of those one is altered, and one is misplaced. */
static void test_other_replies(enum wire wire) {
    struct stream stream = {0}, payload = {0};
    add_either(&payload, wire, json_connect, protobuf_connect, sizeof protobuf_connect);
    flush(&stream, wire, &payload);
    add_publication(&payload, wire, 0, 3);
    add_ping(&payload, wire);
    add_publication(&payload, wire, 1, 4);
    flush(&stream, wire, &payload);
    add_ping(&payload, wire);
    flush(&stream, wire, &payload);
    add_push(&payload, wire, altered_text(2), 5);
    add_either(&payload, wire, json_error, protobuf_error, sizeof protobuf_error);
    add_publication(&payload, wire, 3, 7);
    add_either(&payload, wire, json_join, protobuf_join, sizeof protobuf_join);
    add_publication(&payload, wire, 4, 7);
    if (wire == WIRE_CENTRIFUGE_JSON) append(&payload, "\n", 1);
    flush(&stream, wire, &payload);
    for (size_t piece = 1; piece <= stream.length; piece++) {
        uint64_t completed;
        pings = 0;
        struct tally tally = feed_as(&stream, (struct feeding){.published = 4, .wire = wire}, piece, &completed);
        struct tally expected = {.deliveries = 4, .altered = 1, .unexpected = 2, .misplaced = 1};
        compare("other replies", tally, expected, completed, 4);
        same("pings", pings, 2);
    }
}

/* What is wrong for one member, and what is wrong for all: the first is compared with what others got, the second with
 * what was published. */
static void test_members(enum wire wire) {
    struct checker checker;
    struct stream right = {0}, wrong = {0}, alone = {0}, payload = {0};
    size_t used;
    checker_init(&checker, 4, 4, (struct shape){0});
    checker.wire = wire;
    for (uint64_t i = 0; i <= 4; i++) add_publication(&payload, wire, i, 9 + i);
    flush(&right, wire, &payload);
    for (uint64_t i = 0; i <= 2; i++) add_publication(&payload, wire, i, 9 + i + (i == 2));
    add_push(&payload, wire, altered_text(3), 9 + 3);
    add_publication(&payload, wire, 4, 9 + 4);
    flush(&wrong, wire, &payload);
    add_publication(&payload, wire, 1, 9 + 1);
    flush(&alone, wire, &payload);
    for (int i = 0; i < 4; i++) checker_publish(&checker, 0);
    for (uint32_t member = 0; member < 4; member++) {
        const struct stream *stream = member == 2 ? &right : &wrong;
        checker_feed(&checker, member, stream->bytes, stream->length, &used);
    }
    same("misplaced for three members", checker.tally.misplaced, 3);
    same("altered for three members", checker.tally.altered, 3);
    same("deliveries to four members", checker.tally.deliveries, 16);
    same("complete when all have them", checker.completed, 4);
    same("bytes of their frames", checker.frame_bytes, 3 * wrong.length + right.length);
    same("bytes of what is remembered", checker.ring[1].frame_length, alone.length);
    same("what is remembered", (uint64_t)memcmp(checker.ring[1].frame, alone.bytes, alone.length), 0);
    checker_free(&checker);
}

/* The place of the next message still holds the frame of an old one: it must not pass for the next. */
static void test_old_number(enum wire wire) {
    struct checker checker;
    struct stream stream = {0}, payload = {0};
    size_t used;
    checker_init(&checker, 1, 4, (struct shape){0});
    checker.wire = wire;
    uint64_t ring = checker.ring_mask + 1;
    for (uint64_t i = 1; i <= ring; i++) checker_publish(&checker, 0);
    for (uint64_t i = 0; i <= ring; i++) add_publication(&payload, wire, i, 1 + i);
    add_publication(&payload, wire, 1, 2);
    flush(&stream, wire, &payload);
    checker_feed(&checker, 0, stream.bytes, stream.length, &used);
    same("duplicates of an old publication", checker.tally.duplicates, 1);
    same("completed with an old publication", checker.completed, ring);
    checker_free(&checker);
}

/* `payload`, in a frame with this opcode, is no frame of the protocol. */
static void broken(const char *name, enum wire wire, uint8_t opcode, const struct stream *payload) {
    struct checker checker;
    struct stream stream = {0};
    size_t used;
    checker_init(&checker, 1, 4, (struct shape){0});
    checker.wire = wire;
    checker_publish(&checker, 0);
    add_frame(&stream, opcode, payload->bytes, payload->length);
    same(name, checker_feed(&checker, 0, stream.bytes, stream.length, &used), CHECK_BROKEN);
    checker_free(&checker);
}

static void test_broken(enum wire wire) {
    struct stream payload = {0}, lines = {0};
    broken("an empty frame", wire, wire_opcode(wire), &payload);
    add_publication(&payload, wire, 0, 1);
    broken("a frame of the other opcode", wire, wire_opcode(wire) == OP_TEXT ? OP_BINARY : OP_TEXT, &payload);
    payload.length--;
    broken("a reply without its end", wire, wire_opcode(wire), &payload);
    payload.length++;
    append(&lines, payload.bytes, payload.length);
    append(&lines, "\n\n", 2);
    if (wire == WIRE_CENTRIFUGE_JSON) broken("an empty line", wire, OP_TEXT, &lines);
    payload.bytes[1] = 35; /* the type of a group, which nobody uses */
    if (wire == WIRE_CENTRIFUGE_PROTOBUF) broken("a field of no type", wire, OP_BINARY, &payload);
}

/* Members in another order, spaces, and what is nested like the member that is looked for. */
static void test_json(void) {
    static const char text[] =
        "{\"push\" : {\"pub\":{\"offset\":12 , \"tags\":{\"data\":\"}\\\"\"},\"data\" :[1,{\"a\":\"]\"}] }, "
        "\"channel\":\"c\"}}";
    struct reply found = wire_read(WIRE_CENTRIFUGE_JSON, (struct span){(const uint8_t *)text, sizeof text - 1});
    same("the kind of a push in another order", found.kind, REPLY_PUBLICATION);
    same("its offset", found.offset, 12);
    same("its data", found.data.length == 13 && !memcmp(found.data.bytes, "[1,{\"a\":\"]\"}]", 13), true);
}

void test_centrifuge(void) {
    for (size_t i = 0; i < sizeof wires / sizeof *wires; i++) {
        test_sequences(wires[i]);
        test_other_replies(wires[i]);
        test_members(wires[i]);
        test_old_number(wires[i]);
        test_broken(wires[i]);
    }
    test_json();
}
