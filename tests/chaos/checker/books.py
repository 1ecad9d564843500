"""Judges the shop's books: goods, money, and what became of every order."""

import collections

from common import branch
from read_model import by_number, fold_carts


def stock_is_conserved(events, verdict):
    """Never negative, never oversold; what each event says is what those before it add up to. Only a count
    that finds too little leaves less than is held, and that is said at once."""
    shelves = collections.defaultdict(lambda: [0, 0])
    held = collections.defaultdict(int)
    shipped, restocked = {}, {}
    short = collections.defaultdict(int)
    for event in (event.value for event in events["inventory.stock.events.v1"]):
        sku = event["aggregate_id"]
        kind, body = branch(event)
        shelf = shelves[sku]
        quantity = body.get("quantity", 0)
        before = max(shelf[1] - shelf[0], 0)
        if kind == "stock_shortfall_changed":
            short[sku] = body["shortfall"]
            verdict.check(body["shortfall"] == before, f"{sku}: short of {before}, told {body}")
        else:
            verdict.check(short[sku] == before, f"{sku}: short of {before}, and nobody was told")
        if kind == "stock_received":
            shelf[0] += quantity
        elif kind == "stock_adjusted":
            shelf[0] += body["delta"]
        elif kind == "stock_reserved":
            shelf[1] += quantity
            held[body["order_id"], sku] += quantity
            verdict.check(shelf[1] <= shelf[0], f"{sku}: {shelf[1]} held of {shelf[0]}: oversold")
        elif kind == "stock_released":
            shelf[1] -= quantity
            let_go(held, (body["order_id"], sku), quantity, verdict)
        elif kind == "stock_shipped":
            shelf[0] -= quantity - body["unbooked"]
            shelf[1] -= quantity
            let_go(held, (body["order_id"], sku), quantity, verdict)
            key = body["order_id"], body["shipment_id"], sku
            verdict.check(key not in shipped, f"{key} was shipped twice")
            shipped[key] = quantity
        elif kind == "stock_restocked":
            shelf[0] += quantity
            key = body["order_id"], body["return_id"], sku
            verdict.check(key not in restocked, f"{key} was put back twice")
            restocked[key] = quantity
        verdict.check(
            [body["on_hand"], body["reserved"]] == shelf, f"{sku}: {kind} says {body}, the sum {shelf}"
        )
        verdict.check(min(shelf) >= 0, f"{sku}: {shelf[1]} held of {shelf[0]}: below zero")
    for sku, (on_hand, reserved) in shelves.items():
        missing = max(reserved - on_hand, 0)
        verdict.check(short[sku] == missing, f"{sku}: short of {missing} in the end, and nobody was told")
    return {key: units for key, units in held.items() if units}, shipped, restocked


def let_go(held, key, quantity, verdict):
    held[key] -= quantity
    verdict.check(held[key] >= 0, f"{key} let go of more than it held")


ENDS = ("order_rejected", "order_cancelled", "order_expired")


