"""Judges a history of clients against the log. Trusts nobody, and shares no code with the system.

    check.py --history FILE --bootstrap HOST:PORT,... --registry URL --query URL

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

import read_model
from common import EVENTS, Event, Verdict, branch

JOURNALS = ["catalog.journal.v1", "inventory.journal.v1", "checkout.journal.v1"]
INBOXES = ["catalog.inbox.v1", "inventory.inbox.v1", "checkout.inbox.v1"]
MOST_PRINTED = 40
TOPIC_OF = dict(zip(("product", "stock", "cart", "order"), EVENTS))


class Log:
    """Records of topics, decoded."""

    def __init__(self, bootstrap, registry):
        # Here, so that the rules below can be tried without a client.
        import fastavro
        import kafka

        self.avro, self.kafka = fastavro, kafka
        self.bootstrap = bootstrap.split(",")
        self.registry = registry
        self.schemas = {}

    def consumer(self, isolation):
        return self.kafka.KafkaConsumer(
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
        parts = [self.kafka.TopicPartition(topic, p) for p in sorted(probe.partitions_for_topic(topic))]
        begins, ends = probe.beginning_offsets(parts), probe.end_offsets(parts)
        probe.close()
        consumer = self.consumer(isolation)
        consumer.assign(parts)
        for at in parts:
            # Not seek_to_beginning: until that is done this client's position() waits, and does nothing else.
            consumer.seek(at, begins[at])
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
                self.schemas[number] = self.avro.parse_schema(json.loads(json.load(answer)["schema"]))
        return self.avro.schemaless_reader(io.BytesIO(value[5:]), self.schemas[number])


def header(record, name):
    for key, value in record.headers:
        if key == name:
            return value.decode()
    return None


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
                command = header(record, "command_id")
                events[topic].append(Event(partition, record.offset, number, writer, event, command))
        verdict.looked_at["events"] += len(events[topic])
    return events


def read_journals(log, events, verdict):
    """Every event in a journaled range, every key decided once. Returns what was decided, by key."""
    last = collections.defaultdict(int)
    for topic, all_events in events.items():
        for event in all_events:
            last[topic, event.partition] = max(last[topic, event.partition], event.seq)
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
                    key = command["idempotency_key"]
                    # A command that was queued is remembered by its id too.
                    if key is not None:
                        commands[command["command_id"]] = key
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
    """What a read_uncommitted reader sees besides was aborted: a seq of it that is used again is used
    in a later epoch, since whoever aborts has to take over before it writes on."""
    for topic in EVENTS:
        committed = {(event.partition, event.offset) for event in events[topic]}
        epochs = {(event.partition, event.seq): event.epoch for event in events[topic]}
        seen = set()
        for partition, records in log.records(topic, "read_uncommitted").items():
            for record in records:
                seen.add((partition, record.offset))
                if (partition, record.offset) in committed:
                    continue
                verdict.looked_at["aborted"] += 1
                seq, epoch = int(header(record, "seq")), int(header(record, "writer_epoch"))
                later = epochs.get((partition, seq))
                verdict.check(
                    later is None or later > epoch,
                    f"{topic}[{partition}] offset {record.offset}: seq {seq} was aborted in epoch "
                    f"{epoch} and written again in epoch {later}",
                )
        missing = committed - seen
        verdict.check(not missing, f"{topic}: committed and not in the log: {sorted(missing)[:5]}")


def read_history(path):
    """Operations by key: invoked, ended, told; and the reads."""
    operations, reads = {}, []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["event"] == "read":
                reads.append(entry)
            elif entry["event"] == "invoke":
                operations[entry["key"]] = {**entry, "invoked": entry["at_us"], "ended": None}
            else:
                operations[entry["key"]].update(
                    ended=entry["at_us"], event=entry["event"], told=entry["told"]
                )
    return operations, reads


def kind_of(operation):
    """The kind of aggregate whose version an operation is told: a checkout is told its order's."""
    return "order" if operation["op"] == "cart.checkout" else operation["op"].split(".")[0]


def acknowledged_is_in_the_log(operations, decided, events, commands, verdict):
    """What was told is what was decided, and stands in the log; what was refused had no effect; each
    key had one at most."""
    effects = collections.defaultdict(set)
    made_by = {}
    for topic in EVENTS:
        for event in events[topic]:
            key = commands.get(event.command)
            made_by[topic, event.value["aggregate_id"], event.value["version"]] = key
            if key is not None:
                effects[key].add(event.command)
    for key, operation in operations.items():
        outcome, event, what = decided.get(key), operation["event"], operation["op"]
        verdict.looked_at[f"operations: {event}"] += 1
        verdict.check(len(effects[key]) <= 1, f"{key} took effect {len(effects[key])} times")
        if event == "ok":
            if not verdict.check(
                outcome is not None and "accepted" in outcome,
                f"{key} ({what}) was acknowledged, the journal has {outcome}",
            ):
                continue
            version, told = outcome["accepted"]["version"], operation["told"]
            # A checkout that has waited is told the version that its order has by then.
            if told["status"] != 200 or what != "cart.checkout":
                verdict.check(
                    told["body"]["version"] == version,
                    f"{key} was told version {told['body']['version']}, decided {version}",
                )
            maker = made_by.get((TOPIC_OF[kind_of(operation)], operation["aggregate"], version), "nobody")
            verdict.check(
                maker == key,
                f"{key}: version {version} of {operation['aggregate']} was acknowledged to it, "
                f"in the log it is made by {maker}",
            )
        elif event == "fail":
            verdict.check(
                outcome is None or "rejected" in outcome,
                f"{key} ({what}) was refused, the journal has {outcome}",
            )
            verdict.check(not effects[key], f"{key} was refused and took effect")


