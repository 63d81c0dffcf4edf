/* The load client: one thread, epoll, no allocation per frame. `load` without arguments says how to use it. */
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static const char usage[] =
    "usage: load fanout  --port P[,P…] [--path /ws] --n N --window W [--rate R] --seconds S --warmup S\n"
    "       load echo    --port P [--path /echo] --n N --seconds S --warmup S\n"
    "       load connect --port P [--path /ws] --count C --concurrency K\n"
    "       load idle    --port P [--path /ws] --n N --seconds S\n"
    "       load selftest\n"
    "Also: --cookie TEXT, --origin TEXT for the handshake; --stall S: give up when nothing arrives for so long (10).\n"
    "fanout --rate R publishes R messages a second, whatever the server does, instead of keeping W in flight.\n"
    "fanout --size B: messages of B bytes at least; --records: of about B bytes, with a list of records in them.\n"
    "fanout --messages M: publish no more than so many.\n"
    "fanout --deflate: offer permessage-deflate, insist on it, and read what comes.\n"
    "fanout --slow: the last member stops reading before the first message, and reads on after the last.\n"
    "fanout --wire plain|centrifuge-json|centrifuge-protobuf|socketio: what is spoken; offsets are checked, too.\n"
    "fanout --hold: say READY when all are members, go on with a line on stdin, and stay until stdin ends.\n"
    "Several ports are those of one server's processes: connections take them in turn, and the first one publishes.\n";

static uint32_t positive(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value < 1 || value > 1000000) fail("not a number from 1 to 1000000: %s", text);
    return (uint32_t)value;
}

static struct ports ports(char *text) {
    struct ports found = {0};
    for (char *each = strtok(text, ","); each; each = strtok(NULL, ",")) {
        uint32_t port = positive(each);
        if (port > UINT16_MAX || found.count == PORTS_MAX) fail("--port: one to %d ports, by comma", PORTS_MAX);
        found.numbers[found.count++] = (uint16_t)port;
    }
    return found;
}

static double seconds(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (*end || value < 0 || value > 3600) fail("not a number from 0 to 3600: %s", text);
    return value;
}

static struct options parse(int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'},   {"path", 1, 0, 'P'},  {"n", 1, 0, 'n'},       {"window", 1, 0, 'w'},
        {"count", 1, 0, 'c'},  {"rate", 1, 0, 'r'},  {"seconds", 1, 0, 's'}, {"warmup", 1, 0, 'u'},
        {"cookie", 1, 0, 'k'}, {"stall", 1, 0, 'x'}, {"origin", 1, 0, 'o'},  {"concurrency", 1, 0, 'C'},
        {"size", 1, 0, 'b'},   {"records", 0, 0, 'R'}, {"messages", 1, 0, 'm'}, {"deflate", 0, 0, 'd'},
        {"slow", 0, 0, 'S'},   {"hold", 0, 0, 'H'},  {"wire", 1, 0, 'W'},    {0, 0, 0, 0}};
    struct options o = {.path = "/ws", .n = 100, .window = 1, .count = 1000, .concurrency = 16, .seconds = 3,
                        .warmup = 0.5, .stall = 10};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) switch (option) {
        case 'p': o.ports = ports(optarg); break;
        case 'P': o.path = optarg; break;
        case 'n': o.n = positive(optarg); break;
        case 'w': o.window = positive(optarg); break;
        case 'c': o.count = positive(optarg); break;
        case 'C': o.concurrency = positive(optarg); break;
        case 'r': o.rate = (double)positive(optarg); break;
        case 's': o.seconds = seconds(optarg); break;
        case 'u': o.warmup = seconds(optarg); break;
        case 'x': o.stall = seconds(optarg); break;
        case 'b': o.shape.size = positive(optarg); break;
        case 'R': o.shape.records = true; break;
        case 'm': o.messages = positive(optarg); break;
        case 'd': o.deflate = true; break;
        case 'S': o.slow = true; break;
        case 'H': o.hold = true; break;
        case 'W': if (!wire_named(optarg, &o.wire)) fail("--wire: there is no %s", optarg); break;
        case 'k': o.cookie = optarg; break;
        case 'o': o.origin = optarg; break;
        default: fputs(usage, stderr); exit(2);
        }
    if (o.window > 64) fail("--window: the checker remembers 64 numbers back");
    if (o.shape.size > SIZE_MAX_BYTES) fail("--size: at most %d bytes", SIZE_MAX_BYTES);
    if (o.slow && (o.n < 2 || o.deflate)) fail("--slow: needs a second member, and does not read compressed messages");
    if (o.wire != WIRE_PLAIN && (o.slow || o.deflate)) fail("--wire: --slow and --deflate are for the plain one");
    return o;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "selftest")) return mode_selftest();
    struct options options = parse(argc - 1 > 0 ? argc - 1 : 1, argv + (argc > 1));
    if (!options.ports.count || !strlen(mode)) {
        fputs(usage, stderr);
        return 2;
    }
    if (!strcmp(mode, "fanout")) return mode_fanout(&options);
    if (options.wire != WIRE_PLAIN) fail("--wire: only fanout speaks %s", wire_name(options.wire));
    if (!strcmp(mode, "echo")) return mode_echo(&options);
    if (!strcmp(mode, "connect")) return mode_connect(&options);
    if (!strcmp(mode, "idle")) return mode_idle(&options);
    fputs(usage, stderr);
    return 2;
}
