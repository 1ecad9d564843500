//! The process's one price table, folded from the catalog's events.
//!
//! A thread reads every partition of the catalog's stream, read_committed: first to the end that
//! they had when it began, then whatever follows. Nothing is priced before the first end is reached.
//! A record that this version cannot fold stops the table for good: a price that may be wrong is
//! worse than none.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cartwright_domain::{PricedProduct, Prices, Readiness};
use cartwright_event_log::EventLog;
use cartwright_events::catalog::ProductEvent;
use cartwright_events::codec::Codec;
use cartwright_events::{PositionToken, Sku, Stream};
use tokio::sync::watch;

pub use follower::PriceThread;
use follower::{Follower, LOOK_EVERY};

mod follower;

/// Prices by SKU, and how far the catalog's stream has been read. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct PriceTable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    products: RwLock<HashMap<Sku, PricedProduct>>,
    progress: watch::Sender<Progress>,
    partitions: usize,
    log_generation: u32,
}

/// How far the table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Whether it can be used.
    pub state: TableState,
    /// Last seq folded, by partition.
    pub seqs: Vec<u64>,
    /// What holds the reader of a partition up, the first of them; nothing while all move.
    pub held_up: Option<String>,
}

/// Whether the table can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableState {
    /// The end has not been reached for the first time.
    Loading,
    /// It follows the end of the stream.
    Following,
    /// It will never be used again in this process.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why the table cannot price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PricesError {
    /// It has stopped for good. Another process, of another version, has to answer.
    #[error("prices are not available: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// It has not been loaded in time. Try again.
    #[error("the price table is being loaded")]
    Loading,
    /// It did not reach the position in time. Try again.
    #[error("the price table has reached {reached}, which is not yet the position asked for")]
    Behind {
        /// How far it is.
        reached: PositionToken,
    },
    /// The position is of another generation of the log, or of partitions that it does not have.
    #[error("the position is not one of this log, which is of generation {log_generation}")]
    OtherLog {
        /// This log's generation.
        log_generation: u32,
    },
}

/// An event does not fit the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a price change or retirement of a product that was never created")]
pub(crate) struct Misfit;

impl PriceTable {
    /// A table of `partitions` partitions with nothing in it.
    #[must_use]
    pub fn new(partitions: u32, log_generation: u32) -> Self {
        let seqs = vec![0; partitions as usize];
        let progress = watch::Sender::new(Progress {
            state: TableState::Loading,
            seqs,
            held_up: None,
        });
        Self(Arc::new(Inner {
            products: RwLock::default(),
            progress,
            partitions: partitions as usize,
            log_generation,
        }))
    }

