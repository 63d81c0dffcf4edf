"""The plain wire: JSON in and out, compared with the standard library's."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.exceptions import ClientError, NotEncodable
from antiphon.types import Position
from antiphon.wire import plain

SMALLEST, LARGEST = -(2**63), 2**64 - 1

scalars = st.none() | st.booleans() | st.integers(SMALLEST, LARGEST) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    scalars | st.text(),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(), children, max_size=5),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from 1.0 and True, and 0.0 from -0.0."""
    return repr(left) == repr(right)


def problem_with(payload: bytes, max_depth: int = 64) -> str:
    with pytest.raises(ClientError) as caught:
        plain.decode(payload, max_depth)
    assert caught.value.reason
    return str(caught.value.code)


# Round trips


@given(documents)
def test_what_is_encoded_is_read_by_the_standard_library(document: Any) -> None:
    assert same(json.loads(plain.encode(document)), document)


@given(documents, st.booleans(), st.sampled_from([None, 1]))
def test_what_the_standard_library_writes_is_decoded(document: Any, ascii_only: bool, indent: int | None) -> None:
    payload = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert same(plain.decode(payload, 64), document)


@given(documents)
def test_a_document_comes_back_as_it_was(document: Any) -> None:
    assert same(plain.decode(plain.encode(document), 64), document)


@given(
    st.binary(max_size=40)
    | st.text(alphabet='{}[]":,0123456789.eE+-truefalsn\\u dD8\ufeff', max_size=40).map(str.encode)
)
def test_anything_that_comes_in_is_a_document_or_a_client_error(payload: bytes) -> None:
    try:
        content = plain.decode(payload, 5)
    except ClientError:
        return
    assert same(json.loads(payload), content)


# Depth


def nested(depth: int, kind: str) -> bytes:
    return (b"[" * depth + b"]" * depth) if kind == "list" else (b'{"a":' * depth + b"1" + b"}" * depth)


@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 10, 64, 200])
def test_the_limit_of_depth_is_exact(limit: int, kind: str) -> None:
    plain.decode(nested(limit, kind), limit)
    assert problem_with(nested(limit + 1, kind), limit) == "too_deep"


def test_a_document_without_containers_has_no_depth() -> None:
    assert plain.decode(b'"[[[[[[[[[[[[[[[[[[[[[[[[[["', 1) == "[" * 26


def test_brackets_in_text_and_beside_one_another_are_no_depth() -> None:
    assert plain.decode(b'["[[[[[[[[[[[[[[[[[[[[[[", [], [], [], [], []]', 2) == ["[" * 22, [], [], [], [], []]


def test_very_deep_nesting_is_refused_and_crashes_nothing() -> None:
    assert problem_with(b"[" * 100_000 + b"]" * 100_000) == "too_deep"
    assert problem_with(b"[" * 100_000) in ("too_deep", "invalid_json")
    assert problem_with(b"[" * 1_000_000) == "too_many_containers"


@pytest.mark.parametrize("payload", [b"[[1],[[2]]]", b'{"a":[{}],"b":[[[]]]}'])
def test_the_deepest_branch_counts(payload: bytes) -> None:
    depth = 3 if payload.startswith(b"[") else 4
    plain.decode(payload, depth)
    assert problem_with(payload, depth - 1) == "too_deep"


# Numbers


@given(st.integers(-(2**66), 2**66) | st.sampled_from([SMALLEST, SMALLEST - 1, LARGEST, LARGEST + 1]))
def test_a_whole_number_has_64_bits(number: int) -> None:
    for payload in (b"%d" % number, b'{"a": [%d]}' % number, b"[1,%d ]" % number):
        if SMALLEST <= number <= LARGEST:
            assert str(number) in str(plain.decode(payload, 64))
        else:
            assert problem_with(payload) == "number_too_large"


def test_digits_in_text_are_no_number() -> None:
    assert plain.decode(b'["99999999999999999999999", 1]', 64) == ["9" * 23, 1]


def test_a_large_number_with_a_point_is_a_float() -> None:
    assert plain.decode(b"[100000000000000000000.0, 1e30]", 64) == [1e20, 1e30]


@pytest.mark.parametrize("payload", [b"1e400", b"[-1e999]"])
def test_a_number_that_no_float_holds_is_refused(payload: bytes) -> None:
    assert problem_with(payload) == "number_too_large"


