/* fanout: N members of one group, one of which publishes and keeps W messages in flight.
 *
 * A message is complete when all N members have it; then the next is published. Messages that may be published at the
 * same time go out with one write. With --rate the publisher follows the clock instead, and a message's latency counts
 * from the moment at which it was due (so a server that falls behind cannot hide it).
 *
 * With --slow the last member reads nothing meanwhile; then a message is complete when all the others have it.
 *
 * On the wires of Centrifuge every member says `connect` first, and the publisher's messages are the command `send`,
 * each in a frame of its own as on the plain one. It is the same on Socket.IO's, with events.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "checker.h"
#include "frame.h"
#include "histogram.h"
#include "load.h"
#include "slow.h"

enum { RATE_IN_FLIGHT = 8192, PROBES = 5 };

struct fanout {
    struct checker checker;
    struct histogram latency;
    struct inflation inflation;
    struct slow slow;
    uint8_t *out; /* frames to publish with one write */
    int timer; /* wakes the open loop; unused with a window */
    bool stalled;
};

struct mark {
    uint64_t at_ns, deliveries, messages, frame_bytes, rounds, events;
    double cpu;
};

static void opened(struct client *client, struct conn *conn) {
    struct fanout *fanout = client->context;
    enum wire wire = fanout->checker.wire;
    uint8_t command[COMMAND_MAX];
    if (conn->keeps_context) inflation_keep(&fanout->inflation, conn->index);
    if (wire != WIRE_PLAIN) client_send(client, conn, wire_opcode(wire), command, wire_connect(wire, command));
}

static void answer_ping(struct client *client, struct conn *conn, enum wire wire) {
    uint8_t pong[COMMAND_MAX];
    client_send(client, conn, wire_opcode(wire), pong, wire_pong(wire, pong));
}

static size_t frames(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    struct fanout *fanout = client->context;
    size_t used = 0, part;
    if (conn == fanout->slow.conn) return slow_frames(&fanout->slow, bytes, length);
    for (;;) {
        enum check_result result =
            checker_feed(&fanout->checker, conn->index, bytes + used, length - used, &part);
        used += part;
        if (result == CHECK_WAITS) return used;
        if (result == CHECK_BROKEN) fail("the server broke the protocol on connection %u", conn->index);
        if (result == CHECK_PINGED) {
            answer_ping(client, conn, fanout->checker.wire);
            continue;
        }
        struct frame frame;
        frame_parse(bytes + used, length - used, &frame);
        client_control(client, conn, &frame);
        used += frame.total;
    }
}

static const struct mode fanout_mode = {.opened = opened, .frames = frames};

static void completed(void *context, struct slot *slot) {
    struct fanout *fanout = context;
    histogram_add(&fanout->latency, now_ns() - slot->sent_ns);
}

/* Publishes `count` messages with one write. */
static void publish(struct client *client, struct fanout *fanout, uint32_t count, const uint64_t *due_ns) {
    enum wire wire = fanout->checker.wire;
    uint8_t payload[MESSAGE_MAX + COMMAND_MAX];
    size_t length = 0;
    uint64_t now = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        const struct slot *slot = checker_publish(&fanout->checker, due_ns ? due_ns[i] : now);
        size_t used = wire_message(wire, payload, (struct span){slot->text, slot->text_length});
        length += client_frame(client, fanout->out + length, wire_opcode(wire), payload, used);
    }
    if (length) client_write(&client->conns[0], fanout->out, length);
}

static bool all_joined(const struct fanout *fanout) {
    return fanout->checker.joined == fanout->checker.n && (!fanout->slow.conn || fanout->slow.joined);
}

/* Waits until the server has answered every `connect`. */
static void wait_for_answers(struct client *client, const struct checker *checker, double patience_s) {
    uint64_t deadline = now_ns() + (uint64_t)(patience_s * 1e9);
    while (checker->connected < checker->n && now_ns() < deadline) client_round(client, 50);
    if (checker->connected < checker->n) fail("only %u of %u connects were answered", checker->connected, checker->n);
}

/* A message with the number 0, again and again until every member has had one: then all are members. */
static void probe(struct client *client, struct fanout *fanout) {
    enum wire wire = fanout->checker.wire;
    uint8_t text[MESSAGE_MAX], payload[MESSAGE_MAX + COMMAND_MAX];
    struct span message = {text, message_write(text, fanout->checker.shape, 0)};
    size_t length = wire_message(wire, payload, message);
    for (int i = 0; i < PROBES; i++) {
        client_send(client, &client->conns[0], wire_opcode(wire), payload, length);
        uint64_t deadline = now_ns() + 2000000000ULL;
        while (!all_joined(fanout) && now_ns() < deadline) client_round(client, 50);
        if (all_joined(fanout)) return;
    }
    fail("only %u of %u members got the probe", fanout->checker.joined, client->n);
}

