"""The rules of the history find what they are there for: python3 -m unittest test_history (needs nothing else)"""

import unittest

import history
from common import EVENTS, Verdict
from log import Journal
from planted import an_event, logged

PRODUCT, STOCK, CART, ORDER = EVENTS
MUG = {"sku": "mug", "quantity": 1}


def operation(key, event="ok", version=1, invoked=0, ended=10, op="cart.add", **more):
    told = {"status": 200, "body": {"version": version}} if event == "ok" else {"status": 409, "body": {"code": "no"}}
    return {
        "key": key, "event": event, "op": op, "aggregate": "cart", "told": told, "client": key,
        "request": MUG, "at_version": None, "invoked": invoked, "ended": ended, **more,
    }


def refused(key, status=409, queued=False, **more):
    """What was queued is told of with 200; the problem has its status too."""
    body = {"code": "no", "version": more.pop("version", None), "status": status}
    return operation(key, "fail", told={"status": 200 if queued else status, "body": body}, **more)


def accepted(version):
    return {"accepted": {"version": version}}


REJECTED = {"rejected": {"reason": "no"}}


def an_event_of(name, version, kind, command, seq=None, **body):
    value = {"aggregate_id": name, "version": version, "occurred_at": 0, kind: body}
    return an_event(value, version if seq is None else seq, command)


def added(version, command, seq=None, **body):
    line = {"line": version, "unit_price_minor": 10, "line_total_minor": 10}
    body = {**MUG, **line, "cart_total_minor": 10 * version, **body}
    return an_event_of("cart", version, "cart_item_added", command, seq, **body)


def journal(decided, commands, events):
    """One transaction for each command that has a key; `decided` by key, `commands` their keys."""
    made = Journal()
    made.decided, made.commands = decided, commands
    places = {command: ("checkout", 0, number) for number, command in enumerate(commands, 1)}
    made.places = places
    for topic in EVENTS:
        for event in events[topic]:
            lasts, transactions = made.seqs[topic, 0]
            lasts.append(event.seq)
            transactions.append(places.get(event.command, ("", 0, 99))[2])
    return made


class Judged(unittest.TestCase):
    def judge(self, operations, decided, events, commands, change=lambda journal: None):
        verdict = Verdict()
        operations = {each["key"]: each for each in operations}
        written = journal(decided, commands, events)
        change(written)
        effects = history.Effects(events, written)
        history.nothing_is_made_twice(effects, verdict)
        history.acknowledged_is_in_the_log(operations, effects, verdict)
        history.linearizable(operations, effects, verdict)
        history.versions_were_as_expected(operations, effects, verdict)
        history.answers_are_true(operations, history.standings(events), effects, verdict)
        history.repeats_are_answered_alike(operations, verdict)
        self.verdict = verdict
        return verdict.problems


