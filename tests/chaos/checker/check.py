"""Judges a history of clients against the log. Trusts nobody, and shares no code with the system.

    check.py --history FILE --bootstrap HOST:PORT,... --registry URL

Reads the topics with a Kafka client and an Avro reader of its own, schemas by the ids in the records.
Exit codes: 0 clean, 1 something does not hold (each printed), 2 could not judge.
"""

import argparse
import collections
import io
import json
import struct
import sys
import urllib.request

import fastavro
from kafka import KafkaConsumer, TopicPartition

EVENTS = [
    "catalog.product.events.v1",
    "inventory.stock.events.v1",
    "checkout.cart.events.v1",
    "checkout.order.events.v1",
]
JOURNALS = ["catalog.journal.v1", "inventory.journal.v1", "checkout.journal.v1"]
INBOXES = ["catalog.inbox.v1", "inventory.inbox.v1", "checkout.inbox.v1"]
MOST_PRINTED = 40


class Verdict:
    """Collects what does not hold, and what was looked at."""

    def __init__(self):
        self.problems = []
        self.looked_at = collections.Counter()

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)
        return holds


class Log:
    """Committed records of topics, decoded."""

    def __init__(self, bootstrap, registry):
        self.bootstrap = bootstrap.split(",")
        self.registry = registry
        self.schemas = {}

    def consumer(self, isolation):
        return KafkaConsumer(
            bootstrap_servers=self.bootstrap,
            isolation_level=isolation,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=30_000,
            consumer_timeout_ms=1_000,
            max_poll_records=5_000,
        )

    def records(self, topic, isolation="read_committed"):
        """Every record, partition by partition, up to the high watermark of now."""
        # The end that a read_uncommitted client is told is the high watermark.
        probe = self.consumer("read_uncommitted")
        parts = [TopicPartition(topic, p) for p in sorted(probe.partitions_for_topic(topic))]
        ends = probe.end_offsets(parts)
        probe.close()
        consumer = self.consumer(isolation)
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        found = collections.defaultdict(list)
        idle = 0
        while any(consumer.position(at) < ends[at] for at in parts):
            polled = consumer.poll(timeout_ms=1_000)
            idle = 0 if polled else idle + 1
            if idle > 60:
                raise RuntimeError(f"{topic}: stuck before its end {ends}: an open transaction?")
            for at, records in polled.items():
                found[at.partition].extend(records)
        consumer.close()
        return {at.partition: found[at.partition] for at in parts}

    def decode(self, value):
        if value[0] != 0:
            raise ValueError("no Confluent framing")
        (number,) = struct.unpack(">I", value[1:5])
        if number not in self.schemas:
            with urllib.request.urlopen(f"{self.registry}/schemas/ids/{number}", timeout=10) as answer:
                self.schemas[number] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
        return fastavro.schemaless_reader(io.BytesIO(value[5:]), self.schemas[number])


def header(record, name):
    for key, value in record.headers:
        if key == name:
            return value.decode()
    return None


def branch(event):
    """The one branch that is set, by its name."""
    plain = ("aggregate_id", "version", "occurred_at")
    chosen = [(name, body) for name, body in event.items() if name not in plain and body is not None]
    if len(chosen) != 1:
        raise ValueError(f"an event with {len(chosen)} branches")
    return chosen[0]


def read_events(log, verdict):
    """Dense seqs and versions, one writer at a time. Returns events by topic."""
    events = {}
    for topic in EVENTS:
        events[topic] = []
        for partition, records in log.records(topic).items():
            seq, epoch = 0, 0
            versions = collections.defaultdict(int)
            for record in records:
                at = f"{topic}[{partition}] offset {record.offset}"
                number, writer = int(header(record, "seq")), int(header(record, "writer_epoch"))
                verdict.check(number == seq + 1, f"{at}: seq {number} after {seq}")
                verdict.check(writer >= epoch, f"{at}: written in epoch {writer} after {epoch}")
                seq, epoch = number, writer
                event = log.decode(record.value)
                name = event["aggregate_id"]
                versions[name] += 1
                verdict.check(
                    event["version"] == versions[name],
                    f"{at}: version {event['version']} of {name}, {versions[name]} was due",
                )
                verdict.check(record.key.decode() == name, f"{at}: key {record.key} of {name}")
                events[topic].append((partition, number, event, header(record, "command_id")))
        verdict.looked_at["events"] += len(events[topic])
    return events