def linearizable(operations, decided, verdict):
    """Of two acknowledged operations on one aggregate that do not overlap in time, the later one has
    the larger version: there is one order, and it is that of real time. (Every version is made by one
    command, so that order is total.) And nobody is told that something does not exist which somebody
    had been told to exist before."""
    by_aggregate = collections.defaultdict(list)
    exists = {}
    for key, operation in operations.items():
        outcome = decided.get(key)
        name, ended = (kind_of(operation), operation["aggregate"]), operation["ended"]
        if operation["event"] != "ok":
            continue
        exists[name] = min(exists.get(name, ended), ended)
        if outcome and "accepted" in outcome:
            by_aggregate[name].append(
                (operation["invoked"], ended, outcome["accepted"]["version"], key)
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
    for key, operation in operations.items():
        if operation["event"] == "fail" and operation["told"]["status"] == 404:
            name = operation["op"].split(".")[0], operation["aggregate"]
            verdict.check(
                exists.get(name, operation["invoked"]) >= operation["invoked"],
                f"{key} ({operation['op']}) was told that {name} does not exist, which had been acknowledged",
            )


def stock_is_conserved(events, verdict):
    """Never negative, never oversold; what each event says is what those before it add up to."""
    shelves = collections.defaultdict(lambda: [0, 0])
    held = collections.defaultdict(int)
    shipped = {}
    for event in (event.value for event in events["inventory.stock.events.v1"]):
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


def read_orders(events, verdict):
    """What became of each order; its money adds up."""
    orders = {}
    for event in (event.value for event in events["checkout.order.events.v1"]):
        name = event["aggregate_id"]
        kind, body = branch(event)
        if kind == "order_created":
            orders[name] = {
                "total": 0, "captured": 0, "lines": collections.Counter(), "confirmed": 0, "ends": [],
                "paid": 0, "shipments": collections.Counter(),
            }
        order = orders[name]
        if kind == "order_created":
            for line in body["lines"]:
                verdict.check(
                    line["line_total_minor"] == line["quantity"] * line["unit_price_minor"],
                    f"{name}: line {line['line']} does not add up",
                )
                order["total"] += line["line_total_minor"]
                order["lines"][line["sku"]] += line["quantity"]
            verdict.check(order["total"] == body["total_minor"], f"{name}: the total does not add up")
        elif kind == "order_confirmed":
            order["confirmed"] += 1
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
                order["shipments"][name, body["shipment_id"], line["sku"]] += line["quantity"]
    return orders


def orders_and_inventory_agree(orders, held, shipped, verdict):
    """Every order is settled and has one end, and its goods are those of the inventory."""
    sent = collections.Counter()
    for name, order in orders.items():
        verdict.looked_at["orders"] += 1
        ends = order["ends"]
        verdict.check(len(ends) + order["paid"] == 1, f"{name}: {ends or 'no end'}, paid {order['paid']}")
        settled = order["confirmed"] + ends.count("order_rejected")
        # One that nobody could settle in time is cancelled, or expires.
        given_up = settled == 0 and ends in (["order_cancelled"], ["order_expired"])
        verdict.check(settled == 1 or given_up, f"{name} was settled {settled} times")
        sent.update(order["shipments"])
        wanted = collections.Counter() if ends or not order["confirmed"] else +order["lines"]
        for (_, _, sku), units in order["shipments"].items():
            wanted[sku] -= units
        holds = {sku: units for (of, sku), units in held.items() if of == name}
        wanted = {sku: units for sku, units in wanted.items() if units}
        verdict.check(holds == wanted, f"{name} holds {holds}, should hold {wanted}")
    strangers = {of for of, _ in held} - set(orders)
    verdict.check(not strangers, f"stock is held for orders that are not there: {sorted(strangers)[:5]}")
    verdict.check(dict(sent) == shipped, f"orders shipped {len(sent)} lots, inventory {len(shipped)}")


def checkouts_are_whole(events, orders, verdict):
    """A cart's checkout and its order are of one transaction: both or neither."""
    checked_out = set()
    for event in (event.value for event in events["checkout.cart.events.v1"]):
        kind, body = branch(event)
        if kind == "cart_checked_out":
            checked_out.add(body["order_id"])
    lonely = checked_out ^ set(orders)
    verdict.check(not lonely, f"checkouts without an order, or orders without one: {sorted(lonely)[:5]}")


def judge(arguments):
    verdict = Verdict()
    log = Log(arguments.bootstrap, arguments.registry)
    operations, reads = read_history(arguments.history)
    events = read_events(log, verdict)
    decided, commands = read_journals(log, events, verdict)
    nothing_aborted(log, events, verdict)
    acknowledged_is_in_the_log(operations, decided, events, commands, verdict)
    linearizable(operations, decided, verdict)
    held, shipped = stock_is_conserved(events, verdict)
    orders = read_orders(events, verdict)
    orders_and_inventory_agree(orders, held, shipped, verdict)
    checkouts_are_whole(events, orders, verdict)
    read_model.reads_cover_their_positions(reads, events, verdict)
    read_model.judge(read_model.Queries(arguments.query), events, verdict)
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
    parser.add_argument("--query", required=True)
    try:
        return judge(parser.parse_args())
    except Exception as error:  # noqa: BLE001: whatever it is, it is no verdict
        print(f"could not judge: {type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