class Acknowledged(Judged):
    def test_what_is_in_the_log_as_told_is_clean(self):
        events = logged(CART, added(1, "a"), added(2, "b"))
        operations = [operation("k1"), operation("k2", version=2, invoked=20, ended=30)]
        decided = {"k1": accepted(1), "k2": accepted(2)}
        self.assertEqual(self.judge(operations, decided, events, {"a": "k1", "b": "k2"}), [])
        self.assertEqual(self.verdict.looked_at["aggregates that several clients changed"], 1)

    def test_an_acknowledged_command_that_is_not_in_the_log(self):
        problems = self.judge([operation("k1")], {}, logged(CART), {})
        self.assertIn("acknowledged", problems[0])

    def test_an_answer_that_is_not_what_was_decided(self):
        events = logged(CART, added(1, "b"), added(2, "a"))
        problems = self.judge([operation("k1")], {"k1": accepted(2)}, events, {"a": "k1", "b": "k2"})
        self.assertIn("was told version 1", problems[0])

    def test_a_command_that_took_effect_twice(self):
        events = logged(CART, added(1, "a"), added(2, "b"))
        problems = self.judge([operation("k1")], {"k1": accepted(1)}, events, {"a": "k1", "b": "k1"})
        self.assertIn("took effect 2 times", problems[0])

    def test_a_command_that_took_effect_twice_under_one_id(self):
        events = logged(CART, added(1, "a"), added(2, "a"))
        problems = self.judge([operation("k1", version=2)], {"k1": accepted(2)}, events, {"a": "k1"})
        self.assertIn("made was", problems[0])

    def test_a_command_that_was_decided_once_and_took_effect_in_two_transactions(self):
        events = logged(CART, added(1, "a"), added(2, "a"))
        later = lambda journal: journal.seqs.update({(CART, 0): ([1, 2], [1, 2])})
        problems = self.judge([operation("k1")], {"k1": accepted(1)}, events, {"a": "k1"}, later)
        self.assertIn("made in transaction 2, a was decided in 1", problems[0])

    def test_an_effect_of_a_command_that_no_journal_has(self):
        problems = self.judge([], {}, logged(CART, added(1, "x")), {})
        self.assertIn("no journal has decided x", problems[0])

    def test_an_acknowledged_command_whose_event_is_somebody_elses(self):
        events = logged(CART, added(1, "b"), added(2, "a"))
        problems = self.judge([operation("k1")], {"k1": accepted(1)}, events, {"b": "k2", "a": "k1"})
        self.assertIn("made by k2", problems[0])

    def test_an_event_that_is_not_what_was_asked_for(self):
        for wrong in ({"sku": "lamp"}, {"quantity": 2}):
            events = logged(CART, added(1, "a", **wrong))
            problems = self.judge([operation("k1")], {"k1": accepted(1)}, events, {"a": "k1"})
            self.assertIn("asked for", problems[0])

    def test_an_acknowledged_command_that_was_refused(self):
        problems = self.judge([operation("k1")], {"k1": REJECTED}, logged(CART), {})
        self.assertIn("acknowledged", problems[0])

    def test_what_nobody_knows_may_have_happened_or_not(self):
        events = logged(CART, added(1, "a"))
        operations = [operation("k1", "unknown"), operation("k2", "unknown")]
        self.assertEqual(self.judge(operations, {"k1": accepted(1)}, events, {"a": "k1"}), [])

    def test_what_nobody_knows_and_the_journal_does(self):
        events = logged(CART, added(1, "a"))
        unknown = [operation("k1", "unknown", told={})]
        self.assertIn("made by nobody", self.judge(unknown, {"k1": accepted(1)}, logged(CART), {"a": "k1"})[0])
        self.assertIn("was refused and took effect", self.judge(unknown, {"k1": REJECTED}, events, {"a": "k1"})[0])
        twice = logged(CART, added(1, "a"), added(2, "a"))
        self.assertIn("made was", self.judge(unknown, {"k1": accepted(2)}, twice, {"a": "k1"})[0])

    def test_what_was_decided_and_nobody_had_sent(self):
        events = logged(CART, added(1, "a"))
        problems = self.judge([operation("k1")], {"k1": accepted(1), "k2": REJECTED}, events, {"a": "k1"})
        self.assertIn("nobody had sent it: ['k2']", problems[0])

    def test_what_is_put_into_a_cart_is_no_repeat(self):
        events = logged(CART, added(1, "a"))
        both = [operation("k1"), operation("k2", version=1)]
        problems = self.judge(both, {"k1": accepted(1), "k2": accepted(1)}, events, {"a": "k1"})
        self.assertIn("k2 (cart.add): version 1 of cart was accepted for it, in the log it is made by k1", problems[0])

    def test_what_is_sent_once_more_is_told_the_same(self):
        events = logged(CART, added(1, "a"))
        for status, found in ((200, 0), (201, 1)):
            one = operation("k1", again={"status": status, "body": {"version": 1}})
            problems = self.judge([one], {"k1": accepted(1)}, events, {"a": "k1"})
            self.assertEqual(len(problems), found, problems)

    def test_what_nobody_knows_happened_twice(self):
        events = logged(CART, added(1, "a"), added(2, "b"))
        problems = self.judge([operation("k1", "unknown")], {}, events, {"a": "k1", "b": "k1"})
        self.assertIn("took effect 2 times", problems[0])


