"""Reads the topics, with a Kafka client and an Avro reader of its own, and judges what stands in them."""

import bisect
import collections
import io
import json
import struct
import urllib.request

from common import EVENTS, Event, branch

CONTEXTS = ("catalog", "inventory", "checkout")
JOURNALS = [f"{context}.journal.v1" for context in CONTEXTS]
SNAPSHOTS = "checkout.snapshots.v1"
# A node may write with a clock that is five seconds ahead. The rest is for a broker's clock, which is read
# when the record has arrived.
MOST_AHEAD_MS = 5_500


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
            request_timeout_ms=120_000,
            # A busy machine's brokers may take long to answer the first question.
            api_version_auto_timeout_ms=120_000,
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
            if idle > 180:
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
            with urllib.request.urlopen(f"{self.registry}/schemas/ids/{number}", timeout=60) as answer:
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
        homes = {}
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
                home = homes.setdefault(name, partition)
                verdict.check(home == partition, f"{at}: {name} has events in partition {home} too")
                command = header(record, "command_id")
                events[topic].append(
                    Event(partition, record.offset, number, writer, event, command, record.timestamp)
                )
        verdict.looked_at["events"] += len(events[topic])
    return events


def times_are_the_logs(events, verdict):
    """No event is further ahead of the time at which a broker took it than a node's clock may be (brokers'
    clocks are right, and write it down), and no order expires before its time."""
    for topic in EVENTS:
        for event in events[topic]:
            name, at = event.value["aggregate_id"], event.value["occurred_at"]
            ahead_ms = at.timestamp() * 1_000 - event.timestamp_ms
            verdict.check(
                ahead_ms <= MOST_AHEAD_MS,
                f"{topic}[{event.partition}] offset {event.offset}: {name} is {ahead_ms:.0f} ms ahead of the log",
            )
            kind, body = branch(event.value)
            if kind == "order_expired":
                deadline = body["payment_deadline"]
                verdict.check(at >= deadline, f"{name} expired at {at}, it had time until {deadline}")


class Journal:
    """What the journals say was decided."""

    def __init__(self):
        # By key: the outcome.
        self.decided = {}
        # By command: its key, and where it was decided first: context, partition, transaction.
        self.commands, self.places = {}, {}
        # By topic and partition: the last seq of each transaction that has some, and its number.
        self.seqs = collections.defaultdict(lambda: ([], []))
        # By context and partition: when each result was decided.
        self.times = collections.defaultdict(list)

    def transaction_of(self, topic, event):
        """The transaction that an event belongs to; None when no range holds it."""
        lasts, transactions = self.seqs[topic, event.partition]
        at = bisect.bisect_left(lasts, event.seq)
        return transactions[at] if at < len(lasts) else None

    def places_of_keys(self):
        """By key: where it was decided."""
        return {key: self.places[command] for command, key in self.commands.items()}

    def take(self, context, partition, entry, verdict):
        for part in entry["ranges"]:
            lasts, transactions = self.seqs[part["topic"], partition]
            lasts.append(part["last"])
            transactions.append(entry["transaction"])
        for command in entry["decided"]:
            outcome, key = json.loads(command["outcome"]), command["idempotency_key"]
            place = context, partition, entry["transaction"]
            self.places.setdefault(command["command_id"], place)
            # A command that was queued is remembered by its id too.
            if key is not None:
                self.commands[command["command_id"]] = key
                self.times[context, partition].append(entry["decided_at"])
                verdict.check(key not in self.decided, f"{key} was decided twice")
                self.decided[key] = outcome


