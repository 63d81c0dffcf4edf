#include "wire.h"

#include <string.h>

#include "frame.h"
#include "json.h"
#include "protobuf.h"

static const char *const names[WIRES] = {"plain", "centrifuge-json", "centrifuge-protobuf", "socketio"};

bool wire_named(const char *name, enum wire *wire) {
    for (enum wire each = WIRE_PLAIN; each < WIRES; each++) {
        if (strcmp(name, names[each])) continue;
        *wire = each;
        return true;
    }
    return false;
}

const char *wire_name(enum wire wire) { return names[wire]; }

/* Clients of JSON and of Socket.IO offer nothing. */
const char *wire_subprotocol(enum wire wire) { return wire == WIRE_CENTRIFUGE_PROTOBUF ? names[wire] : NULL; }

bool wire_has_offsets(enum wire wire) { return wire == WIRE_CENTRIFUGE_JSON || wire == WIRE_CENTRIFUGE_PROTOBUF; }

uint8_t wire_opcode(enum wire wire) { return wire == WIRE_CENTRIFUGE_PROTOBUF ? OP_BINARY : OP_TEXT; }

/* ---- what the client sends ---- */

enum { COMMAND_CONNECT = 4, COMMAND_SEND = 12, SEND_DATA = 1 };

static size_t append(uint8_t *out, size_t length, const void *bytes, size_t count) {
    memcpy(out + length, bytes, count);
    return length + count;
}

size_t wire_connect(enum wire wire, uint8_t *out) {
    static const char json[] = "{\"connect\":{},\"id\":1}";
    static const uint8_t protobuf[] = {4, 1 << 3, 1, COMMAND_CONNECT << 3 | 2, 0}; /* its length, the id, nothing */
    if (wire == WIRE_SOCKETIO) return append(out, 0, "40", 2);
    if (wire == WIRE_CENTRIFUGE_JSON) return append(out, 0, json, sizeof json - 1);
    return append(out, 0, protobuf, sizeof protobuf);
}

static size_t json_send(uint8_t *out, struct span text) {
    static const char head[] = "{\"send\":{\"data\":", tail[] = "}}";
    size_t length = append(out, 0, head, sizeof head - 1);
    length = append(out, length, text.bytes, text.length);
    return append(out, length, tail, sizeof tail - 1);
}

static size_t protobuf_send(uint8_t *out, struct span text) {
    uint8_t data[2 * VARINT_MAX], send[2 * VARINT_MAX];
    size_t data_length = protobuf_begin(data, SEND_DATA, text.length);
    size_t send_length = protobuf_begin(send, COMMAND_SEND, data_length + text.length);
    size_t length = varint_write(out, send_length + data_length + text.length);
    length = append(out, length, send, send_length);
    length = append(out, length, data, data_length);
    return append(out, length, text.bytes, text.length);
}

static const char event_head[] = "42[\"message\",", event_tail[] = "]";

static size_t socketio_event(uint8_t *out, struct span text) {
    size_t length = append(out, 0, event_head, sizeof event_head - 1);
    length = append(out, length, text.bytes, text.length);
    return append(out, length, event_tail, sizeof event_tail - 1);
}

size_t wire_message(enum wire wire, uint8_t *out, struct span text) {
    switch (wire) {
    case WIRE_CENTRIFUGE_JSON: return json_send(out, text);
    case WIRE_CENTRIFUGE_PROTOBUF: return protobuf_send(out, text);
    case WIRE_SOCKETIO: return socketio_event(out, text);
    default: return append(out, 0, text.bytes, text.length);
    }
}

size_t wire_pong(enum wire wire, uint8_t *out) {
    if (wire == WIRE_SOCKETIO) return append(out, 0, "3", 1);
    return wire == WIRE_CENTRIFUGE_JSON ? append(out, 0, "{}", 2) : append(out, 0, "", 1);
}

/* ---- what comes ---- */

enum { FIELD_PUSH = 4, FIELD_CONNECT = 5, CONNECT_PONG = 8, PUSH_PUB = 4, PUB_DATA = 4, PUB_OFFSET = 6 };

