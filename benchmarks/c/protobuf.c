#include "protobuf.h"

enum { TYPE_VARINT = 0, TYPE_64_BITS = 1, TYPE_LENGTH = 2, TYPE_32_BITS = 5 };

struct field {
    uint64_t number, value; /* the value of a varint */
    unsigned type;
    struct span content; /* of one with a length */
};

size_t varint_read(struct span bytes, uint64_t *value) {
    *value = 0;
    for (size_t i = 0; i < bytes.length && i < VARINT_MAX; i++) {
        *value |= (uint64_t)(bytes.bytes[i] & 127) << (7 * i);
        if (bytes.bytes[i] < 128) return i + 1;
    }
    return 0;
}

size_t varint_write(uint8_t *out, uint64_t value) {
    size_t length = 0;
    for (; value > 127; value >>= 7) out[length++] = (uint8_t)(value & 127) | 128;
    out[length++] = (uint8_t)value;
    return length;
}

static bool skip(struct span *message, size_t length) {
    if (!length || length > message->length) return false;
    message->bytes += length;
    message->length -= length;
    return true;
}

static bool take_varint(struct span *message, uint64_t *value) { return skip(message, varint_read(*message, value)); }

/* Takes the next field off the message; false where that is broken. */
static bool take_field(struct span *message, struct field *field) {
    uint64_t key;
    if (!take_varint(message, &key)) return false;
    *field = (struct field){.number = key >> 3, .type = key & 7};
    switch (field->type) {
    case TYPE_VARINT: return take_varint(message, &field->value);
    case TYPE_64_BITS: return skip(message, 8);
    case TYPE_32_BITS: return skip(message, 4);
    case TYPE_LENGTH:
        if (!take_varint(message, &field->value) || field->value > message->length) return false;
        field->content = (struct span){message->bytes, (size_t)field->value};
        return !field->content.length || skip(message, field->content.length);
    default: return false;
    }
}

bool protobuf_is_message(struct span message) {
    struct field field;
    while (message.length)
        if (!take_field(&message, &field)) return false;
    return true;
}

static struct field find(struct span message, uint32_t number, unsigned type) {
    struct field field;
    while (message.length && take_field(&message, &field))
        if (field.number == number && field.type == type) return field;
    return (struct field){0};
}

struct span protobuf_content(struct span message, uint32_t number) {
    return find(message, number, TYPE_LENGTH).content;
}

uint64_t protobuf_number(struct span message, uint32_t number) {
    return find(message, number, TYPE_VARINT).value;
}

size_t protobuf_begin(uint8_t *out, uint32_t number, size_t content_length) {
    size_t length = varint_write(out, (uint64_t)number << 3 | TYPE_LENGTH);
    return length + varint_write(out + length, content_length);
}
