//! Events of `catalog.product.events.v1`; key: SKU.

use crate::types::Currency;
use crate::{wire_branches, wire_record};

wire_record! {
    /// A product entered the catalog and can be sold.
    pub struct ProductCreated {
        /// Name shown to shoppers.
        pub name: String,
        /// Longer text shown to shoppers.
        pub description: Option<String>,
        /// Price of one unit, in minor units; above zero.
        pub price_minor: i64,
        /// Currency of the price, for the product's whole life.
        pub currency: Currency,
    }
}

wire_record! {
    /// The price of one unit changed.
    pub struct ProductPriceChanged {
        /// Price until now, in minor units.
        pub old_price_minor: i64,
        /// Price from now on, in minor units.
        pub price_minor: i64,
        /// Currency of both.
        pub currency: Currency,
    }
}

wire_record! {
    /// The product is no longer sold. Orders that hold it are not touched.
    pub struct ProductRetired {
        /// Its last price, in minor units.
        pub price_minor: i64,
        /// Currency of the price.
        pub currency: Currency,
    }
}

wire_branches! {
    /// What can happen to a product.
    pub enum ProductEvent {
        Created(ProductCreated) = "ProductCreated",
        PriceChanged(ProductPriceChanged) = "ProductPriceChanged",
        Retired(ProductRetired) = "ProductRetired",
    }
}
