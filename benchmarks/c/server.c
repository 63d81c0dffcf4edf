/* The yardsticks: how fast can a fan-out be if only the kernel's price is paid?
 *
 *   server --port P --mode message   one write per member per message
 *   server --port P --mode tick      all frames read in one round of epoll, joined, in one write per member
 *
 * One thread, epoll. Every text frame goes as it came to every connection; on the path /echo to its sender alone.
 * No limits, no UTF-8 check, no fragments: a yardstick, not a server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accept.h"
#include "frame.h"

enum { READ_SIZE = 1 << 16, CONNS_MAX = 1 << 16 };

struct conn {
    int fd;
    uint32_t place; /* in `members` */
    bool open, echo;
    uint8_t *carry, *unsent;
    size_t carried, unsent_length;
};

struct bytes {
    uint8_t *data;
    size_t length, size;
};

static bool per_tick;
static int epoll;
static struct conn *members[CONNS_MAX];
static uint32_t member_count;
static bool some_unsent; /* the kernel did not take everything in this round or before */
static struct bytes tick; /* what goes to all members at the end of this round */

static void append(struct bytes *bytes, const uint8_t *data, size_t length) {
    if (bytes->length + length > bytes->size) {
        bytes->size = 2 * (bytes->length + length);
        if (!(bytes->data = realloc(bytes->data, bytes->size))) abort();
    }
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

static void write_conn(struct conn *conn, const uint8_t *data, size_t length) {
    ssize_t sent = 0;
    if (!conn->unsent_length) sent = send(conn->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0) sent = 0; /* a dead connection is found by the next read */
    size_t rest = length - (size_t)sent;
    if (!rest) return;
    some_unsent = true;
    if (!(conn->unsent = realloc(conn->unsent, conn->unsent_length + rest))) abort();
    memcpy(conn->unsent + conn->unsent_length, data + sent, rest);
    conn->unsent_length += rest;
}

static void flush_unsent(struct conn *conn) {
    ssize_t sent = send(conn->fd, conn->unsent, conn->unsent_length, MSG_NOSIGNAL);
    if (sent <= 0) return;
    conn->unsent_length -= (size_t)sent;
    memmove(conn->unsent, conn->unsent + sent, conn->unsent_length);
}

static void to_members(const uint8_t *data, size_t length) {
    for (uint32_t i = 0; i < member_count; i++) write_conn(members[i], data, length);
}

static void drop(struct conn *conn) {
    if (conn->open && !conn->echo) {
        members[conn->place] = members[--member_count];
        members[conn->place]->place = conn->place;
    }
    close(conn->fd);
    free(conn->carry);
    free(conn->unsent);
    free(conn);
}

/* Returns the bytes that the request takes, 0 if it is not whole. */
static size_t take_request(struct conn *conn, const uint8_t *data, size_t length) {
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    const char *key = memmem(data, length, "Sec-WebSocket-Key: ", 19);
    if (!key) return 0;
    char accept[WS_ACCEPT_LENGTH + 1], response[256];
    ws_accept(key + 19, accept);
    int n = snprintf(
        response, sizeof response,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        "%s\r\n\r\n",
        accept);
    conn->open = true;
    conn->echo = length > 9 && !memcmp(data, "GET /echo", 9);
    if (!conn->echo && member_count == CONNS_MAX) abort();
    if (!conn->echo) conn->place = member_count, members[member_count++] = conn;
    write_conn(conn, (uint8_t *)response, (size_t)n);
    return (size_t)(end - (const char *)data) + 4;
}

/* Answers one whole frame; false if the connection is to be dropped. */
static bool take_frame(struct conn *conn, const struct frame *frame) {
    static uint8_t out[FRAME_HEADER_MAX + READ_SIZE];
    if (!frame->masked || frame->length > READ_SIZE) return false;
    uint8_t opcode = frame->opcode == OP_PING ? OP_PONG : frame->opcode;
    size_t header = frame_header(out, opcode, frame->length, NULL);
    frame_mask(out + header, frame->payload, frame->length, frame->mask);
    size_t length = header + frame->length;
    if (opcode == OP_TEXT && !conn->echo) {
        if (per_tick) append(&tick, out, length);
        else to_members(out, length);
    } else if (frame->opcode != OP_PONG) {
        write_conn(conn, out, length);
    }
    return opcode != OP_CLOSE;
}

/* Takes what is whole of the request and the frames; false if the connection is to be dropped. */
static bool take_bytes(struct conn *conn, const uint8_t *data, size_t length) {
    size_t used = conn->open ? 0 : take_request(conn, data, length);
    while (conn->open) {
        struct frame frame;
        enum frame_result result = frame_parse(data + used, length - used, &frame);
        if (result == FRAME_BROKEN) return false;
        if (result == FRAME_PARTIAL) break;
        used += frame.total;
        if (!take_frame(conn, &frame)) return false;
    }
    conn->carried = length - used;
    if (conn->carried > READ_SIZE) return false;
    if (conn->carried && !conn->carry && !(conn->carry = malloc(READ_SIZE))) abort();
    if (conn->carried) memcpy(conn->carry, data + used, conn->carried);
    return true;
}

static void readable(struct conn *conn) {
    static uint8_t buffer[2 * READ_SIZE];
    size_t carried = conn->carried;
    if (carried) memcpy(buffer, conn->carry, carried);
    ssize_t n = recv(conn->fd, buffer + carried, READ_SIZE, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || !take_bytes(conn, buffer, carried + (size_t)n)) drop(conn);
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *conn = calloc(1, sizeof *conn);
        if (!conn) abort();
        conn->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Asks for EPOLLOUT only where something is unsent: looked at once per round, and only if there was any. */
static void watch_unsent(void) {
    if (!some_unsent) return;
    some_unsent = false;
    for (uint32_t i = 0; i < member_count; i++) {
        struct conn *conn = members[i];
        if (!conn->unsent) continue;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        if (conn->unsent_length) event.events |= EPOLLOUT;
        else free(conn->unsent), conn->unsent = NULL;
        some_unsent |= conn->unsent_length > 0;
        epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event);
    }
}

static int listen_on(uint16_t port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 2048) < 0) {
        perror("server");
        exit(1);
    }
    return fd;
}

static void serve(int listener) {
    static struct epoll_event events[1024];
    for (;;) {
        int n = epoll_wait(epoll, events, 1024, -1);
        for (int i = 0; i < n; i++) {
            struct conn *conn = events[i].data.ptr;
            if (!conn) {
                accept_all(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT) flush_unsent(conn);
            if (events[i].events & ~(uint32_t)EPOLLOUT) readable(conn);
        }
        if (tick.length) to_members(tick.data, tick.length);
        tick.length = 0;
        watch_unsent();
    }
}

int main(int argc, char **argv) {
    static const struct option known[] = {{"port", 1, 0, 'p'}, {"mode", 1, 0, 'm'}, {0, 0, 0, 0}};
    int option, port = 0;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'm') per_tick = !strcmp(optarg, "tick");
        else return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll = epoll_create1(0);
    int listener = listen_on((uint16_t)port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    serve(listener);
}
