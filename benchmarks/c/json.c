#include "json.h"

#include <string.h>

static const uint8_t *skip_spaces(const uint8_t *p, const uint8_t *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) p++;
    return p;
}

/* Each of these returns where what begins at `p` ends, or NULL where it does not. */

static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end) {
    for (p++; p < end; p++) {
        if (*p == '"') return p + 1;
        if (*p == '\\') p++;
    }
    return NULL;
}

static const uint8_t *skip_brackets(const uint8_t *p, const uint8_t *end) {
    size_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            if (!(p = skip_string(p, end))) return NULL;
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        if ((*p == '}' || *p == ']') && !--depth) return p + 1;
        p++;
    }
    return NULL;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end) {
    if (p == end) return NULL;
    if (*p == '"') return skip_string(p, end);
    if (*p == '{' || *p == '[') return skip_brackets(p, end);
    const uint8_t *begin = p;
    while (p < end && !strchr(",:]} \t\r\n", *p)) p++;
    return p > begin ? p : NULL;
}

bool json_is_object(struct span text) {
    const uint8_t *end = text.bytes + text.length;
    return text.length && *text.bytes == '{' && skip_brackets(text.bytes, end) == end;
}

struct span json_member(struct span object, const char *name) {
    static const struct span none;
    const uint8_t *p = object.bytes, *end = p + object.length;
    if (!object.length || *p != '{') return none;
    do {
        p = skip_spaces(p + 1, end); /* behind the brace or a comma */
        const uint8_t *key = p, *key_end = p < end && *p == '"' ? skip_string(p, end) : NULL;
        if (!key_end) return none;
        p = skip_spaces(key_end, end);
        if (p == end || *p != ':') return none;
        const uint8_t *value = skip_spaces(p + 1, end);
        if (!(p = skip_value(value, end))) return none;
        size_t length = (size_t)(key_end - key) - 2;
        if (length == strlen(name) && !memcmp(key + 1, name, length)) return (struct span){value, (size_t)(p - value)};
        p = skip_spaces(p, end);
    } while (p < end && *p == ',');
    return none;
}

uint64_t json_number(struct span value) {
    uint64_t number = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9') return 0;
        number = number * 10 + (uint64_t)(value.bytes[i] - '0');
    }
    return number;
}

bool json_is_true(struct span value) { return value.length == 4 && !memcmp(value.bytes, "true", 4); }
