import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.web.ranges import Span, Unsatisfiable, parse_range

numbers = st.one_of(
    st.integers(0, 300).map(str), st.integers(0, 10**60).map(str), st.text("0123456789\u0663\xb2-+ ", max_size=4)
)
fields = st.one_of(
    st.text(max_size=40),
    st.builds("{}={}-{}".format, st.sampled_from(["bytes", "Bytes", "bytes ", "items", ""]), numbers, numbers),
    st.lists(st.builds("{}-{}".format, numbers, numbers), max_size=4).map(lambda each: "bytes=" + ",".join(each)),
)


@given(field=fields, size=st.integers(0, 250))
@example(field="bytes=-0", size=5)
@example(field="bytes=0-", size=0)
def test_any_field_is_a_slice_or_nothing_or_unsatisfiable(field, size):
    content = bytes(range(size))
    try:
        span = parse_range(field, size)
    except Unsatisfiable:
        # Whatever it names, no byte of it is there.
        first, _, last = field.partition("=")[2].partition("-")
        assert int(first) >= size if first else int(last) == 0
        return
    if span is not None:
        assert span.count >= 1
        assert span.start + span.count <= size
        assert len(content[span.start : span.start + span.count]) == span.count


@pytest.mark.parametrize(
    ("field", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-", Span(0, 100)),
        ("bytes=99-", Span(99, 1)),
        ("bytes=10-19", Span(10, 10)),
        ("bytes=90-1000", Span(90, 10)),
        ("bytes=-1", Span(99, 1)),
        ("bytes=-1000", Span(0, 100)),
        ("BYTES=5-6", Span(5, 2)),
        ("bytes=0-" + "9" * 40, Span(0, 100)),
    ],
)
def test_a_range_is_the_slice_it_names(field, span):
    assert parse_range(field, 100) == span


@pytest.mark.parametrize(
    "field",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-4",
        "bytes=0-1,5-6",
        "bytes=0-1,",
        "bytes= 0-1",
        "bytes=0 -1",
        "bytes=+0-1",
        "bytes=0x0-1",
        "bytes=\u0660-\u0661",
        "bytes=0-" + "9" * 41,
        "items=0-1",
    ],
)
def test_what_is_malformed_or_several_is_ignored(field):
    assert parse_range(field, 100) is None


@pytest.mark.parametrize("field", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=" + "9" * 40 + "-"])
def test_a_range_without_a_byte_is_unsatisfiable(field):
    with pytest.raises(Unsatisfiable):
        parse_range(field, 100)


def test_ten_thousand_ranges_cost_nothing():
    assert parse_range("bytes=" + ",".join("0-1" for _ in range(10_000)), 100) is None


def test_content_range_counts_from_zero_to_the_last_byte():
    assert Span(10, 5).content_range(100) == "bytes 10-14/100"
