#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"
#include "message.h"

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

enum input input(void) {
    struct pollfd stdin_ = {.fd = STDIN_FILENO, .events = POLLIN};
    char bytes[64];
    if (poll(&stdin_, 1, 0) <= 0) return INPUT_NONE;
    return read(STDIN_FILENO, bytes, sizeof bytes) > 0 ? INPUT_LINE : INPUT_END;
}

static uint64_t next_random(struct client *client) {
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    return client->random;
}

void client_init(struct client *client, uint32_t n) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < n + 16) fail("%u connections need more descriptors than the limit of %lu", n, limit.rlim_cur);
    client->n = n;
    client->open = 0;
    client->random = now_ns() | 1;
    client->epoll = epoll_create1(0);
    client->conns = calloc(n, sizeof *client->conns);
    client->buffer = malloc(CARRY_MAX + READ_SIZE);
    if (client->epoll < 0 || !client->conns || !client->buffer) fail("out of memory or descriptors");
    for (uint32_t i = 0; i < n; i++) client->conns[i] = (struct conn){.fd = -1, .index = i};
}

/* ---- sending ---- */

size_t client_frame(struct client *client, uint8_t *out, uint8_t opcode, const uint8_t *payload, size_t length) {
    uint8_t mask[4];
    uint32_t random = (uint32_t)(next_random(client) >> 16);
    memcpy(mask, &random, 4);
    size_t header = frame_header(out, opcode, length, mask);
    frame_mask(out + header, payload, length, mask);
    return header + length;
}

static void keep_unsent(struct conn *conn, const uint8_t *bytes, size_t length) {
    conn->unsent = realloc(conn->unsent, conn->unsent_length + length);
    if (!conn->unsent) fail("out of memory");
    memcpy(conn->unsent + conn->unsent_length, bytes, length);
    conn->unsent_length += length;
}

void client_write(struct conn *conn, const uint8_t *bytes, size_t length) {
    ssize_t sent = 0;
    if (!conn->unsent_length) {
        sent = send(conn->fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && conn->state == CONN_OPEN) fail("send: %s", strerror(errno));
        if (sent < 0) sent = 0;
    }
    if ((size_t)sent < length) keep_unsent(conn, bytes + sent, length - (size_t)sent);
}

static void flush_unsent(struct conn *conn) {
    uint8_t *bytes = conn->unsent;
    size_t length = conn->unsent_length;
    conn->unsent = NULL;
    conn->unsent_length = 0;
    client_write(conn, bytes, length);
    free(bytes);
}

void client_send(struct client *client, struct conn *conn, uint8_t opcode, const uint8_t *payload, size_t length) {
    uint8_t frame[FRAME_HEADER_MAX + MESSAGE_MAX];
    if (length > MESSAGE_MAX) fail("message too long");
    client_write(conn, frame, client_frame(client, frame, opcode, payload, length));
}

void client_close(struct client *client, struct conn *conn) {
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
    conn->state = CONN_CLOSING;
    client_send(client, conn, OP_CLOSE, normal, sizeof normal);
}

void client_control(struct client *client, struct conn *conn, const struct frame *frame) {
    if (frame->opcode == OP_PING && conn->state == CONN_OPEN)
        client_send(client, conn, OP_PONG, frame->payload, frame->length);
    if (frame->opcode != OP_CLOSE) return;
    conn->close_received = true;
    if (conn->state == CONN_CLOSING) return;
    if (!client->mode->closed) {
        unsigned code = frame->length >= 2 ? (unsigned)(frame->payload[0] << 8 | frame->payload[1]) : 1005;
        fail("connection %u was closed by the server with code %u", conn->index, code);
    }
    client_close(client, conn);
}

/* ---- opening ---- */

static uint16_t port_of(const struct client *client, const struct conn *conn) {
    return client->ports.numbers[conn->index % client->ports.count];
}

static void send_request(struct client *client, struct conn *conn) {
    uint8_t nonce[16];
    uint64_t parts[2] = {next_random(client), next_random(client)};
    char key[WS_KEY_LENGTH + 1], request[4096];
    memcpy(nonce, parts, sizeof nonce);
    base64(nonce, sizeof nonce, key);
    ws_accept(key, conn->accept);
    int length = snprintf(
        request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s%s%s%s%s%s%s%s%s%s\r\n",
        client->path, port_of(client, conn), key,
        client->deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "",
        client->subprotocol ? "Sec-WebSocket-Protocol: " : "", client->subprotocol ? client->subprotocol : "",
        client->subprotocol ? "\r\n" : "", client->origin ? "Origin: " : "", client->origin ? client->origin : "",
        client->origin ? "\r\n" : "", client->cookie ? "Cookie: " : "", client->cookie ? client->cookie : "",
        client->cookie ? "\r\n" : "");
    if (length >= (int)sizeof request) fail("request too long");
    conn->ready = true;
    client_write(conn, (uint8_t *)request, (size_t)length);
}

