"""Judges what query-api tells against a fold of the log that is this program's own."""

import collections
import http.client
import json
import time
import urllib.parse

from common import EVENTS, branch

PRODUCT, STOCK, CART, ORDER = EVENTS
LINE = ("sku", "quantity", "unit_price_minor", "line_total_minor")
SALES = (
    "orders", "units", "returned_units", "gross_minor", "refunded_minor", "net_minor", "orders_shipped",
)
# Position tokens name a topic by a letter.
LETTERS = dict(zip(EVENTS, "psco"))
# Within that every view has to reach the end of the log, after the last fault was healed.
CATCH_UP_S = 120
# No answer, a store that does not answer, a view that is not there yet.
TO_BE_ASKED_AGAIN = (None, 503, 504)
# How long one thing may be asked for again.
PATIENCE_S = 30
# So many questions that nobody answers are enough: thousands follow, each asked for as long.
MOST_IN_VAIN = 3


class Queries:
    """query-api over HTTP."""

    def __init__(self, url):
        self.host = urllib.parse.urlparse(url).netloc
        self.connection = None

    def once(self, path, position=None):
        """Status and body; status None when there was no answer."""
        headers = {"Cartwright-Position": position} if position else {}
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, timeout=30)
            self.connection.request("GET", path, headers=headers)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.connection = None
            return None, {"code": type(error).__name__}

    def ask(self, path, position=None, patience_s=PATIENCE_S):
        """The same, asked again while the answer is that it has to be."""
        began = time.monotonic()
        while True:
            status, body = self.once(path, position)
            if status not in TO_BE_ASKED_AGAIN or time.monotonic() - began > patience_s:
                return status, body
            time.sleep(0.2)


def part(name):
    return urllib.parse.quote(name, safe="")


def fold_products(events):
    products = {}
    for event in (event.value for event in events[PRODUCT]):
        kind, body = branch(event)
        product = products.setdefault(event["aggregate_id"], {"retired": False})
        product["version"] = event["version"]
        if kind == "product_created":
            product.update(name=body["name"], price_minor=body["price_minor"], currency=body["currency"])
        elif kind == "product_price_changed":
            product["price_minor"] = body["price_minor"]
        elif kind == "product_retired":
            product["retired"] = True
    return products


def fold_stock(events):
    shelves = {}
    for event in (event.value for event in events[STOCK]):
        _, body = branch(event)
        free = body["on_hand"] - body["reserved"]
        shelves[event["aggregate_id"]] = {
            "version": event["version"], "on_hand": body["on_hand"], "reserved": body["reserved"],
            "available": max(free, 0), "shortfall": max(-free, 0),
        }
    return shelves


def new_cart():
    return {"status": "open", "order_id": None, "total_minor": 0, "lines": {}}


def fold_cart(cart, kind, body):
    """Sums are added up here, not taken from the event."""
    if kind == "cart_item_removed":
        cart["lines"].pop(body["line"], None)
    elif kind.startswith("cart_item_"):
        line = cart["lines"].setdefault(body["line"], {})
        line.update({field: body[field] for field in LINE if field in body})
    elif kind == "cart_checked_out":
        cart.update(status="checked_out", order_id=body["order_id"])
    elif kind == "cart_abandoned":
        cart["status"] = "abandoned"
    cart["total_minor"] = sum(line["line_total_minor"] for line in cart["lines"].values())


def fold_carts(events):
    carts = {}
    for event in (event.value for event in events[CART]):
        cart = carts.setdefault(event["aggregate_id"], new_cart())
        fold_cart(cart, *branch(event))
        cart["version"] = event["version"]
    return carts


def by_number(lines):
    return {line["line"]: {field: line[field] for field in LINE} for line in lines}


def new_order(body):
    return {
        "status": "pending", "currency": body["currency"], "lines": by_number(body["lines"]),
        "units": sum(line["quantity"] for line in body["lines"]),
        "total_minor": sum(line["line_total_minor"] for line in body["lines"]),
        "captured_minor": 0, "refunded_minor": 0, "refund_due_minor": 0, "shipped_units": 0,
        "returned_units": 0, "payments": {}, "shipments": {}, "returns": {},
    }


def lots(body):
    return {line["line"]: line["quantity"] for line in body["lines"]}


