"""A client of Sluice's line door in plain Python: the standard library is all it needs.

    from sluice import Client

    with Client("127.0.0.1", 5555) as client:
        client.set("motd", {"text": "hello"})
        client.get("motd")
        client.enqueue("mail", "a letter")
        message = client.dequeue("mail", wait_ms=1000)
        client.ack(message["lease"])

`Client` speaks JSON, `TextClient` text. Answers come in the order of the requests; pushes (messages
of subscriptions, changes of watched keys) come when they come, and wait in `pushes` until
`next_push` takes them.
"""

import base64
import json
import socket
from collections import deque


class Refused(Exception):
    """The broker refused a request: `code`, `status`, `retry_after_ms` where that is known."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.status = error["status"]
        self.retry_after_ms = error.get("retry_after_ms")


class Lines:
    """A socket that gives lines."""

    def __init__(self, host, port, timeout=10.0):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.file = self.socket.makefile("rb")
        self.pushes = deque()

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def line(self):
        """The next line of the broker, answer or push."""
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the broker closed the connection")
        return line[:-1].decode()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def payload(value):
    """Bytes travel as Base64, text as it is."""
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    return value


def unpacked(value):
    """What `payload` packed, and anything else as it is."""
    if isinstance(value, dict) and list(value) == ["base64"]:
        return base64.b64decode(value["base64"])
    return value


class Client(Lines):
    """Speaks JSON."""

    def __init__(self, host, port, key=None, timeout=10.0):
        super().__init__(host, port, timeout)
        self.last_id = 0
        if key is not None:
            self.ask("AUTH", key=key)

    def ask(self, action, **fields):
        """Asks for something and waits for the answer; fields that are None are left out."""
        self.last_id += 1
        request = {"action": action, "id": self.last_id}
        request.update((name, value) for name, value in fields.items() if value is not None)
        self.send(json.dumps(request))
        while True:
            said = json.loads(self.line())
            if "event" in said:
                self.pushes.append(said)
                continue
            if said.get("id") != self.last_id:
                raise ConnectionError(f"an answer to another request: {said}")
            if "error" in said:
                raise Refused(said["error"])
            return said["result"]

    def next_push(self):
        """Waits for the next push."""
        if self.pushes:
            return self.pushes.popleft()
        said = json.loads(self.line())
        if "event" not in said:
            raise ConnectionError(f"an answer to no request: {said}")
        return said

    def ping(self):
        return self.ask("PING")

    # Keys and values.

    def set(self, key, value, namespace=None, **more):
        """Sets a key, and gives the change's revision. `ttl_ms`, `if_absent`, `if_revision`."""
        value = payload(value)
        return self.ask("SET", key=key, value=value, namespace=namespace, **more)["revision"]

    def get(self, key, namespace=None):
        return unpacked(self.ask("GET", key=key, namespace=namespace))

    def entry(self, key, namespace=None):
        """The value with its revision."""
        return self.ask("GET", key=key, namespace=namespace, entry=True)

    def delete(self, key, namespace=None):
        return self.ask("DEL", key=key, namespace=namespace)["revision"]

    def exists(self, key, namespace=None):
        return self.ask("EXISTS", key=key, namespace=namespace)

    def increment(self, key, by=1, namespace=None):
        return self.ask("INCR", key=key, by=by, namespace=namespace)["value"]

    def keys(self, namespace=None, **more):
        """All keys of a namespace, page after page."""
        after = None
        while True:
            page = self.ask("KEYS", namespace=namespace, after=after, **more)
            yield from page["keys"]
            after = page.get("next")
            if after is None:
                return

    def watch(self, key=None, namespace=None, **more):
        return self.ask("WATCH", key=key, namespace=namespace, **more)["revision"]

    def unwatch(self, key=None, namespace=None, **more):
        return self.ask("UNWATCH", key=key, namespace=namespace, **more)

    # Topics.

    def publish(self, topic, message, **more):
        return self.ask("PUBLISH", topic=topic, payload=payload(message), **more)["matched"]

    def subscribe(self, pattern):
        self.ask("SUBSCRIBE", topic=pattern)

    def unsubscribe(self, pattern):
        self.ask("UNSUBSCRIBE", topic=pattern)

    # Queues.

    def enqueue(self, queue, message, **more):
        return self.ask("ENQUEUE", queue=queue, payload=payload(message), **more)["id"]

    def dequeue(self, queue, wait_ms=None, lease_ms=None):
        """The next message, or None. `ack` or `nack` its `lease` before that ends."""
        message = self.ask("DEQUEUE", queue=queue, wait_ms=wait_ms, lease_ms=lease_ms)
        if message is not None:
            message["payload"] = unpacked(message["payload"])
        return message

    def ack(self, lease):
        return self.ask("ACK", lease=lease)

    def nack(self, lease, **more):
        return self.ask("NACK", lease=lease, **more)

    def extend(self, lease, by_ms):
        return self.ask("EXTEND", lease=lease, by_ms=by_ms)["deadline_at"]


class TextClient(Lines):
    """Speaks text: one line a request, one line an answer."""

    def ask(self, line):
        """Sends a line and gives its answer; one that begins with ERR is raised."""
        self.send(line)
        while True:
            said = self.line()
            if said.startswith("*"):
                self.pushes.append(said)
                continue
            if said.startswith("ERR "):
                raise RuntimeError(said)
            return said

    def next_push(self):
        return self.pushes.popleft() if self.pushes else self.line()

    def enqueue(self, queue, message, **more):
        """Puts a text without line ends into a queue, and gives its id. `key`, `group`, `priority`..."""
        said = "".join(f"{name}={value} " for name, value in more.items())
        return self.ask(f"ENQUEUE {said}{queue} {message}").split(" ")[1]

    def dequeue(self, queue, wait_ms=0):
        """(id, lease, payload), or None."""
        said = self.ask(f"DEQUEUE {queue} {wait_ms}")
        return None if said.startswith("EMPTY") else tuple(said.split(" ", 2))