class Refused(Judged):
    """Two clients share a cart: `k1` has made its first version."""

    events = logged(CART, added(1, "a"))

    def judge_with(self, other, outcome=REJECTED, events=events, first=None):
        operations = [first or operation("k1"), other]
        decided = {"k1": accepted(1), **({"k2": outcome} if outcome else {})}
        return self.judge(operations, decided, events, {"a": "k1", "b": "k2"})

    def test_what_was_refused_and_did_nothing_is_clean(self):
        self.assertEqual(self.judge_with(refused("k2")), [])
        at_two = refused("k2", 412, version=1, at_version=2)
        self.assertEqual(self.judge_with(at_two), [])

    def test_what_was_refused_although_it_is_accepted_or_for_another_reason(self):
        self.assertIn("was refused, the journal has", self.judge_with(refused("k2"), accepted(1))[0])
        self.assertIn("was refused, the journal has", self.judge_with(refused("k2"), None)[0])
        other = {"rejected": {"reason": "full"}}
        self.assertIn("was refused for no, the journal has full", self.judge_with(refused("k2"), other)[0])

    def test_a_refusal_with_an_effect(self):
        events = logged(CART, added(1, "a"), added(2, "b"))
        for status in (409, 412, 422):
            wrong = refused("k2", status, version=1, at_version=2)
            self.assertIn("was refused and took effect", self.judge_with(wrong, events=events)[0])

    def test_a_refusal_at_the_version_that_was_wanted(self):
        wrong = refused("k2", 412, version=1, at_version=1)
        self.assertIn("was refused at version 1", self.judge_with(wrong)[0])

    def test_a_refusal_at_a_version_that_is_not_there(self):
        wrong = refused("k2", 412, version=2, at_version=1)
        self.assertIn("was refused at version 2", self.judge_with(wrong)[0])

    def test_a_refusal_at_a_version_that_was_old(self):
        for queued in (False, True):
            old = refused("k2", 412, queued, version=0, at_version=3, invoked=20, ended=30)
            self.assertIn("saw version 0 after 1", self.judge_with(old)[0])

    def test_a_version_after_one_that_somebody_was_refused_at(self):
        events = logged(CART, added(1, "a"), added(2, "c"), added(3, "d"))
        operations = [
            refused("k2", 412, version=3, at_version=1),
            operation("k1", version=1, invoked=20, ended=30),
        ]
        decided = {"k1": accepted(1), "k2": REJECTED}
        problems = self.judge(operations, decided, events, {"a": "k1", "c": "k3", "d": "k4"})
        self.assertIn("got version 1 after 3", problems[0])

    def test_what_was_acknowledged_and_then_denied(self):
        for queued in (False, True):
            missing = refused("k2", 404, queued, invoked=20, ended=30)
            self.assertIn("does not exist", self.judge_with(missing)[0])

    def test_what_was_not_there_yet_may_be_denied(self):
        self.assertEqual(self.judge_with(refused("k2", 404, invoked=5, ended=8)), [])


class Expected(Judged):
    """If-Match: somebody wanted the cart to be at a version."""

    def judge_at(self, at_version, events=None):
        events = events or logged(CART, added(1, "b"), added(2, "a"))
        wanted = operation("k1", version=2, at_version=at_version)
        return self.judge([wanted], {"k1": accepted(2)}, events, {"b": "k2", "a": "k1"})

    def test_the_next_version_is_clean(self):
        self.assertEqual(self.judge_at(1), [])

    def test_a_version_that_somebody_was_faster_with(self):
        self.assertIn("wanted version 0, it made [2]", self.judge_at(0)[0])


class Prices(Judged):
    """Two clients set a price to what it is: that makes nothing, and tells where it was set."""

    def judge_second(self, version, at_version=None, price=5):
        def priced(version, price, command):
            return an_event_of("mug", version, "product_price_changed", command, price_minor=price)

        events = logged(PRODUCT, priced(1, 5, "a"), priced(2, 6, "c"), priced(3, 5, "d"))
        wish = {"op": "product.price", "aggregate": "mug"}
        operations = [
            operation(key, version=at, request={"amount_minor": price}, invoked=at, ended=at, **wish)
            for key, at, price in (("k1", 1, 5), ("k3", 2, 6), ("k4", 3, 5))
        ]
        again = {"request": {"amount_minor": price}, "at_version": at_version, "invoked": 20, "ended": 30}
        operations.append(operation("k2", version=version, **again, **wish))
        decided = {"k1": accepted(1), "k3": accepted(2), "k4": accepted(3), "k2": accepted(version)}
        return self.judge(operations, decided, events, {"a": "k1", "c": "k3", "d": "k4", "b": "k2"})

    def test_the_present_price_is_clean(self):
        self.assertEqual(self.judge_second(3), [])
        self.assertEqual(self.judge_second(3, at_version=3), [])

    def test_a_price_of_long_ago(self):
        self.assertIn("k2 saw version 1 after 3", self.judge_second(1)[0])

    def test_a_price_at_a_version_that_was_not_wanted(self):
        self.assertIn("k2 wanted version 2, it made nothing at 3", self.judge_second(3, at_version=2)[0])


