/* WebSocket framing (RFC 6455 §5.2) for both ends: parse one frame in place, write one header. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum { FRAME_HEADER_MAX = 14 };
enum { RSV1 = 0x40, RESERVED = 0x70 };

struct frame {
    uint8_t opcode;
    bool fin, masked;
    bool compressed; /* RSV1, where permessage-deflate was negotiated (RFC 7692 §7.2.3.1) */
    uint8_t mask[4];
    const uint8_t *payload;
    size_t length; /* of the payload */
    size_t total;  /* of the whole frame */
};

enum frame_result { FRAME_PARTIAL, FRAME_WHOLE, FRAME_BROKEN };

/* `extended` has the reserved bits that an extension gave a meaning; others break the protocol. */
static inline enum frame_result frame_parse_extended(
    const uint8_t *p, size_t available, uint8_t extended, struct frame *out) {
    if (available < 2) return FRAME_PARTIAL;
    out->opcode = p[0] & 15;
    if (p[0] & RESERVED & ~(out->opcode < 8 ? extended : 0)) return FRAME_BROKEN; /* a control frame has none */
    out->fin = p[0] >> 7;
    out->compressed = p[0] & RSV1;
    out->masked = p[1] >> 7;
    size_t header = 2;
    uint64_t length = p[1] & 127;
    if (length >= 126) {
        size_t bytes = length == 126 ? 2 : 8;
        if (available < header + bytes) return FRAME_PARTIAL;
        length = 0;
        for (size_t i = 0; i < bytes; i++) length = length << 8 | p[header + i];
        header += bytes;
    }
    if (out->masked) {
        if (available < header + 4) return FRAME_PARTIAL;
        memcpy(out->mask, p + header, 4);
        header += 4;
    }
    if (length > UINT32_MAX) return FRAME_BROKEN;
    if (available < header + length) return FRAME_PARTIAL;
    out->payload = p + header;
    out->length = (size_t)length;
    out->total = header + (size_t)length;
    return FRAME_WHOLE;
}

static inline enum frame_result frame_parse(const uint8_t *p, size_t available, struct frame *out) {
    return frame_parse_extended(p, available, 0, out);
}

/* Writes a header with FIN set; `mask` is NULL for a server's frame. Returns its length. */
static inline size_t frame_header(uint8_t *out, uint8_t opcode, size_t length, const uint8_t *mask) {
    size_t n = 0;
    uint8_t bit = mask ? 0x80 : 0;
    out[n++] = 0x80 | opcode;
    if (length < 126) {
        out[n++] = bit | (uint8_t)length;
    } else if (length < 65536) {
        out[n++] = bit | 126;
        out[n++] = (uint8_t)(length >> 8);
        out[n++] = (uint8_t)length;
    } else {
        out[n++] = bit | 127;
        for (int shift = 56; shift >= 0; shift -= 8) out[n++] = (uint8_t)((uint64_t)length >> shift);
    }
    if (mask) {
        memcpy(out + n, mask, 4);
        n += 4;
    }
    return n;
}

static inline void frame_mask(uint8_t *out, const uint8_t *in, size_t length, const uint8_t mask[4]) {
    for (size_t i = 0; i < length; i++) out[i] = in[i] ^ mask[i & 3];
}

#endif