static struct mark mark(const struct client *client, const struct checker *checker) {
    return (struct mark){
        now_ns(),       checker->tally.deliveries, checker->completed, checker->frame_bytes,
        client->rounds, client->events,            cpu_seconds()};
}

static int in_flight(const struct checker *checker) { return (int)(checker->sent - checker->completed); }

/* How many more may be published at all. */
static uint64_t left(const struct checker *checker, const struct options *o) {
    return o->messages ? o->messages - checker->sent : UINT64_MAX;
}

/* Due messages of an open loop: those of the schedule `start + k / rate`. */
static void publish_due(struct client *client, struct fanout *fanout, const struct options *o, uint64_t start_ns) {
    double rate = o->rate;
    static uint64_t due[RATE_IN_FLIGHT];
    uint64_t expirations;
    ssize_t rearmed = read(fanout->timer, &expirations, sizeof expirations); /* a timerfd sleeps until it is read */
    (void)rearmed;
    struct checker *checker = &fanout->checker;
    uint64_t target = (uint64_t)((double)(now_ns() - start_ns) / 1e9 * rate) + 1; /* the first is due at once */
    uint32_t count = 0;
    if (target > checker->sent && target - checker->sent > left(checker, o)) target = o->messages;
    while (checker->sent + count < target && in_flight(checker) + (int)count < RATE_IN_FLIGHT) {
        due[count] = start_ns + (uint64_t)((double)(checker->sent + count) / rate * 1e9);
        count++;
    }
    publish(client, fanout, count, due);
}

/* Wakes us just after each message is due. */
static int start_clock(struct client *client, double rate, uint64_t start_ns) {
    uint64_t step = (uint64_t)(1e9 / rate);
    struct itimerspec every = {.it_interval = {(time_t)(step / 1000000000), (long)(step % 1000000000)}};
    uint64_t first = start_ns + step + 20000;
    every.it_value = (struct timespec){(time_t)(first / 1000000000), (long)(first % 1000000000)};
    prctl(PR_SET_TIMERSLACK, 1UL);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (timer < 0 || timerfd_settime(timer, TFD_TIMER_ABSTIME, &every, NULL) < 0 ||
        epoll_ctl(client->epoll, EPOLL_CTL_ADD, timer, &event) < 0)
        fail("timerfd: %s", strerror(errno));
    return timer;
}

/* Publishes as many as the window has room for. */
static void publish_window(struct client *client, struct fanout *fanout, const struct options *o) {
    uint64_t room = o->window - (uint32_t)in_flight(&fanout->checker), most = left(&fanout->checker, o);
    publish(client, fanout, (uint32_t)(room < most ? room : most), NULL);
}

/* Runs until `until_ns` or until all is published; false if nothing arrived for `stall` seconds. */
static bool run(struct client *client, struct fanout *fanout, const struct options *o, uint64_t start, uint64_t until) {
    struct checker *checker = &fanout->checker;
    uint64_t seen = checker->tally.deliveries, seen_at = now_ns(), now;
    while ((now = now_ns()) < until && left(checker, o)) {
        if (o->rate > 0) publish_due(client, fanout, o, start);
        else if (in_flight(checker) < (int)o->window) publish_window(client, fanout, o);
        uint64_t left_ms = (until - now) / 1000000 + 1;
        client_round(client, left_ms < 100 ? (int)left_ms : 100);
        if (checker->tally.deliveries != seen) seen = checker->tally.deliveries, seen_at = now;
        if (now > seen_at && (double)(now - seen_at) / 1e9 > o->stall) return false;
    }
    return true;
}

/* Waits for what is still under way, as long as something arrives. */
static void drain(struct client *client, struct fanout *fanout, double stall) {
    struct checker *checker = &fanout->checker;
    uint64_t seen = checker->tally.deliveries, seen_at = now_ns();
    while (in_flight(checker) && (double)(now_ns() - seen_at) / 1e9 < stall) {
        client_round(client, 100);
        if (checker->tally.deliveries != seen) seen = checker->tally.deliveries, seen_at = now_ns();
    }
    fanout->stalled |= in_flight(checker) > 0;
    checker_give_up(checker);
}

