"""The rules of the log find what they are there for: python3 -m unittest test_log (needs nothing else)"""

import datetime
import unittest

import log as logs
from common import EVENTS, Event, Verdict
from planted import FakeLog, Record, an_event, logged

CART = EVENTS[2]
NOW = datetime.datetime(2026, 4, 2, 12, tzinfo=datetime.timezone.utc)


def cart_event(version, command):
    value = {"aggregate_id": "cart", "version": version, "occurred_at": 0, "cart_item_added": {}}
    return an_event(value, version, command)


class Dense(unittest.TestCase):
    def read(self, *records):
        verdict = Verdict()
        logs.read_events(FakeLog({CART: list(records)}), verdict)
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

    def test_an_aggregate_in_two_partitions(self):
        verdict = Verdict()
        logs.read_events(FakeLog({CART: {0: [self.record(1, 1)], 1: [self.record(1, 1)]}}), verdict)
        self.assertIn("cart has events in partition 0 too", verdict.problems[0])

    def test_what_was_aborted_is_not_written_again_in_its_epoch(self):
        for epoch, found in [(2, 0), (1, 1)]:
            first, again = self.record(1, 1), self.record(1, 1, epoch)
            again.offset = 5
            log = FakeLog({CART: [first, again]})
            events = logged(CART, Event(0, 5, 1, epoch, again.value, "c"))
            verdict = Verdict()
            aborted = logs.nothing_aborted(log, events, verdict)
            self.assertEqual(len(verdict.problems), found, verdict.problems)
            self.assertEqual(aborted, {(CART, "cart")})

    def test_what_counts_as_committed_has_to_be_in_the_log(self):
        verdict = Verdict()
        logs.nothing_aborted(FakeLog({}), logged(CART, cart_event(1, "a")), verdict)
        self.assertIn("not in the log", verdict.problems[0])


class Times(unittest.TestCase):
    """Nodes write with a clock that is about right."""

    def judge(self, ahead_ms, kind="cart_created", **body):
        value = {"aggregate_id": "cart", "version": 1, "occurred_at": NOW, kind: body}
        taken_ms = int(NOW.timestamp() * 1_000) - ahead_ms
        verdict = Verdict()
        logs.times_are_the_logs(logged(CART, Event(0, 1, 1, 1, value, "c", taken_ms)), verdict)
        return verdict.problems

    def test_a_clock_that_is_about_right_is_clean(self):
        for ahead_ms in (-60_000, 0, 3_500):
            self.assertEqual(self.judge(ahead_ms), [])

    def test_a_clock_that_is_far_ahead(self):
        self.assertIn("cart is 20000 ms ahead of the log", self.judge(20_000)[0])

    def test_an_order_that_expired_before_its_time(self):
        second = datetime.timedelta(seconds=1)
        self.assertEqual(self.judge(0, "order_expired", payment_deadline=NOW), [])
        problems = self.judge(0, "order_expired", payment_deadline=NOW + second)
        self.assertIn("it had time until", problems[0])


def entry(transaction=1, epoch=1, ranges=((1, 1),), decided=(), at=NOW, failed=(), **headers):
    ranges = [{"topic": CART, "first": first, "last": last} for first, last in ranges]
    decided = [{"command_id": command, "idempotency_key": key, "outcome": "{}"} for command, key in decided]
    value = {
        "transaction": transaction, "writer_epoch": epoch, "ranges": ranges, "decided": decided, "decided_at": at,
        "failed": list(failed),
    }
    return Record(value, **headers)