def read_journals(log, events, verdict):
    """Every event in a journaled range, every key decided once. Returns what was decided, by key."""
    last = collections.defaultdict(int)
    for topic, all_events in events.items():
        for partition, seq, _, _ in all_events:
            last[topic, partition] = max(last[topic, partition], seq)
    journaled = collections.defaultdict(int)
    decided, commands = {}, {}
    for topic in JOURNALS:
        for partition, records in log.records(topic).items():
            transaction, epoch = 0, 0
            for record in records:
                entry = log.decode(record.value)
                at = f"{topic}[{partition}] offset {record.offset}"
                verdict.check(
                    entry["transaction"] == transaction + 1,
                    f"{at}: transaction {entry['transaction']} after {transaction}",
                )
                verdict.check(entry["writer_epoch"] >= epoch, f"{at}: an earlier epoch")
                transaction, epoch = entry["transaction"], entry["writer_epoch"]
                verdict.looked_at["transactions"] += 1
                for part in entry["ranges"]:
                    key = part["topic"], partition
                    verdict.check(
                        part["first"] == journaled[key] + 1,
                        f"{at}: {key} jumps from {journaled[key]} to {part['first']}",
                    )
                    journaled[key] = part["last"]
                for command in entry["decided"]:
                    outcome = json.loads(command["outcome"])
                    commands[command["command_id"]] = command["idempotency_key"]
                    key = command["idempotency_key"]
                    if key is not None:
                        verdict.check(key not in decided, f"{key} was decided twice")
                        decided[key] = outcome
    for key in set(last) | set(journaled):
        verdict.check(
            last[key] == journaled[key],
            f"{key} ends at seq {last[key]}, its journal at {journaled[key]}: half a transaction",
        )
    verdict.looked_at["decisions"] += len(decided)
    return decided, commands


def nothing_aborted(log, events, verdict):
    """Nothing that only a read_uncommitted reader sees is among what we took for committed."""
    for topic in EVENTS:
        committed = {(p, s) for p, s, _, _ in events[topic]}
        seen = collections.Counter()
        for partition, records in log.records(topic, "read_uncommitted").items():
            for record in records:
                seen[partition, int(header(record, "seq"))] += 1
        verdict.looked_at["aborted"] += sum(seen.values()) - len(committed)
        missing = committed - set(seen)
        verdict.check(not missing, f"{topic}: committed and not in the log: {sorted(missing)[:5]}")


def read_history(path):
    """Operations by key: invoked, ended, told."""
    operations = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["event"] == "invoke":
                operations[entry["key"]] = {**entry, "invoked": entry["at_us"], "ended": None}
            else:
                operations[entry["key"]].update(
                    ended=entry["at_us"], event=entry["event"], told=entry["told"]
                )
    return operations


def acknowledged_is_in_the_log(operations, decided, events, commands, verdict):
    """What was told is what was decided; what was refused had no effect; each key had one at most."""
    effects = collections.defaultdict(set)
    for topic in EVENTS:
        for _, _, _, command in events[topic]:
            if commands.get(command) is not None:
                effects[commands[command]].add(command)
    versions = collections.defaultdict(int)
    for topic in EVENTS:
        for _, _, event, _ in events[topic]:
            name = event["aggregate_id"]
            versions[topic, name] = max(versions[topic, name], event["version"])
    for key, operation in operations.items():
        outcome, event = decided.get(key), operation["event"]
        verdict.looked_at[f"operations: {event}"] += 1
        verdict.check(len(effects[key]) <= 1, f"{key} took effect {len(effects[key])} times")
        if event == "ok":
            if not verdict.check(
                outcome is not None and "accepted" in outcome,
                f"{key} ({operation['op']}) was acknowledged, the journal has {outcome}",
            ):
                continue
            body = operation["told"]["body"]
            if operation["told"]["status"] != 200 or operation["op"] != "cart.checkout":
                verdict.check(
                    body["version"] == outcome["accepted"]["version"],
                    f"{key} was told version {body['version']}, decided {outcome['accepted']['version']}",
                )
            topic = {"p": EVENTS[0], "s": EVENTS[1], "c": EVENTS[2], "o": EVENTS[3]}[operation["op"][0]]
            last = versions[topic, operation["aggregate"]]
            verdict.check(
                operation["op"] == "cart.checkout" or last >= outcome["accepted"]["version"],
                f"{key}: version {outcome['accepted']['version']} of {operation['aggregate']}, "
                f"the log ends at {last}",
            )
        elif event == "fail":
            verdict.check(
                outcome is None or "rejected" in outcome,
                f"{key} ({operation['op']}) was refused, the journal has {outcome}",
            )
            verdict.check(not effects[key], f"{key} was refused and took effect")


def linearizable(operations, decided, verdict):
    """Of two acknowledged operations on one aggregate that do not overlap in time, the later one has
    the larger version: there is one order, and it is that of real time. (Every version is made by one
    command, so that order is total.)"""
    by_aggregate = collections.defaultdict(list)
    for key, operation in operations.items():
        outcome = decided.get(key)
        if operation["event"] == "ok" and outcome and "accepted" in outcome:
            kind = operation["op"].split(".")[0]
            if operation["op"] == "cart.checkout":
                continue
            version = outcome["accepted"]["version"]
            by_aggregate[kind, operation["aggregate"]].append(
                (operation["invoked"], operation["ended"], version, key)
            )
    for name, done in by_aggregate.items():
        verdict.looked_at["aggregates"] += 1
        versions = [version for _, _, version, _ in done]
        verdict.check(len(set(versions)) == len(versions), f"{name}: one version told twice")
        # The largest version among those that had ended before each was invoked.
        ended = sorted((end, version) for _, end, version, _ in done)
        largest, index = 0, 0
        for invoked, _, version, key in sorted(done):
            while index < len(ended) and ended[index][0] < invoked:
                largest = max(largest, ended[index][1])
                index += 1
            verdict.check(
                version > largest,
                f"{name}: {key} got version {version} after {largest} had been told",
            )


