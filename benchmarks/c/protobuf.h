/* As much of Protobuf's encoding as it takes to find a field of a message without reading the others. */
#ifndef PROTOBUF_H
#define PROTOBUF_H

#include <stdbool.h>

#include "span.h"

enum { VARINT_MAX = 10 };

/* Reads a varint; returns how many bytes it has, 0 where it does not end. */
size_t varint_read(struct span bytes, uint64_t *value);

/* Writes a varint; returns how many bytes it has. */
size_t varint_write(uint8_t *out, uint64_t value);

/* True if `message` is made of whole fields. */
bool protobuf_is_message(struct span message);

/* The content of the first field with this number that has a length; none where there is no such field. */
struct span protobuf_content(struct span message, uint32_t number);

/* The value of the first field with this number that is a varint; 0 where there is no such field. */
uint64_t protobuf_number(struct span message, uint32_t number);

/* Writes a field with a length, whose content is still to follow; returns how many bytes that takes. */
size_t protobuf_begin(uint8_t *out, uint32_t number, size_t content_length);

#endif