    /// Starts the thread that fills this table from `log`. One a table.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn follow<L: EventLog>(&self, log: L, codec: Codec) -> std::io::Result<PriceThread> {
        Follower::spawn(self.clone(), log, codec, LOOK_EVERY)
    }

    /// To follow how far it is.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Waits until it is loaded, for `limit` at most.
    ///
    /// # Errors
    /// [`PricesError::Loading`] when the time has passed, [`PricesError::Stopped`] at once.
    pub async fn loaded(&self, limit: Duration) -> Result<(), PricesError> {
        self.wait_for(limit, |_| true).await
    }

    /// Waits until it is loaded and holds the catalog's part of `token`, for `limit` at most. The
    /// other parts of a token are not asked of it.
    ///
    /// # Errors
    /// [`PricesError`].
    pub async fn holds(&self, token: &PositionToken, limit: Duration) -> Result<(), PricesError> {
        let wanted = self.wanted(token)?;
        self.wait_for(limit, |seqs| is_held(&wanted, seqs)).await
    }

    /// The catalog's part of `token`: partitions and seqs.
    ///
    /// # Errors
    /// [`PricesError::OtherLog`].
    pub(crate) fn wanted(&self, token: &PositionToken) -> Result<Vec<(usize, u64)>, PricesError> {
        let partitions = self.0.partitions;
        let of_catalog = token
            .seqs
            .iter()
            .filter(|((stream, _), _)| *stream == Stream::Product);
        let wanted: Vec<(usize, u64)> = of_catalog
            .map(|(&(_, partition), &seq)| (partition as usize, seq))
            .collect();
        let other_log = token.generation != self.0.log_generation
            || wanted.iter().any(|&(partition, _)| partition >= partitions);
        match other_log {
            true => Err(PricesError::OtherLog {
                log_generation: self.0.log_generation,
            }),
            false => Ok(wanted),
        }
    }

    async fn wait_for(
        &self,
        limit: Duration,
        enough: impl Fn(&[u64]) -> bool,
    ) -> Result<(), PricesError> {
        let mut progress = self.progress();
        let settled = progress.wait_for(|progress| match progress.state {
            TableState::Loading => false,
            TableState::Following => enough(&progress.seqs),
            TableState::Stopped { .. } => true,
        });
        // The sender lives as long as the table, so only the time can run out.
        let in_time = tokio::time::timeout(limit, settled).await.is_ok();
        let progress = self.0.progress.borrow();
        match &progress.state {
            TableState::Stopped { reason } => Err(PricesError::Stopped {
                reason: reason.clone(),
            }),
            TableState::Loading => Err(PricesError::Loading),
            TableState::Following if in_time || enough(&progress.seqs) => Ok(()),
            TableState::Following => Err(PricesError::Behind {
                reached: self.token(&progress.seqs),
            }),
        }
    }

    fn token(&self, seqs: &[u64]) -> PositionToken {
        let mut token = PositionToken::new(self.0.log_generation);
        for (partition, &seq) in (0..).zip(seqs) {
            token.raise(Stream::Product, partition, seq);
        }
        token
    }

    fn set_state(&self, state: TableState) {
        self.0.progress.send_if_modified(|progress| {
            let changed = progress.state != state;
            progress.state = state;
            changed
        });
    }

    fn set_held_up(&self, held_up: Option<String>) {
        self.0.progress.send_if_modified(|progress| {
            let changed = progress.held_up != held_up;
            progress.held_up = held_up;
            changed
        });
    }

    fn set_seqs(&self, seqs: &[u64]) {
        self.0.progress.send_if_modified(|progress| {
            let changed = progress.seqs != seqs;
            progress.seqs.clear();
            progress.seqs.extend_from_slice(seqs);
            changed
        });
    }

    /// Folds an event of a product, written with `seq`.
    fn fold(&self, sku: Sku, event: ProductEvent, seq: u64) -> Result<(), Misfit> {
        // A panic elsewhere cannot have left an entry half changed.
        let mut products = self
            .0
            .products
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match event {
            ProductEvent::Created(created) => {
                products.insert(
                    sku,
                    PricedProduct {
                        name: created.name,
                        price_minor: created.price_minor,
                        currency: created.currency,
                        catalog_seq: seq,
                        retired: false,
                    },
                );
            }
            ProductEvent::PriceChanged(changed) => {
                let product = products.get_mut(&sku).ok_or(Misfit)?;
                product.price_minor = changed.price_minor;
                product.catalog_seq = seq;
            }
            ProductEvent::Retired(_) => products.get_mut(&sku).ok_or(Misfit)?.retired = true,
        }
        Ok(())
    }
}

/// Whether every partition has been read up to the seq that is wanted of it.
fn is_held(wanted: &[(usize, u64)], seqs: &[u64]) -> bool {
    wanted
        .iter()
        .all(|&(partition, seq)| seqs.get(partition).is_some_and(|read| *read >= seq))
}

impl Prices for PriceTable {
    fn product(&self, sku: &Sku) -> Option<PricedProduct> {
        let products = self
            .0
            .products
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        products.get(sku).cloned()
    }

    fn readiness(&self, after: Option<&PositionToken>) -> Readiness {
        let progress = self.0.progress.borrow();
        match (&progress.state, after.map(|after| self.wanted(after))) {
            (TableState::Loading, _) => Readiness::Loading,
            (TableState::Stopped { .. }, _) => Readiness::Stopped,
            (TableState::Following, None) => Readiness::Ready,
            (TableState::Following, Some(Ok(wanted))) if is_held(&wanted, &progress.seqs) => {
                Readiness::Ready
            }
            (TableState::Following, Some(_)) => Readiness::Behind,
        }
    }
}