void client_connect(struct client *client, struct conn *conn) {
    int one = 1, segment = 1448, buffer = 8192, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (client->last_is_remote && conn->index == client->n - 1) {
        setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    }
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port_of(client, conn)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *conn = (struct conn){.fd = fd, .index = conn->index, .state = CONN_CONNECTING, .started_ns = now_ns()};
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = conn};
    if (epoll_ctl(client->epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
}

void client_open_all(struct client *client, uint32_t concurrency) {
    uint32_t started = 0;
    uint64_t deadline = now_ns() + 120 * 1000000000ULL;
    while (client->open < client->n) {
        while (started < client->n && started - client->open < concurrency) client_connect(client, &client->conns[started++]);
        client_round(client, 1000);
        if (now_ns() > deadline) fail("only %u of %u connections opened in 120 s", client->open, client->n);
    }
}

/* The value of a response header, in a buffer that is used again by the next one; NULL where there is none. */
static const char *find_header(const uint8_t *headers, size_t length, const char *name) {
    static char text[4096];
    if (length >= sizeof text) fail("the answer to the handshake is too long");
    memcpy(text, headers, length);
    text[length] = 0;
    char *line = strcasestr(text, name);
    if (!line) return NULL;
    char *value = line + strlen(name);
    *strstr(value, "\r\n") = 0;
    return value;
}

/* What the server said to the offer of permessage-deflate (RFC 7692 §7.1); it has to accept it. */
static void take_extensions(struct conn *conn, const uint8_t *headers, size_t length) {
    const char *value = find_header(headers, length, "\r\nSec-WebSocket-Extensions:");
    if (!value || !strstr(value, "permessage-deflate")) fail("the server does not compress: it declined permessage-deflate");
    conn->keeps_context = !strstr(value, "server_no_context_takeover");
}

static void take_subprotocol(const struct client *client, const uint8_t *headers, size_t length) {
    const char *value = find_header(headers, length, "\r\nSec-WebSocket-Protocol:");
    if (!value || strcmp(value + strspn(value, " "), client->subprotocol))
        fail("the server does not speak %s: it declined the subprotocol", client->subprotocol);
}

/* Reads the answer to the handshake; returns how many bytes it takes, 0 if it is not all there. */
static size_t take_response(const struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    const uint8_t *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t used = (size_t)(end - bytes) + 4;
    if (length < 12 || memcmp(bytes, "HTTP/1.1 101", 12) != 0)
        fail("the handshake was refused: %.*s", (int)(length < 60 ? length : 60), (const char *)bytes);
    if (!memmem(bytes, used, conn->accept, WS_ACCEPT_LENGTH)) fail("the handshake has a wrong Sec-WebSocket-Accept");
    if (client->deflate) take_extensions(conn, bytes, used);
    if (client->subprotocol) take_subprotocol(client, bytes, used);
    return used;
}

/* ---- reading ---- */

static void take_bytes(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    size_t used = 0;
    if (conn->state == CONN_CONNECTING) {
        used = take_response(client, conn, bytes, length);
        if (used) {
            conn->state = CONN_OPEN;
            client->open++;
            client->mode->opened(client, conn);
        }
    }
    if (conn->state != CONN_CONNECTING && used < length)
        used += client->mode->frames(client, conn, bytes + used, length - used);
    size_t rest = length - used;
    if (rest > CARRY_MAX) fail("a frame or a response of more than %d bytes", CARRY_MAX);
    if (rest && !conn->carry && !(conn->carry = malloc(CARRY_MAX))) fail("out of memory");
    if (rest) memcpy(conn->carry, bytes + used, rest);
    conn->carried = (uint32_t)rest;
}

/* Puts the carried bytes in front of what is read next; returns where the read bytes begin. */
static uint8_t *with_carry(struct client *client, struct conn *conn) {
    uint8_t *read_at = client->buffer + CARRY_MAX;
    if (conn->carried) memcpy(read_at - conn->carried, conn->carry, conn->carried);
    return read_at;
}

void client_feed(struct client *client, struct conn *conn, const uint8_t *bytes, size_t length) {
    uint8_t *read_at = with_carry(client, conn);
    memcpy(read_at, bytes, length);
    take_bytes(client, conn, read_at - conn->carried, conn->carried + length);
}

static void ended(struct client *client, struct conn *conn) {
    if (!client->mode->closed) fail("connection %u of %u ended", conn->index, client->n);
    close(conn->fd);
    free(conn->carry);
    free(conn->unsent);
    if (conn->state == CONN_CONNECTING) fail("connection %u ended during the handshake", conn->index);
    client->open--;
    uint32_t index = conn->index;
    bool clean = conn->close_received;
    uint64_t started = conn->started_ns;
    *conn = (struct conn){.fd = -1, .index = index, .close_received = clean, .started_ns = started};
    client->mode->closed(client, conn);
}

/* Edge-triggered: reads until a read comes back short, which means that the socket is empty (epoll(7)). */
static void readable(struct client *client, struct conn *conn) {
    for (;;) {
        uint8_t *read_at = with_carry(client, conn);
        ssize_t n = recv(conn->fd, read_at, READ_SIZE, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            ended(client, conn);
            return;
        }
        take_bytes(client, conn, read_at - conn->carried, conn->carried + (size_t)n);
        if (n < READ_SIZE) return;
    }
}

int client_round(struct client *client, int timeout_ms) {
    static struct epoll_event events[1024];
    int n = epoll_wait(client->epoll, events, 1024, timeout_ms);
    client->rounds++;
    client->events += n > 0 ? (uint64_t)n : 0;
    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        if (!conn) continue; /* a descriptor of the mode itself, which only has to wake us */
        uint32_t what = events[i].events;
        if (what & (EPOLLERR | EPOLLHUP) && conn->state == CONN_CONNECTING && !conn->ready) fail("connection refused");
        if (what & EPOLLOUT) {
            if (!conn->ready) send_request(client, conn);
            else if (conn->unsent_length) flush_unsent(conn);
        }
        if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable(client, conn);
        /* A short read may have left the end of the stream unread, and no edge will come for it. */
        if (what & (EPOLLRDHUP | EPOLLHUP) && conn->fd >= 0 && conn->state != CONN_CONNECTING) readable(client, conn);
    }
    return n < 0 ? 0 : n;
}
