#!/usr/bin/env python3
"""Totals of a retail file, straight over the CSV, and what the running shop says about it.

Independent of the importer on purpose: another language, another CSV reader, other data
structures. Where both agree, the rules were understood twice in the same way.

    retail_totals.py FILE                          totals and tables as JSON
    retail_totals.py FILE --totals                 totals alone
    retail_totals.py FILE --check SUMMARY.json     against the importer's `--json` summary
    retail_totals.py FILE --compare http://HOST    against /v1/reports/sales of a running query-api

Exit code 0 when everything asked for agrees, 1 when something differs, 2 when it cannot be told.
Standard library only. Python 3.9 or later.
"""

import argparse
import collections
import csv
import datetime
import decimal
import functools
import gzip
import io
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

COLUMNS = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]
RULES = [
    "not-a-sale",
    "malformed",
    "quantity-not-positive",
    "quantity-not-negative",
    "price-not-positive",
    "price-not-in-minor-units",
]
FIGURES = ["orders", "units", "returned_units", "gross_minor", "refunded_minor", "net_minor"]
TOTALS = [
    "orders",
    "order_lines",
    "units",
    "gross_minor",
    "refunded_minor",
    "returned_units",
    "unmatched_return_units",
    "products",
    "customers",
    "rejected_rows",
]


def decoded_lines(path):
    """Lines as text: UTF-8, or a byte a character where a line is no UTF-8."""
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    opened = gzip.open(path, "rb") if zipped else open(path, "rb")
    with opened as source:
        for number, line in enumerate(source):
            if number == 0 and line.startswith(b"\xef\xbb\xbf"):
                line = line[3:]
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError:
                yield line.decode("latin-1")


