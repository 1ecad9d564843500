"""The rules of refusals find what they are there for: python3 -m unittest test_refusals (needs nothing else)"""

import unittest

import refusals
from common import EVENTS, Verdict
from log import Journal
from planted import an_event, logged

PRODUCT, STOCK, CART, ORDER = EVENTS
LINE = {"line": 1, "sku": "mug", "quantity": 2, "unit_price_minor": 5, "line_total_minor": 10}
PAY = {"payment_id": "p", "operation_id": "c", "kind": "captured", "amount": {"amount_minor": 10}}
BACK = {"lines": [{"line": 1, "quantity": 2}]}
CREATED = ("order_created", {"currency": "GBP", "lines": [LINE]})
PAID = [
    CREATED, ("order_confirmed", {}),
    ("order_payment_captured", {"payment_id": "p", "operation_id": "c", "amount_minor": 10}), ("order_paid", {}),
]
SENT = PAID + [("order_shipped", {"shipment_id": "s", "lines": [LINE]})]
RETURNED = SENT + [("order_returned", {"return_id": "r", "lines": [{"line": 1, "quantity": 1}]})]
CART_OF_ONE = [("cart_created", {}), ("cart_item_added", LINE)]


class Refused(unittest.TestCase):
    def judge(self, what, reason, topic, happened, request=None, decided_in=None, at_version=None, told=None, **more):
        """`happened` are kinds and bodies, one a transaction; decided after all of them, if not said otherwise."""
        journal = Journal()
        made = [
            an_event({"aggregate_id": "x", "version": at, "occurred_at": 0, kind: body}, at)
            for at, (kind, body) in enumerate(happened, 1)
        ]
        numbers = list(range(1, len(made) + 1))
        journal.seqs[topic, 0] = numbers, numbers
        journal.decided = {"k": {"rejected": {"reason": reason, "data": {"version": told}}}}
        journal.commands = {"c": "k"}
        journal.places = {"c": ("context", 0, len(made) + 1 if decided_in is None else decided_in)}
        operation = {"key": "k", "op": what, "aggregate": "x", "request": request or {}, "at_version": at_version}
        verdict = Verdict()
        refusals.are_for_reasons({"k": operation}, {**logged(topic, *made), **more}, journal, verdict)
        return verdict.problems

    def test_a_reason_that_is_true_and_one_that_is_not(self):
        shelf = [("stock_received", {"on_hand": 1, "reserved": 0})]
        ended = [CREATED, ("order_expired", {})]
        cancelled = [CREATED, ("order_cancelled", {})]
        checked_out = CART_OF_ONE + [("cart_checked_out", {"order_id": "x"})]
        more = {**PAY, "amount": {"amount_minor": 20}}
        one_back = {"lines": [{"line": 1, "quantity": 1}]}
        # What is asked and the reason; then what had happened where it is right and where it is wrong.
        cases = [
            ("stock.adjust", "stock_below_zero", STOCK, (shelf, {"delta": -2}), (shelf, {"delta": -1})),
            ("cart.add", "cart_checked_out", CART, (checked_out, {}), (CART_OF_ONE, {})),
            ("cart.checkout", "cart_empty", CART, (CART_OF_ONE[:1], {}), (CART_OF_ONE, {})),
            ("cart.checkout", "unknown_cart", CART, ([], {}), (CART_OF_ONE, {})),
            ("order.pay", "operation_reused", ORDER, (PAID, more), (PAID, PAY)),
            ("order.pay", "operation_reused", ORDER, (PAID, more), ([CREATED], PAY)),
            ("order.ship", "order_not_paid", ORDER, ([CREATED], {}), (PAID, {})),
            ("order.ship", "order_ended", ORDER, (cancelled, {}), (PAID, {})),
            ("order.ship", "nothing_left_to_ship", ORDER, (SENT, {}), (PAID, {})),
            ("order.return", "return_exceeds_shipped", ORDER, (PAID, BACK), (SENT, BACK)),
            ("order.return", "return_exceeds_shipped", ORDER, (RETURNED, BACK), (RETURNED, one_back)),
            ("order.cancel", "order_ended", ORDER, (ended, {}), (cancelled, {})),
            ("order.cancel", "order_already_shipped", ORDER, (SENT, {}), (PAID, {})),
            ("order.cancel", "unknown_order", ORDER, ([], {}), ([CREATED], {})),
        ]
        for what, reason, topic, right, wrong in cases:
            self.assertEqual(self.judge(what, reason, topic, *right), [], (what, reason))
            problems = self.judge(what, reason, topic, *wrong)
            self.assertIn(f"was refused for {reason}, which was not so", problems[0])

    def test_a_price_that_has_changed_and_one_that_has_not(self):
        first, second = ({"aggregate_id": "mug", "version": at, "occurred_at": 0} for at in (1, 2))
        prices = [an_event({**first, "product_created": {"price_minor": 5}})]
        wrong = self.judge("cart.checkout", "price_changed", CART, CART_OF_ONE, **{PRODUCT: prices})
        self.assertIn("price_changed, which was not so", wrong[0])
        prices.append(an_event({**second, "product_price_changed": {"price_minor": 6}}, 2))
        self.assertEqual(self.judge("cart.checkout", "price_changed", CART, CART_OF_ONE, **{PRODUCT: prices}), [])

    def test_a_version_that_is_another_one_and_one_that_is_not(self):
        for at_version, told, is_right in ((1, 2, True), (2, 2, False), (1, 1, False), (None, 2, False)):
            problems = self.judge(
                "cart.add", "version_mismatch", CART, CART_OF_ONE, at_version=at_version, told=told
            )
            self.assertEqual(not problems, is_right, (at_version, told))

    def test_what_was_so_before_or_came_to_be_later(self):
        # In the transaction that ships it, of which nobody knows what came first.
        self.assertEqual(self.judge("order.ship", "order_not_paid", ORDER, PAID, decided_in=4), [])
        self.assertEqual(self.judge("order.cancel", "order_already_shipped", ORDER, SENT, decided_in=5), [])
        late = self.judge("order.ship", "order_not_paid", ORDER, PAID, decided_in=5)
        early = self.judge("order.cancel", "order_already_shipped", ORDER, SENT, decided_in=4)
        self.assertIn("at version 4 to 4", late[0])
        self.assertIn("at version 3 to 4", early[0])

    def test_a_reason_that_nobody_can_be_given(self):
        for what, reason in (("order.cancel", "order_not_paid"), ("cart.add", "not_decided"), ("order.ship", "x")):
            topic = CART if what == "cart.add" else ORDER
            happened = CART_OF_ONE if what == "cart.add" else [CREATED]
            self.assertIn(f"refused for {reason}", self.judge(what, reason, topic, happened)[0])


if __name__ == "__main__":
    unittest.main()
