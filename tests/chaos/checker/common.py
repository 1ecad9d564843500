"""What every rule works on: events of the log, and a verdict."""

import collections

EVENTS = [
    "catalog.product.events.v1",
    "inventory.stock.events.v1",
    "checkout.cart.events.v1",
    "checkout.order.events.v1",
]

# `timestamp_ms` is the time at which its broker took it.
Event = collections.namedtuple(
    "Event", "partition offset seq epoch value command timestamp_ms", defaults=[None]
)


class Verdict:
    """Collects what does not hold, and what was looked at."""

    def __init__(self):
        self.problems = []
        self.looked_at = collections.Counter()

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)
        return holds


def branch(event):
    """The one branch that is set, by its name."""
    plain = ("aggregate_id", "version", "occurred_at")
    chosen = [(name, body) for name, body in event.items() if name not in plain and body is not None]
    if len(chosen) != 1:
        raise ValueError(f"an event with {len(chosen)} branches")
    return chosen[0]