@pytest.mark.parametrize(
    "payload", [b"NaN", b"Infinity", b"-Infinity", b"[NaN]", b"nan", b"01", b"+1", b".5", b"1.", b"0x1"]
)
def test_what_is_no_number_in_json_is_refused(payload: bytes) -> None:
    assert problem_with(payload) == "invalid_json"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "inside", [lambda x: x, lambda x: [x], lambda x: {"a": x}, lambda x: {None: x}, lambda x: ["\ud800", x]]
)
def test_what_is_no_number_is_sent_as_null(number: float, inside: Any) -> None:
    text = plain.encode(inside(number)).decode()
    assert "null" in text.replace('"null"', "")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# Text


@pytest.mark.parametrize("payload", [b'"\\ud800"', b'"\\udc00"', b'"\\ud83d x"', b'["\\ud83d\\ud83d"]'])
def test_half_of_a_surrogate_pair_is_refused_with_words_for_it(payload: bytes) -> None:
    with pytest.raises(ClientError, match="surrogate"):
        plain.decode(payload, 64)


def test_a_surrogate_pair_is_a_character() -> None:
    assert plain.decode(b'"\\ud83c\\udfb5"', 64) == "🎵"


@pytest.mark.parametrize("content", ["\ud800", ["a", "\udfff"], {"\ud800": 1}])
def test_half_of_a_surrogate_pair_is_sent_escaped(content: Any) -> None:
    assert json.loads(plain.encode(content)) == content
    plain.encode(content).decode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"{} x",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"[1 2]",
        b'{"a"}',
        b'"a',
        b'"\n"',
        b"tru",
        b"{1: 2}",
    ],
)
def test_what_is_no_json_is_refused(payload: bytes) -> None:
    assert problem_with(payload) == "invalid_json"


@pytest.mark.parametrize("payload", [b'"\xff"', b'{"\xc3": 1}', b'"\xed\xa0\x80"'])
def test_what_is_not_utf8_is_refused(payload: bytes) -> None:
    assert problem_with(payload) == "invalid_json"


@pytest.mark.parametrize(("payload", "words"), [(b"", "empty"), (b"  \n", "empty"), (b'{"a": ', "cut off|truncated")])
def test_the_words_tell_what_is_wrong(payload: bytes, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        plain.decode(payload, 64)


# Types


class Text(str):
    pass


class SafeString(str):
    """As Django's: its own ``__str__``, and an attribute."""

    def __str__(self) -> str:
        return self

    def __html__(self) -> str:
        return self


class Whole(int):
    pass


class Real(float):
    pass


class Items(list[Any]):
    pass


class Table(dict[Any, Any]):
    pass


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    A = "a"


@pytest.mark.parametrize(
    "content",
    [
        Text("a"),
        SafeString("<b>"),
        Whole(5),
        Real(0.5),
        Items([1]),
        Table(a=1),
        (1, 2),
        Point(1, 2),
        Colour.RED,
        Word.A,
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(int, a=1),
        collections.Counter("aab"),
        {Text("a"): SafeString("b")},
        {SafeString("a"): [Whole(1), Real(1.5), (Colour.RED,)]},
        {1: "int"},
        {1.5: "float"},
        {Whole(3): 1},
        {Real(1.5): 1},
        {Colour.RED: 1},
        {Word.A: 1},
        {None: 1},
        {"a": {None: [{"b": Text("x")}]}},
        2**64,
        -(2**63) - 1,
        {2**70: 2**70},
        [True, False, None, 0, -0.0, 1e22, 5e-324],
        "\u2028\u0000\x7f€🎵</script>",
    ],
    ids=repr,
)
def test_what_the_standard_library_takes_is_sent_as_it_would(content: Any) -> None:
    assert same(json.loads(plain.encode(content)), json.loads(json.dumps(content)))


any_content = st.recursive(
    scalars | st.text(st.characters(codec=None)) | st.integers(),
    lambda children: (
        st.lists(children, max_size=4)
        | st.tuples(children, children)
        | st.dictionaries(
            st.text(st.characters(codec=None)) | st.none() | st.integers() | st.just(1.5), children, max_size=4
        )
    ),
    max_leaves=12,
)


@given(any_content)
def test_whatever_the_standard_library_takes_is_taken(content: Any) -> None:
    assert same(json.loads(plain.encode(content)), json.loads(json.dumps(content)))


@pytest.mark.parametrize("beside", [{}, {None: 1}, {"a": "\ud800"}], ids=repr)
def test_a_bool_as_a_key_is_a_number_in_text_whatever_stands_beside_it(beside: dict[Any, Any]) -> None:
    assert list(json.loads(plain.encode({True: 1, False: 0, **beside})))[:2] == ["1", "0"]


@dataclasses.dataclass
class Record:
    a: int


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.UTC), "2024-02-29T01:02:03Z"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (Record(1), {"a": 1}),
    ],
    ids=repr,
)
def test_more_is_taken_than_the_standard_library_does(content: Any, expected: Any) -> None:
    assert json.loads(plain.encode({"value": content})) == {"value": expected}


