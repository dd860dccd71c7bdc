"""Entries that are thrown away behave as those that are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from greylist.commands.session import opened
from greylist.store.memory import Overlay, Scratch

from .mailhost import Host, place

KEYS = st.sampled_from([b"a", b"b", b"c", b"ca", b"d"])
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.sampled_from([b"1", b"2"])),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("after"), st.one_of(KEYS, st.just(b"")), st.integers(0, 4)),
    ),
    max_size=30,
)


def test_scratch_and_overlay_do_what_the_database_does():
    """Whatever is called, the answers are those of a Berkeley DB."""
    with place() as path, opened(Host(path).settings, create=True) as store:

        @given(CALLS, CALLS)
        def compare(before, then):
            for key in (b"a", b"b", b"c", b"ca", b"d"):
                store.transact(lambda e, k=key: e.delete(k))
            below = Scratch()
            for name, *arguments in before:
                store.transact(lambda e, n=name, a=arguments: getattr(e, n)(*a))
                getattr(below, name)(*arguments)
            overlay = Overlay(below)
            kept = below.after(b"", 9)
            for name, *arguments in then:
                expected = store.transact(lambda e, n=name, a=arguments: getattr(e, n)(*a))
                assert getattr(overlay, name)(*arguments) == expected
            assert below.after(b"", 9) == kept

        compare()
