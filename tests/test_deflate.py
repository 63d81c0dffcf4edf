"""permessage-deflate: what is agreed on, what hostile clients offer and send, and another implementation's client."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension

from antiphon.deflate import WINDOW_BITS, Agreement, Deflater, Inflater, InflaterError, negotiate
from antiphon.frames import TEXT, compressed_frame
from fuzz.frames import Settings, client_frame, read

from .fakes import cpu_seconds, parse_frames

MiB = 1 << 20
TAIL = b"\x00\x00\xff\xff"


def agreed(offers: bytes) -> Agreement:
    agreement = negotiate(offers)
    assert agreement is not None, offers
    return agreement


def parameters(header: bytes) -> dict[str, str | None]:
    ((name, found),) = parse_extension(header.decode())
    assert name == "permessage-deflate"
    assert len(dict(found)) == len(found), "each stands there once"
    return dict(found)


# What is agreed on (RFC 7692 §7.1)

GOOD_BITS = {str(bits): bits for bits in range(8, 16)}
BAD_VALUES = ("7", "16", "0", "08", "-9", "1e1", "x", '""', '"9 "')


@pytest.mark.parametrize("server_flag", [None, "", "x"], ids=["no server flag", "server flag", "with a value"])
@pytest.mark.parametrize("client_flag", [None, "", "1"], ids=["no client flag", "client flag", "with a value"])
def test_every_combination_of_parameters(server_flag: str | None, client_flag: str | None) -> None:
    windows: list[str | None] = [None, "", *GOOD_BITS, '"10"', *BAD_VALUES]
    for server, client in product(windows, windows):
        given_parameters = {
            "server_no_context_takeover": server_flag,
            "client_no_context_takeover": client_flag,
            "server_max_window_bits": server,
            "client_max_window_bits": client,
        }
        written = [
            name + (f"={value}" if value else "") for name, value in given_parameters.items() if value is not None
        ]
        agreement = negotiate("; ".join(["permessage-deflate", *written]).encode())
        server_bits = WINDOW_BITS if server is None else GOOD_BITS.get(server.strip('"'))
        client_bits = 15 if client is None else WINDOW_BITS if client == "" else GOOD_BITS.get(client.strip('"'))
        flags_are_flags = server_flag in (None, "") and client_flag in (None, "")
        if not flags_are_flags or server_bits is None or client_bits is None or server_bits == 8:
            assert agreement is None, written
            continue
        assert agreement is not None, written
        told = parameters(agreement.header)
        expected_client = client_bits if client is None else min(client_bits, WINDOW_BITS)
        assert (agreement.server_bits, agreement.client_bits) == (min(server_bits, WINDOW_BITS), expected_client)
        assert told.pop("server_max_window_bits") == str(agreement.server_bits)
        assert told.pop("client_max_window_bits", None) == (None if client is None else str(agreement.client_bits))
        assert told == {"server_no_context_takeover": None, "client_no_context_takeover": None}


@pytest.mark.parametrize("bits", [None, *range(8, 16)])
@pytest.mark.parametrize("client_bits", [None, True, *range(9, 16)])
@pytest.mark.parametrize("flags", [(False, False), (True, True)])
def test_another_implementations_client_agrees_to_the_answer(
    bits: int | None, client_bits: int | bool | None, flags: tuple[bool, bool]
) -> None:
    factory = ClientPerMessageDeflateFactory(*flags, bits, client_bits)
    offer = "; ".join(
        [factory.name] + [name if value is None else f"{name}={value}" for name, value in factory.get_request_params()]
    )
    agreement = negotiate(offer.encode())
    if bits == 8:  # zlib has no such window; the connection goes on without compression
        assert agreement is None
        return
    assert agreement is not None
    extension = factory.process_response_params(list(parameters(agreement.header).items()), [])
    assert (extension.remote_max_window_bits, extension.local_max_window_bits) == agreement[1:]
    assert extension.remote_no_context_takeover
    assert extension.local_no_context_takeover


@pytest.mark.parametrize(
    ("offers", "bits"),
    [
        (b"permessage-deflate; server_max_window_bits=10, permessage-deflate", 10),
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9", 9),
        (b"permessage-deflate; nonsense, permessage-deflate; server_max_window_bits=11", 11),
        (b"x-webkit-deflate-frame, permessage-deflate;server_max_window_bits=9", 9),
        (b"permessage-bzip2; a=1, permessage-deflate", WINDOW_BITS),
        (b",, permessage-deflate ,", WINDOW_BITS),
        (b"permessage-deflate ; client_max_window_bits", WINDOW_BITS),
        (b'permessage-deflate; server_max_window_bits="\\1\\0"', 10),
    ],
)
def test_the_first_offer_that_can_be_had_is_taken(offers: bytes, bits: int) -> None:
    assert agreed(offers).server_bits == bits


@pytest.mark.parametrize(
    "offers",
    [
        b"",
        b",",
        b";",
        b"permessage-deflate;",
        b"permessage-deflate; ;",
        b"permessage-deflate permessage-deflate",
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        b"permessage-deflate; client_max_window_bits; client_max_window_bits=9",
        b"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; __class__",
        b"permessage-deflate; constructor=1",
        b"permessage-deflate; prototype; __proto__; toString",
        b"__class__, constructor, hasOwnProperty; a=1, __init__; __dict__",
        b"permessage-deflate; client_max_window_bits=\xff",
        b"permessage-deflate\xe2\x82\xac",
        b"permessage-deflate\x00",
        b"permessage-deflate; a=\x00",
        b'permessage-deflate; a="',
        b'permessage-deflate; a="\\',
        b"permessage-deflate; =1",
        b"permessage-deflate=1",
        b"\x00",
        b"(comment)",
        b"deflate-frame",
    ],
)
def test_what_cannot_be_had_is_declined(offers: bytes) -> None:
    assert negotiate(offers) is None


@given(
    st.binary(max_size=80)
    | st.lists(
        st.sampled_from(
            [
                b"permessage-deflate",
                b"server_max_window_bits",
                b"=",
                b";",
                b",",
                b" ",
                b'"',
                b"\\",
                b"9",
                b"15",
                b"a",
                b"\xff",
            ]
        ),
        max_size=30,
    ).map(b"".join)
)
def test_any_offer_is_answered_or_declined(offers: bytes) -> None:
    agreement = negotiate(offers)
    if agreement is not None:
        assert parameters(agreement.header)
        assert 9 <= agreement.server_bits <= WINDOW_BITS
        assert 8 <= agreement.client_bits <= 15


# Time


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"permessage-deflate", b"; a"),
        (b"permessage-deflate; a", b"a"),
        (b"a", b"; a; a; a"),
        (b"permessage-deflate", b", permessage-deflate"),
        (b"permessage-deflate", b"; client_max_window_bits"),
        (b"permessage-deflate; a, ", b"permessage-deflate; a; a, "),
        (b'a; b="', b"\\\\"),
        (b'a; b="', b'\\"'),
        (b'a; b="', b"x"),
        (b"", b","),
        (b"", b" "),
        (b"a", b" \t"),
        (b"a", b";"),
        (b'a; b="x"', b'; b="x"'),
        (b"\xff", b"\xff"),
    ],
    ids=repr,
)
def test_time_grows_with_the_length_of_an_offer(begin: bytes, part: bytes) -> None:
    def negotiating(length: int) -> Callable[[], object]:
        offers = begin + part * ((length - len(begin)) // len(part))
        return lambda: negotiate(offers)

    little, much = cpu_seconds(negotiating(8 * 1024)), cpu_seconds(negotiating(64 * 1024))
    assert much < 24 * little + 0.001, "eight times as much takes about eight times as long; a square would be 64"


# Decompression


def deflated(data: bytes, bits: int = 15, *, level: int = 6, memory: int = 8, strategy: int = 0) -> bytes:
    compressor = zlib.compressobj(level, wbits=-bits, memLevel=memory, strategy=strategy)
    packed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return (packed if packed.endswith(TAIL) else packed + b"\x00" + TAIL)[:-4]


def inflate(pieces: list[bytes], room: int = MiB, bits: int = 15) -> bytes | None:
    """Feed ``pieces`` as ``FrameReader`` does."""
    inflater, message = Inflater(bits), b""
    inflater.begin()
    for index, piece in enumerate(pieces):
        inflated = inflater.inflate(piece, room + 1 - len(message), index == len(pieces) - 1)
        if inflated is None or len(message) + len(inflated) > room:
            return None
        message += inflated
    inflater.end()
    return message


def pieces_of(data: bytes, places: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


FAR = random.Random(1).randbytes(1500) * 3
contents = st.binary(max_size=300) | st.sampled_from([b"", b"x" * 70_000, bytes(range(256)) * 40, FAR])


@given(
    contents,
    st.integers(9, 15),
    st.sampled_from([0, 1, 6, 9]),
    st.integers(1, 9),
    st.integers(0, 4),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_what_zlib_compresses_is_decompressed(
    data: bytes, bits: int, level: int, memory: int, strategy: int, places: list[int]
) -> None:
    packed = deflated(data, bits, level=level, memory=memory, strategy=strategy)
    assert inflate(pieces_of(packed, places), bits=bits) == data


@pytest.mark.parametrize(
    ("packed", "data"),
    [
        (b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
        (b"\x00", b""),
        (b"\x02\x00", b""),
        (b"", b""),
    ],
    ids=["7.2.3.1", "7.2.3.3 stored", "7.2.3.4 BFINAL", "7.2.3.5 two blocks", "7.2.3.6 empty", "fixed", "nothing"],
)
def test_the_examples_of_the_specification(packed: bytes, data: bytes) -> None:
    for places in ([], list(range(len(packed)))):
        assert inflate(pieces_of(packed, places)) == data


@pytest.mark.parametrize("size", [1, 5, 2043, 2044, 2045, 65_535, 100_000])
@pytest.mark.parametrize("content", ["zeros", "noise"])
def test_the_room_is_exact(size: int, content: str) -> None:
    data = bytes(size) if content == "zeros" else random.Random(1).randbytes(size)
    packed = deflated(data)
    for pieces in ([packed], [packed, b""], [packed[: len(packed) // 2], packed[len(packed) // 2 :]]):
        assert inflate(pieces, room=size) == data
        assert inflate(pieces, room=size - 1) is None
    inflater = Inflater(15)
    for room, expected in ((size + 1, data), (size, data), (max(size - 1, 1), None if size > 1 else data)):
        inflater.begin()
        assert inflater.inflate(packed, room, is_last=True) == expected


def test_a_window_of_8_is_declined_for_what_the_server_sends_and_taken_for_what_a_client_sends() -> None:
    assert negotiate(b"permessage-deflate; server_max_window_bits=8") is None
    assert agreed(b"permessage-deflate; client_max_window_bits=8").client_bits == 8
    data = b"never further back than this " * 3
    assert inflate([deflated(data, 9)], bits=8) == data
    for distance in range(200, 300, 10):  # with a window of 9, zlib looks back 250 bytes
        far = random.Random(1).randbytes(distance) * 3
        packed = deflated(far, 9)
        assert inflate(pieces_of(packed, list(range(len(packed)))), bits=8) == far


def bomb(size: int) -> bytes:
    """What compresses ``size`` zeros, a whole number of MiB, without compressing them all here."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(bytes(MiB)) + compressor.flush(zlib.Z_FULL_FLUSH)) * (size // MiB)