class Linearizable(Judged):
    def test_one_version_that_was_told_twice(self):
        events = logged(CART, added(1, "a"), added(2, "b"))
        operations = [operation("k1"), operation("k2")]
        problems = self.judge(
            operations, {"k1": accepted(1), "k2": accepted(1)}, events, {"a": "k1", "b": "k2"}
        )
        self.assertIn("one version told twice", problems[-1])

    def test_a_later_command_with_a_smaller_version(self):
        events = logged(CART, added(1, "b"), added(2, "a"))
        operations = [operation("k1", version=2), operation("k2", version=1, invoked=20, ended=30)]
        decided = {"k1": accepted(2), "k2": accepted(1)}
        problems = self.judge(operations, decided, events, {"a": "k1", "b": "k2"})
        self.assertIn("got version 1 after 2", problems[0])

    def test_commands_that_overlap_may_have_any_order(self):
        events = logged(CART, added(1, "b"), added(2, "a"))
        operations = [operation("k1", version=2), operation("k2", version=1, invoked=5, ended=30)]
        decided = {"k1": accepted(2), "k2": accepted(1)}
        self.assertEqual(self.judge(operations, decided, events, {"a": "k1", "b": "k2"}), [])


class Repeats(Judged):
    """Two clients report one delivery."""

    delivery = {"quantity": 3, "reference": "d"}

    def judge_second(self, request=delivery, version=1):
        received = an_event_of("mug", 1, "stock_received", "a", **self.delivery, on_hand=3, reserved=0)
        other = an_event_of("mug", 2, "stock_received", "c", quantity=3, reference="e", on_hand=6, reserved=0)
        both = [
            operation(key, op="stock.receive", aggregate="mug", request=asked, version=told)
            for key, asked, told in (("k1", self.delivery, 1), ("k2", request, version))
        ]
        decided = {"k1": accepted(1), "k2": accepted(version)}
        return self.judge(both, decided, logged(STOCK, received, other), {"a": "k1", "c": "k3", "b": "k2"})

    def test_a_repeat_is_told_what_was_made_for_the_first(self):
        self.assertEqual(self.judge_second(), [])
        self.assertEqual(self.verdict.looked_at["operations: ok, a repeat"], 1)

    def test_a_repeat_that_is_told_of_something_else(self):
        self.assertIn("asked for", self.judge_second(version=2)[0])
        self.assertIn("asked for", self.judge_second({"quantity": 4, "reference": "d"})[0])

    def test_a_repeat_of_nothing(self):
        self.assertIn("made by nobody", self.judge_second(version=3)[0])


class AskedFor(unittest.TestCase):
    """Every kind of command, held against an event that is what it asked for and one that is not."""

    pay = {"payment_id": "p", "operation_id": "c", "kind": "captured", "amount": {"amount_minor": 5}}
    captured = {"payment_id": "p", "operation_id": "c", "amount_minor": 5}
    back = {"return_id": "r", "restock": True, "lines": [{"line": 1, "quantity": 1}]}
    adjust = {"delta": -1, "reason": "counted", "reference": "d"}
    cases = [
        ("product.create", {"name": "Mug", "price": {"amount_minor": 5}}, "", {"name": "Mug", "price_minor": 5}, "price_minor"),
        ("product.price", {"amount_minor": 5}, "", {"price_minor": 5}, "price_minor"),
        ("stock.adjust", adjust, "", adjust, "delta"),
        ("cart.create", {"currency": "GBP"}, "", {"currency": "GBP"}, "currency"),
        ("cart.add", MUG, "", {"sku": "mug", "quantity": 4, "old_quantity": 3}, "old_quantity"),
        ("order.pay", pay, "order_payment_captured", captured, "amount_minor"),
        ("order.ship", {"shipment_id": "s"}, "", {"shipment_id": "s"}, "shipment_id"),
        ("order.return", back, "", back, "restock"),
    ]

    def test_what_was_asked_for_and_what_was_not(self):
        for what, request, kind, body, field in self.cases:
            asked = {"op": what, "request": request}
            self.assertTrue(history.is_what_was_asked_for(asked, kind, body), what)
            wrong = {**body, field: 77}
            self.assertFalse(history.is_what_was_asked_for(asked, kind, wrong), what)

    def test_another_kind_of_payment_and_other_lines(self):
        asked = {"op": "order.pay", "request": self.pay}
        self.assertFalse(history.is_what_was_asked_for(asked, "order_payment_failed", self.captured))
        asked = {"op": "order.return", "request": self.back}
        other = {**self.back, "lines": [{"line": 2, "quantity": 1}]}
        self.assertFalse(history.is_what_was_asked_for(asked, "order_returned", other))


