"""The rules of the read model find what they are there for: python3 -m unittest test_read_model"""

import datetime
import json
import unittest

import read_model
from common import EVENTS, Event, Verdict

PRODUCT, STOCK, CART, ORDER = EVENTS
DAY = datetime.datetime(2026, 4, 2, 12, tzinfo=datetime.timezone.utc)
LINE = {"line": 1, "sku": "mug", "quantity": 2, "unit_price_minor": 5, "line_total_minor": 10}
REPORT_ROW = {
    "orders": 1, "units": 2, "returned_units": 1, "gross_minor": 10, "refunded_minor": 5,
    "net_minor": 5, "orders_shipped": 1,
}


def logged(topic, name, *bodies):
    """Events of one aggregate, in one partition."""
    return [
        Event(0, at, at, 1, {"aggregate_id": name, "version": at, "occurred_at": DAY, kind: body}, "c")
        for at, (kind, body) in enumerate(bodies, 1)
    ]


def a_log():
    payment = {"payment_id": "p", "currency": "GBP"}
    return {
        PRODUCT: logged(
            PRODUCT, "mug",
            ("product_created", {"name": "Mug", "price_minor": 4, "currency": "GBP"}),
            ("product_price_changed", {"old_price_minor": 4, "price_minor": 5}),
        ),
        STOCK: logged(STOCK, "mug", ("stock_received", {"quantity": 3, "on_hand": 3, "reserved": 1})),
        CART: logged(
            CART, "o",
            ("cart_created", {}),
            ("cart_item_added", LINE),
            ("cart_item_added", {**LINE, "line": 2}),
            ("cart_item_removed", {"line": 2}),
            ("cart_checked_out", {"order_id": "o"}),
        ),
        ORDER: logged(
            ORDER, "o",
            ("order_created", {"currency": "GBP", "lines": [LINE], "ship_to_country": None}),
            ("order_confirmed", {}),
            ("order_payment_captured", {**payment, "operation_id": "c", "amount_minor": 10}),
            ("order_paid", {}),
            ("order_shipped", {"shipment_id": "s", "lines": [LINE], "fully_shipped": True}),
            (
                "order_returned",
                {
                    "return_id": "r", "lines": [{"line": 1, "sku": "mug", "quantity": 1}],
                    "refund_due_minor": 5,
                },
            ),
            (
                "order_payment_refunded",
                {
                    **payment, "operation_id": "r", "amount_minor": 5, "refund_due_minor": 0,
                    "shares": [{"line": 1, "sku": "mug", "amount_minor": 5}],
                },
            ),
        ),
    }


def answers():
    """What query-api tells of that log."""
    def events(stream, *kinds):
        return [{"stream": stream, "version": at, "type": kind} for at, kind in enumerate(kinds, 1)]
    cart = events("cart", "CartCreated", "CartItemAdded", "CartItemAdded", "CartItemRemoved", "CartCheckedOut")
    order = events(
        "order", "OrderCreated", "OrderConfirmed", "OrderPaymentCaptured", "OrderPaid", "OrderShipped",
        "OrderReturned", "OrderPaymentRefunded",
    )
    told = {
        "/v1/products/mug": {
            "name": "Mug", "price_minor": 5, "currency": "GBP", "retired": False, "version": 2,
        },
        "/v1/products/mug/availability": {
            "on_hand": 3, "reserved": 1, "available": 2, "shortfall": 0, "version": 1,
        },
        "/v1/carts/o": {
            "status": "checked_out", "order_id": "o", "total_minor": 10, "version": 5, "lines": [LINE],
        },
        "/v1/orders/o": {
            "status": "shipped", "currency": "GBP", "lines": [LINE], "units": 2, "total_minor": 10,
            "captured_minor": 10, "refunded_minor": 5, "refund_due_minor": 0, "shipped_units": 2,
            "returned_units": 1, "version": 7,
            "payments": [
                {"payment_id": "p", "operation_id": "c", "kind": "captured", "amount_minor": 10},
                {"payment_id": "p", "operation_id": "r", "kind": "refunded", "amount_minor": 5},
            ],
            "shipments": [{"shipment_id": "s", "lines": [LINE]}],
            "returns": [{"return_id": "r", "lines": [{"line": 1, "quantity": 1}]}],
        },
        "/v1/orders/o/timeline?limit=500": {"items": cart + order},
    }
    for by, key in (("day", "2026-04-02"), ("product", "mug"), ("country", "")):
        told[f"/v1/reports/sales?limit=5000&by={by}"] = {"rows": [{"key": key, **REPORT_ROW}]}
    return told