class Journals(unittest.TestCase):
    def read(self, *entries, events=1):
        self.verdict = Verdict()
        events = logged(CART, *(cart_event(seq + 1, "a") for seq in range(events)))
        self.journal = logs.read_journals(
            FakeLog({logs.JOURNALS[2]: list(entries)}), events, self.verdict
        )
        return self.verdict.problems

    def test_every_event_in_a_range_is_clean(self):
        second = entry(2, ranges=[(2, 3)], decided=[("b", "k2"), ("b", None), ("c", None)])
        self.assertEqual(self.read(entry(decided=[("a", "k1")]), second, events=3), [])
        of = [self.journal.transaction_of(CART, cart_event(seq, "a")) for seq in (1, 2, 3, 4)]
        self.assertEqual(of, [1, 2, 2, None])
        self.assertEqual(self.journal.places["c"], ("checkout", 0, 2))

    def test_half_a_transaction(self):
        self.assertIn("half a transaction", self.read(entry(ranges=[]))[0])
        self.assertIn("half a transaction", self.read(entry(), events=0)[0])

    def test_a_transaction_that_is_missing_or_there_twice(self):
        self.assertIn("transaction 3 after 1", self.read(entry(), entry(3, ranges=[]))[0])
        self.assertIn("jumps from 1 to 1", self.read(entry(), entry(2))[0])

    def test_an_earlier_writer(self):
        later = entry(2, epoch=1, ranges=[])
        self.assertIn("an earlier epoch", self.read(entry(epoch=2), later)[0])

    def test_a_key_that_was_decided_twice(self):
        entries = [entry(decided=[("a", "k1")]), entry(2, ranges=[], decided=[("b", "k1")])]
        self.assertIn("k1 was decided twice", self.read(*entries)[0])

    def test_a_message_that_was_given_up(self):
        given_up = entry(failed=[{"offset": 7, "reason": "a panic"}])
        self.assertIn("given up", self.read(given_up)[0])

    def test_rounds_of_snapshots_are_counted_when_the_journal_names_them(self):
        later = [entry(number, ranges=[], checkpoint=of) for number, of in ((2, 7), (3, 7), (4, 9))]
        self.assertEqual(self.read(entry(), *later), [])
        self.assertEqual(self.verdict.looked_at["rounds of snapshots completed"], 2)

    def test_what_was_forgotten_and_what_came_back_is_counted(self):
        late = NOW + datetime.timedelta(seconds=90)
        self.read(
            entry(decided=[("a", "k1"), ("b", "k2")]),
            entry(5, ranges=[], decided=[("c", "k3"), ("d", "k4")], at=late),
        )
        left = [
            Record(None, key=f"aggregate/0/{name}", kind=kind, transaction=transaction)
            for name, kind, transaction in (("o", "finished", 3), ("p", "live", 3), ("q", "finished", 6))
        ]
        left.append(Record(None, key="page/0/7", kind="page", transaction=7))
        operations = {
            key: {"aggregate": name} for key, name in (("k1", "o"), ("k2", "p"), ("k3", "o"), ("k4", "q"))
        }
        verdict = Verdict()
        logs.what_was_exercised(FakeLog({logs.SNAPSHOTS: left}), operations, self.journal, 60, verdict)
        self.assertEqual(verdict.looked_at["results forgotten"], 2)
        self.assertEqual(verdict.looked_at["archived orders that came back"], 1)
        self.assertEqual(verdict.looked_at["pages of who has left memory"], 1)


class Queued(unittest.TestCase):
    """202 is a promise."""

    def judge(self, submitted, decided, offset=4):
        command = "01900000-0000-7000-8000-000000000001"
        there = {"command_id": command, "idempotency_key": "k1", "aggregate_id": "cart", **submitted}
        inbox = Record({"submit_command": there}, offset=offset)
        verdict = Verdict()
        journal = logs.read_journals(
            FakeLog({logs.JOURNALS[2]: [entry(ranges=[], decided=[(command, "k1")] if decided else [])]}),
            logged(CART), verdict,
        )
        queued = [{"key": "k1", "aggregate": "cart", "told": {"command": f"checkout-0-4-{command}"}}]
        logs.what_was_queued_is_decided(FakeLog({"checkout.inbox.v1": [inbox]}), queued, journal, verdict)
        return verdict.problems

    def test_what_is_in_the_inbox_and_decided_is_clean(self):
        self.assertEqual(self.judge({}, True), [])

    def test_a_queued_command_that_was_lost(self):
        self.assertIn("is not in the inbox", self.judge({}, True, offset=5)[0])
        self.assertIn("no journal has decided", self.judge({}, False)[0])

    def test_another_command_in_its_place(self):
        self.assertIn("the inbox has", self.judge({"idempotency_key": "k2"}, True)[0])
        self.assertIn("the inbox has", self.judge({"aggregate_id": "other"}, True)[0])


if __name__ == "__main__":
    unittest.main()
