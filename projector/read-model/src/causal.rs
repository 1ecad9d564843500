//! Cause before effect: the order of what happened about an order within one millisecond.
//!
//! The log's times are milliseconds, and partitions have no common order. What was taken in the same
//! millisecond is put in the order that it must have had, by the steps in which an order's life goes
//! on, and within a partition by its own order.

/// Where something stands in the life of an order: it is led to by steps before it, or by others of the
/// same step in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A command that came by the inbox.
    Command,
    /// Money for an order that is not there yet.
    Early,
    /// What happens to the cart.
    Cart,
    /// The cart becomes an order.
    Placed,
    /// Inventory is asked for stock.
    Asked,
    /// Inventory holds it, or refuses to.
    Held,
    /// Inventory's answer.
    Answered,
    /// What becomes of the order.
    Order,
    /// What inventory is told of it.
    Told,
    /// What inventory makes of that.
    Moved,
    /// A command is refused for what the order has become.
    Refused,
}

/// The order's events of the steps between its beginning and its end, by type; the others are told by
/// their stream.
const BY_TYPE: [(&str, Step); 3] = [
    ("OrderCreated", Step::Placed),
    ("StockReserved", Step::Held),
    ("StockReservationRejected", Step::Held),
];

const BY_STREAM: [(&str, Step); 3] = [
    ("cart", Step::Cart),
    ("order", Step::Order),
    ("stock", Step::Moved),
];

/// The `reason` in an event about money that came before its order.
const EARLY: &str = "unknown_order";

impl Step {
    /// The step of an event of `stream`, with the `reason` that it gives.
    #[must_use]
    pub fn of_event(stream: &str, type_name: &str, reason: Option<&str>) -> Self {
        if reason == Some(EARLY) {
            return Self::Early;
        }
        let by_type = BY_TYPE.iter().find(|(name, _)| *name == type_name);
        let by_stream = || BY_STREAM.iter().find(|(name, _)| *name == stream);
        let found = by_type.or_else(by_stream);
        found.map_or(Self::Order, |(_, step)| *step)
    }

    /// The step of a message between shards.
    #[must_use]
    pub fn of_message(type_name: &str) -> Self {
        match type_name {
            "SubmitCommand" => Self::Command,
            "ReserveStock" => Self::Asked,
            "ReservationAnswer" => Self::Answered,
            _ => Self::Told,
        }
    }

    /// [`Step::of_event`] of a row of the causal events, as an SQL expression of a number.
    pub(crate) fn sql() -> String {
        let case = |column: &str, of: &[(&str, Step)]| -> String {
            let whens = of.iter().map(|(name, step)| {
                let step = *step as u8;
                format!(" WHEN {column} = '{name}' THEN {step}")
            });
            whens.collect()
        };
        format!(
            "CASE WHEN summary->>'reason' = '{EARLY}' THEN {}{}{} ELSE {} END",
            Self::Early as u8,
            case("type", &BY_TYPE),
            case("stream", &BY_STREAM),
            Self::Order as u8,
        )
    }
}

/// The message between shards that brought the cause of an event of this type to the shard that wrote
/// it; none where the type alone does not tell.
#[must_use]
pub fn brought_by(type_name: &str) -> Option<&'static str> {
    match type_name {
        "StockReserved" | "StockReservationRejected" => Some("ReserveStock"),
        "StockReleased" => Some("ReleaseStock"),
        "StockShipped" => Some("ShipStock"),
        "StockRestocked" => Some("RestockReturn"),
        "OrderConfirmed" | "OrderRejected" => Some("ReservationAnswer"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_brings_a_cause_is_a_step_before_its_effect() {
        let stock = [
            "StockReserved",
            "StockReservationRejected",
            "StockReleased",
            "StockShipped",
            "StockRestocked",
        ];
        let order = ["OrderConfirmed", "OrderRejected"];
        let all = stock.map(|name| ("stock", name)).into_iter();
        for (stream, name) in all.chain(order.map(|name| ("order", name))) {
            let message = brought_by(name).expect(name);
            let (before, after) = (
                Step::of_message(message),
                Step::of_event(stream, name, None),
            );
            assert!(before < after, "{message} leads to {name}");
        }
        assert_eq!(brought_by("OrderCreated"), None);
    }

    #[test]
    fn what_leads_to_something_is_a_step_before_it() {
        let event = |stream, type_name| Step::of_event(stream, type_name, None);
        let chain = [
            Step::of_message("SubmitCommand"),
            event("cart", "CartCheckedOut"),
            event("order", "OrderCreated"),
            Step::of_message("ReserveStock"),
            event("stock", "StockReserved"),
            Step::of_message("ReservationAnswer"),
            event("order", "OrderConfirmed"),
            Step::of_message("ShipStock"),
            event("stock", "StockShipped"),
        ];
        assert!(chain.is_sorted(), "{chain:?}");
        // Of one partition nothing changes its place.
        let confirmed = event("order", "OrderConfirmed");
        for after in ["OrderPaid", "OrderCancelled", "OrderShipped"] {
            assert_eq!(event("order", after), confirmed, "{after}");
        }
        let early = Step::of_event("order", "OrderRefundDue", Some("unknown_order"));
        assert!(early < event("order", "OrderCreated"));
        let late = Step::of_event("order", "OrderRefundDue", Some("excess"));
        assert_eq!(late, confirmed);
    }
}