class Answers(Judged):
    """What somebody is told is what is there at that version."""

    created = an_event_of("cart", 1, "order_created", "a", lines=[], total_minor=0, currency="GBP")

    def check_out(self, told, status=200, *more):
        checkout = operation("k1", op="cart.checkout", request={})
        checkout["told"] = {"status": status, "body": told}
        confirmed = an_event_of("cart", 2, "order_confirmed", "a")
        events = logged(ORDER, self.created, confirmed, *more)
        return self.judge([checkout], {"k1": accepted(1)}, events, {"a": "k1"})

    def test_a_checkout_is_judged_by_its_order(self):
        self.assertEqual(self.check_out({"version": 1, "status": "pending"}, 202), [])
        self.assertEqual(self.check_out({"version": 2, "status": "confirmed"}), [])
        checkout = operation("k1", op="cart.checkout", request={}, version=1)
        problems = self.judge([checkout], {"k1": accepted(1)}, logged(CART), {})
        self.assertIn("made by nobody", problems[0])

    def test_a_checkout_that_was_told_to_be_confirmed_and_is_not(self):
        expired = an_event_of("cart", 3, "order_expired", "timer:cart")
        problems = self.check_out({"version": 3, "status": "confirmed"}, 200, expired)
        self.assertIn("{'status': ('confirmed', 'expired')}", problems[0])
        self.assertIn("'status': ('confirmed', 'pending')", self.check_out({"version": 1, "status": "confirmed"})[0])

    def test_a_checkout_that_was_told_an_older_version_or_one_that_is_not_there(self):
        self.assertIn("told version 0, decided 1", self.check_out({"version": 0, "status": "confirmed"})[0])
        self.assertIn("version 9, which is not in the log", self.check_out({"version": 9, "status": "confirmed"})[0])

    def test_amounts_that_were_read_and_are_not_those_of_that_version(self):
        confirmed = an_event_of("cart", 2, "order_confirmed", "a")
        known = history.standings(logged(ORDER, self.created, confirmed))
        for amounts, found in (({"status": "pending"}, 0), ({"status": "confirmed"}, 1), (None, 0)):
            told = {"status": 200, "version": 1, "amounts": amounts}
            read = {"client": "r", "at_us": 1, "path": "/v1", "kind": "order", "aggregate": "cart", "told": told}
            verdict = Verdict()
            history.reads_are_true([read], known, verdict)
            self.assertEqual(len(verdict.problems), found, verdict.problems)

    def test_amounts_that_are_not_those_of_the_event(self):
        received = an_event_of("mug", 1, "stock_received", "a", quantity=3, reference="d", on_hand=3, reserved=0)
        for on_hand, found in ((3, 0), (4, 1)):
            told = {"status": 201, "body": {"version": 1, "on_hand": on_hand, "reserved": 0}}
            one = operation(
                "k1", op="stock.receive", aggregate="mug", told=told, request={"quantity": 3, "reference": "d"}
            )
            problems = self.judge([one], {"k1": accepted(1)}, logged(STOCK, received), {"a": "k1"})
            self.assertEqual(len(problems), found, problems)
        self.assertIn("{'on_hand': (4, 3)}", problems[0])
        told = {"status": 201, "body": {"version": 1, "cart_total_minor": 11}}
        problems = self.judge([operation("k1", told=told)], {"k1": accepted(1)}, logged(CART, added(1, "a")), {"a": "k1"})
        self.assertIn("{'cart_total_minor': (11, 10)}", problems[0])


if __name__ == "__main__":
    unittest.main()