static void report(const struct fanout *fanout, const struct options *o, struct mark from, struct mark to) {
    double wall = (double)(to.at_ns - from.at_ns) / 1e9;
    const struct tally *tally = &fanout->checker.tally;
    uint64_t deliveries = to.deliveries - from.deliveries;
    printf(
        "{\"mode\":\"fanout\",\"n\":%u,\"window\":%u,\"rate\":%.0f,\"seconds\":%.3f,\"deliveries_per_s\":%.1f,"
        "\"messages_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"lost\":%lu,\"reordered\":%lu,\"duplicates\":%lu,"
        "\"altered\":%lu,\"unexpected\":%lu,\"misplaced\":%lu,\"stalled\":%s,\"published\":%lu,\"bytes_per_delivery\":%.1f,"
        "\"client_cpu\":%.3f,\"client_events_per_round\":%.2f,\"slow_received\":%lu,\"slow_missed\":%lu,"
        "\"slow_code\":%u}\n",
        o->n, o->rate > 0 ? 0 : o->window, o->rate, wall, (double)deliveries / wall,
        (double)(to.messages - from.messages) / wall, (double)histogram_quantile(&fanout->latency, 0.5) / 1e3,
        (double)histogram_quantile(&fanout->latency, 0.99) / 1e3, tally->lost, tally->reordered, tally->duplicates,
        tally->altered, tally->unexpected, tally->misplaced, fanout->stalled ? "true" : "false", fanout->checker.sent,
        (double)(to.frame_bytes - from.frame_bytes) / (double)(deliveries ? deliveries : 1), (to.cpu - from.cpu) / wall,
        (double)(to.events - from.events) / (double)(to.rounds - from.rounds ? to.rounds - from.rounds : 1),
        fanout->slow.received, fanout->slow.missed, fanout->slow.code);
    fflush(stdout);
}

/* Says READY and holds the connections until stdin says to go on. */
static void wait_for_line(struct client *client) {
    printf("READY\n");
    fflush(stdout);
    while (input() == INPUT_NONE) client_round(client, 20);
}

static void wait_for_end(struct client *client) {
    while (input() != INPUT_END) client_round(client, 20);
}

static void prepare(struct fanout *fanout, struct client *client, const struct options *o) {
    uint32_t in_flight_max = o->rate > 0 ? RATE_IN_FLIGHT : o->window;
    checker_init(&fanout->checker, o->slow ? o->n - 1 : o->n, in_flight_max, o->shape);
    fanout->checker.wire = o->wire;
    client_init(client, o->n);
    fanout->out = malloc(in_flight_max * (FRAME_HEADER_MAX + COMMAND_MAX + message_max(o->shape)));
    if (!fanout->out) fail("out of memory");
    if (o->slow) fanout->slow.conn = &client->conns[o->n - 1];
    if (!o->deflate) return;
    inflation_init(&fanout->inflation, o->n, MESSAGE_MAX);
    fanout->checker.inflation = &fanout->inflation;
}

int mode_fanout(const struct options *o) {
    static struct fanout fanout;
    struct client client = {
        .ports = o->ports, .path = o->path, .cookie = o->cookie, .origin = o->origin, .mode = &fanout_mode,
        .context = &fanout, .deflate = o->deflate, .last_is_remote = o->slow,
        .subprotocol = wire_subprotocol(o->wire)};
    prepare(&fanout, &client, o);
    client_open_all(&client, 64);
    if (o->wire != WIRE_PLAIN) wait_for_answers(&client, &fanout.checker, o->stall);
    probe(&client, &fanout);
    if (o->hold) wait_for_line(&client);
    if (o->slow) slow_stop(&client, &fanout.slow);
    fanout.checker.on_complete = completed;
    fanout.checker.context = &fanout;
    uint64_t start = now_ns(), warm = start + (uint64_t)(o->warmup * 1e9);
    if (o->rate > 0) fanout.timer = start_clock(&client, o->rate, start);
    fanout.stalled = !run(&client, &fanout, o, start, warm);
    histogram_clear(&fanout.latency);
    struct mark from = mark(&client, &fanout.checker);
    if (!fanout.stalled) fanout.stalled = !run(&client, &fanout, o, start, from.at_ns + (uint64_t)(o->seconds * 1e9));
    struct mark to = mark(&client, &fanout.checker);
    drain(&client, &fanout, o->stall < 5 ? o->stall : 5);
    if (o->slow) slow_read_on(&client, &fanout.slow, fanout.checker.sent, 1);
    report(&fanout, o, from, to);
    if (o->hold) wait_for_end(&client);
    return 0;
}
