/* The self-test of Socket.IO's wire: what holds for frames holds for its events, and other packets are no messages. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "frame.h"
#include "selftest.h"

static const char open_packet[] =
    "0{\"sid\":\"Lbo5JLzTotvW3g2LAAAA\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,"
    "\"maxPayload\":1000000}";
static const char connected[] = "40{\"sid\":\"123456789012oSO6AAAB\"}"; /* with as many digits as a number has */

static void add_packet(struct stream *stream, const char *packet) {
    add_frame(stream, OP_TEXT, packet, strlen(packet));
}

static void add_event(struct stream *stream, uint64_t number) {
    uint8_t text[MESSAGE_MAX], packet[MESSAGE_MAX + COMMAND_MAX];
    struct span message = {text, message_write(text, (struct shape){0}, number)};
    add_frame(stream, OP_TEXT, packet, wire_message(WIRE_SOCKETIO, packet, message));
}

static void test_sequence(const struct expectation *e) {
    struct stream stream = {0};
    add_packet(&stream, open_packet);
    add_packet(&stream, connected);
    add_event(&stream, 0);
    for (int k = 0; e->numbers[k]; k++) add_event(&stream, e->numbers[k]);
    for (size_t piece = 1; piece <= stream.length; piece++) {
        struct feeding feeding = {.published = e->published, .wire = WIRE_SOCKETIO};
        uint64_t completed;
        struct tally tally = feed_as(&stream, feeding, piece, &completed), expected = e->tally;
        expected.unexpected++; /* the open packet, which came behind what was published */
        compare(e->name, tally, expected, completed, e->completed);
    }
}

/* An event is altered, another one has another name, the namespace says an error, and pings come in between. */
static void test_other_packets(void) {
    struct stream stream = {0};
    add_packet(&stream, connected);
    add_event(&stream, 0);
    add_packet(&stream, "2");
    add_event(&stream, 1);
    add_packet(&stream, "42[\"message\",{\"type\":\"message\",\"content\":\"000000000002 padding-padding-PADDING\"}]");
    add_packet(&stream, "42[\"other\",{\"type\":\"message\",\"content\":\"000000000003" PADDING "\"}]");
    add_packet(&stream, "44{\"message\":\"Not authorized\"}");
    add_event(&stream, 3);
    add_packet(&stream, "2");
    for (size_t piece = 1; piece <= stream.length; piece++) {
        uint64_t completed;
        pings = 0;
        struct feeding feeding = {.published = 3, .wire = WIRE_SOCKETIO};
        struct tally tally = feed_as(&stream, feeding, piece, &completed);
        compare("other packets", tally, (struct tally){.deliveries = 3, .altered = 1, .unexpected = 2}, completed, 3);
        same("pings of Engine.IO", pings, 2);
    }
}

static void broken(const char *name, uint8_t opcode, const char *packet) {
    struct checker checker;
    struct stream stream = {0};
    size_t used;
    checker_init(&checker, 1, 4, (struct shape){0});
    checker.wire = WIRE_SOCKETIO;
    add_frame(&stream, opcode, packet, strlen(packet));
    same(name, checker_feed(&checker, 0, stream.bytes, stream.length, &used), CHECK_BROKEN);
    checker_free(&checker);
}

void test_socketio(void) {
    for (size_t i = 0; i < expectation_count; i++) test_sequence(&expectations[i]);
    test_other_packets();
    broken("an empty packet", OP_TEXT, "");
    broken("a packet of no kind", OP_TEXT, "9");
    broken("a packet in a binary frame", OP_BINARY, "2");
}
