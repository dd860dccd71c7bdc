"""Several hosts and one database: races, kills, dialogues, a restart, and mail."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from postfix_harness import Postfix
from readable import NOBODY, as_root
from server import Server
from valkey_server import ValkeyServer

from greylist.log import Log
from greylist.store.valkey.outage import Outage
from tests.shared import dialogues, kills
from tests.shared.house import DEFERRED, DUNNO, Proxy, SharedHouse, request


def test_kills():
    """A server that is killed again and again holds up no mail, and forgets nothing."""
    found = kills.run(kills=10, filters=8)
    assert found["wrong"] == found["lost"] == 0, found
    assert found["worst"] < 1.5, found
    assert found["stored"] > 20, found
    assert found["warnings"] <= 2, found


def test_dialogues():
    """The same requests have the same answers on a shared database as on Berkeley DB."""
    assert dialogues.run(2000, seed=int.from_bytes(os.urandom(4))) == 2000


def test_two_hosts_race():
    """Eight filters on each of two hosts count every attempt at the same triplets."""
    rounds, senders = 15, ["a@example.com", "b@example.com"]
    with ValkeyServer() as server:
        houses = [SharedHouse(server.tcp), SharedHouse(server.url)]
        filters = [house.filter() for house in houses for _ in range(8)]
        replies = []

        def ask(process):
            mail = [request(sender=senders[number % 2]) for number in range(rounds)]
            replies.extend(map(process.ask, mail))

        threads = [threading.Thread(target=ask, args=(process,)) for process in filters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        values = [
            server.ask("GET", f"greylist:192.0.2.0/{sender}/recipient@example.org")
            for sender in senders
        ]
        for house in houses:
            house.close()
    assert set(replies) == {DEFERRED}
    attempts = [1 + int(value.rpartition(b"/")[2]) for value in values]
    assert sum(attempts) == rounds * len(filters)


def test_restart():
    """What was answered is there after a kill, when the server syncs each command."""
    with ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as server:
        house = SharedHouse(server.url)
        process = house.filter()
        assert process.ask(request()) == DEFERRED
        server.kill()
        server.start()
        assert process.ask(request()) == DEFERRED
        assert "early-retry" in house.close()


@pytest.mark.postfix
def test_two_mail_exchangers():
    """A retry at the other mail exchanger passes; without the database mail flows."""
    with ValkeyServer("--appendonly", "yes") as server:
        settings = {"database": server.tcp}
        with Postfix(**settings) as first, Postfix(**settings) as second:
            mail = ("192.0.2.1", "ann@example.com", "bob@example.org")
            assert first.attempt(*mail) == 450
            assert second.attempt(*mail) == 450
            names = [name for name in server.stored() if b"ann" in name or b"/pool/" in name]
            for name in names:
                value = b"%d/0/0" % (time.time() - 400)
                server.ask("SET", name, value, "EX", "1000")
            assert second.attempt(*mail) == 250
            assert first.attempt(*mail) == 250
            server.kill()
            other = ("198.51.100.1", "carl@example.com", "bob@example.org")
            assert first.attempt(*other) == 250
            assert second.attempt(*other) == 250
            server.start()
            house = SharedHouse(server.tcp)
            outage = str(house.outage).replace(f"-{os.geteuid()}-", f"-{NOBODY.pw_uid}-")
            house.close()
            as_root("touch", "-d", "10 seconds ago", outage)
            assert first.attempt(*other) == 450
            assert second.attempt(*mail) == 250
            assert second.attempt(*other) == 450
            as_root("rm", "-f", outage)


def test_round_trips():
    """A known correspondent costs one round trip, a new one two; so do a filter's first ones."""
    with ValkeyServer("--requirepass", "sesame") as server:
        proxy = Proxy(server.port)
        url = proxy.url.replace("//", "//:sesame@") + "/1"
        house = SharedHouse(url)
        first = house.filter()
        assert first.ask(request()) == DEFERRED
        first.ask(request(sender="other@example.com"))  # the script is known now
        counted = []
        for process, sender in (
            (first, "third@example.com"), (house.filter(), "fourth@example.com"),
            (first, "third@example.com"),
        ):  # fmt: skip
            before = proxy.trips
            assert process.ask(request(sender=sender)) == DEFERRED
            counted.append(proxy.trips - before)
        assert counted == [2, 2, 2]
        now = int(time.time())
        value = b"%d/%d/9" % (now - 90_000, now - 60)
        asked = server.url.replace("//", "//:sesame@") + "?db=1"
        server.ask("SET", "greylist:/client/192.0.2.0", value, url=asked)
        for process in (first, house.filter()):
            before = proxy.trips
            assert process.ask(request(sender="new@example.com")) == DUNNO
            assert proxy.trips - before == 1
        assert "reason=client AWL" in house.close()
        proxy.close()


def test_one_process_for_all_connections(place):
    """What greylist serve decides together costs two round trips; it lets mail through as well."""
    with ValkeyServer() as server:
        proxy = Proxy(server.port)
        place.configure(database=proxy.url)
        mail = b"".join(request(sender=f"s{number}@example.com") for number in range(50))
        with Server(place) as serving:
            assert serving.ask(mail, 50) == DEFERRED * 50
            assert proxy.trips < 50
            assert len(server.stored()) >= 50
            server.kill()
            assert serving.ask(request()) == DUNNO
            assert serving.ask(mail, 50) == DUNNO * 50
        proxy.close()
        Path(Outage(proxy.url, Log())._path).unlink()
