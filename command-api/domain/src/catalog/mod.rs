//! The catalog: products and their prices.

pub mod change_price;
pub mod command;
pub mod create_product;
pub mod product;
pub mod retire_product;

use std::collections::BTreeMap;

use cartwright_events::{Context, Event, EventBody, Message, Sku, Timestamp};

use crate::context::{Accepted, BoundedContext, Decision, EvolveError, Outgoing};
use crate::facts::{Decided, misfit, nothing};
use crate::memory::{ENTRY_BYTES, keys_after};
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::settings::CatalogSettings;
use command::CatalogCommand;
use product::Product;

/// The catalog context.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Its settings.
    pub settings: CatalogSettings,
}

/// The products of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogState {
    products: BTreeMap<String, Product>,
}

impl BoundedContext for Catalog {
    const CONTEXT: Context = Context::Catalog;
    type State = CatalogState;
    type Snapshot = Product;
    type Command = CatalogCommand;

    fn key(command: &CatalogCommand) -> &str {
        command.sku().as_str()
    }

    fn decide(&self, state: &CatalogState, command: &CatalogCommand, now: Timestamp) -> Decided {
        let product = state.products.get(command.sku().as_str());
        match command {
            CatalogCommand::CreateProduct(command) => create_product::decide(product, command, now),
            CatalogCommand::ChangePrice(command) => change_price::decide(product, command, now),
            CatalogCommand::RetireProduct(command) => retire_product::decide(product, command, now),
        }
    }

    fn version(&self, state: &CatalogState, command: &CatalogCommand) -> u64 {
        let product = state.products.get(command.sku().as_str());
        product.map_or(0, |product| product.version)
    }

    /// No message is for the catalog.
    fn receive(&self, _: &CatalogState, _: &Message, _: Timestamp) -> Decision {
        nothing()
    }

    fn give_up(&self, _: &Message, _: &str) -> Vec<Outgoing> {
        Vec::new()
    }

    fn evolve(&self, state: &mut CatalogState, event: &Event, seq: u64) -> Result<(), EvolveError> {
        let EventBody::Product(body) = &event.body else {
            return Err(misfit(event, "it is no event of a product"));
        };
        let before = state.products.get(&event.aggregate_id).cloned();
        let after = product::evolve(before, event, body, seq)?;
        state.products.insert(event.aggregate_id.clone(), after);
        Ok(())
    }

    fn next_due(&self, _: &CatalogState) -> Option<Timestamp> {
        None
    }

    fn on_time(&self, _: &CatalogState, _: Timestamp, _: usize) -> Vec<Decision> {
        Vec::new()
    }

    fn ids_after<'a>(
        &self,
        state: &'a CatalogState,
        after: Option<&str>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a str> + 'a> {
        keys_after(&state.products, after)
    }

    fn count(&self, state: &CatalogState) -> usize {
        state.products.len()
    }

    fn holds(&self, state: &CatalogState, sku: &str) -> bool {
        state.products.contains_key(sku)
    }

    fn size_hint(&self, state: &CatalogState, sku: &str) -> usize {
        let product = state.products.get(sku);
        product.map_or(0, |_| size_of::<Product>() + 2 * ENTRY_BYTES + sku.len())
    }

    fn snapshot(&self, state: &CatalogState, sku: &str) -> Option<Product> {
        state.products.get(sku).cloned()
    }

    fn restore(&self, state: &mut CatalogState, sku: &str, product: Product) {
        state.products.insert(sku.to_owned(), product);
    }

    fn forget(&self, state: &mut CatalogState, sku: &str) {
        state.products.remove(sku);
    }

    /// Products are few and stay.
    fn is_finished(&self, _: &CatalogState, _: &str) -> bool {
        false
    }

    fn outcome(&self, _: &CatalogState, _: &str) -> Option<Accepted> {
        None
    }
}

/// The catalog does not know the SKU.
pub(crate) fn unknown(sku: &Sku) -> Rejection {
    Rejection::new(
        Reason::UnknownProduct,
        format!("the catalog does not know {sku}"),
    )
    .field("sku")
    .with("sku", sku.as_str())
}

/// The product is no longer sold.
pub(crate) fn retired(sku: &Sku) -> Rejection {
    Rejection::new(Reason::ProductRetired, format!("{sku} is no longer sold"))
        .field("sku")
        .with("sku", sku.as_str())
}

#[cfg(test)]
mod tests;