static bool next_line(struct span *payload, struct span *reply) {
    const uint8_t *newline = memchr(payload->bytes, '\n', payload->length);
    *reply = (struct span){payload->bytes, newline ? (size_t)(newline - payload->bytes) : payload->length};
    size_t used = reply->length + (newline != NULL);
    *payload = (struct span){payload->bytes + used, payload->length - used};
    return reply->length > 0;
}

static bool next_prefixed(struct span *payload, struct span *reply) {
    uint64_t length;
    size_t prefix = varint_read(*payload, &length);
    if (!prefix || length > payload->length - prefix) return false;
    *reply = (struct span){payload->bytes, prefix + (size_t)length};
    *payload = (struct span){payload->bytes + reply->length, payload->length - reply->length};
    return true;
}

bool wire_next(enum wire wire, struct span *payload, struct span *reply) {
    switch (wire) {
    case WIRE_CENTRIFUGE_JSON: return next_line(payload, reply);
    case WIRE_CENTRIFUGE_PROTOBUF: return next_prefixed(payload, reply);
    default:
        *reply = *payload;
        payload->length = 0;
        return reply->length > 0;
    }
}

static struct reply read_json(struct span reply) {
    if (!json_is_object(reply)) return (struct reply){.kind = REPLY_BROKEN};
    if (reply.length == 2) return (struct reply){.kind = REPLY_PING};
    struct span connect = json_member(reply, "connect");
    if (connect.bytes)
        return (struct reply){.kind = REPLY_CONNECTED, .wants_pong = json_is_true(json_member(connect, "pong"))};
    struct span pub = json_member(json_member(reply, "push"), "pub");
    if (!pub.bytes) return (struct reply){.kind = REPLY_OTHER};
    return (struct reply){
        .kind = REPLY_PUBLICATION, .data = json_member(pub, "data"), .offset = json_number(json_member(pub, "offset"))};
}

static struct reply read_protobuf(struct span reply) {
    uint64_t length;
    size_t prefix = varint_read(reply, &length);
    struct span message = {reply.bytes + prefix, (size_t)length};
    if (!protobuf_is_message(message)) return (struct reply){.kind = REPLY_BROKEN};
    if (!length) return (struct reply){.kind = REPLY_PING};
    struct span connect = protobuf_content(message, FIELD_CONNECT);
    if (connect.bytes)
        return (struct reply){.kind = REPLY_CONNECTED, .wants_pong = protobuf_number(connect, CONNECT_PONG) != 0};
    struct span pub = protobuf_content(protobuf_content(message, FIELD_PUSH), PUSH_PUB);
    if (!pub.bytes) return (struct reply){.kind = REPLY_OTHER};
    return (struct reply){
        .kind = REPLY_PUBLICATION, .data = protobuf_content(pub, PUB_DATA), .offset = protobuf_number(pub, PUB_OFFSET)};
}

static bool begins_with(struct span text, const char *head) {
    size_t length = strlen(head);
    return text.length >= length && !memcmp(text.bytes, head, length);
}

/* A packet of Engine.IO: 0 open, 2 ping, 4 message; in a message, one of Socket.IO: 0 connected, 2 event. */
static struct reply read_packet(struct span packet) {
    size_t around = sizeof event_head - 1 + sizeof event_tail - 1;
    if (begins_with(packet, "2")) return (struct reply){.kind = REPLY_PING};
    if (begins_with(packet, "40{")) return (struct reply){.kind = REPLY_CONNECTED, .wants_pong = true};
    if (begins_with(packet, "0{") || begins_with(packet, "44")) return (struct reply){.kind = REPLY_OTHER};
    if (!begins_with(packet, "42[")) return (struct reply){.kind = REPLY_BROKEN};
    if (!begins_with(packet, event_head) || packet.length < around || packet.bytes[packet.length - 1] != ']')
        return (struct reply){.kind = REPLY_OTHER};
    struct span data = {packet.bytes + sizeof event_head - 1, packet.length - around};
    return (struct reply){.kind = REPLY_PUBLICATION, .data = data};
}

struct reply wire_read(enum wire wire, struct span reply) {
    switch (wire) {
    case WIRE_CENTRIFUGE_JSON: return read_json(reply);
    case WIRE_CENTRIFUGE_PROTOBUF: return read_protobuf(reply);
    default: return read_packet(reply);
    }
}
