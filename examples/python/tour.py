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
    first = client.set("foo", "bar")
    assert client.get("foo") == "bar"
    value = {"text": "hällo", "list": [1, 2.5, None, True]}
    client.set("motd", value)
    assert client.get("motd") == value
    client.set("raw", b"\x00\xff")
    assert client.get("raw") == b"\x00\xff"
    # The same name in a namespace is another key.
    client.set("foo", "theirs", namespace="users^eu")
    assert (client.get("foo"), client.get("foo", namespace="users^eu")) == ("bar", "theirs")
    assert list(client.keys(namespace="users")) == ["users^eu^foo"]
    # Only if nobody has written meanwhile.
    refused("conflict", client.set, "foo", "lost", if_revision=first + 1_000)
    refused("conflict", client.set, "foo", "lost", if_absent=True)
    client.set("foo", "baz", if_revision=first)
    assert client.increment("hits") == 1 and client.increment("hits", by=41) == 42
    assert client.delete("foo") > first
    refused("not_found", client.get, "foo")
    assert not client.exists("foo")


def watching(client, other):
    client.watch("eu", namespace="orders", prefix=True)
    other.set("eu^1", "paid", namespace="orders")
    other.delete("eu^1", namespace="orders")
    other.set("eu^2", "late", namespace="orders", ttl_ms=50)
    events = [client.next_push() for _ in range(4)]
    assert [event["event"] for event in events] == ["put", "del", "put", "expire"], events
    assert events[0]["key"] == "orders^eu^1" and events[0]["value"] == "paid"
    revisions = [event["revision"] for event in events]
    assert revisions == sorted(revisions)
    client.unwatch("eu", namespace="orders", prefix=True)


def topics(client, other):
    client.subscribe("news.>")
    assert other.publish("news.eu", "first") == 1
    push = client.next_push()
    assert (push["event"], push["topic"], push["payload"]) == ("message", "news.eu", "first")
    client.unsubscribe("news.>")
    assert other.publish("news.eu", "second") == 0


def queues(client):
    client.enqueue("mail", "a letter")
    client.enqueue("mail", b"\x01\x02", priority=9)
    urgent = client.dequeue("mail", wait_ms=1_000)
    assert urgent["payload"] == b"\x01\x02"
    client.ack(urgent["lease"])
    letter = client.dequeue("mail")
    assert client.dequeue("mail") is None
    client.nack(letter["lease"], outcome="released")
    letter = client.dequeue("mail", wait_ms=1_000)
    assert letter["payload"] == "a letter" and client.extend(letter["lease"], 60_000)
    client.ack(letter["lease"])


def text(client):
    assert client.ask("PING") == "PONG"
    assert client.ask("ECHO  as it is ") == " as it is "
    assert client.ask("SET color blue") == "OK" and client.ask("GET color") == "blue"
    assert client.ask("DEL color") == "OK"
    client.ask("SUBSCRIBE text.*")
    client.ask("WATCH text^")
    client.ask("PUBLISH text.one hello there")
    assert client.next_push() == "*message text.one hello there"
    client.ask("SET text^two 2")
    assert client.next_push() == "*put text^two 2"
    client.ask("ENQUEUE jobs one two")
    _, lease, payload = client.dequeue("jobs", 1_000)
    assert payload == "one two" and client.ask(f"ACK {lease}") == "OK"
    assert client.dequeue("jobs") is None


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