class FakeQueries:
    """Answers what it is given; 200 to what the wait for the views asks besides."""

    def __init__(self, told, behind=()):
        self.told, self.behind, self.positions, self.asked = told, behind, set(), []

    def ask(self, path, position=None, patience_s=0):
        self.positions.add(position)
        self.asked.append(path)
        if path in self.behind:
            return 504, {"code": "position_not_reached"}
        told = self.told.get(path, {})
        return (404, {"code": "order_not_found"}) if told is None else (200, told)


class ReadModel(unittest.TestCase):
    def judge(self, told, behind=(), names=frozenset()):
        verdict = Verdict()
        self.queries = FakeQueries(told, behind)
        read_model.judge(self.queries, a_log(), names, verdict)
        return verdict.problems

    def with_field(self, path, change):
        told = json.loads(json.dumps(answers()))
        change(told[path])
        problems = self.judge(told)
        self.assertEqual(len(problems), 1, problems)
        return problems[0]

    def test_what_the_log_says_is_clean_and_asked_for_at_its_end(self):
        self.assertEqual(self.judge(answers()), [])
        self.assertEqual(self.queries.positions, {"g1:p0=2,s0=1,c0=5,o0=7"})

    def test_every_field_of_every_answer_is_held(self):
        for path, body in answers().items():
            for field, value in body.items():
                if isinstance(value, (int, str)) and not isinstance(value, bool):
                    wrong = "x" if isinstance(value, str) else value + 1
                    problem = self.with_field(path, lambda body: body.update({field: wrong}))
                    self.assertIn(field, problem)

    def test_what_is_in_the_log_and_not_told(self):
        for path in answers():
            problems = self.judge({**answers(), path: None})
            self.assertTrue(any("it is in the log" in problem for problem in problems), path)

    def test_what_is_told_and_not_in_the_log(self):
        names = {(ORDER, "x"), (CART, "o")}
        self.assertEqual(self.judge({**answers(), "/v1/orders/x": None}, names=names), [])
        for status in (200, 504):
            behind = [] if status == 200 else ["/v1/orders/x"]
            problems = self.judge(answers(), behind, names)
            self.assertIn(f"/v1/orders/x: {status}", problems[0])

    def test_a_line_that_is_missing_or_wrong(self):
        for path in ("/v1/orders/o", "/v1/carts/o"):
            self.assertIn("lines", self.with_field(path, lambda body: body["lines"].clear()))
            wrong = lambda body: body["lines"][0].update(quantity=1)
            self.assertIn("lines", self.with_field(path, wrong))

    def test_money_and_goods_that_are_missing_or_wrong(self):
        order = "/v1/orders/o"
        for field in ("payments", "shipments", "returns"):
            self.assertIn(field, self.with_field(order, lambda body: body[field].clear()))
        wrong = lambda body: body["payments"][0].update(amount_minor=9)
        self.assertIn("payments", self.with_field(order, wrong))
        wrong = lambda body: body["payments"][1].update(kind="captured")
        self.assertIn("payments", self.with_field(order, wrong))
        wrong = lambda body: body["returns"][0]["lines"][0].update(quantity=2)
        self.assertIn("returns", self.with_field(order, wrong))

    def test_an_event_that_is_missing_twice_or_another_one_in_a_timeline(self):
        timeline = "/v1/orders/o/timeline?limit=500"
        self.with_field(timeline, lambda body: body["items"].pop())
        self.with_field(timeline, lambda body: body["items"].append(body["items"][0]))
        self.with_field(timeline, lambda body: body["items"][0].update(type="CartAbandoned"))

    def test_a_report_that_is_wrong_or_has_a_row_too_many(self):
        for by in ("day", "product", "country"):
            path = f"/v1/reports/sales?limit=5000&by={by}"
            for field in REPORT_ROW:
                self.with_field(path, lambda body: body["rows"][0].update({field: 7}))
            self.with_field(path, lambda body: body["rows"].append({"key": "x", **REPORT_ROW}))
            self.with_field(path, lambda body: body["rows"].clear())

    def test_a_view_that_does_not_catch_up(self):
        behind = "/v1/orders/o/timeline?detail=causal"
        problems = self.judge(answers(), [behind])
        self.assertIn(f"{behind} has not reached the end of the log", problems[0])
        # Nothing else is asked for, which would be answered by the same view.
        self.assertEqual(len(problems), 1)
        self.assertNotIn("/v1/orders/o/timeline?limit=500", self.queries.asked)

    def test_views_that_stop_answering_are_not_asked_for_everything(self):
        behind = [f"/v1/orders/{name}" for name in range(9)]
        log = a_log()
        created = ("order_created", {"currency": "GBP", "lines": [LINE]})
        log[ORDER] = [event for name in range(9) for event in logged(ORDER, str(name), created)] + log[ORDER]
        verdict = Verdict()
        queries = FakeQueries(answers(), behind)
        read_model.judge(queries, log, set(), verdict)
        self.assertEqual(queries.asked[-1], behind[read_model.MOST_IN_VAIN - 1])

    def test_an_order_that_is_cancelled_or_not_paid_in_time(self):
        created = ("order_created", {"currency": "GBP", "lines": [LINE]})
        for end in ("cancelled", "expired", "rejected", "confirmed"):
            log = {topic: [] for topic in EVENTS}
            log[ORDER] = logged(ORDER, "o", created, (f"order_{end}", {}))
            self.assertEqual(read_model.fold_orders(log)["o"]["status"], end)
            self.assertEqual(read_model.fold_sales(log)["day"], {})

    def test_part_of_an_order_that_was_sent(self):
        created = ("order_created", {"currency": "GBP", "lines": [LINE]})
        sent = {"shipment_id": "s", "lines": [{**LINE, "quantity": 1}], "fully_shipped": False}
        log = {topic: [] for topic in EVENTS}
        log[ORDER] = logged(ORDER, "o", created, ("order_paid", {}), ("order_shipped", sent))
        self.assertEqual(read_model.fold_orders(log)["o"]["status"], "partly_shipped")
        self.assertEqual(read_model.fold_sales(log)["product"]["mug"]["orders_shipped"], 0)