def fold_order(order, kind, body):
    """Sums are added up here, not taken from the event."""
    if kind.startswith("order_payment_"):
        paid = "noted" if kind == "order_payment_noted" else kind.removeprefix("order_payment_")
        shown = body["kind"] if paid == "noted" else paid
        order["payments"][body["payment_id"], body["operation_id"]] = shown, body["amount_minor"]
        if paid in ("captured", "refunded"):
            order[f"{paid}_minor"] += body["amount_minor"]
    elif kind == "order_shipped":
        order["shipments"][body["shipment_id"]] = lots(body)
        order["shipped_units"] += sum(lots(body).values())
        whole = order["shipped_units"] == order["units"]
        order["status"] = "shipped" if whole else "partly_shipped"
    elif kind == "order_returned":
        order["returns"][body["return_id"]] = lots(body)
        order["returned_units"] += sum(lots(body).values())
    elif kind in ("order_confirmed", "order_paid", "order_rejected", "order_cancelled", "order_expired"):
        order["status"] = kind.removeprefix("order_")
    order["refund_due_minor"] = body.get("refund_due_minor", order["refund_due_minor"])


def fold_orders(events):
    orders = {}
    for event in (event.value for event in events[ORDER]):
        kind, body = branch(event)
        name = event["aggregate_id"]
        if kind == "order_created":
            orders[name] = new_order(body)
        if name in orders:
            fold_order(orders[name], kind, body)
            orders[name]["version"] = event["version"]
    return orders


def told_order(body):
    """An answer about an order, in the form of the fold."""
    told = {**body, "lines": by_number(body["lines"])}
    told["payments"] = {
        (each["payment_id"], each["operation_id"]): (each["kind"], each["amount_minor"])
        for each in body["payments"]
    }
    told["shipments"] = {each["shipment_id"]: lots(each) for each in body["shipments"]}
    told["returns"] = {each["return_id"]: lots(each) for each in body["returns"]}
    return told


def told_cart(body):
    return {**body, "lines": by_number(body["lines"])}


def told_events(body):
    items = ((item["stream"], item["version"], item["type"]) for item in body["items"])
    return {"events": collections.Counter(items)}


def without_zeros(row):
    return {field: row[field] for field in SALES if row[field]}


def told_report(body):
    return {"rows": {row["key"]: without_zeros(row) for row in body["rows"]}}


def timelines(events):
    """What happened to each cart and order: stream, version and type of every event."""
    found = collections.defaultdict(set)
    for topic, stream in ((CART, "cart"), (ORDER, "order")):
        for event in (event.value for event in events[topic]):
            kind, _ = branch(event)
            camel = "".join(word.capitalize() for word in kind.split("_"))
            found[event["aggregate_id"]].add((stream, event["version"], camel))
    return found


def fold_sales(events):
    """Reports by day, product and country: a sale is an order that was paid in full; it counts on its
    own day, refunds and returns on theirs."""
    created, paid, whole, side = {}, set(), set(), []
    for event in (event.value for event in events[ORDER]):
        kind, body = branch(event)
        name, day = event["aggregate_id"], event["occurred_at"].strftime("%Y-%m-%d")
        if kind == "order_created":
            created[name] = day, body
        elif kind == "order_paid":
            paid.add(name)
        elif kind == "order_shipped" and body["fully_shipped"]:
            whole.add(name)
        elif kind == "order_payment_refunded":
            side += [(name, day, share["sku"], "refunded_minor", share["amount_minor"]) for share in body["shares"]]
        elif kind == "order_returned":
            side += [(name, day, line["sku"], "returned_units", line["quantity"]) for line in body["lines"]]
    reports = {by: collections.defaultdict(collections.Counter) for by in ("day", "product", "country")}
    for name in paid:
        day, body = created[name]
        country = body.get("ship_to_country") or ""
        keys = [("day", day), ("country", country)]
        keys += [("product", sku) for sku in {line["sku"] for line in body["lines"]}]
        for by, key in keys:
            reports[by][key]["orders"] += 1
            reports[by][key]["orders_shipped"] += name in whole
        for line in body["lines"]:
            for by, key in (("day", day), ("country", country), ("product", line["sku"])):
                reports[by][key]["units"] += line["quantity"]
                reports[by][key]["gross_minor"] += line["line_total_minor"]
    for name, day, sku, field, amount in side:
        if name in paid:
            country = created[name][1].get("ship_to_country") or ""
            for by, key in (("day", day), ("country", country), ("product", sku)):
                reports[by][key][field] += amount
    for report in reports.values():
        for row in report.values():
            row["net_minor"] = row["gross_minor"] - row["refunded_minor"]
    return reports


def ends(events):
    """The position at which the log ends, by topic."""
    last = collections.defaultdict(int)
    for topic in EVENTS:
        for event in events[topic]:
            last[topic, event.partition] = max(last[topic, event.partition], event.seq)
    return {
        topic: ",".join(f"{LETTERS[topic]}{at}={seq}" for (of, at), seq in sorted(last.items()) if of == topic)
        for topic in EVENTS
    }


