"""The rules of the books find what they are there for: python3 -m unittest test_books (needs nothing else)"""

import unittest

import books
from common import EVENTS, Verdict
from planted import an_event, logged

STOCK, CART, ORDER = EVENTS[1:]


def stock_event(kind, **body):
    return an_event({"aggregate_id": "mug", "version": 1, "occurred_at": 0, kind: body})


def order_event(kind, **body):
    return an_event({"aggregate_id": "o", "version": 1, "occurred_at": 0, kind: body})


class Stock(unittest.TestCase):
    received = stock_event("stock_received", quantity=3, on_hand=3, reserved=0)

    def judge(self, *events):
        verdict = Verdict()
        books.stock_is_conserved(logged(STOCK, *events), verdict)
        return verdict.problems

    def test_what_was_received_can_be_held_and_shipped(self):
        held = {"order_id": "o", "quantity": 2}
        shipped = {**held, "shipment_id": "s", "unbooked": 0}
        events = [
            self.received,
            stock_event("stock_reserved", **held, on_hand=3, reserved=2),
            stock_event("stock_shipped", **shipped, on_hand=1, reserved=0),
        ]
        self.assertEqual(self.judge(*events), [])

    def test_more_held_than_there_is(self):
        events = [
            stock_event("stock_received", quantity=1, on_hand=1, reserved=0),
            stock_event("stock_reserved", order_id="o", quantity=2, on_hand=1, reserved=2),
        ]
        self.assertIn("oversold", self.judge(*events)[0])

    def test_a_sum_that_is_not_what_the_event_says(self):
        self.assertIn("the sum", self.judge(stock_event("stock_received", quantity=3, on_hand=2, reserved=0))[0])

    def test_a_count_that_finds_too_little_is_said(self):
        events = [
            stock_event("stock_received", quantity=1, on_hand=1, reserved=0),
            stock_event("stock_reserved", order_id="o", quantity=1, on_hand=1, reserved=1),
            stock_event("stock_adjusted", delta=-1, on_hand=0, reserved=1),
        ]
        said = stock_event("stock_shortfall_changed", shortfall=1, on_hand=0, reserved=1)
        more = stock_event("stock_received", quantity=1, on_hand=1, reserved=1)
        over = stock_event("stock_shortfall_changed", shortfall=0, on_hand=1, reserved=1)
        self.assertEqual(self.judge(*events, said, more, over), [])
        self.assertIn("nobody was told", self.judge(*events, more)[0])
        self.assertIn("short of 1 in the end", self.judge(*events)[0])
        wrong = stock_event("stock_shortfall_changed", shortfall=2, on_hand=0, reserved=1)
        self.assertIn("short of 1, told", self.judge(*events, wrong)[0])

    def test_less_than_nothing(self):
        self.assertIn("below zero", self.judge(stock_event("stock_adjusted", delta=-1, on_hand=-1, reserved=0))[0])

    def test_what_was_shipped_or_put_back_twice(self):
        held = {"order_id": "o", "quantity": 1}
        shipped = {**held, "shipment_id": "s", "unbooked": 0}
        problems = self.judge(
            self.received,
            stock_event("stock_reserved", **{**held, "quantity": 2}, on_hand=3, reserved=2),
            stock_event("stock_shipped", **shipped, on_hand=2, reserved=1),
            stock_event("stock_shipped", **shipped, on_hand=1, reserved=0),
        )
        self.assertIn("shipped twice", problems[0])
        back = {**held, "return_id": "r"}
        problems = self.judge(
            self.received,
            stock_event("stock_restocked", **back, on_hand=4, reserved=0),
            stock_event("stock_restocked", **back, on_hand=5, reserved=0),
        )
        self.assertIn("put back twice", problems[0])

    def test_more_let_go_than_was_held(self):
        problems = self.judge(
            self.received,
            stock_event("stock_reserved", order_id="p", quantity=1, on_hand=3, reserved=1),
            stock_event("stock_released", order_id="o", quantity=1, on_hand=3, reserved=0),
        )
        self.assertIn("let go of more", problems[0])

    def test_more_let_go_than_was_held_before_it_was_held(self):
        events = [
            self.received,
            stock_event("stock_reserved", order_id="p", quantity=1, on_hand=3, reserved=1),
            stock_event("stock_released", order_id="o", quantity=1, on_hand=3, reserved=0),
            stock_event("stock_reserved", order_id="o", quantity=1, on_hand=3, reserved=1),
        ]
        self.assertIn("let go of more", self.judge(*events)[0])