class Reads(unittest.TestCase):
    def judge(self, status=200, version=4, asked=4, kind="order"):
        verdict = Verdict()
        read = {
            "client": "reader", "at_us": 1, "path": "/v1/orders/o", "kind": kind, "aggregate": "o",
            "asked": {"position": "g1:o0=4", "version": asked},
            "told": {"status": status, "version": version, "code": None},
        }
        read_model.reads_cover_their_positions([read], a_log(), verdict)
        return verdict.problems

    def test_what_covers_the_write_or_asks_to_come_again_is_clean(self):
        self.assertEqual(self.judge(), [])
        self.assertEqual(self.judge(version=7), [])
        self.assertEqual(self.judge(kind="cart", version=5), [])
        for status in (503, 504):
            self.assertEqual(self.judge(status, version=None), [])

    def test_an_answer_without_the_write(self):
        self.assertIn("told version 3 with a position of version 4", self.judge(version=3)[0])
        self.assertIn("told version None", self.judge(version=None)[0])

    def test_an_answer_that_is_not_in_the_log(self):
        self.assertIn("the log ends with 7", self.judge(version=8)[0])

    def test_a_write_that_is_denied_and_an_error(self):
        for status in (404, 409, 500):
            self.assertIn(f"answered {status}", self.judge(status, version=None)[0])


if __name__ == "__main__":
    unittest.main()
