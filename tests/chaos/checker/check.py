"""Judges a history of clients against the log. Trusts nobody, and shares no code with the system.

    check.py --history FILE --bootstrap HOST:PORT,... --registry URL --query URL [--remembered-s SECONDS]

Reads the topics with a Kafka client and an Avro reader of its own, schemas by the ids in the records.
Exit codes: 0 clean, 1 something does not hold (each printed), 2 could not judge.
"""

import argparse
import sys

import books
import history
import log as logs
import read_model
import refusals
from common import Verdict

MOST_PRINTED = 40


def judge(arguments, verdict):
    log = logs.Log(arguments.bootstrap, arguments.registry)
    operations, reads, queued = history.read_history(arguments.history)
    events = logs.read_events(log, verdict)
    logs.times_are_the_logs(events, verdict)
    journal = logs.read_journals(log, events, verdict)
    aborted = logs.nothing_aborted(log, events, verdict)
    logs.what_was_queued_is_decided(log, queued, journal, verdict)
    logs.what_was_exercised(log, operations, journal, arguments.remembered_s, verdict)
    effects = history.Effects(events, journal)
    history.nothing_is_made_twice(effects, verdict)
    history.acknowledged_is_in_the_log(operations, effects, verdict)
    history.repeats_are_answered_alike(operations, verdict)
    history.linearizable(operations, effects, verdict)
    history.versions_were_as_expected(operations, effects, verdict)
    refusals.are_for_reasons(operations, events, journal, verdict)
    known = history.standings(events)
    history.answers_are_true(operations, known, effects, verdict)
    held, shipped, restocked = books.stock_is_conserved(events, verdict)
    orders = books.read_orders(events, verdict)
    books.orders_and_inventory_agree(orders, held, shipped, restocked, verdict)
    books.checkouts_are_whole(events, orders, verdict)
    read_model.reads_cover_their_positions(reads, events, verdict)
    history.reads_are_true(reads, known, verdict)
    names = aborted | history.what_was_asked_for(operations)
    read_model.judge(read_model.Queries(arguments.query), events, names, verdict)


def tell(verdict):
    print("\nthe checker looked at:")
    for name, count in sorted(verdict.looked_at.items()):
        print(f"{count:>8}  {name}")
    for problem in verdict.problems[:MOST_PRINTED]:
        print(f"VIOLATION  {problem}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--history", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--query", required=True)
    parser.add_argument(
        "--remembered-s", type=float, default=24 * 3600, help="how long results are remembered"
    )
    arguments, verdict = parser.parse_args(), Verdict()
    try:
        judge(arguments, verdict)
    except Exception as error:  # noqa: BLE001: whatever it is, it is no verdict
        # What was found before may be what it comes from.
        tell(verdict)
        print(f"could not judge: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    tell(verdict)
    if verdict.problems:
        print(f"verdict: {len(verdict.problems)} violations")
        return 1
    print("verdict: clean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
