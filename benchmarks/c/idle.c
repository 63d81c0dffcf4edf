/* idle: opens N connections, says READY, and holds them (answering pings) until stdin ends or the time is over. */
#include <stdio.h>

#include "frame.h"
#include "load.h"

static void opened(struct client *client, struct conn *conn) { (void)client, (void)conn; }

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

static const struct mode idle_mode = {.opened = opened, .frames = frames};

int mode_idle(const struct options *o) {
    struct client client = {
        .ports = o->ports, .path = o->path, .cookie = o->cookie, .origin = o->origin, .mode = &idle_mode};
    client_init(&client, o->n);
    client_open_all(&client, 64);
    printf("READY\n");
    fflush(stdout);
    uint64_t until = now_ns() + (uint64_t)(o->seconds * 1e9);
    while (now_ns() < until && input() != INPUT_END) client_round(&client, 100);
    return 0;
}
