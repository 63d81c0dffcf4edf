#include "message.h"

#include <stdio.h>
#include <string.h>

enum { RECORD_MAX = 128, SYMBOLS = 24 };

static const char short_head[] = "{\"type\":\"message\",\"content\":\"", short_tail[] = "\"}";
static const char records_head[] = "{\"type\":\"message\",\"content\":{\"number\":\"", records_tail[] = "]}}";
static const char symbols[SYMBOLS][6] = {
    "ABLE",  "BAKER", "CAST", "DOG",   "EASY", "FOX",   "GEAR", "HOLE", "INDIA", "JIG",  "KING", "LOVE",
    "MIKE", "NAN",   "OBOE", "PETER", "QUEEN", "ROGER", "SUGAR", "TARE", "UNCLE", "VICT", "WILLY", "YOKE"};

size_t message_max(struct shape shape) {
    size_t needed = shape.records ? shape.size + sizeof records_head + DIGITS + RECORD_MAX : shape.size;
    size_t shortest = sizeof short_head + DIGITS + sizeof PADDING + sizeof short_tail;
    return needed > shortest ? needed : shortest;
}

void write_digits(uint8_t *out, uint64_t number) {
    for (int i = DIGITS - 1; i >= 0; i--, number /= 10) out[i] = (uint8_t)('0' + number % 10);
}

static size_t append(uint8_t *out, size_t length, const char *text, size_t count) {
    memcpy(out + length, text, count);
    return length + count;
}

static size_t write_short(uint8_t *out, size_t size, uint64_t number) {
    size_t length = append(out, 0, short_head, sizeof short_head - 1);
    write_digits(out + length, number);
    length = append(out, length + DIGITS, PADDING, sizeof PADDING - 1);
    for (size_t i = 0; length + sizeof short_tail - 1 < size; i++) out[length++] = (uint8_t)"-padding"[i % 8];
    return append(out, length, short_tail, sizeof short_tail - 1);
}

/* splitmix64: the figures of a record, the same for the same message. */
static uint64_t mixed(uint64_t value) {
    value += 0x9e3779b97f4a7c15ULL;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ value >> 27) * 0x94d049bb133111ebULL;
    return value ^ value >> 31;
}

static size_t write_record(char *out, uint64_t number, uint32_t index) {
    uint64_t figures = mixed(number * 1000 + index);
    unsigned price = 1000 + (unsigned)(figures % 90000), change = (unsigned)(figures >> 20 & 511);
    unsigned volume = (unsigned)(figures >> 32 & 0xfffff), second = (unsigned)(figures >> 52 & 4095) % 3600;
    int length = snprintf(
        out, RECORD_MAX,
        "%s{\"id\":%u,\"symbol\":\"%s\",\"price\":\"%u.%02u\",\"change\":\"%c%u.%02u\",\"volume\":%u,"
        "\"at\":\"2026-01-15T09:%02u:%02uZ\"}",
        index ? "," : "", 1000 + index, symbols[index % SYMBOLS], price / 100, price % 100, figures & 1 ? '-' : '+',
        change / 100, change % 100, volume, second / 60, second % 60);
    return (size_t)length;
}

static size_t write_records(uint8_t *out, size_t size, uint64_t number) {
    size_t length = append(out, 0, records_head, sizeof records_head - 1);
    write_digits(out + length, number);
    static const char between[] = "\",\"records\":[";
    length = append(out, length + DIGITS, between, sizeof between - 1);
    for (uint32_t i = 0; !i || length + sizeof records_tail - 1 < size; i++)
        length += write_record((char *)out + length, number, i);
    return append(out, length, records_tail, sizeof records_tail - 1);
}

size_t message_write(uint8_t *out, struct shape shape, uint64_t number) {
    return (shape.records ? write_records : write_short)(out, shape.size, number);
}

bool find_number(const uint8_t *bytes, size_t length, size_t *at, uint64_t *number) {
    size_t run = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && bytes[i] >= '0' && bytes[i] <= '9') {
            run++;
            continue;
        }
        if (run == DIGITS) {
            *at = i - DIGITS;
            *number = 0;
            for (size_t k = *at; k < i; k++) *number = *number * 10 + (uint64_t)(bytes[k] - '0');
            return true;
        }
        run = 0;
    }
    return false;
}

/* The same text, where `bytes` may have spaces that `published` has not. */
static bool same_but_for_spaces(
    const uint8_t *bytes, size_t length, const uint8_t *published, size_t published_length) {
    if (length == published_length) return memcmp(bytes, published, length) == 0;
    size_t k = 0;
    for (size_t i = 0; i < length; i++) {
        if (k < published_length && bytes[i] == published[k]) k++;
        else if (bytes[i] != ' ') return false;
    }
    return k == published_length;
}

bool message_follows(
    const uint8_t *bytes, size_t length, size_t at, const uint8_t *published, size_t published_length) {
    size_t published_at;
    uint64_t number;
    if (!find_number(published, published_length, &published_at, &number)) return false;
    size_t from = at + DIGITS, published_from = published_at + DIGITS;
    return same_but_for_spaces(
        bytes + from, length - from, published + published_from, published_length - published_from);
}
