/* echo: each of N connections sends one message, waits for the echo, checks it, and sends the next. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "histogram.h"
#include "load.h"
#include "message.h"

struct waiting {
    uint64_t number, sent_ns;
};

struct echo {
    struct waiting *waiting;
    uint64_t next, echoes, altered;
    struct histogram latency;
    bool over;
};

static void send_next(struct client *client, struct conn *conn) {
    struct echo *echo = client->context;
    struct waiting *waiting = &echo->waiting[conn->index];
    uint8_t message[MESSAGE_MAX];
    waiting->number = ++echo->next;
    waiting->sent_ns = now_ns();
    client_send(client, conn, OP_TEXT, message, message_write(message, (struct shape){0}, waiting->number));
}

static void opened(struct client *client, struct conn *conn) { (void)client, (void)conn; }

static void take_echo(struct client *client, struct conn *conn, const struct frame *frame) {
    struct echo *echo = client->context;
    struct waiting *waiting = &echo->waiting[conn->index];
    size_t at;
    uint64_t number;
    if (!waiting->number) return; /* a greeting */
    uint8_t sent[MESSAGE_MAX];
    if (frame->opcode != OP_TEXT || !frame->fin || !find_number(frame->payload, frame->length, &at, &number) ||
        number != waiting->number ||
        !message_follows(frame->payload, frame->length, at, sent, message_write(sent, (struct shape){0}, number))) {
        echo->altered++;
        return;
    }
    histogram_add(&echo->latency, now_ns() - waiting->sent_ns);
    echo->echoes++;
    if (!echo->over) send_next(client, conn);
}

static size_t frames(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    size_t used = 0;
    struct frame frame;
    for (;;) {
        enum frame_result result = frame_parse(bytes + used, length - used, &frame);
        if (result == FRAME_PARTIAL) return used;
        if (result == FRAME_BROKEN) fail("the server broke the protocol on connection %u", conn->index);
        if (frame.opcode >= 8) client_control(client, conn, &frame);
        else take_echo(client, conn, &frame);
        used += frame.total;
    }
}

static const struct mode echo_mode = {.opened = opened, .frames = frames};

static void run_until(struct client *client, uint64_t until) {
    uint64_t now;
    while ((now = now_ns()) < until) client_round(client, (int)((until - now) / 1000000 + 1));
}

int mode_echo(const struct options *o) {
    static struct echo echo;
    struct client client = {
        .ports = o->ports, .path = o->path, .cookie = o->cookie, .origin = o->origin, .mode = &echo_mode,
        .context = &echo};
    client_init(&client, o->n);
    echo.waiting = calloc(o->n, sizeof *echo.waiting);
    if (!echo.waiting) fail("out of memory");
    client_open_all(&client, 64);
    for (uint32_t i = 0; i < o->n; i++) send_next(&client, &client.conns[i]);
    run_until(&client, now_ns() + (uint64_t)(o->warmup * 1e9));
    histogram_clear(&echo.latency);
    uint64_t from = now_ns(), before = echo.echoes;
    double cpu = cpu_seconds();
    run_until(&client, from + (uint64_t)(o->seconds * 1e9));
    double wall = (double)(now_ns() - from) / 1e9, used = cpu_seconds() - cpu;
    uint64_t measured = echo.echoes - before;
    echo.over = true;
    uint64_t deadline = now_ns() + (uint64_t)(o->stall * 1e9);
    while (echo.echoes < echo.next && now_ns() < deadline) client_round(&client, 100);
    printf(
        "{\"mode\":\"echo\",\"n\":%u,\"seconds\":%.3f,\"echoes_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
        "\"lost\":%lu,\"altered\":%lu,\"client_cpu\":%.3f}\n",
        o->n, wall, (double)measured / wall, (double)histogram_quantile(&echo.latency, 0.5) / 1e3,
        (double)histogram_quantile(&echo.latency, 0.99) / 1e3, echo.next - echo.echoes, echo.altered, used / wall);
    return 0;
}