def read_journals(log, events, verdict):
    """Every event in a journaled range, every key decided once."""
    last = collections.defaultdict(int)
    for topic, all_events in events.items():
        for event in all_events:
            last[topic, event.partition] = max(last[topic, event.partition], event.seq)
    journaled = collections.defaultdict(int)
    journal = Journal()
    for topic in JOURNALS:
        context = topic.split(".")[0]
        for partition, records in log.records(topic).items():
            transaction, epoch = 0, 0
            rounds = set()
            for record in records:
                entry = log.decode(record.value)
                at = f"{topic}[{partition}] offset {record.offset}"
                verdict.check(
                    entry["transaction"] == transaction + 1,
                    f"{at}: transaction {entry['transaction']} after {transaction}",
                )
                verdict.check(entry["writer_epoch"] >= epoch, f"{at}: an earlier epoch")
                verdict.check(not entry["failed"], f"{at}: messages were given up: {entry['failed']}")
                transaction, epoch = entry["transaction"], entry["writer_epoch"]
                verdict.looked_at["transactions"] += 1
                rounds.add(header(record, "checkpoint"))
                for part in entry["ranges"]:
                    key = part["topic"], partition
                    verdict.check(
                        part["first"] == journaled[key] + 1,
                        f"{at}: {key} jumps from {journaled[key]} to {part['first']}",
                    )
                    journaled[key] = part["last"]
                journal.take(context, partition, entry, verdict)
            # Each names the latest round of snapshots that a take-over can stand on.
            verdict.looked_at["rounds of snapshots completed"] += len(rounds - {None})
    for key in set(last) | set(journaled):
        verdict.check(
            last[key] == journaled[key],
            f"{key} ends at seq {last[key]}, its journal at {journaled[key]}: half a transaction",
        )
    verdict.looked_at["decisions"] += len(journal.decided)
    return journal


def nothing_aborted(log, events, verdict):
    """What a read_uncommitted reader sees besides was aborted: a seq of it that is used again is used
    in a later epoch, since whoever aborts has to take over before it writes on. Returns what was aborted,
    as topics and aggregates."""
    aborted = set()
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
                aborted.add((topic, record.key.decode()))
                seq, epoch = int(header(record, "seq")), int(header(record, "writer_epoch"))
                later = epochs.get((partition, seq))
                verdict.check(
                    later is None or later > epoch,
                    f"{topic}[{partition}] offset {record.offset}: seq {seq} was aborted in epoch "
                    f"{epoch} and written again in epoch {later}",
                )
        missing = committed - seen
        verdict.check(not missing, f"{topic}: committed and not in the log: {sorted(missing)[:5]}")
    return aborted


def what_was_queued_is_decided(log, queued, journal, verdict):
    """202 is a promise: the command is in the inbox, where its id says, and is decided some day."""
    inboxes = {}
    for entry in queued:
        verdict.looked_at["told 202"] += 1
        name, key = entry["told"]["command"], entry["key"]
        context, partition, offset, command = name.split("-", 3)
        if context not in inboxes:
            records = log.records(f"{context}.inbox.v1").items()
            inboxes[context] = {(at, each.offset): each for at, all_of_it in records for each in all_of_it}
        record = inboxes[context].get((int(partition), int(offset)))
        if verdict.check(record is not None, f"{key} was told 202, and {name} is not in the inbox"):
            submitted = log.decode(record.value)["submit_command"] or {}
            there = [submitted.get(field) for field in ("command_id", "idempotency_key", "aggregate_id")]
            verdict.check(
                there == [command, key, entry["aggregate"]],
                f"{key} was told 202 as {name}, where the inbox has {there}",
            )
        verdict.check(
            journal.places.get(command, ("nowhere",))[0] == context,
            f"{key} was told 202, and no journal has decided {name}",
        )


def what_was_exercised(log, operations, journal, remembered_s, verdict):
    """Counts results that were forgotten, orders that had left memory when a command came for them, and pages."""
    for times in journal.times.values():
        old = (max(times) - decided for decided in times)
        verdict.looked_at["results forgotten"] += sum(age.total_seconds() > remembered_s for age in old)
    # By partition and aggregate: the transactions with which it left memory.
    left = collections.defaultdict(list)
    for partition, records in log.records(SNAPSHOTS).items():
        for record in records:
            verdict.looked_at["pages of who has left memory"] += header(record, "kind") == "page"
            if header(record, "kind") == "finished":
                name = record.key.decode().split("/", 2)[2]
                left[partition, name].append(int(header(record, "transaction")))
    places = journal.places_of_keys()
    back = set()
    for key, operation in operations.items():
        context, partition, transaction = places.get(key, (None, None, None))
        name = operation["aggregate"]
        if context == "checkout" and any(before < transaction for before in left[partition, name]):
            back.add(name)
    verdict.looked_at["archived orders that came back"] += len(back)
