//! Many invoices in flight, each behind those that it must not overtake.
//!
//! An invoice waits for the one before it of the same customer, so that a cancellation finds its
//! orders shipped and each customer's orders stand in the file's order. Where stock is limited, an
//! order also waits for those before it that want one of the same scarce SKUs: who gets the last
//! unit is decided by the file, not by luck. Guests' invoices wait for nobody.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::book::{Book, Invoice};
use super::plan::Plan;
use super::rule::InvoiceKind;

/// A queue in which invoices stay in the file's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// All invoices of a customer.
    Customer(u32),
    /// All orders that want a scarce SKU.
    Sku(u32),
}

/// The lanes of an invoice. A SKU is scarce when orders ask for more of it than there will be.
#[must_use]
pub fn lanes(book: &Book, plan: &Plan, limit_stock: Option<i64>, invoice: &Invoice) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = invoice.customer.map(Lane::Customer).into_iter().collect();
    if let Some(limit) = limit_stock
        && invoice.kind == InvoiceKind::Sale
    {
        debug_assert_eq!(plan.demand.len(), book.products.len());
        let scarce = |sku: u32| plan.demand[sku as usize] > limit;
        let skus = invoice.lines.iter().map(|line| line.sku);
        lanes.extend(skus.filter(|&sku| scarce(sku)).map(Lane::Sku));
        // The same SKU at two prices is one lane: nobody waits for itself.
        lanes.sort_unstable();
        lanes.dedup();
    }
    lanes
}

/// Runs `work` for 0 to `count` − 1, `most` at a time, started in this order and each after those
/// before it in its lanes (each named once). Stops at the first error.
///
/// # Errors
/// The first error of `work`.
pub async fn run<W, F, E>(
    count: u32,
    most: usize,
    lanes: impl Fn(u32) -> Vec<Lane>,
    work: W,
) -> Result<(), E>
where
    W: Fn(u32) -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Send + 'static,
{
    let permits = Arc::new(Semaphore::new(most.max(1)));
    let mut running = JoinSet::new();
    let mut last_in: HashMap<Lane, watch::Receiver<bool>> = HashMap::new();
    for index in 0..count {
        let permit = Arc::clone(&permits).acquire_owned().await;
        while let Some(ended) = running.try_join_next() {
            flatten(ended)?;
        }
        let (finished, is_finished) = watch::channel(false);
        let before: Vec<_> = lanes(index)
            .into_iter()
            .filter_map(|lane| last_in.insert(lane, is_finished.clone()))
            .collect();
        let this = work(index);
        running.spawn(async move {
            // Those before it hold their permits already, so waiting with one cannot block them.
            for mut other in before {
                if other.wait_for(|finished| *finished).await.is_err() {
                    // It failed, and with it the run.
                    return Ok(());
                }
            }
            let result = this.await;
            if result.is_ok() {
                finished.send_replace(true);
            }
            drop(permit);
            result
        });
    }
    while let Some(ended) = running.join_next().await {
        flatten(ended)?;
    }
    Ok(())
}

fn flatten<E>(ended: Result<Result<(), E>, tokio::task::JoinError>) -> Result<(), E> {
    match ended {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nothing but the end of the whole run cancels a task.
            Err(_) => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn invoices_of_a_lane_keep_their_order_and_others_overtake() {
        let ended: Arc<Mutex<Vec<u32>>> = Arc::default();
        let gate = Arc::new(tokio::sync::Notify::new());
        // 0 and 2 share a lane; 0 ends only after 1 and 3, which have no lane, have ended.
        let lanes = |index: u32| {
            if index.is_multiple_of(2) {
                vec![Lane::Customer(7)]
            } else {
                vec![]
            }
        };
        let work = |index: u32| {
            let (ended, gate) = (Arc::clone(&ended), Arc::clone(&gate));
            async move {
                if index == 0 {
                    gate.notified().await;
                }
                ended.lock().unwrap().push(index);
                if index == 3 {
                    gate.notify_one();
                }
                Ok::<(), String>(())
            }
        };
        run(4, 4, lanes, work).await.unwrap();
        assert_eq!(*ended.lock().unwrap(), [1, 3, 0, 2]);
    }

    #[tokio::test]
    async fn no_more_than_allowed_are_in_flight_and_an_error_ends_the_run() {
        let state: Arc<Mutex<(usize, usize)>> = Arc::default();
        let work = |index: u32| {
            let state = Arc::clone(&state);
            async move {
                {
                    let mut state = state.lock().unwrap();
                    state.0 += 1;
                    state.1 = state.1.max(state.0);
                }
                tokio::task::yield_now().await;
                state.lock().unwrap().0 -= 1;
                if index == 90 { Err("stop") } else { Ok(()) }
            }
        };
        assert_eq!(run(100, 8, |_| vec![Lane::Sku(1)], work).await, Err("stop"));
        assert!(state.lock().unwrap().1 <= 8);
    }
}
