//! An order: from the checkout over its payment to the goods' way there and back.

pub(super) mod answer;
mod apply;
pub mod cancel;
mod end;
pub(super) mod evolve;
pub(super) mod expire;
mod messages;
mod movement;
pub mod pay;
pub(super) mod place;
mod refund;
pub mod return_goods;
pub mod ship;
pub mod state;

use cartwright_events::OrderId;

use crate::context::Accepted;
use crate::facts::object;
use crate::memory::Written;
use crate::reason::Reason;
use crate::rejection::Rejection;
use state::{Order, Placed, Stage, Standing};

/// The order, if there is one.
fn placed<'a>(
    order: Option<&'a Order>,
    id: &OrderId,
) -> Result<(&'a Order, &'a Placed), Rejection> {
    order
        .and_then(|order| Some((order, order.placed()?)))
        .ok_or_else(|| {
            Rejection::new(Reason::UnknownOrder, format!("there is no order {id}"))
                .field("order_id")
                .with("order_id", id.as_str())
        })
}

/// The order has not ended.
fn not_ended(id: &OrderId, standing: &Standing) -> Result<(), Rejection> {
    if standing.stage.has_ended() {
        let detail = format!("order {id} is {}", standing.status());
        return Err(
            Rejection::new(Reason::OrderEnded, detail).with("order_status", standing.status())
        );
    }
    Ok(())
}

/// What became of an order whose caller waits for it; `None` while inventory is being asked.
/// `earlier` names the order's last event, so that the answer's position covers all of it.
pub(super) fn outcome(id: &OrderId, order: &Order) -> Option<Accepted> {
    let placed = order.placed()?;
    if placed.standing.stage == Stage::Pending {
        return None;
    }
    Some(answer_with(
        id,
        placed,
        &Written::one(order.version, order.last_seq),
    ))
}

/// The answer to a checkout that was made before: its order as it stands now.
pub(super) fn checked_out(id: &OrderId, placed: &Placed) -> Accepted {
    answer_with(id, placed, &placed.created)
}

fn answer_with(id: &OrderId, placed: &Placed, written: &Written) -> Accepted {
    let mut data = object(state::data(id, &placed.currency, &placed.standing));
    if placed.standing.stage == Stage::Rejected {
        let shortages = serde_json::to_value(&placed.shortages).unwrap_or_default();
        data.insert("shortages".to_owned(), shortages);
    }
    Accepted {
        aggregate_id: id.as_str().to_owned(),
        version: written.version,
        data,
        earlier: Order::seqs(written),
    }
}

#[cfg(test)]
mod tests;
