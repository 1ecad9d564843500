//! Events of `checkout.cart.events.v1`; key: cart id.

use crate::types::{Country, Currency, CustomerId, OrderId, Reference, Sku, Timestamp};
use crate::{wire_branches, wire_record, wire_words};

wire_words! {
    /// Where a line's price came from.
    pub enum PriceSource {
        /// The catalog, when the line was priced.
        Catalog = "catalog",
        /// The caller, where the setting allows it.
        Quoted = "quoted",
    }
}

wire_record! {
    /// A cart was opened.
    pub struct CartCreated {
        /// Who shops; none for a guest.
        pub customer_id: Option<CustomerId>,
        /// Currency of all prices in the cart.
        pub currency: Currency,
        /// Where the order will ship to.
        pub ship_to_country: Option<Country>,
        /// The shop's own number for what becomes of the cart.
        pub external_reference: Option<Reference>,
    }
}

wire_record! {
    /// A line was added.
    pub struct CartItemAdded {
        /// The line's number in the cart, from 1, never used again.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// The product's name as it was.
        pub name: String,
        /// Units; above zero.
        pub quantity: i64,
        /// Price of one unit, in minor units.
        pub unit_price_minor: i64,
        /// Where the price came from.
        pub price_source: PriceSource,
        /// Seq of the catalog event that set the price, where it came from the catalog.
        pub catalog_seq: Option<u64>,
        /// Price of the line, in minor units.
        pub line_total_minor: i64,
        /// Price of the cart after it, in minor units.
        pub cart_total_minor: i64,
    }
}

wire_record! {
    /// A line's number of units changed.
    pub struct CartItemQuantityChanged {
        /// The line.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// Units until now.
        pub old_quantity: i64,
        /// Units from now on; above zero.
        pub quantity: i64,
        /// Price of one unit, in minor units.
        pub unit_price_minor: i64,
        /// Price of the line after it, in minor units.
        pub line_total_minor: i64,
        /// Price of the cart after it, in minor units.
        pub cart_total_minor: i64,
    }
}

wire_record! {
    /// A line took the catalog's new price, which the shopper accepted at checkout.
    pub struct CartItemRepriced {
        /// The line.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// Price of one unit until now, in minor units.
        pub old_unit_price_minor: i64,
        /// Price of one unit from now on, in minor units.
        pub unit_price_minor: i64,
        /// Seq of the catalog event that set the price.
        pub catalog_seq: Option<u64>,
        /// Price of the line after it, in minor units.
        pub line_total_minor: i64,
        /// Price of the cart after it, in minor units.
        pub cart_total_minor: i64,
    }
}

wire_record! {
    /// A line was taken out.
    pub struct CartItemRemoved {
        /// The line.
        pub line: u32,
        /// What.
        pub sku: Sku,
        /// Units it had.
        pub quantity: i64,
        /// Price of the cart after it, in minor units.
        pub cart_total_minor: i64,
    }
}

wire_record! {
    /// The cart became an order; it takes no more changes.
    pub struct CartCheckedOut {
        /// The order, with the cart's own id.
        pub order_id: OrderId,
        /// Price of the cart, in minor units.
        pub total_minor: i64,
        /// Currency of the price.
        pub currency: Currency,
    }
}

wire_record! {
    /// Nobody touched the cart for the configured idle time; it takes no more changes.
    pub struct CartAbandoned {
        /// The last change before it.
        pub idle_since: Timestamp,
    }
}

wire_branches! {
    /// What can happen to a cart.
    pub enum CartEvent {
        Created(CartCreated) = "CartCreated",
        ItemAdded(CartItemAdded) = "CartItemAdded",
        ItemQuantityChanged(CartItemQuantityChanged) = "CartItemQuantityChanged",
        ItemRepriced(CartItemRepriced) = "CartItemRepriced",
        ItemRemoved(CartItemRemoved) = "CartItemRemoved",
        CheckedOut(CartCheckedOut) = "CartCheckedOut",
        Abandoned(CartAbandoned) = "CartAbandoned",
    }
}
