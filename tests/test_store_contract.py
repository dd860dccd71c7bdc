"""What every store keeps: the same calls have the same answers, whatever it is made of."""

from __future__ import annotations

import pytest
from berkeley import open_store
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from greylist.log import Log
from greylist.settings import Settings
from greylist.store.memory import MemoryStore, Overlay
from greylist.store.opening import opener
from tests.valkey_server import ValkeyCluster, ValkeyServer

KEYS = st.sampled_from([b"a", b"b", b"c", b"ca", b"d/\xff/e"])
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.sampled_from([b"1", b"2"]), st.just(3600)),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("get"), KEYS),
    ),
    max_size=30,
)
KEEP = 3600


def berkeley(tmp_path):
    tmp_path.chmod(0o700)
    return open_store(str(tmp_path / "greylist.db"))


def memory(tmp_path):
    return MemoryStore()


@pytest.fixture(scope="module")
def server():
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="module")
def cluster():
    with ValkeyCluster() as cluster:
        yield cluster


def open_url(url):
    settings = Settings()
    settings.set("database", url)
    return opener(url)(settings, Log(), None, None)


@pytest.fixture(params=["berkeley", "memory", "unix", "tcp", "cluster"])
def store(request, tmp_path):
    if request.param == "berkeley":
        store = berkeley(tmp_path)
    elif request.param == "memory":
        store = memory(tmp_path)
    elif request.param == "cluster":
        store = open_url(request.getfixturevalue("cluster").url)
    else:
        server = request.getfixturevalue("server")
        store = open_url(server.url if request.param == "unix" else server.tcp)
    for key, _ in scanned(store, 100):
        store.transact(lambda entries, key=key: entries.delete(key))
    yield store
    store.close()


def scanned(store, count):
    """Return all that a scan in batches yields."""
    cursor, found = b"", []
    while True:
        cursor, batch = store.scan(cursor, count)
        found += batch
        if not cursor:
            return found


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(before=CALLS, then=CALLS, count=st.integers(1, 7))
def test_any_calls(store, before, then, count):
    """Whatever is called, the answers are those of a dictionary, in one transaction or many."""
    for key, _ in scanned(store, 100):
        store.transact(lambda entries, key=key: entries.delete(key))
    model: dict[bytes, bytes] = {}

    def call(entries, name, *arguments):
        answer = getattr(entries, name)(*arguments)
        if name == "put":
            model[arguments[0]] = arguments[1]
        elif name == "delete":
            model.pop(arguments[0], None)
        else:
            assert answer == model.get(arguments[0])

    for one in before:
        store.transact(lambda entries, one=one: call(entries, *one), [one[1]])
    assert dict(scanned(store, count)) == model
    store.transact(lambda entries: [call(entries, *one) for one in then])
    assert dict(scanned(store, count)) == model


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(before=CALLS, then=CALLS)
def test_an_overlay_changes_nothing(before, then):
    """Over any entries, calls on an overlay have the answers of a store and leave the entries."""
    below, model = MemoryStore(), MemoryStore()
    for name, *arguments in before:
        getattr(below, name)(*arguments)
        getattr(model, name)(*arguments)
    kept = scanned(below, 2)
    overlay = Overlay(below.get)
    for name, *arguments in then:
        assert getattr(overlay, name)(*arguments) == getattr(model, name)(*arguments)
    assert scanned(below, 2) == kept


def test_the_result_is_returned(store):
    """A transaction returns what its function returns, and what it stored is there at once."""
    assert store.transact(lambda entries: entries.put(b"k", b"v", KEEP) or 7) == 7
    assert store.transact(lambda entries: entries.get(b"k")) == b"v"


def test_an_error_comes_through(store):
    """What a function raises is raised, and the store goes on."""

    def fail(entries):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.transact(fail)
    assert store.transact(lambda entries: entries.get(b"k")) is None


def test_a_scan_sees_what_stays(store):
    """Entries that stay are seen, whatever comes and goes between two batches."""
    stay = {b"%04d/stay/x" % number: b"1/0/0" for number in range(0, 2000, 2)}
    store.transact(lambda entries: [entries.put(*item, KEEP) for item in stay.items()])
    cursor, seen, number = b"", {}, 1
    while True:
        cursor, batch = store.scan(cursor, 50)
        seen |= dict(batch)
        if not cursor:
            break

        def disturb(entries, number=number):
            entries.put(b"%04d/come/x" % number, b"1/0/0", KEEP)
            entries.delete(b"%04d/come/x" % (number - 2))

        store.transact(disturb)
        number += 2
    assert stay.items() <= seen.items()


def test_count(store):
    """A store knows about how many entries it has: the bound on them needs no more."""
    before = store.count(1000)
    for number in range(200):
        key = b"%03d/a/b" % number
        store.transact(lambda e, key=key: e.get(key) or e.put(key, b"1/0/0", KEEP))
    assert 100 <= store.count(1000) - before <= 201
