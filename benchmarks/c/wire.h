/* The wires: what stands around a message on its way to the server, and on its way back.
 *
 *   plain                each message is a text frame, with an envelope of the server's perhaps
 *   centrifuge-json      text frames of commands to the server and replies from it, each on a line of its own
 *   centrifuge-protobuf  the same in binary frames, each behind its length
 *
 *   socketio             packets of Socket.IO in text frames of Engine.IO 4, one each; no other transport comes before
 *
 * A client of Centrifuge sends `connect` first; its messages are the command `send`, and come back as pushes of a
 * publication, which has an offset in its group's stream. Every number of a field is that of Centrifugo's client.proto.
 * A client of Socket.IO also connects first, to the main namespace; its messages are the event `message`, with one
 * argument, and come back as the same.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>

#include "span.h"

enum wire { WIRE_PLAIN, WIRE_CENTRIFUGE_JSON, WIRE_CENTRIFUGE_PROTOBUF, WIRE_SOCKETIO, WIRES };
enum { COMMAND_MAX = 64 }; /* what a command puts around a message, or has without one */

/* False if no wire has this name. */
bool wire_named(const char *name, enum wire *wire);
const char *wire_name(enum wire wire);

/* What the client offers in its handshake, and the server has to accept; NULL: nothing. */
const char *wire_subprotocol(enum wire wire);

/* Whether publications have offsets. */
bool wire_has_offsets(enum wire wire);

/* The opcode of its frames. */
uint8_t wire_opcode(enum wire wire);

/* Each writes the payload of a frame and returns its length. The plain wire has neither the first nor the last. */
size_t wire_connect(enum wire wire, uint8_t *out);
size_t wire_message(enum wire wire, uint8_t *out, struct span text);
size_t wire_pong(enum wire wire, uint8_t *out);

enum reply_kind {
    REPLY_BROKEN,
    REPLY_PING,
    REPLY_CONNECTED,   /* `connect` was successful */
    REPLY_PUBLICATION,
    REPLY_OTHER,       /* an error, or a push of another kind */
};

struct reply {
    enum reply_kind kind;
    bool wants_pong;  /* of one that is connected: its pings are to be answered */
    struct span data; /* of a publication */
    uint64_t offset;  /* of a publication; 0: it has none */
};

/* Takes the next reply off a frame's payload, in Protobuf with its length; false where that can't be one. */
bool wire_next(enum wire wire, struct span *payload, struct span *reply);

struct reply wire_read(enum wire wire, struct span reply);

#endif
