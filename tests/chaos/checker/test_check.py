"""The checker finds what it is there for: python3 -m unittest test_check (needs nothing else)"""

import unittest

import check


def operation(key, event="ok", version=1, invoked=0, ended=10, op="cart.add", aggregate="cart"):
    told = {"status": 200, "body": {"version": version}} if event == "ok" else {"status": 409, "body": {}}
    return {
        "key": key, "event": event, "op": op, "aggregate": aggregate, "told": told,
        "invoked": invoked, "ended": ended,
    }


def accepted(version):
    return {"accepted": {"version": version}}


def an_event(value, seq=1, command="c", epoch=1):
    return check.Event(0, seq, seq, epoch, value, command)


def cart_event(version, command):
    value = {"aggregate_id": "cart", "version": version, "occurred_at": 0, "cart_item_added": {}}
    return an_event(value, version, command)


def stock_event(kind, **body):
    return an_event({"aggregate_id": "mug", "version": 1, "occurred_at": 0, kind: body})


def order_event(kind, **body):
    return an_event({"aggregate_id": "o", "version": 1, "occurred_at": 0, kind: body})


def logged(topic, *events):
    return {name: list(events) if name == topic else [] for name in check.EVENTS}


class Acknowledged(unittest.TestCase):
    def judge(self, operations, decided, events, commands):
        verdict = check.Verdict()
        operations = {each["key"]: each for each in operations}
        check.acknowledged_is_in_the_log(operations, decided, events, commands, verdict)
        check.linearizable(operations, decided, verdict)
        return verdict.problems

    def test_what_is_in_the_log_as_told_is_clean(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"), cart_event(2, "b"))
        operations = [operation("k1"), operation("k2", version=2, invoked=20, ended=30)]
        decided = {"k1": accepted(1), "k2": accepted(2)}
        self.assertEqual(self.judge(operations, decided, events, {"a": "k1", "b": "k2"}), [])

    def test_an_acknowledged_command_that_is_not_in_the_log(self):
        problems = self.judge([operation("k1")], {}, logged(check.EVENTS[2]), {})
        self.assertIn("acknowledged", problems[0])

    def test_an_answer_that_is_not_what_was_decided(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"), cart_event(2, "a"))
        problems = self.judge([operation("k1", version=1)], {"k1": accepted(2)}, events, {"a": "k1"})
        self.assertIn("was told version 1", problems[0])

    def test_a_command_that_took_effect_twice(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"), cart_event(2, "b"))
        problems = self.judge([operation("k1")], {"k1": accepted(1)}, events, {"a": "k1", "b": "k1"})
        self.assertIn("took effect 2 times", problems[0])

    def test_an_acknowledged_command_whose_event_is_somebody_elses(self):
        events = logged(check.EVENTS[2], cart_event(1, "b"))
        problems = self.judge([operation("k1")], {"k1": accepted(1)}, events, {"b": "k2"})
        self.assertIn("made by k2", problems[0])

    def test_an_acknowledged_command_that_was_refused(self):
        problems = self.judge([operation("k1")], {"k1": {"rejected": {}}}, logged(check.EVENTS[2]), {})
        self.assertIn("acknowledged", problems[0])

    def test_a_command_that_was_refused_although_it_is_accepted(self):
        events = logged(check.EVENTS[2])
        problems = self.judge([operation("k1", "fail")], {"k1": accepted(1)}, events, {})
        self.assertIn("was refused, the journal has", problems[0])

    def test_what_nobody_knows_may_have_happened_or_not(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"))
        operations = [operation("k1", "unknown"), operation("k2", "unknown")]
        self.assertEqual(self.judge(operations, {"k1": accepted(1)}, events, {"a": "k1"}), [])

    def test_what_nobody_knows_happened_twice(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"), cart_event(2, "b"))
        problems = self.judge([operation("k1", "unknown")], {}, events, {"a": "k1", "b": "k1"})
        self.assertIn("took effect 2 times", problems[0])

    def test_what_was_acknowledged_and_then_denied(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"))
        missing = operation("k2", "fail", invoked=20, ended=30)
        missing["told"]["status"] = 404
        problems = self.judge([operation("k1"), missing], {"k1": accepted(1)}, events, {"a": "k1"})
        self.assertIn("does not exist", problems[0])

    def test_what_was_not_there_yet_may_be_denied(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"))
        early = operation("k2", "fail", invoked=5, ended=8)
        early["told"]["status"] = 404
        self.assertEqual(self.judge([operation("k1"), early], {"k1": accepted(1)}, events, {"a": "k1"}), [])

    def test_one_version_that_was_told_twice(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"))
        operations = [operation("k1"), operation("k2")]
        problems = self.judge(operations, {"k1": accepted(1), "k2": accepted(1)}, events, {"a": "k1"})
        self.assertIn("one version told twice", problems[-1])

    def test_a_refusal_with_an_effect(self):
        events = logged(check.EVENTS[2], cart_event(1, "a"))
        decided = {"k1": {"rejected": {}}}
        problems = self.judge([operation("k1", "fail")], decided, events, {"a": "k1"})
        self.assertIn("was refused and took effect", problems[0])

    def test_a_later_command_with_a_smaller_version(self):
        events = logged(check.EVENTS[2], cart_event(1, "b"), cart_event(2, "a"))
        operations = [operation("k1", version=2), operation("k2", version=1, invoked=20, ended=30)]
        decided = {"k1": accepted(2), "k2": accepted(1)}
        problems = self.judge(operations, decided, events, {"a": "k1", "b": "k2"})
        self.assertIn("got version 1 after 2", problems[0])

    def test_a_checkout_is_judged_by_its_order(self):
        order = an_event({"aggregate_id": "cart", "version": 1, "order_created": {}}, command="a")
        checkout = operation("k1", op="cart.checkout", version=4)
        decided, commands = {"k1": accepted(1)}, {"a": "k1"}
        self.assertEqual(self.judge([checkout], decided, logged(check.EVENTS[3], order), commands), [])
        self.assertIn("made by nobody", self.judge([checkout], decided, logged(check.EVENTS[2]), {})[0])

    def test_commands_that_overlap_may_have_any_order(self):
        events = logged(check.EVENTS[2], cart_event(1, "b"), cart_event(2, "a"))
        operations = [operation("k1", version=2), operation("k2", version=1, invoked=5, ended=30)]
        decided = {"k1": accepted(2), "k2": accepted(1)}
        self.assertEqual(self.judge(operations, decided, events, {"a": "k1", "b": "k2"}), [])


class Stock(unittest.TestCase):
    def judge(self, *events):
        verdict = check.Verdict()
        check.stock_is_conserved(logged(check.EVENTS[1], *events), verdict)
        return verdict.problems

    def test_what_was_received_can_be_held_and_shipped(self):
        held = {"order_id": "o", "quantity": 2}
        shipped = {**held, "shipment_id": "s", "unbooked": 0}
        events = [
            stock_event("stock_received", quantity=3, on_hand=3, reserved=0),
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


    def test_what_was_shipped_twice(self):
        held = {"order_id": "o", "quantity": 1}
        shipped = {**held, "shipment_id": "s", "unbooked": 0}
        problems = self.judge(
            stock_event("stock_received", quantity=3, on_hand=3, reserved=0),
            stock_event("stock_reserved", **{**held, "quantity": 2}, on_hand=3, reserved=2),
            stock_event("stock_shipped", **shipped, on_hand=2, reserved=1),
            stock_event("stock_shipped", **shipped, on_hand=1, reserved=0),
        )
        self.assertIn("shipped twice", problems[0])

    def test_more_let_go_than_was_held(self):
        problems = self.judge(
            stock_event("stock_received", quantity=3, on_hand=3, reserved=0),
            stock_event("stock_reserved", order_id="p", quantity=1, on_hand=3, reserved=1),
            stock_event("stock_released", order_id="o", quantity=1, on_hand=3, reserved=0),
        )
        self.assertIn("let go of more", problems[0])


class Orders(unittest.TestCase):
    line = {"line": 1, "sku": "mug", "quantity": 2, "unit_price_minor": 5, "line_total_minor": 10}
    created = order_event("order_created", lines=[line], total_minor=10)
    confirmed = order_event("order_confirmed")
    captured = order_event("order_payment_captured", amount_minor=10, captured_minor=10)
    paid = order_event("order_paid")
    sent = order_event("order_shipped", shipment_id="s", lines=[{"sku": "mug", "quantity": 2}])
    cancelled = order_event("order_cancelled")

    def judge(self, *events, held=None, shipped=None):
        verdict = check.Verdict()
        orders = check.read_orders(logged(check.EVENTS[3], *events), verdict)
        check.orders_and_inventory_agree(orders, held or {}, shipped or {}, verdict)
        return verdict.problems

    def test_paid_and_sent_or_ended_is_clean(self):
        shipped = {("o", "s", "mug"): 2}
        whole = [self.created, self.confirmed, self.captured, self.paid]
        self.assertEqual(self.judge(*whole, self.sent, shipped=shipped), [])
        self.assertEqual(self.judge(*whole, held={("o", "mug"): 2}), [])
        self.assertEqual(self.judge(self.created, self.confirmed, self.cancelled), [])
        self.assertEqual(self.judge(self.created, order_event("order_rejected")), [])
        self.assertEqual(self.judge(self.created, order_event("order_expired")), [])

    def test_money_that_does_not_add_up(self):
        bad_line = {**self.line, "line_total_minor": 11}
        bad = order_event("order_created", lines=[bad_line], total_minor=11)
        self.assertIn("line 1 does not add up", self.judge(bad)[0])
        bad = order_event("order_created", lines=[self.line], total_minor=11)
        self.assertIn("the total does not add up", self.judge(bad)[0])
        twice = [self.created, self.confirmed, self.captured, self.captured]
        self.assertIn("captured twice", self.judge(*twice)[0])
        self.assertIn("too little", self.judge(self.created, self.confirmed, self.paid)[0])

    def test_no_end_and_two_ends(self):
        self.assertIn("no end", self.judge(self.created, self.confirmed, held={("o", "mug"): 2})[0])
        ends = [self.created, self.confirmed, self.cancelled, order_event("order_expired")]
        self.assertIn("order_expired", self.judge(*ends)[0])

    def test_an_order_that_was_never_settled_or_twice(self):
        whole = [self.created, self.captured, self.paid]
        self.assertIn("settled 0 times", self.judge(*whole)[0])
        whole = [self.created, self.confirmed, self.confirmed, self.captured, self.paid]
        self.assertIn("settled 2 times", self.judge(*whole, held={("o", "mug"): 2})[0])

    def test_goods_that_are_not_those_of_the_inventory(self):
        whole = [self.created, self.confirmed, self.captured, self.paid]
        self.assertIn("should hold", self.judge(*whole)[0])
        self.assertIn("should hold", self.judge(*whole, held={("o", "mug"): 1})[0])
        ended = [self.created, self.confirmed, self.cancelled]
        self.assertIn("should hold", self.judge(*ended, held={("o", "mug"): 2})[0])
        self.assertIn("orders shipped", self.judge(*whole, self.sent)[0])
        self.assertIn("not there", self.judge(held={("x", "mug"): 2})[0])

    def test_half_a_checkout(self):
        orders = {"o": {}}
        value = {"aggregate_id": "c", "version": 1, "occurred_at": 0, "cart_checked_out": {"order_id": "o"}}
        for made, found in [(orders, 0), ({}, 1), ({**orders, "p": {}}, 1)]:
            verdict = check.Verdict()
            check.checkouts_are_whole(logged(check.EVENTS[2], an_event(value)), made, verdict)
            self.assertEqual(len(verdict.problems), found, verdict.problems)


class FakeLog:
    def __init__(self, records):
        self.found = records

    def records(self, topic, isolation="read_committed"):
        return {0: self.found.get(topic, [])}

    def decode(self, value):
        return value


class Record:
    def __init__(self, value, key="cart", **headers):
        self.value, self.key, self.offset = value, key.encode(), 0
        self.headers = [(name, str(text).encode()) for name, text in headers.items()]


class Dense(unittest.TestCase):
    def read(self, *records):
        verdict = check.Verdict()
        check.read_events(FakeLog({check.EVENTS[2]: list(records)}), verdict)
        return verdict.problems

    def record(self, version, seq, epoch=1):
        event = {"aggregate_id": "cart", "version": version, "occurred_at": 0, "cart_created": {}}
        return Record(event, seq=seq, writer_epoch=epoch, command_id="c")

    def test_dense_is_clean(self):
        self.assertEqual(self.read(self.record(1, 1), self.record(2, 2)), [])

    def test_a_gap_a_repeat_and_a_second_writer(self):
        self.assertIn("seq 3 after 1", self.read(self.record(1, 1), self.record(2, 3))[0])
        self.assertIn("seq 1 after 1", self.read(self.record(1, 1), self.record(2, 1))[0])
        self.assertIn("epoch 1 after 2", self.read(self.record(1, 1, 2), self.record(2, 2, 1))[0])

    def test_a_version_that_is_missing_and_a_wrong_key(self):
        self.assertIn("version 3 of cart, 2 was due", self.read(self.record(1, 1), self.record(3, 2))[0])
        other = self.record(1, 1)
        other.key = b"other"
        self.assertIn("key b'other'", self.read(other)[0])

    def test_what_was_aborted_is_not_written_again_in_its_epoch(self):
        for epoch, found in [(2, 0), (1, 1)]:
            first, again = self.record(1, 1), self.record(1, 1, epoch)
            again.offset = 5
            log = FakeLog({check.EVENTS[2]: [first, again]})
            events = logged(check.EVENTS[2], check.Event(0, 5, 1, epoch, again.value, "c"))
            verdict = check.Verdict()
            check.nothing_aborted(log, events, verdict)
            self.assertEqual(len(verdict.problems), found, verdict.problems)

    def test_what_counts_as_committed_has_to_be_in_the_log(self):
        verdict = check.Verdict()
        check.nothing_aborted(FakeLog({}), logged(check.EVENTS[2], cart_event(1, "a")), verdict)
        self.assertIn("not in the log", verdict.problems[0])


class Journal(unittest.TestCase):
    topic = check.EVENTS[2]

    def entry(self, transaction=1, epoch=1, ranges=((1, 1),), decided=()):
        ranges = [{"topic": self.topic, "first": first, "last": last} for first, last in ranges]
        decided = [
            {"command_id": command, "idempotency_key": key, "outcome": "{}"} for command, key in decided
        ]
        return Record(
            {"transaction": transaction, "writer_epoch": epoch, "ranges": ranges, "decided": decided}
        )

    def read(self, *entries, events=1):
        verdict = check.Verdict()
        events = logged(self.topic, *(cart_event(seq + 1, "a") for seq in range(events)))
        check.read_journals(FakeLog({check.JOURNALS[2]: list(entries)}), events, verdict)
        return verdict.problems

    def test_every_event_in_a_range_is_clean(self):
        second = self.entry(2, ranges=[(2, 3)], decided=[("b", "k2"), ("b", None), ("c", None)])
        self.assertEqual(self.read(self.entry(decided=[("a", "k1")]), second, events=3), [])

    def test_half_a_transaction(self):
        self.assertIn("half a transaction", self.read(self.entry(ranges=[]))[0])
        self.assertIn("half a transaction", self.read(self.entry(), events=0)[0])

    def test_a_transaction_that_is_missing_or_there_twice(self):
        self.assertIn("transaction 3 after 1", self.read(self.entry(), self.entry(3, ranges=[]))[0])
        self.assertIn("jumps from 1 to 1", self.read(self.entry(), self.entry(2))[0])

    def test_an_earlier_writer(self):
        later = self.entry(2, epoch=1, ranges=[])
        self.assertIn("an earlier epoch", self.read(self.entry(epoch=2), later)[0])

    def test_a_key_that_was_decided_twice(self):
        entries = [self.entry(decided=[("a", "k1")]), self.entry(2, ranges=[], decided=[("b", "k1")])]
        self.assertIn("k1 was decided twice", self.read(*entries)[0])


if __name__ == "__main__":
    unittest.main()
