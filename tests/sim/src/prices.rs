//! The price table, folded from the catalog's events as the process does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartwright_domain::{PricedProduct, Prices};
use cartwright_event_log::TopicPartition;
use cartwright_event_log::memory::MemoryLog;
use cartwright_events::catalog::ProductEvent;
use cartwright_events::codec::Codec;
use cartwright_events::{EventBody, Sku, Stream};

use crate::world::PARTITIONS;

#[derive(Default)]
pub(crate) struct PriceTable(Mutex<Table>);

#[derive(Default)]
struct Table {
    products: HashMap<Sku, PricedProduct>,
    /// How far each partition has been folded.
    ends: [u64; PARTITIONS as usize],
}

impl PriceTable {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn follow(&self, log: &MemoryLog, codec: &Codec) -> Result<(), String> {
        let mut table = self.lock();
        for (partition, folded) in (0..).zip(table.ends) {
            let at = TopicPartition::new(Stream::Product.topic(), partition);
            let end = log
                .last_stable_offset(&at)
                .map_err(|error| error.to_string())?;
            if end <= folded {
                continue;
            }
            let records = log.committed(&at).map_err(|error| error.to_string())?;
            for record in records.iter().filter(|record| record.offset >= folded) {
                let value = record.value.as_deref().unwrap_or_default();
                let event = codec
                    .decode_event(Stream::Product, value)
                    .map_err(|error| error.to_string())?;
                let sku = Sku::new(event.aggregate_id).map_err(|error| error.to_string())?;
                if let EventBody::Product(ProductEvent::Created(created)) = event.body {
                    table.products.entry(sku).or_insert(PricedProduct {
                        name: created.name,
                        price_minor: created.price_minor,
                        currency: created.currency,
                        catalog_seq: record.offset,
                        retired: false,
                    });
                }
            }
            table.ends[partition as usize] = end;
        }
        Ok(())
    }
}

impl Prices for PriceTable {
    fn product(&self, sku: &Sku) -> Option<PricedProduct> {
        self.lock().products.get(sku).cloned()
    }
}
