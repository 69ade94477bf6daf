"""Everything that the line door offers, once: `python3 tour.py HOST PORT`.

Ends with 0 and says what it did, or fails where something is not as it should be.
"""

import sys

from sluice import Client, Refused, TextClient


def refused(code, call, *args, **kwargs):
    """Sees that a call is refused with that code."""
    try:
        call(*args, **kwargs)
    except Refused as refusal:
        assert refusal.code == code, refusal.code
    else:
        raise AssertionError(f"not refused: {args}")


def keys(client):
    # All names are the tour's own, so that it can be taken on any broker, and again.
    for key in list(client.keys(namespace="tour")):
        client.delete(key)
    first = client.set("tour^foo", "bar")
    assert client.get("tour^foo") == "bar"
    value = {"text": "hällo", "list": [1, 2.5, None, True]}
    client.set("tour^motd", value)
    assert client.get("tour^motd") == value
    client.set("tour^raw", b"\x00\xff")
    assert client.get("tour^raw") == b"\x00\xff"
    # The same name in another namespace is another key.
    client.set("foo", "theirs", namespace="tour^eu")
    assert (client.get("tour^foo"), client.get("foo", namespace="tour^eu")) == ("bar", "theirs")
    assert list(client.keys(namespace="tour^eu")) == ["tour^eu^foo"]
    # Only if nobody has written meanwhile.
    refused("conflict", client.set, "tour^foo", "lost", if_revision=first + 1_000)
    refused("conflict", client.set, "tour^foo", "lost", if_absent=True)
    client.set("tour^foo", "baz", if_revision=first)
    assert client.increment("tour^hits") == 1 and client.increment("tour^hits", by=41) == 42
    assert client.delete("tour^foo") > first
    refused("not_found", client.get, "tour^foo")
    assert not client.exists("tour^foo")


def watching(client, other):
    client.watch("eu", namespace="tour^orders", prefix=True)
    other.set("eu^1", "paid", namespace="tour^orders")
    other.delete("eu^1", namespace="tour^orders")
    other.set("eu^2", "late", namespace="tour^orders", ttl_ms=50)
    events = [client.next_push() for _ in range(4)]
    assert [event["event"] for event in events] == ["put", "del", "put", "expire"], events
    assert events[0]["key"] == "tour^orders^eu^1" and events[0]["value"] == "paid"
    revisions = [event["revision"] for event in events]
    assert revisions == sorted(revisions)
    client.unwatch("eu", namespace="tour^orders", prefix=True)


def topics(client, other):
    client.subscribe("tour.news.>")
    assert other.publish("tour.news.eu", "first") == 1
    push = client.next_push()
    assert (push["event"], push["topic"], push["payload"]) == ("message", "tour.news.eu", "first")
    client.unsubscribe("tour.news.>")
    assert other.publish("tour.news.eu", "second") == 0


def queues(client):
    client.enqueue("tour.mail", "a letter")
    client.enqueue("tour.mail", b"\x01\x02", priority=9)
    urgent = client.dequeue("tour.mail", wait_ms=1_000)
    assert urgent["payload"] == b"\x01\x02"
    client.ack(urgent["lease"])
    letter = client.dequeue("tour.mail")
    assert client.dequeue("tour.mail") is None
    client.nack(letter["lease"], outcome="released")
    letter = client.dequeue("tour.mail", wait_ms=1_000)
    assert letter["payload"] == "a letter" and client.extend(letter["lease"], 60_000)
    client.ack(letter["lease"])


def text(client):
    assert client.ask("PING") == "PONG"
    assert client.ask("ECHO  as it is ") == " as it is "
    assert client.ask("SET tour^color blue") == "OK" and client.ask("GET tour^color") == "blue"
    assert client.ask("DEL tour^color") == "OK"
    client.ask("SUBSCRIBE tour.text.*")
    client.ask("WATCH tour^text^")
    client.ask("PUBLISH tour.text.one hello there")
    assert client.next_push() == "*message tour.text.one hello there"
    client.ask("SET tour^text^two 2")
    assert client.next_push() == "*put tour^text^two 2"
    client.enqueue("tour.jobs", "one two", key="tenant:7", group="seven")
    client.enqueue("tour.jobs", "first of all", priority=9)
    for expected in ["first of all", "one two"]:
        _, lease, payload = client.dequeue("tour.jobs", 1_000)
        assert payload == expected and client.ask(f"ACK {lease}") == "OK"
    assert client.dequeue("tour.jobs") is None


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    with Client(host, port) as client, Client(host, port) as other:
        assert client.ping() == "PONG"
        keys(client)
        watching(client, other)
        topics(client, other)
        queues(client)
    with TextClient(host, port) as client:
        text(client)
    print("keys, watches, topics, queues, text: all as they should be")


if __name__ == "__main__":
    main()