@pytest.mark.parametrize("limit", [1000, MiB])
@pytest.mark.parametrize("width", [100, 65_536, 1 << 30])
def test_a_gibibyte_of_zeros_takes_no_more_memory_than_the_limit(limit: int, width: int) -> None:
    packed = bomb(1024 * MiB)
    assert len(packed) > MiB
    inflater = Inflater(15)
    inflater.begin()
    pieces = [packed[start : start + width] for start in range(0, min(len(packed), 3 * MiB), width)]
    tracemalloc.start()
    try:
        total = 0
        for piece in pieces:
            inflated = inflater.inflate(piece, limit + 1, is_last=False)
            total += limit + 1 if inflated is None else len(inflated)
            del inflated
            if total > limit:
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > limit
    assert peak < 3 * limit + len(packed) + 200_000, "zlib keeps what it did not look at, and that was sent"


@pytest.mark.parametrize("data", [b"Hello, Hello, Hello", bytes(3000), random.Random(1).randbytes(3000)], ids=len)
@pytest.mark.parametrize("level", [0, 6])
def test_what_is_cut_off_is_an_error_or_something_within_the_room(data: bytes, level: int) -> None:
    packed = deflated(data, level=level)
    outcomes = []
    for end in range(len(packed)):
        try:
            outcomes.append(inflate([packed[:end]], room=len(data)))
        except InflaterError:
            continue
    assert all(found is None or len(found) <= len(data) for found in outcomes)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5), st.integers(0, 3000))