def stock_is_conserved(events, verdict):
    """Never negative, never oversold; what each event says is what those before it add up to."""
    shelves = collections.defaultdict(lambda: [0, 0])
    held = collections.defaultdict(int)
    shipped = {}
    for _, _, event, _ in events["inventory.stock.events.v1"]:
        sku = event["aggregate_id"]
        kind, body = branch(event)
        shelf = shelves[sku]
        quantity = body.get("quantity", 0)
        if kind == "stock_received":
            shelf[0] += quantity
        elif kind == "stock_adjusted":
            shelf[0] += body["delta"]
        elif kind == "stock_reserved":
            shelf[1] += quantity
            held[body["order_id"], sku] += quantity
        elif kind == "stock_released":
            shelf[1] -= quantity
            held[body["order_id"], sku] -= quantity
        elif kind == "stock_shipped":
            shelf[0] -= quantity - body["unbooked"]
            shelf[1] -= quantity
            held[body["order_id"], sku] -= quantity
            key = body["order_id"], body["shipment_id"], sku
            verdict.check(key not in shipped, f"{key} was shipped twice")
            shipped[key] = quantity
        elif kind == "stock_restocked":
            shelf[0] += quantity
        verdict.check(
            [body["on_hand"], body["reserved"]] == shelf, f"{sku}: {kind} says {body}, the sum {shelf}"
        )
        verdict.check(0 <= shelf[1] <= shelf[0], f"{sku}: {shelf[1]} held of {shelf[0]}: oversold")
    for key, units in held.items():
        verdict.check(units >= 0, f"{key} let go of more than it held")
    return {key: units for key, units in held.items() if units}, shipped


def orders_add_up(events, held, shipped, verdict):
    """Money adds up, every order has at most one end, and its goods are those of the inventory."""
    orders = collections.defaultdict(
        lambda: {"total": 0, "captured": 0, "lines": {}, "ends": [], "paid": 0, "shipments": {}}
    )
    for _, _, event, _ in events["checkout.order.events.v1"]:
        name = event["aggregate_id"]
        order = orders[name]
        kind, body = branch(event)
        if kind == "order_created":
            for line in body["lines"]:
                verdict.check(
                    line["line_total_minor"] == line["quantity"] * line["unit_price_minor"],
                    f"{name}: line {line['line']} does not add up",
                )
                order["total"] += line["line_total_minor"]
                order["lines"][line["line"]] = line["sku"], line["quantity"]
            verdict.check(order["total"] == body["total_minor"], f"{name}: the total does not add up")
        elif kind == "order_payment_captured":
            order["captured"] += body["amount_minor"]
            verdict.check(order["captured"] == body["captured_minor"], f"{name}: captured twice?")
        elif kind == "order_paid":
            order["paid"] += 1
            verdict.check(order["captured"] >= order["total"], f"{name}: paid with too little")
        elif kind in ("order_rejected", "order_cancelled", "order_expired"):
            order["ends"].append(kind)
        elif kind == "order_shipped":
            for line in body["lines"]:
                key = name, body["shipment_id"], line["sku"]
                order["shipments"][key] = order["shipments"].get(key, 0) + line["quantity"]
    sent = {}
    for name, order in orders.items():
        verdict.looked_at["orders"] += 1
        verdict.check(
            len(order["ends"]) + order["paid"] <= 1, f"{name}: {order['ends']}, paid {order['paid']}"
        )
        sent.update(order["shipments"])
        if order["ends"]:
            left = {key: units for key, units in held.items() if key[0] == name}
            verdict.check(not left, f"{name} has ended and holds {left}")
    verdict.check(sent == shipped, f"orders shipped {len(sent)} lots, inventory {len(shipped)}")


def judge(arguments):
    verdict = Verdict()
    log = Log(arguments.bootstrap, arguments.registry)
    operations = read_history(arguments.history)
    events = read_events(log, verdict)
    decided, commands = read_journals(log, events, verdict)
    nothing_aborted(log, events, verdict)
    acknowledged_is_in_the_log(operations, decided, events, commands, verdict)
    linearizable(operations, decided, verdict)
    held, shipped = stock_is_conserved(events, verdict)
    orders_add_up(events, held, shipped, verdict)
    print("\nthe checker looked at:")
    for name, count in sorted(verdict.looked_at.items()):
        print(f"{count:>8}  {name}")
    for problem in verdict.problems[:MOST_PRINTED]:
        print(f"VIOLATION  {problem}")
    if verdict.problems:
        print(f"verdict: {len(verdict.problems)} violations")
        return 1
    print("verdict: clean")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--history", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--registry", required=True)
    try:
        return judge(parser.parse_args())
    except Exception as error:  # noqa: BLE001: whatever it is, it is no verdict
        print(f"could not judge: {type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