class Orders(unittest.TestCase):
    line = {"line": 1, "sku": "mug", "quantity": 2, "unit_price_minor": 5, "line_total_minor": 10}
    created = order_event("order_created", lines=[line], total_minor=10)
    confirmed = order_event("order_confirmed")
    captured = order_event("order_payment_captured", amount_minor=10, captured_minor=10)
    paid = order_event("order_paid")
    sent = order_event("order_shipped", shipment_id="s", lines=[{"line": 1, "sku": "mug", "quantity": 2}])
    cancelled = order_event("order_cancelled", refund_due_minor=0)
    whole = [created, confirmed, captured, paid]
    lot = {("o", "s", "mug"): 2}

    def judge(self, *events, held=None, shipped=None, restocked=None):
        verdict = Verdict()
        orders = books.read_orders(logged(ORDER, *events), verdict)
        books.orders_and_inventory_agree(orders, held or {}, shipped or {}, restocked or {}, verdict)
        return verdict.problems

    def test_paid_and_sent_or_ended_is_clean(self):
        self.assertEqual(self.judge(*self.whole, self.sent, shipped=self.lot), [])
        self.assertEqual(self.judge(*self.whole, held={("o", "mug"): 2}), [])
        self.assertEqual(self.judge(self.created, self.confirmed, self.cancelled), [])
        self.assertEqual(self.judge(self.created, order_event("order_rejected")), [])
        self.assertEqual(self.judge(self.created, order_event("order_expired")), [])
        self.assertEqual(self.judge(*self.whole, order_event("order_cancelled", refund_due_minor=10)), [])

    def test_money_that_does_not_add_up(self):
        bad_line = {**self.line, "line_total_minor": 11}
        bad = order_event("order_created", lines=[bad_line], total_minor=11)
        self.assertIn("line 1 does not add up", self.judge(bad)[0])
        bad = order_event("order_created", lines=[self.line], total_minor=11)
        self.assertIn("the total does not add up", self.judge(bad)[0])
        twice = [self.created, self.confirmed, self.captured, self.captured]
        self.assertIn("captured twice", self.judge(*twice)[0])
        self.assertIn("too little", self.judge(self.created, self.confirmed, self.paid)[0])

    def test_what_is_owed_is_said(self):
        late = order_event("order_payment_captured", amount_minor=5, captured_minor=15)
        for due, found in ((5, 0), (15, 1)):
            said = order_event("order_refund_due", refund_due_minor=due)
            problems = self.judge(*self.whole, late, said, held={("o", "mug"): 2})
            self.assertEqual(len(problems), found, problems)
        problems = self.judge(*self.whole, self.cancelled)
        self.assertIn("says that 0 is owed, it is 10", problems[0])

    def back(self, quantity=1, charge=5, due=5, restock=True):
        lines = [{"line": 1, "sku": "mug", "quantity": quantity, "charge_minor": charge}]
        return order_event(
            "order_returned", return_id="r", lines=lines, restock=restock, refund_due_minor=due
        )

    def refund(self, amount=5, refunded=5, share=5, due=0):
        shares = [{"line": 1, "sku": "mug", "amount_minor": share}]
        return order_event(
            "order_payment_refunded", amount_minor=amount, refunded_minor=refunded, shares=shares,
            refund_due_minor=due,
        )

    def returned(self, *events, restocked=1):
        put_back = {("o", "r", "mug"): restocked} if restocked else {}
        return self.judge(*self.whole, self.sent, *events, shipped=self.lot, restocked=put_back)

    def test_goods_that_came_back_and_money_that_went_back_is_clean(self):
        self.assertEqual(self.returned(self.back(), self.refund()), [])
        self.assertEqual(self.returned(self.back(restock=False), restocked=0), [])

    def test_a_return_that_does_not_add_up(self):
        self.assertIn("charged otherwise", self.returned(self.back(charge=4))[0])
        self.assertIn("says that 4 is owed", self.returned(self.back(due=4))[0])
        self.assertIn("came back of line 1", self.returned(self.back(3, 15, 15), restocked=3)[0])

    def test_goods_that_were_not_put_back_or_without_a_return(self):
        self.assertIn("were put back", self.returned(self.back(), restocked=0)[0])
        self.assertIn("were put back", self.returned(self.back(), restocked=2)[0])
        self.assertIn("were put back", self.returned(self.back(restock=False))[0])

    def test_a_refund_that_does_not_add_up(self):
        self.assertIn("refunded twice", self.returned(self.back(), self.refund(refunded=10))[0])
        self.assertIn("has shares of 4", self.returned(self.back(), self.refund(share=4))[0])
        self.assertIn("says that 5 is owed", self.returned(self.back(), self.refund(due=5))[0])

    def test_no_end_and_two_ends(self):
        self.assertIn("no end", self.judge(self.created, self.confirmed, held={("o", "mug"): 2})[0])
        ends = [self.created, self.confirmed, self.cancelled, order_event("order_expired")]
        self.assertIn("order_expired", self.judge(*ends)[0])

    def test_an_end_that_comes_too_late_or_too_early(self):
        problems = self.judge(*self.whole, self.sent, order_event("order_expired"), shipped=self.lot)
        self.assertIn("after goods had left", problems[0])
        ended = [self.created, self.confirmed, self.cancelled, self.captured, self.paid]
        self.assertIn("paid after its end", self.judge(*ended)[0])
        late = [self.created, self.cancelled, self.confirmed]
        self.assertIn("confirmed after ['order_cancelled']", self.judge(*late)[0])

    def test_an_end_of_what_was_confirmed_or_paid(self):
        for kind in ("order_expired", "order_rejected"):
            self.assertIn(f"{kind} after it was paid", self.judge(*self.whole, order_event(kind))[0])
        rejected = [self.created, self.confirmed, order_event("order_rejected")]
        self.assertIn("after it was confirmed", self.judge(*rejected)[0])

    def test_goods_that_were_not_paid_for_or_not_ordered(self):
        early = [self.created, self.confirmed, self.sent, self.captured, self.paid]
        self.assertIn("not paid for", self.judge(*early, shipped=self.lot)[0])
        lines = [{"line": 1, "sku": "mug", "quantity": 3}]
        more = order_event("order_shipped", shipment_id="s", lines=lines)
        self.assertIn("more than ordered", self.judge(*self.whole, more, shipped={("o", "s", "mug"): 3})[0])

    def test_an_order_that_was_never_settled_or_twice(self):
        whole = [self.created, self.captured, self.paid]
        self.assertIn("paid before it was confirmed", self.judge(*whole)[0])
        self.assertIn("settled 0 times", self.judge(*whole)[1])
        whole = [self.created, self.confirmed, self.confirmed, self.captured, self.paid]
        self.assertIn("settled 2 times", self.judge(*whole, held={("o", "mug"): 2})[0])

    def test_goods_that_are_not_those_of_the_inventory(self):
        self.assertIn("should hold", self.judge(*self.whole)[0])
        self.assertIn("should hold", self.judge(*self.whole, held={("o", "mug"): 1})[0])
        ended = [self.created, self.confirmed, self.cancelled]
        self.assertIn("should hold", self.judge(*ended, held={("o", "mug"): 2})[0])
        self.assertIn("orders shipped", self.judge(*self.whole, self.sent)[0])
        self.assertIn("not there", self.judge(held={("x", "mug"): 2})[0])

    def check_out(self, line, *names):
        """A cart with a line, and orders of these names with the line of these tests."""
        verdict = Verdict()
        cart = [
            an_event({"aggregate_id": "o", "version": version, "occurred_at": 0, kind: body})
            for version, (kind, body) in enumerate(
                [("cart_created", {}), ("cart_item_added", line), ("cart_checked_out", {"order_id": "o"})], 1
            )
        ]
        orders = books.read_orders(logged(ORDER, self.created), verdict)
        books.checkouts_are_whole(logged(CART, *cart), {name: orders["o"] for name in names}, verdict)
        return verdict.problems

    def test_half_a_checkout(self):
        self.assertEqual(self.check_out(self.line, "o"), [])
        for names in ((), ("o", "p")):
            self.assertIn("checkouts without an order", self.check_out(self.line, *names)[0])

    def test_an_order_that_is_not_what_was_in_the_cart(self):
        for wrong in ({"quantity": 3}, {"sku": "lamp"}, {"unit_price_minor": 4}, {"line": 2}):
            self.assertIn("in the cart were", self.check_out({**self.line, **wrong}, "o")[0])


if __name__ == "__main__":
    unittest.main()