def read_rows(path):
    rows = csv.reader(decoded_lines(path))
    header = [name.strip() for name in next(rows, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        sys.exit(f"{path}: no column {', '.join(missing)}")
    for values in rows:
        if not values:
            continue
        row = dict.fromkeys(COLUMNS, "")
        row.update(zip(header, values))
        yield row


@functools.lru_cache(maxsize=4096)
def moment(text):
    try:
        return datetime.datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None


def judged(row):
    """(rule, None) for a row that is rejected, else (None, (quantity, pence))."""
    invoice = row["InvoiceNo"].strip()
    cancels = invoice.startswith("C")
    if not (cancels or invoice[:1] in tuple("0123456789")):
        return "not-a-sale", None
    quantity_text = row["Quantity"].strip()
    if not re.fullmatch(r"[+-]?[0-9]+", quantity_text) or not row["StockCode"].strip():
        return "malformed", None
    quantity = int(quantity_text)
    if abs(quantity) >= 2**63:
        return "malformed", None
    if not cancels and quantity <= 0:
        return "quantity-not-positive", None
    if cancels and quantity >= 0:
        return "quantity-not-negative", None
    price_text = row["UnitPrice"].strip()
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", price_text):
        return "malformed", None
    pence = decimal.Decimal(price_text) * 100
    if pence <= 0:
        return "price-not-positive", None
    if pence != pence.to_integral_value():
        return "price-not-in-minor-units", None
    if moment(row["InvoiceDate"]) is None:
        return "malformed", None
    return None, (abs(quantity), int(pence))


class Invoice:
    """What one invoice number gathers."""

    def __init__(self, number):
        self.number = number
        self.at = None
        self.customer = None
        self.country = None
        # (sku, pence) -> units; a dict keeps the order in which lines first appear.
        self.lines = {}


def gather(path):
    invoices, names, rejected = {}, {}, collections.Counter()
    for row in read_rows(path):
        number = row["InvoiceNo"].strip()
        rule, accepted = judged(row)
        if rule == "not-a-sale":
            rejected[rule] += 1
            continue
        invoice = invoices.setdefault(number, Invoice(number))
        at = moment(row["InvoiceDate"])
        if at is not None and (invoice.at is None or at < invoice.at):
            invoice.at = at
        if rule is not None:
            rejected[rule] += 1
            continue
        if not invoice.lines:
            invoice.customer = re.sub(r"\.0$", "", row["CustomerID"].strip())
            invoice.country = row["Country"].strip()
        sku = row["StockCode"].strip().upper()
        names[sku] = names.get(sku) or row["Description"].strip()
        quantity, pence = accepted
        invoice.lines[sku, pence] = invoice.lines.get((sku, pence), 0) + quantity
    return [one for one in invoices.values() if one.lines], names, rejected


def figures():
    return dict.fromkeys(FIGURES, 0)


def settle(invoices):
    """Goes through the invoices once and returns (totals, tables)."""
    total = collections.Counter()
    tables = {by: collections.defaultdict(figures) for by in ("day", "country", "product")}
    orders_of = collections.defaultdict(list)
    customers = set()
    for invoice in invoices:
        day = invoice.at.strftime("%Y-%m-%d")
        if invoice.number.startswith("C"):
            take_back(invoice, orders_of.get(invoice.customer, []), day, total, tables)
            continue
        if invoice.customer:
            customers.add(invoice.customer)
            # Units left to return, line by line, of an order that can be matched.
            orders_of[invoice.customer].append(
                (invoice.country, [[sku, pence, units] for (sku, pence), units in invoice.lines.items()])
            )
        total["orders"] += 1
        for table, key in (("day", day), ("country", invoice.country)):
            tables[table][key]["orders"] += 1
        for sku in {sku for sku, _ in invoice.lines}:
            tables["product"][sku]["orders"] += 1
        for (sku, pence), units in invoice.lines.items():
            total["order_lines"] += 1
            total["units"] += units
            total["gross_minor"] += units * pence
            for table, key in (("day", day), ("country", invoice.country), ("product", sku)):
                tables[table][key]["units"] += units
                tables[table][key]["gross_minor"] += units * pence
    total["customers"] = len(customers)
    for table in tables.values():
        for row in table.values():
            row["net_minor"] = row["gross_minor"] - row["refunded_minor"]
    return total, tables


def take_back(invoice, orders, day, total, tables):
    for (sku, _), wanted in invoice.lines.items():
        for country, lines in reversed(orders if invoice.customer else []):
            for line in lines:
                if line[0] != sku or wanted == 0:
                    continue
                units = min(wanted, line[2])
                if units == 0:
                    continue
                line[2] -= units
                wanted -= units
                total["returned_units"] += units
                total["refunded_minor"] += units * line[1]
                for table, key in (("day", day), ("country", country), ("product", sku)):
                    tables[table][key]["returned_units"] += units
                    tables[table][key]["refunded_minor"] += units * line[1]
        total["unmatched_return_units"] += wanted


def report(query_url, by):
    """Every row of a sales report, page after page."""
    rows, cursor = {}, None
    while True:
        asked = {"by": by, "currency": "GBP", "limit": "500"}
        if cursor:
            asked["cursor"] = cursor
        url = f"{query_url.rstrip('/')}/v1/reports/sales?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            page = json.load(answer)
        for row in page["rows"]:
            key = row["key"] or ""
            if key in rows:
                sys.exit(f"{url}: key {key!r} came twice")
            rows[key] = {name: row[name] for name in FIGURES}
        cursor = page.get("next_cursor")
        if not cursor:
            return rows


def differences(name, expected, found):
    for key in sorted(set(expected) | set(found)):
        if expected.get(key) != found.get(key):
            yield f"{name} {key}: the file says {expected.get(key)}, found {found.get(key)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--totals", action="store_true", help="print the totals without the tables")
    parser.add_argument("--check", metavar="SUMMARY", help="compare with an importer's JSON summary")
    parser.add_argument("--compare", metavar="URL", help="compare with the reports of this query-api")
    asked = parser.parse_args()

    invoices, names, rejected = gather(asked.file)
    total, tables = settle(invoices)
    total["products"] = len(names)
    totals = {name: total[name] for name in TOTALS if name != "rejected_rows"}
    totals["rejected_rows"] = {rule: rejected[rule] for rule in RULES}

    wrong = []
    if asked.check:
        with io.open(asked.check, encoding="utf-8") as source:
            summary = json.load(source)
        wrong += differences("total", totals, {name: summary.get(name) for name in TOTALS})
    if asked.compare:
        try:
            for by, table in tables.items():
                wrong += differences(f"by {by}", table, report(asked.compare, by))
        except (urllib.error.URLError, OSError, KeyError, ValueError) as error:
            sys.stderr.write(f"{asked.compare}: {error}\n")
            return 2
    if asked.check or asked.compare:
        for line in wrong:
            print(line)
        sizes = ", ".join(f"{len(table)} by {by}" for by, table in tables.items())
        print(f"{len(wrong)} differences ({len(totals)} totals; rows: {sizes})")
        return 1 if wrong else 0
    shown = {"totals": totals}
    if not asked.totals:
        shown.update({f"by_{by}": dict(sorted(table.items())) for by, table in tables.items()})
    json.dump(shown, sys.stdout, indent=1, ensure_ascii=False)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
