/* connect: C times TCP connection, handshake, closing handshake, end of stream; K of them at the same time. */
#include <stdio.h>

#include "frame.h"
#include "histogram.h"
#include "load.h"

struct connecting {
    uint32_t started, finished, unclean, count;
    struct histogram opening;
};

static void opened(struct client *client, struct conn *conn) {
    struct connecting *connecting = client->context;
    histogram_add(&connecting->opening, now_ns() - conn->started_ns);
    client_close(client, conn);
}

static size_t frames(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    size_t used = 0;
    struct frame frame;
    for (;;) {
        enum frame_result result = frame_parse(bytes + used, length - used, &frame);
        if (result == FRAME_PARTIAL) return used;
        if (result == FRAME_BROKEN) fail("the server broke the protocol on connection %u", conn->index);
        if (frame.opcode >= 8) client_control(client, conn, &frame);
        used += frame.total;
    }
}

static void closed(struct client *client, struct conn *conn) {
    struct connecting *connecting = client->context;
    connecting->finished++;
    connecting->unclean += !conn->close_received;
    if (connecting->started == connecting->count) return;
    connecting->started++;
    client_connect(client, conn);
}

static const struct mode connect_mode = {.opened = opened, .frames = frames, .closed = closed};

int mode_connect(const struct options *o) {
    static struct connecting connecting;
    uint32_t slots = o->concurrency < o->count ? o->concurrency : o->count;
    struct client client = {
        .ports = o->ports, .path = o->path, .cookie = o->cookie, .origin = o->origin, .mode = &connect_mode,
        .context = &connecting};
    connecting.count = o->count;
    connecting.started = slots;
    client_init(&client, slots);
    uint64_t from = now_ns(), last = from;
    double cpu = cpu_seconds();
    for (uint32_t i = 0; i < slots; i++) client_connect(&client, &client.conns[i]);
    while (connecting.finished < o->count) {
        uint64_t now = now_ns();
        if (client_round(&client, 1000)) last = now;
        else if ((double)(now - last) / 1e9 > o->stall)
            fail("stalled after %u of %u connections", connecting.finished, o->count);
    }
    double wall = (double)(now_ns() - from) / 1e9;
    printf(
        "{\"mode\":\"connect\",\"count\":%u,\"concurrency\":%u,\"seconds\":%.3f,\"connections_per_s\":%.1f,"
        "\"p50_us\":%.1f,\"p99_us\":%.1f,\"unclean\":%u,\"client_cpu\":%.3f}\n",
        o->count, slots, wall, (double)o->count / wall, (double)histogram_quantile(&connecting.opening, 0.5) / 1e3,
        (double)histogram_quantile(&connecting.opening, 0.99) / 1e3, connecting.unclean, (cpu_seconds() - cpu) / wall);
    return 0;
}
