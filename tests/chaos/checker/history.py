"""Judges what clients were told against the log: the history knows what was asked, and when."""

import collections
import json

from common import EVENTS, branch
from read_model import fold_cart, fold_order, new_cart, new_order

PRODUCT, STOCK, CART, ORDER = EVENTS
TOPIC_OF = dict(zip(("product", "stock", "cart", "order"), EVENTS))
# By what is asked: the kinds of events of which it makes one.
MAKES = {
    "product.create": {"product_created"},
    "product.price": {"product_price_changed"},
    "stock.receive": {"stock_received"},
    "stock.adjust": {"stock_adjusted"},
    "cart.create": {"cart_created"},
    "cart.add": {"cart_item_added", "cart_item_quantity_changed"},
    "cart.checkout": {"order_created"},
    "order.pay": {"order_payment_captured", "order_payment_failed", "order_payment_refunded"},
    "order.ship": {"order_shipped"},
    "order.return": {"order_returned"},
    "order.cancel": {"order_cancelled"},
}
# What only a caller's command makes; anything else may be a message's or a timer's.
BY_COMMAND = set.union(*MAKES.values(), {"cart_item_repriced", "cart_checked_out"})
# What makes something each time that it is done: it is no repeat of anything.
NEVER_REPEATS = ("cart.add",)
# Answers that tell of the present when they are a repeat's.
OF_THE_PRESENT = ("cart.create", "cart.checkout", "order.cancel")
# What is told of an aggregate with its version.
AMOUNTS = (
    "price_minor", "on_hand", "reserved", "cart_total_minor", "status", "total_minor", "captured_minor",
    "refunded_minor", "refund_due_minor", "shipped_units", "returned_units",
)


