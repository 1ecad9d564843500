"""Judges refusals: each has a reason, which has to be true of what the command was about, as it was then."""

import bisect
import collections
import copy

from common import EVENTS, branch
from history import subject_of
from read_model import fold_cart, fold_order, lots, new_cart, new_order

PRODUCT, STOCK, CART, ORDER = EVENTS


def has_another_price(cart, request, prices):
    """Which price a node knew is not in the log; that a product had another one is."""
    return any(prices[line["sku"]] - {line["unit_price_minor"]} for line in cart["lines"].values())


def is_another_payment(order, request, prices):
    known = order["payments"].get((request["payment_id"], request["operation_id"]))
    return known not in (None, (request["kind"], request["amount"]["amount_minor"]))


def more_comes_back(order, request, prices):
    def units(moved, line):
        return sum(lot.get(line, 0) for lot in order[moved].values())

    asked = lots(request).items()
    return any(quantity > units("shipments", line) - units("returns", line) for line, quantity in asked)


# By what is asked: the reasons that a client of these runs can be given, each with when it is true. Another
# version, and that there is no such thing, are reasons for all of them.
REASONS = {
    "stock.adjust": {"stock_below_zero": lambda stock, request, _: stock["on_hand"] + request["delta"] < 0},
    "cart.add": {"cart_checked_out": lambda cart, *_: cart["status"] == "checked_out"},
    "cart.checkout": {"cart_empty": lambda cart, *_: not cart["lines"], "price_changed": has_another_price},
    "order.pay": {"operation_reused": is_another_payment},
    "order.ship": {
        "order_not_paid": lambda order, *_: order["status"] in ("pending", "confirmed"),
        "order_ended": lambda order, *_: order["status"] in ("rejected", "cancelled", "expired"),
        "nothing_left_to_ship": lambda order, *_: order["shipped_units"] == order["units"],
    },
    "order.return": {"return_exceeds_shipped": more_comes_back},
    "order.cancel": {
        # Who calls it off a second time is not refused.
        "order_ended": lambda order, *_: order["status"] in ("rejected", "expired"),
        "order_already_shipped": lambda order, *_: order["shipped_units"] > 0,
    },
}


def is_true(operation, rejected, state, version, prices):
    """Whether a refusal is right of a state; None is that of what does not exist."""
    reason, what = rejected["reason"], operation["op"]
    if reason == "version_mismatch":
        return operation["at_version"] not in (None, version) and rejected["data"]["version"] == version
    if reason == f"unknown_{what.split('.')[0]}":
        return state is None
    holds = REASONS.get(what, {}).get(reason)
    return holds is not None and state is not None and holds(state, operation["request"], prices)


def prices_of(events):
    """By product: every price that it had."""
    prices = collections.defaultdict(set)
    for event in (event.value for event in events[PRODUCT]):
        _, body = branch(event)
        if "price_minor" in body:
            prices[event["aggregate_id"]].add(body["price_minor"])
    return prices


def states(topic, made):
    """What an aggregate was like at each of its versions, from 0 on."""
    found, now = [None], new_cart() if topic == CART else {}
    for kind, body in (branch(event.value) for event in made):
        if kind == "order_created":
            now = new_order(body)
        if topic == ORDER:
            fold_order(now, kind, body)
        elif topic == CART:
            fold_cart(now, kind, body)
        else:
            now = body
        found.append(copy.deepcopy(now))
    return found


def are_for_reasons(operations, events, journal, verdict):
    """What was refused, be it that nobody heard of it, was refused for a reason that was true: of the version at
    which the transactions before that of the decision had left it, or of one that this transaction made."""
    refused = collections.defaultdict(list)
    for key, outcome in journal.decided.items():
        if "rejected" in outcome and key in operations:
            refused[subject_of(operations[key])].append(key)
    made = collections.defaultdict(list)
    for topic in EVENTS:
        for event in events[topic]:
            if (topic, event.value["aggregate_id"]) in refused:
                made[topic, event.value["aggregate_id"]].append(event)
    prices, places = prices_of(events), journal.places_of_keys()
    for (topic, name), keys in refused.items():
        found = states(topic, made[topic, name])
        transactions = [journal.transaction_of(topic, event) or 0 for event in made[topic, name]]
        for key in keys:
            operation, rejected = operations[key], journal.decided[key]["rejected"]
            first = bisect.bisect_left(transactions, places[key][2])
            last = bisect.bisect_right(transactions, places[key][2])
            verdict.looked_at["refusals held against what was there"] += 1
            verdict.check(
                any(is_true(operation, rejected, found[at], at, prices) for at in range(first, last + 1)),
                f"{key} ({operation['op']} of {name}) was refused for {rejected['reason']}, which was not so "
                f"at version {first} to {last}",
            )
