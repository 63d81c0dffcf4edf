/* Many WebSocket connections in one thread: edge-triggered epoll, one shared read buffer, frames handled in place.
 *
 * Owns: sockets, handshakes, cut frames, pings, closes. What the frames mean is the mode's business (`struct mode`).
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accept.h"

enum { CARRY_MAX = 1 << 14, READ_SIZE = 1 << 16, PORTS_MAX = 8 };

/* Where the server listens: its processes, each on a port of its own. Connections take them in turn. */
struct ports {
    uint32_t count;
    uint16_t numbers[PORTS_MAX];
};

enum conn_state { CONN_UNUSED, CONN_CONNECTING, CONN_OPEN, CONN_CLOSING };

struct conn {
    int fd;
    uint32_t index;
    enum conn_state state;
    bool close_received;
    bool ready; /* the socket is connected and the request was sent */
    bool keeps_context; /* the server compresses, and does not begin anew with each message */
    uint32_t carried;
    uint8_t *carry; /* the cut frame at the end of the last read; allocated when first needed */
    char accept[WS_ACCEPT_LENGTH + 1];
    uint64_t started_ns;
    uint8_t *unsent; /* what the kernel did not take */
    size_t unsent_length;
};

struct client;

struct mode {
    void (*opened)(struct client *client, struct conn *conn);
    /* Handles whole frames; returns how many bytes were used up. What is left is a cut frame and comes again. */
    size_t (*frames)(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length);
    /* The connection is gone. If NULL, a connection that ends is the end of the run. */
    void (*closed)(struct client *client, struct conn *conn);
};

struct client {
    int epoll;
    struct ports ports;
    const char *path, *cookie, *origin;
    const char *subprotocol; /* offer this one, and insist on it; NULL: none */
    bool deflate;        /* offer permessage-deflate as browsers do, and insist on it */
    bool last_is_remote; /* the last one has small segments and a small buffer: the kernel holds less for it */
    const struct mode *mode;
    void *context;
    struct conn *conns;
    uint32_t n, open;
    uint64_t rounds, events; /* near one event per round: the client waits for the server, and not the other way */
    uint64_t random;
    uint8_t *buffer; /* CARRY_MAX + READ_SIZE */
};

/* What whoever started this program says on stdin: go on (a line), or that it is over (its end). */
enum input { INPUT_NONE, INPUT_LINE, INPUT_END };
enum input input(void);

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ns(void);
/* Seconds of CPU, user and system, of this process. */
double cpu_seconds(void);

void client_init(struct client *client, uint32_t n);
void client_connect(struct client *client, struct conn *conn);
/* Opens all n connections, at most `concurrency` of them at the same time. */
void client_open_all(struct client *client, uint32_t concurrency);
/* One round of epoll; returns the number of events. */
int client_round(struct client *client, int timeout_ms);
/* Hands bytes to the connection as if they had been read (the self-test does). */
void client_feed(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length);

/* Appends a masked frame to `out`; returns its length (payload + at most FRAME_HEADER_MAX). */
size_t client_frame(struct client *client, uint8_t *out, uint8_t opcode, const uint8_t *payload, size_t length);
void client_write(struct conn *conn, const uint8_t *bytes, size_t length);
void client_send(struct client *client, struct conn *conn, uint8_t opcode, const uint8_t *payload, size_t length);
void client_close(struct client *client, struct conn *conn);
/* Ping, close: answers as RFC 6455 §5.5 wants it. */
struct frame;
void client_control(struct client *client, struct conn *conn, const struct frame *frame);

#endif