def read_history(path):
    """Operations by key: invoked, ended, told; the reads; and what was queued."""
    operations, reads, queued = {}, [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["event"] == "read":
                reads.append(entry)
            elif entry["event"] == "queued":
                queued.append(entry)
            elif entry["event"] == "again":
                operations[entry["key"]]["again"] = entry["told"]
            elif entry["event"] == "invoke":
                operations[entry["key"]] = {**entry, "invoked": entry["at_us"], "ended": None}
            else:
                operations[entry["key"]].update(
                    ended=entry["at_us"], event=entry["event"], told=entry["told"]
                )
    return operations, reads, queued


def kind_of(operation):
    """The kind of aggregate whose version an operation is told: a checkout is told its order's."""
    return "order" if operation["op"] == "cart.checkout" else operation["op"].split(".")[0]


def topic_of(operation):
    return TOPIC_OF[kind_of(operation)]


def subject_of(operation):
    """What it is asked of, as topic and aggregate: of a cart, where that is checked out."""
    return TOPIC_OF[operation["op"].split(".")[0]], operation["aggregate"]


def what_was_asked_for(operations):
    """Carts, orders and products that somebody asked for something of, as topics and aggregates."""
    named = {subject_of(operation) for operation in operations.values()}
    orders = {(ORDER, name) for topic, name in named if topic == CART}
    return {(topic, name) for topic, name in named if topic != STOCK} | orders


def refused_with(operation):
    """The HTTP status of a refusal. That of a command that was queued is told with 200, as a problem that
    has it."""
    told = operation["told"]
    return told["body"].get("status", told["status"])


class Effects:
    """Who made which event."""

    def __init__(self, events, journal):
        self.journal = journal
        # By topic, aggregate and version: the command.
        self.makers = {}
        # By command: topic, event and kind of what only it can have made, in order.
        self.made = collections.defaultdict(list)
        # By key: its commands that made something.
        self.commands = collections.defaultdict(set)
        # By topic and aggregate.
        self.last = collections.defaultdict(int)
        for topic in EVENTS:
            for event in events[topic]:
                name, version = event.value["aggregate_id"], event.value["version"]
                self.makers[topic, name, version] = event.command
                self.last[topic, name] = version
                kind, _ = branch(event.value)
                if kind in BY_COMMAND:
                    self.made[event.command].append((topic, event, kind))
                if event.command in journal.commands:
                    self.commands[journal.commands[event.command]].add(event.command)

    def maker(self, operation, version):
        """The key of the command that made a version of the operation's aggregate."""
        command = self.makers.get((topic_of(operation), operation["aggregate"], version))
        return self.journal.commands.get(command, "nobody")

    def is_repeat(self, operation, version):
        """Whether it made nothing, and was told what another command had made."""
        if operation["op"] in NEVER_REPEATS:
            return False
        return not self.commands[operation["key"]] and self.maker(operation, version) != "nobody"


def nothing_is_made_twice(effects, verdict):
    """What only a caller's command makes was made by one that was decided, with that decision."""
    for command, made in effects.made.items():
        place = effects.journal.places.get(command)
        for topic, event, kind in made:
            name = event.value["aggregate_id"]
            if not verdict.check(place is not None, f"{kind} of {name}: no journal has decided {command}"):
                continue
            transaction = effects.journal.transaction_of(topic, event)
            verdict.check(
                transaction == place[2],
                f"{kind} of {name}: made in transaction {transaction}, {command} was decided in {place[2]}",
            )


def is_what_was_asked_for(operation, kind, body):
    """Whether an event is what an operation asked for."""
    what, request = operation["op"], operation["request"]
    asked = {}
    if what == "product.create":
        asked = {"name": request["name"], "price_minor": request["price"]["amount_minor"]}
    elif what == "product.price":
        asked = {"price_minor": request["amount_minor"]}
    elif what in ("stock.receive", "stock.adjust", "order.cancel"):
        # Whoever called it off first gave the reference.
        asked = {} if what == "order.cancel" else request
    elif what == "cart.create":
        asked = {"currency": request["currency"]}
    elif what == "cart.add":
        added = body["quantity"] - body.get("old_quantity", 0)
        return [body["sku"], added] == [request["sku"], request["quantity"]]
    elif what == "order.pay":
        asked = {name: request[name] for name in ("payment_id", "operation_id")}
        asked["amount_minor"] = request["amount"]["amount_minor"]
        if kind != f"order_payment_{request['kind']}":
            return False
    elif what == "order.ship":
        asked = {"shipment_id": request["shipment_id"]}
    elif what == "order.return":
        asked = {"return_id": request["return_id"], "restock": request["restock"]}
        lines = {line["line"]: line["quantity"] for line in body["lines"]}
        if lines != {line["line"]: line["quantity"] for line in request["lines"]}:
            return False
    return all(body.get(name) == value for name, value in asked.items())


def acknowledged_is_in_the_log(operations, effects, verdict):
    """What was told is what was decided. What was accepted, be it that nobody heard of it, stands in the log,
    made by that command or, for a repeat, by one that asked for the same; what was refused had no effect; each
    key had one at most, and somebody sent it."""
    strangers = set(effects.journal.decided) - set(operations)
    verdict.check(not strangers, f"decided, and nobody had sent it: {sorted(strangers)[:5]}")
    for key, operation in operations.items():
        outcome, event, what = effects.journal.decided.get(key), operation["event"], operation["op"]
        verdict.looked_at[f"operations: {event}"] += 1
        count = len(effects.commands[key])
        verdict.check(count <= 1, f"{key} took effect {count} times")
        if event == "ok":
            if verdict.check(
                outcome is not None and "accepted" in outcome,
                f"{key} ({what}) was acknowledged, the journal has {outcome}",
            ):
                is_told(operation, outcome["accepted"]["version"], verdict)
        elif event == "fail":
            if verdict.check(
                outcome is not None and "rejected" in outcome,
                f"{key} ({what}) was refused, the journal has {outcome}",
            ):
                told, reason = operation["told"]["body"].get("code"), outcome["rejected"]["reason"]
                verdict.check(told == reason, f"{key} was refused for {told}, the journal has {reason}")
                verdict.looked_at[f"refused: {reason}"] += 1
        if outcome and "accepted" in outcome:
            is_made(operation, outcome["accepted"]["version"], effects, verdict)
        elif outcome:
            verdict.check(not effects.commands[key], f"{key} was refused and took effect")


def has_waited(operation):
    """Whether it was told what became of an order: a checkout that has waited for that."""
    return operation["op"] == "cart.checkout" and operation["told"]["status"] == 200


def is_told(operation, version, verdict):
    """An acknowledged operation is told the version that was decided; one that has waited, that or a later one."""
    key, told = operation["key"], operation["told"]["body"]["version"]
    is_it = told >= version if has_waited(operation) else told == version
    verdict.check(is_it, f"{key} was told version {told}, decided {version}")


def is_made(operation, version, effects, verdict):
    """An accepted operation made one event that it asked for, or somebody had who asked for the same."""
    key, what = operation["key"], operation["op"]
    topic, name = topic_of(operation), operation["aggregate"]
    maker, repeat = effects.maker(operation, version), effects.is_repeat(operation, version)
    verdict.looked_at[f"operations: {operation['event']}, a repeat"] += repeat
    if not verdict.check(
        maker == key or repeat,
        f"{key} ({what}): version {version} of {name} was accepted for it, in the log it is made by {maker}",
    ):
        return
    made = effects.made[effects.makers[topic, name, version]]
    kinds = MAKES[what] | ({"product_created"} if what == "product.price" and repeat else set())
    bodies = [
        (kind, branch(event.value)[1])
        for of, event, kind in made
        if of == topic and event.value["aggregate_id"] == name and kind in kinds
    ]
    verdict.check(
        len(bodies) == 1 and is_what_was_asked_for(operation, *bodies[0]),
        f"{key} ({what}) asked for {operation['request']}, made was {bodies}",
    )


def linearizable(operations, effects, verdict):
    """Of two acknowledged operations on one aggregate that do not overlap in time, the later one has
    the larger version: there is one order, and it is that of real time. (Every version is made by one
    command, so that order is total.) A repeat makes no version, and who is refused because of the version
    makes none but was told one: that is not older than any that had been told before. Nor is the version at
    which a price was already what somebody wanted it to be. And nobody is told that something does not exist
    which somebody had been told to exist before."""
    by_aggregate = collections.defaultdict(list)
    exists = {}
    for key, operation in operations.items():
        outcome = effects.journal.decided.get(key)
        name, ended = (kind_of(operation), operation["aggregate"]), operation["ended"]
        if operation["event"] == "fail" and refused_with(operation) == 412:
            # The version of what it is about: a cart's, where a cart is checked out.
            name = operation["op"].split(".")[0], operation["aggregate"]
            version = operation["told"]["body"]["version"]
            by_aggregate[name].append((operation["invoked"], ended, version, key, "saw"))
            verdict.check(
                version != operation["at_version"] and version <= effects.last[TOPIC_OF[name[0]], name[1]],
                f"{key} was refused at version {version}, it wanted {operation['at_version']}",
            )
        if operation["event"] != "ok":
            continue
        exists[name] = min(exists.get(name, ended), ended)
        if outcome and "accepted" in outcome:
            version = outcome["accepted"]["version"]
            how = "got"
            if effects.is_repeat(operation, version):
                how = "saw" if operation["op"] == "product.price" else "repeats"
            by_aggregate[name].append((operation["invoked"], ended, version, key, how))
    for name, done in by_aggregate.items():
        verdict.looked_at["aggregates"] += 1
        clients = {operations[key]["client"] for _, _, _, key, _ in done}
        verdict.looked_at["aggregates that several clients changed"] += len(clients) > 1
        versions = [version for _, _, version, _, how in done if how == "got"]
        verdict.check(len(set(versions)) == len(versions), f"{name}: one version told twice")
        # The largest version among those that had ended before each was invoked.
        ended = sorted((end, version) for _, end, version, _, _ in done)
        largest, index = 0, 0
        for invoked, _, version, key, how in sorted(done):
            while index < len(ended) and ended[index][0] < invoked:
                largest = max(largest, ended[index][1])
                index += 1
            fits = {"got": version > largest, "saw": version >= largest, "repeats": True}[how]
            verdict.check(fits, f"{name}: {key} {how} version {version} after {largest} had been told")
    for key, operation in operations.items():
        if operation["event"] == "fail" and refused_with(operation) == 404:
            name = operation["op"].split(".")[0], operation["aggregate"]
            verdict.check(
                exists.get(name, operation["invoked"]) >= operation["invoked"],
                f"{key} ({operation['op']}) was told that {name} does not exist, which had been acknowledged",
            )


def versions_were_as_expected(operations, effects, verdict):
    """Who wanted an aggregate to be at a version made the very next one, or was told that one."""
    for key, operation in operations.items():
        expected = operation["at_version"]
        if expected is None:
            continue
        accepted = (effects.journal.decided.get(key) or {}).get("accepted")
        if accepted and not effects.commands[key]:
            verdict.check(
                accepted["version"] == expected,
                f"{key} wanted version {expected}, it made nothing at {accepted['version']}",
            )
        for command in effects.commands[key]:
            verdict.looked_at["versions that were expected"] += 1
            of = subject_of(operation)
            made = [
                event.value["version"]
                for topic, event, _ in effects.made[command]
                if (topic, event.value["aggregate_id"]) == of
            ]
            verdict.check(
                made and min(made) == expected + 1,
                f"{key} wanted version {expected}, it made {made}",
            )


def standings(events):
    """By topic, aggregate and version: what a caller may be told of it."""
    found = {}
    carts, orders = {}, {}
    for topic in EVENTS:
        now = collections.defaultdict(dict)
        for event in (event.value for event in events[topic]):
            name = event["aggregate_id"]
            kind, body = branch(event)
            if topic == ORDER:
                if kind == "order_created":
                    orders[name] = new_order(body)
                fold_order(orders[name], kind, body)
                body = orders[name]
            elif topic == CART:
                cart = carts.setdefault(name, new_cart())
                fold_cart(cart, kind, body)
                body = {**cart, "cart_total_minor": cart["total_minor"]}
            told = {field: body[field] for field in AMOUNTS if field in body}
            now[name] = {**now[name], **told}
            found[topic, name, event["version"]] = now[name]
    return found


def wrong_amounts(told, standing):
    """Amounts that are not those of a version, with both values."""
    both = [field for field in AMOUNTS if field in told and field in standing]
    return {field: (told[field], standing[field]) for field in both if told[field] != standing[field]}


def answers_are_true(operations, known, effects, verdict):
    """The status and the amounts that somebody was told are those of the version that he was told. `known` are
    the standings."""
    for key, operation in operations.items():
        if operation["event"] != "ok":
            continue
        told = operation["told"]["body"]
        outcome = effects.journal.decided.get(key) or {}
        decided = outcome.get("accepted", {}).get("version")
        of_the_present = operation["op"] in OF_THE_PRESENT and effects.is_repeat(operation, decided)
        if of_the_present and not has_waited(operation):
            continue
        version = told["version"]
        standing = known.get((topic_of(operation), operation["aggregate"], version))
        if not verdict.check(standing is not None, f"{key} was told version {version}, which is not in the log"):
            continue
        wrong = wrong_amounts(told, standing)
        verdict.looked_at["amounts told"] += sum(field in told for field in AMOUNTS)
        verdict.check(not wrong, f"{key} ({operation['op']}) was told (told, is): {wrong}")


def repeats_are_answered_alike(operations, verdict):
    """Who sends a command once more under its key is told the same."""
    for key, operation in operations.items():
        if "again" in operation:
            verdict.looked_at["sent once more"] += 1
            told, again = operation["told"], operation["again"]
            verdict.check(again == told, f"{key} was told {told}, and then {again}")


def reads_are_true(reads, known, verdict):
    """The amounts in what somebody read are those of the version that he read. `known` are the standings."""
    for read in reads:
        told = read["told"]
        standing = known.get((TOPIC_OF[read["kind"]], read["aggregate"], told["version"]))
        amounts = told.get("amounts")
        if amounts and standing:
            verdict.looked_at["amounts read"] += sum(field in standing for field in amounts)
            wrong = wrong_amounts(amounts, standing)
            verdict.check(
                not wrong,
                f"{read['client']} at {read['at_us']} us, {read['path']}, told (told, is): {wrong}",
            )