def test_lazy_translations_are_sent_as_text() -> None:
    from django.utils.functional import lazystr

    assert (
        plain.encode({"label": lazystr("Größe"), "list": [lazystr("x")]}) == '{"label":"Größe","list":["x"]}'.encode()
    )


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    "content",
    [
        object(),
        lambda: None,
        {(1, 2): 3},
        {object(): 1},
        {"a": [object()]},
        1j,
        range(3),
        circular(),
        deep(),
        {None: object()},
    ],
    ids=lambda content: type(content).__name__,
)
def test_what_is_no_json_is_not_sent_and_the_message_names_the_type(content: Any) -> None:
    with pytest.raises(NotEncodable, match=r"not JSON: .*\w") as caught:
        plain.encode(content)
    assert "NotImplementedError" not in str(caught.value)


# Errors


def test_an_error_frame_tells_code_and_reason() -> None:
    answer = plain.error(ClientError("invalid_json", "it is cut off"), "problem")
    assert answer is not None
    assert json.loads(answer) == {"type": "problem", "code": "invalid_json", "reason": "it is cut off"}


def test_a_client_is_told_how_many_messages_it_missed() -> None:
    answer = plain.missed("prices:x", 12, "problem")
    assert answer is not None
    assert list(json.loads(answer).items()) == [
        ("type", "problem"),
        ("code", "missed"),
        ("group", "prices:x"),
        ("missed", 12),
        ("reason", "this client reads too slowly, and messages were left out"),
    ]


def test_word_of_a_gap_says_where_the_stream_is_now() -> None:
    frame = plain.gap("prices:ü", Position("a1b2.3", 2**53), "problem")
    assert frame is not None
    assert list(json.loads(frame).items()) == [
        ("type", "problem"),
        ("code", "gap"),
        ("group", "prices:ü"),
        ("epoch", "a1b2.3"),
        ("offset", 2**53),
        ("reason", "messages of this group are lost; what comes now is behind the gap"),
    ]


def test_an_empty_type_turns_error_frames_off() -> None:
    assert plain.error(plain.binary_frame(), "") is None
    assert plain.missed("prices:x", 12, "") is None
    assert plain.gap("prices:x", Position("e", 7), "") is None


EXTREMES = b"1e308," * 30


@pytest.mark.parametrize(
    "last",
    [
        b"1",
        b"1e308",
        b"-4.9e-324",
        b'"x"',
        b"null",
        b'{"a": [true]}',
        b"1e999",
        b"-1e999",
        b"NaN",
        b"Infinity",
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b"1" * 30,
        b"1" * 5000,
        b"18446744073709551615",
        b"",
        b"01",
        b"'x'",
        b'"\xff"',
        b'"\t"',
    ],
)
def test_numbers_near_the_ends_of_a_double_change_no_answer(last: bytes) -> None:
    def outcome(payload: bytes) -> Any:
        try:
            return plain.decode(payload, 64)[-1]
        except ClientError as problem:
            return problem.code

    assert outcome(b"[" + EXTREMES + last + b"]") == outcome(b"[0," + last + b"]")


def test_text_that_looks_like_such_numbers_is_text() -> None:
    names = [f"n4e3071b{number}" for number in range(20_000)]
    assert plain.decode(json.dumps(names).encode(), 64) == names


def test_a_document_may_have_so_many_containers() -> None:
    assert len(plain.decode(b"[" + b"[]," * (plain.MOST_CONTAINERS - 2) + b"[]]", 64)) == plain.MOST_CONTAINERS - 1
    assert problem_with(b"[" + b"[]," * (plain.MOST_CONTAINERS - 1) + b"[]]") == "too_many_containers"
    assert plain.decode(b'"' + b"[" * 200_000 + b'"', 64) == "[" * 200_000
