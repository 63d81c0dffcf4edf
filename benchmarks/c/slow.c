#include "slow.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "frame.h"
#include "message.h"

static void take_text(struct slow *slow, const struct frame *frame) {
    size_t at;
    uint64_t number;
    if (!find_number(frame->payload, frame->length, &at, &number)) return; /* a greeting, or word of what it missed */
    if (!number) {
        slow->joined = true;
        return;
    }
    slow->received++;
    if (number > slow->last + 1) slow->missed += number - slow->last - 1;
    if (number > slow->last) slow->last = number;
}

size_t slow_frames(struct slow *slow, const uint8_t *bytes, size_t length) {
    size_t used = 0;
    struct frame frame;
    while (!slow->is_over) {
        enum frame_result result = frame_parse(bytes + used, length - used, &frame);
        if (result == FRAME_PARTIAL) return used;
        if (result == FRAME_BROKEN) fail("the server broke the protocol towards the slow member");
        if (frame.opcode == OP_CLOSE) {
            slow->is_over = true;
            slow->code = frame.length >= 2 ? (unsigned)(frame.payload[0] << 8 | frame.payload[1]) : 1005;
        } else if (frame.opcode < 8) {
            take_text(slow, &frame);
        }
        used += frame.total;
    }
    return length;
}

void slow_stop(struct client *client, struct slow *slow) {
    if (epoll_ctl(client->epoll, EPOLL_CTL_DEL, slow->conn->fd, NULL) < 0) fail("epoll_ctl: %s", strerror(errno));
}

void slow_read_on(struct client *client, struct slow *slow, uint64_t sent, double patience_s) {
    uint8_t *buffer = client->buffer;
    size_t held = slow->conn->carried;
    struct pollfd readable = {.fd = slow->conn->fd, .events = POLLIN};
    if (held) memcpy(buffer, slow->conn->carry, held);
    while (!slow->is_over && slow->last < sent && poll(&readable, 1, (int)(patience_s * 1000)) > 0) {
        ssize_t n = recv(slow->conn->fd, buffer + held, READ_SIZE, 0);
        if (n <= 0) {
            slow->is_over = true;
            slow->code = 1006;
            break;
        }
        held += (size_t)n;
        size_t used = slow_frames(slow, buffer, held);
        held -= used;
        if (held > CARRY_MAX) fail("a frame of more than %d bytes", CARRY_MAX);
        memmove(buffer, buffer + used, held);
    }
    if (!slow->is_over) slow->missed += sent - slow->last;
}
