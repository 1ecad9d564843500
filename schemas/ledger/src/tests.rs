//! The ledger notices what it is there to notice.

use cartwright_events::inventory::{StockEvent, StockReceived, StockReserved, StockShipped};
use cartwright_events::order::{
    OrderConfirmed, OrderCreated, OrderEvent, OrderLine, OrderPaid, OrderPaymentCaptured,
    OrderReturned, OrderShipped, ReturnedLine, ShippedLine,
};
use cartwright_events::{
    CartId, Currency, Envelope, Event, OrderId, Reference, Sku, Stream, Timestamp,
};

use super::Ledger;

fn envelope(stream: Stream, seq: u64) -> Envelope {
    Envelope {
        stream,
        partition: 0,
        offset: seq * 2,
        seq,
        writer_epoch: 1,
        recorded_at: Timestamp::EPOCH,
        command_id: String::new(),
        correlation_id: String::new(),
        traceparent: None,
    }
}

#[derive(Default)]
struct Writer {
    ledger: Ledger,
    stock: u64,
    order: u64,
}

impl Writer {
    fn stock(&mut self, event: impl Into<StockEvent>) {
        self.stock += 1;
        self.write(Stream::Stock, self.stock, "cup", event.into().into());
    }

    fn order(&mut self, event: impl Into<OrderEvent>) {
        self.order += 1;
        self.write(Stream::Order, self.order, "o1", event.into().into());
    }

    fn write(&mut self, stream: Stream, seq: u64, id: &str, body: cartwright_events::EventBody) {
        let event = Event {
            aggregate_id: id.to_owned(),
            version: seq,
            occurred_at: Timestamp::EPOCH,
            body,
        };
        self.ledger.event(&envelope(stream, seq), &event);
    }
}

fn order_id() -> OrderId {
    OrderId::new("o1").unwrap()
}

fn reference() -> Reference {
    Reference::new("r").unwrap()
}

fn gbp() -> Currency {
    Currency::new("GBP").unwrap()
}

fn received(quantity: i64) -> StockReceived {
    StockReceived {
        quantity,
        reference: None,
        on_hand: quantity,
        reserved: 0,
    }
}

fn reserved(quantity: i64, on_hand: i64) -> StockReserved {
    StockReserved {
        order_id: order_id(),
        quantity,
        on_hand,
        reserved: quantity,
    }
}

fn created(total_minor: i64) -> OrderCreated {
    OrderCreated {
        cart_id: CartId::new("o1").unwrap(),
        customer_id: None,
        currency: gbp(),
        ship_to_country: None,
        external_reference: None,
        lines: vec![OrderLine {
            line: 1,
            sku: Sku::new("cup").unwrap(),
            name: "Cup".to_owned(),
            quantity: 3,
            unit_price_minor: 200,
            line_total_minor: 600,
        }],
        units: 3,
        total_minor,
        payment_deadline: Timestamp::EPOCH,
    }
}

fn paid_order() -> Writer {
    let mut writer = Writer::default();
    writer.stock(received(5));
    writer.order(created(600));
    writer.stock(reserved(3, 5));
    writer.order(OrderConfirmed {
        total_minor: 600,
        currency: gbp(),
        payment_deadline: Timestamp::EPOCH,
    });
    writer.order(OrderPaymentCaptured {
        payment_id: reference(),
        operation_id: reference(),
        amount_minor: 600,
        currency: gbp(),
        captured_minor: 600,
    });
    writer.order(OrderPaid {
        total_minor: 600,
        captured_minor: 600,
        currency: gbp(),
    });
    writer
}

fn shipped(quantity: i64) -> OrderShipped {
    OrderShipped {
        shipment_id: reference(),
        lines: vec![ShippedLine {
            line: 1,
            sku: Sku::new("cup").unwrap(),
            quantity,
        }],
        shipped_units: quantity,
        fully_shipped: quantity == 3,
    }
}

fn stock_shipped(quantity: i64) -> StockShipped {
    StockShipped {
        order_id: order_id(),
        shipment_id: reference(),
        quantity,
        unbooked: 0,
        on_hand: 5 - quantity,
        reserved: 3 - quantity,
    }
}

#[test]
fn a_sale_as_it_should_be_breaks_nothing() {
    let mut writer = paid_order();
    writer.order(shipped(3));
    assert_eq!(
        writer.ledger.unsettled().len(),
        2,
        "inventory has not heard of it yet"
    );
    writer.stock(stock_shipped(3));
    writer.order(OrderReturned {
        return_id: reference(),
        lines: vec![ReturnedLine {
            line: 1,
            sku: Sku::new("cup").unwrap(),
            quantity: 1,
            charge_minor: 200,
        }],
        charge_minor: 200,
        currency: gbp(),
        ship_to_country: None,
        restock: false,
        returned_units: 1,
        refund_due_minor: 200,
    });
    let ledger = &writer.ledger;
    assert!(ledger.unsettled().is_empty());
    let (stock, orders) = (&ledger.stock, &ledger.orders);
    for audit in [
        &ledger.dense,
        &stock.conserved,
        &stock.never_negative,
        &stock.never_oversold,
    ] {
        assert!(audit.holds(), "{audit:?}");
    }
    for audit in [
        &stock.reserved_is_holds,
        &orders.totals_add_up,
        &orders.money_adds_up,
        &orders.goods_add_up,
    ] {
        assert!(audit.holds(), "{audit:?}");
    }
    let sales = orders.sales("GBP");
    assert_eq!(
        (sales.orders, sales.gross_minor, sales.returned_units),
        (1, 600, 1)
    );
}

#[test]
fn a_missing_event_is_noticed() {
    let mut writer = paid_order();
    writer.order += 1;
    writer.order(shipped(3));
    assert_eq!(writer.ledger.dense.broken, 2, "{:?}", writer.ledger.dense);
}

#[test]
fn a_unit_sold_twice_is_noticed() {
    let mut writer = Writer::default();
    writer.stock(received(2));
    writer.stock(reserved(3, 2));
    assert!(!writer.ledger.stock.never_oversold.holds());
    let mut writer = paid_order();
    writer.stock(StockShipped {
        on_hand: 3,
        ..stock_shipped(3)
    });
    assert!(!writer.ledger.stock.conserved.holds());
}

#[test]
fn sums_that_do_not_add_up_are_noticed() {
    let mut writer = Writer::default();
    writer.order(created(601));
    assert!(!writer.ledger.orders.totals_add_up.holds());
    let mut writer = paid_order();
    writer.order(shipped(4));
    assert!(!writer.ledger.orders.goods_add_up.holds());
    let mut writer = paid_order();
    writer.order(cartwright_events::order::OrderCancelled {
        reason: cartwright_events::order::CancelReason::Requested,
        reference: None,
        note: None,
        refund_due_minor: 0,
    });
    assert!(
        !writer.ledger.orders.money_adds_up.holds(),
        "600 came in and nothing is due"
    );
}
