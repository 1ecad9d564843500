"""The checker finds what it is there for. Run in its environment: python -m unittest test_check"""

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


def cart_event(version, command, seq=None):
    event = {"aggregate_id": "cart", "version": version, "occurred_at": 0, "cart_item_added": {}}
    return (0, seq or version, event, command)


def stock_event(kind, **body):
    return (0, 0, {"aggregate_id": "mug", "version": 1, "occurred_at": 0, kind: body}, "c")


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

    def test_half_a_transaction(self):
        entry = {"transaction": 1, "writer_epoch": 1, "ranges": [], "decided": []}
        verdict = check.Verdict()
        events = logged(check.EVENTS[2], cart_event(1, "a"))
        check.read_journals(FakeLog({check.JOURNALS[2]: [Record(entry)]}), events, verdict)
        self.assertIn("half a transaction", verdict.problems[0])


if __name__ == "__main__":
    unittest.main()
