"""What the tests of the rules plant: events, journals, and a log that has them."""

from common import EVENTS, Event


def an_event(value, seq=1, command="c", epoch=1):
    return Event(0, seq, seq, epoch, value, command)


def logged(topic, *events):
    return {name: list(events) if name == topic else [] for name in EVENTS}


class FakeLog:
    """Has what it is given: in partition 0, or in those that are named."""

    def __init__(self, records):
        self.found = records

    def records(self, topic, isolation="read_committed"):
        found = self.found.get(topic, [])
        return found if isinstance(found, dict) else {0: found}

    def decode(self, value):
        return value


class Record:
    timestamp = 0

    def __init__(self, value, key="cart", offset=0, **headers):
        self.value, self.key, self.offset = value, key.encode(), offset
        self.headers = [(name, str(text).encode()) for name, text in headers.items()]
