/* The messages: what is published, and whether what arrives is that.
 *
 *   short    {"type":"message","content":"000000000123 padding-padding-padding"}
 *   records  {"type":"message","content":{"number":"000000000123","records":[{"id":1000,"symbol":"ABLE",…},…]}}
 *
 * Records are a list as a page of prices would get it: the same names each time, other figures in each message.
 * A server may put an envelope of its own in front of the number, and spaces between the parts of JSON.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGITS = 12, SIZE_MAX_BYTES = 8192, MESSAGE_MAX = 2 * SIZE_MAX_BYTES };
#define PADDING " padding-padding-padding"

struct shape {
    bool records;
    size_t size; /* in bytes, at most SIZE_MAX_BYTES: a short message is at least so long, one with records about so long */
};

/* The most that a message of this shape takes; MESSAGE_MAX at most. */
size_t message_max(struct shape shape);

/* Writes message `number`; returns its length, which is the same for every number of a short one. */
size_t message_write(uint8_t *out, struct shape shape, uint64_t number);

void write_digits(uint8_t *out, uint64_t number);

/* Finds the first run of exactly DIGITS digits. */
bool find_number(const uint8_t *bytes, size_t length, size_t *at, uint64_t *number);

/* True if what stands behind the number at `at` is what was published behind it, but for spaces. */
bool message_follows(
    const uint8_t *bytes, size_t length, size_t at, const uint8_t *published, size_t published_length);

#endif