class Order:
    """What became of an order, added up."""

    def __init__(self, name, body, verdict):
        self.name, self.verdict = name, verdict
        self.lines = {line["line"]: line for line in body["lines"]}
        self.total = self.captured = self.refunded = self.charged = 0
        self.confirmed = self.paid = 0
        self.ends = []
        # By line.
        self.sent, self.returned = collections.Counter(), collections.Counter()
        # By shipment or return, and SKU.
        self.shipments, self.restocks = collections.Counter(), collections.Counter()
        for line in body["lines"]:
            self.check(
                line["line_total_minor"] == line["quantity"] * line["unit_price_minor"],
                f"line {line['line']} does not add up",
            )
            self.total += line["line_total_minor"]
        self.check(self.total == body["total_minor"], "the total does not add up")

    def check(self, holds, problem):
        return self.verdict.check(holds, f"{self.name}: {problem}")

    def owed(self):
        due = self.captured if self.ends else max(self.captured - self.total, 0) + self.charged
        return max(due - self.refunded, 0)

    def take(self, kind, body):
        if kind == "order_confirmed":
            self.confirmed += 1
            self.check(not self.ends, f"confirmed after {self.ends}")
        elif kind == "order_payment_captured":
            self.captured += body["amount_minor"]
            self.check(self.captured == body["captured_minor"], "captured twice?")
        elif kind == "order_paid":
            self.paid += 1
            self.check(not self.ends, "paid after its end")
            self.check(self.confirmed, "paid before it was confirmed")
            self.check(self.captured >= self.total, "paid with too little")
        elif kind in ENDS:
            self.ends.append(kind)
            self.check(not self.sent, f"{kind} after goods had left")
            # Only a caller calls off what is paid for, and nobody rejects what was confirmed.
            self.check(not self.paid or kind == "order_cancelled", f"{kind} after it was paid")
            self.check(not self.confirmed or kind != "order_rejected", f"{kind} after it was confirmed")
        elif kind == "order_shipped":
            self.ship(body)
        elif kind == "order_returned":
            self.take_back(body)
        elif kind == "order_payment_refunded":
            self.refunded += body["amount_minor"]
            self.check(self.refunded == body["refunded_minor"], "refunded twice?")
            shares = sum(share["amount_minor"] for share in body["shares"])
            self.check(shares == body["amount_minor"], f"a refund of {body['amount_minor']} has shares of {shares}")
        if "refund_due_minor" in body:
            due = body["refund_due_minor"]
            self.check(due == self.owed(), f"{kind} says that {due} is owed, it is {self.owed()}")

    def ship(self, body):
        self.check(self.paid and not self.ends, "goods left that were not paid for")
        for line in body["lines"]:
            self.sent[line["line"]] += line["quantity"]
            self.shipments[self.name, body["shipment_id"], line["sku"]] += line["quantity"]
            ordered = self.lines[line["line"]]["quantity"]
            self.check(self.sent[line["line"]] <= ordered, f"more than ordered left of line {line['line']}")

    def take_back(self, body):
        for line in body["lines"]:
            number, quantity = line["line"], line["quantity"]
            self.returned[number] += quantity
            charge = quantity * self.lines[number]["unit_price_minor"]
            self.charged += charge
            self.check(line["charge_minor"] == charge, f"line {number} of a return was charged otherwise")
            self.check(self.returned[number] <= self.sent[number], f"more than left came back of line {number}")
            if body["restock"]:
                self.restocks[self.name, body["return_id"], line["sku"]] += quantity


def read_orders(events, verdict):
    """What became of each order; its money adds up, and its goods."""
    orders = {}
    for event in (event.value for event in events["checkout.order.events.v1"]):
        name = event["aggregate_id"]
        kind, body = branch(event)
        if kind == "order_created":
            orders[name] = Order(name, body, verdict)
        orders[name].take(kind, body)
    return orders


def orders_and_inventory_agree(orders, held, shipped, restocked, verdict):
    """Every order is settled and has one end, and its goods are those of the inventory."""
    sent, put_back = collections.Counter(), collections.Counter()
    for name, order in orders.items():
        verdict.looked_at["orders"] += 1
        ends = order.ends
        # One that was paid can be called off as long as nothing has left.
        once = len(ends) <= 1 and order.paid <= 1 and len(ends) + order.paid >= 1
        verdict.check(once, f"{name}: {ends or 'no end'}, paid {order.paid}")
        settled = order.confirmed + ends.count("order_rejected")
        # One that nobody could settle in time is cancelled, or expires.
        given_up = settled == 0 and ends in (["order_cancelled"], ["order_expired"])
        verdict.check(settled == 1 or given_up, f"{name} was settled {settled} times")
        sent.update(order.shipments)
        put_back.update(order.restocks)
        wanted = collections.Counter()
        if order.confirmed and not ends:
            for line in order.lines.values():
                wanted[line["sku"]] += line["quantity"]
        for (_, _, sku), units in order.shipments.items():
            wanted[sku] -= units
        holds = {sku: units for (of, sku), units in held.items() if of == name}
        wanted = {sku: units for sku, units in wanted.items() if units}
        verdict.check(holds == wanted, f"{name} holds {holds}, should hold {wanted}")
    strangers = {of for of, _ in held} - set(orders)
    verdict.check(not strangers, f"stock is held for orders that are not there: {sorted(strangers)[:5]}")
    verdict.check(dict(sent) == shipped, f"orders shipped {len(sent)} lots, inventory {len(shipped)}")
    verdict.check(dict(put_back) == restocked, f"{len(put_back)} lots came back, {len(restocked)} were put back")


def checkouts_are_whole(events, orders, verdict):
    """A cart's checkout and its order are of one transaction: both or neither. What is ordered is what was in
    the cart, at its prices."""
    carts = {cart["order_id"]: cart for cart in fold_carts(events).values() if cart["order_id"]}
    lonely = set(carts) ^ set(orders)
    verdict.check(not lonely, f"checkouts without an order, or orders without one: {sorted(lonely)[:5]}")
    for name in set(carts) & set(orders):
        ordered, chosen = by_number(orders[name].lines.values()), carts[name]["lines"]
        verdict.check(ordered == chosen, f"{name}: ordered were {ordered}, in the cart were {chosen}")
