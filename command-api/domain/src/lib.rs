//! The shop's rules, pure: aggregates, what they decide and how they evolve.
//!
//! Three bounded contexts implement [`BoundedContext`]: the catalog (products), the inventory (stock
//! of each SKU) and the checkout (carts and orders). One decision is one file: its command, its
//! rules and their tests.

pub mod catalog;
pub mod checkout;
mod checks;
pub mod context;
mod facts;
pub mod inventory;
mod memory;
pub mod price;
pub mod reason;
pub mod rejection;
pub mod settings;
#[cfg(test)]
mod testing;

pub use catalog::change_price::ChangePrice;
pub use catalog::command::CatalogCommand;
pub use catalog::create_product::CreateProduct;
pub use catalog::retire_product::RetireProduct;
pub use catalog::{Catalog, CatalogState};
pub use checkout::cart::add_item::{AddItem, NewItem};
pub use checkout::cart::change_item::ChangeItem;
pub use checkout::cart::check_out::CheckOut;
pub use checkout::cart::create::CreateCart;
pub use checkout::cart::remove_item::RemoveItem;
pub use checkout::command::CheckoutCommand;
pub use checkout::order::cancel::Cancel;
pub use checkout::order::pay::Pay;
pub use checkout::order::return_goods::Return;
pub use checkout::order::ship::{LineQuantity, Ship};
pub use checkout::{Checkout, CheckoutState};
pub use checks::MAX_AHEAD_MS;
pub use context::{
    Accepted, BoundedContext, Decision, EvolveError, Outgoing, PricedProduct, Prices, Readiness,
};
pub use inventory::adjust::AdjustStock;
pub use inventory::command::InventoryCommand;
pub use inventory::receive::ReceiveStock;
pub use inventory::{Inventory, InventoryState};
pub use price::Price;
pub use reason::Reason;
pub use rejection::{Rejection, RejectionKind, at_version};
pub use settings::{CatalogSettings, CheckoutSettings, InventorySettings};