def test_noise_is_an_error_or_something_within_the_room(noise: bytes, places: list[int], room: int) -> None:
    try:
        found = inflate(pieces_of(noise, places), room=room)
    except InflaterError:
        return
    assert found is None or len(found) <= room


def ended(data: bytes) -> bytes:
    """Compress with a last block (BFINAL), as for a file."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush(zlib.Z_FINISH)


@pytest.mark.parametrize("zero", [b"", b"\0"], ids=["nothing", "the zero of RFC 7692"])
@pytest.mark.parametrize("pieces", [1, 2, 1000], ids=["in one piece", "in two", "byte by byte"])
def test_a_last_block_may_end_a_message(zero: bytes, pieces: int) -> None:
    inflater = Inflater(15)
    for _ in range(2):
        inflater.begin()
        packed = ended(b"Hello") + zero
        size = -(-len(packed) // pieces)
        parts = [packed[place : place + size] for place in range(0, len(packed), size)]
        found = [inflater.inflate(part, MiB, is_last=part is parts[-1]) for part in parts]
        assert b"".join(part or b"" for part in found) == b"Hello"
        inflater.end()


@pytest.mark.parametrize("behind", [b"\x55", b"\0\0", b"\x55" * 65_536, deflated(b"more")])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_message_that_goes_on_behind_its_last_block_is_an_error(behind: bytes, at_once: bool) -> None:
    inflater = Inflater(15)
    inflater.begin()
    if not at_once:
        assert inflater.inflate(ended(b"Hello"), MiB, is_last=False) == b"Hello"
    with pytest.raises(InflaterError, match="last block"):
        inflater.inflate(behind if not at_once else ended(b"Hello") + behind, MiB, is_last=not at_once)


def test_two_zeros_behind_the_last_block_are_one_too_many_in_two_pieces_as_well() -> None:
    inflater = Inflater(15)
    for pieces in ([ended(b"Hello") + b"\0", b"\0"], [ended(b"Hello"), b"\0", b"\0"]):
        inflater.begin()
        for piece in pieces[:-1]:
            inflater.inflate(piece, MiB, is_last=False)
        with pytest.raises(InflaterError, match="last block"):
            inflater.inflate(pieces[-1], MiB, is_last=True)


def test_a_message_without_a_byte_is_empty_whatever_came_before() -> None:
    inflater = Inflater(15)
    for packed, data in ((deflated(b"Hello"), b"Hello"), (b"", b""), (b"\0", b""), (b"", b"")):
        inflater.begin()
        assert inflater.inflate(packed, MiB, is_last=True) == data
        inflater.end()


@pytest.mark.parametrize("level", [1, 9])
def test_a_message_that_is_cut_off_is_an_error(level: int) -> None:
    compressor = zlib.compressobj(level, wbits=-15)
    packed = (compressor.compress(b"Hello, hello, hello") + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    for length in range(1, len(packed)):
        inflater = Inflater(15)
        inflater.begin()
        with pytest.raises(InflaterError):
            inflater.inflate(packed[:length], MiB, is_last=True)


def test_nothing_is_held_between_messages() -> None:
    inflater = Inflater(15)
    packed = deflated(random.Random(1).randbytes(30_000))
    for _ in range(2):
        inflater.begin()
        inflater.inflate(packed, MiB, is_last=True)
        inflater.end()
    tracemalloc.start()
    try:
        inflater.begin()
        assert len(inflater.inflate(packed[:20_000], MiB, is_last=False) or b"") > 10_000
        within, _ = tracemalloc.get_traced_memory()
        inflater.inflate(packed[20_000:], MiB, is_last=True)
        inflater.end()
        between, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert within > 30_000 > 1000 > between


# Compression


def read_with_window(packed: bytes, bits: int) -> Iterator[bytes]:
    """Decompress in steps: in one go, zlib looks back as far as its output reaches, whatever the window."""
    reader = zlib.decompressobj(wbits=-bits)
    while packed:
        yield reader.decompress(packed, 100)
        packed = reader.unconsumed_tail
    yield reader.flush()


@given(contents, st.integers(9, 15))
def test_what_is_compressed_is_read_within_the_window(data: bytes, bits: int) -> None:
    deflater = Deflater(bits)
    for _ in range(2):
        packed = deflater.deflate(data)
        assert b"".join(read_with_window(packed + TAIL, bits)) == data
        assert not packed.endswith(TAIL)
        assert packed == Deflater(bits).deflate(data), "nothing is left from the message before"


# Another implementation's other end


def client_of(offer: ClientPerMessageDeflateFactory) -> tuple[PerMessageDeflate, Agreement]:
    names = [name if value is None else f"{name}={value}" for name, value in offer.get_request_params()]
    agreement = agreed("; ".join([offer.name, *names]).encode())
    return offer.process_response_params(list(parameters(agreement.header).items()), []), agreement


offers = st.builds(
    ClientPerMessageDeflateFactory,
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 9, 10, 12, 15]),
    st.sampled_from([None, True, 9, 10, 12, 15]),
)


@given(offers, st.lists(contents, min_size=1, max_size=4))
def test_what_the_server_compresses_the_client_reads(
    offer: ClientPerMessageDeflateFactory, messages: list[bytes]
) -> None:
    client, agreement = client_of(offer)
    deflater = Deflater(agreement.server_bits)
    wire = b"".join(compressed_frame(TEXT, deflater.deflate(message)) for message in messages)
    assert [bytes(frame.data) for frame in parse_frames(wire, [client])] == messages


@given(offers, st.lists(st.tuples(contents, st.lists(st.integers(0, 300), max_size=3)), min_size=1, max_size=4))
def test_what_the_client_compresses_the_server_reads(
    offer: ClientPerMessageDeflateFactory, messages: list[tuple[bytes, list[int]]]
) -> None:
    client, agreement = client_of(offer)
    stream = b""
    for data, places in messages:
        parts = pieces_of(data, places)
        for index, part in enumerate(parts):
            frame = Frame(Opcode.CONT if index else Opcode.BINARY, part, index == len(parts) - 1)
            stream += frame.serialize(mask=True, extensions=[client])
            stream += client_frame(0x89, b"between" if index < len(parts) - 1 else b"behind")
    outcome = read([stream], Settings(deflates=True, bits=agreement.client_bits))
    assert outcome.code is None, outcome
    found = [payload for kind, payload in outcome.events if kind == "binary"]
    assert found == [data for data, _ in messages]