def catch_up(queries, events, verdict, within_s=CATCH_UP_S):
    """Waits until a view of each projection holds all of the log. Returns the position to ask with, and
    whether all of them have reached it."""
    end = "g1:" + ",".join(part for part in ends(events).values() if part)
    some = {topic: part(events[topic][-1].value["aggregate_id"]) for topic in EVENTS if events[topic]}
    paths = ["/v1/products?limit=1", "/v1/reports/sales?by=day", "/v1/search/products?q=mug"]
    if PRODUCT in some:
        paths += [f"/v1/products/{some[PRODUCT]}", f"/v1/products/{some[PRODUCT]}/availability"]
    if CART in some:
        paths += [f"/v1/carts/{some[CART]}", f"/v1/orders/{some[CART]}/timeline"]
    if ORDER in some:
        paths += [f"/v1/orders/{some[ORDER]}", f"/v1/orders/{some[ORDER]}/timeline?detail=causal"]
    began = time.monotonic()
    reached = True
    for path in paths:
        left = max(within_s - (time.monotonic() - began), 0)
        status, body = queries.ask(path, end, left)
        reached &= verdict.check(
            status not in TO_BE_ASKED_AGAIN,
            f"{path} has not reached the end of the log {within_s} s after the last command: {status} {body}",
        )
    return end, reached


def differences(expected, told):
    """Fields that are not as they should be, with both values."""
    return {field: (told.get(field), value) for field, value in expected.items() if told.get(field) != value}


def hold(queries, path, expected, form, end, verdict):
    """Holds an answer against what it should be. Returns whether there was one."""
    status, body = queries.ask(path, end)
    if verdict.check(status == 200, f"{path}: {status} {body}, it is in the log"):
        wrong = differences(expected, form(body))
        verdict.check(not wrong, f"{path} tells (told, should be): {wrong}")
    return status not in TO_BE_ASKED_AGAIN


# Where query-api tells of an aggregate.
PATHS = {PRODUCT: "/v1/products/{}", CART: "/v1/carts/{}", ORDER: "/v1/orders/{}"}


def judge(queries, events, names, verdict):
    """Holds everything that query-api tells against the log. `names` are topics and aggregates that it may be
    asked for; of those that have no event it knows nothing."""
    end, reached = catch_up(queries, events, verdict)
    # What lags is said by now. To ask for everything else would take days.
    if not reached:
        return
    happened = timelines(events).items()
    views = [
        ("products", PATHS[PRODUCT], fold_products(events), dict),
        ("stock", "/v1/products/{}/availability", fold_stock(events), dict),
        ("carts", PATHS[CART], fold_carts(events), told_cart),
        ("orders", PATHS[ORDER], fold_orders(events), told_order),
        (
            "timelines",
            "/v1/orders/{}/timeline?limit=500",
            {name: {"events": collections.Counter(all_of_it)} for name, all_of_it in happened},
            told_events,
        ),
        (
            "reports",
            "/v1/reports/sales?limit=5000&by={}",
            # A report has no row besides those that it should have.
            {
                by: {"rows": {key: without_zeros(row) for key, row in report.items()}}
                for by, report in fold_sales(events).items()
            },
            told_report,
        ),
    ]
    in_vain = 0
    for kind, path, expected, form in views:
        for name, should_be in expected.items():
            if in_vain == MOST_IN_VAIN:
                return
            verdict.looked_at[f"read: {kind}"] += 1
            in_vain += not hold(queries, path.format(part(name)), should_be, form, end, verdict)
    there = {(topic, event.value["aggregate_id"]) for topic in EVENTS for event in events[topic]}
    for topic, name in sorted(names - there):
        if topic in PATHS and in_vain < MOST_IN_VAIN:
            verdict.looked_at["read: what is not there"] += 1
            path = PATHS[topic].format(part(name))
            status, body = queries.ask(path, end)
            verdict.check(status == 404, f"{path}: {status} {body}, it is not in the log")
            in_vain += status in TO_BE_ASKED_AGAIN


def reads_cover_their_positions(reads, events, verdict):
    """Who reads with the position of a write is told of that write, or that it has to ask again; and
    nothing that is not in the log."""
    last = {}
    for topic, kind in ((CART, "cart"), (ORDER, "order")):
        for event in (event.value for event in events[topic]):
            last[kind, event["aggregate_id"]] = event["version"]
    for read in reads:
        status, version = read["told"]["status"], read["told"]["version"]
        verdict.looked_at[f"reads meanwhile: {status}"] += 1
        what = f"{read['client']} at {read['at_us']} us, {read['path']}"
        if status == 200:
            asked = read["asked"]["version"]
            verdict.check(
                version is not None and version >= asked,
                f"{what}: told version {version} with a position of version {asked}",
            )
            known = last.get((read["kind"], read["aggregate"]), 0)
            verdict.check(
                version is None or version <= known,
                f"{what}: told version {version}, the log ends with {known}",
            )
        else:
            verdict.check(status in (503, 504), f"{what}: answered {status} {read['told'].get('code')}")
