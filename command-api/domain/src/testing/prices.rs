//! A price table that a test can change.

use std::collections::HashMap;
use std::sync::Mutex;

use cartwright_events::Sku;

use super::build::currency;
use crate::context::{PricedProduct, Prices};

#[derive(Default)]
pub(crate) struct TestPrices {
    products: Mutex<HashMap<String, PricedProduct>>,
}

impl TestPrices {
    /// Sets a price in GBP; its catalog seq goes up by one.
    pub(crate) fn set(&self, sku: &str, price_minor: i64) {
        let mut products = self.products.lock().unwrap();
        let catalog_seq = products
            .get(sku)
            .map_or(1, |product| product.catalog_seq + 1);
        let product = PricedProduct {
            name: format!("product {sku}"),
            price_minor,
            currency: currency("GBP"),
            catalog_seq,
            retired: false,
        };
        products.insert(sku.to_owned(), product);
    }

    /// Stops selling it.
    pub(crate) fn retire(&self, sku: &str) {
        if let Some(product) = self.products.lock().unwrap().get_mut(sku) {
            product.retired = true;
        }
    }
}

impl Prices for TestPrices {
    fn product(&self, sku: &Sku) -> Option<PricedProduct> {
        self.products.lock().unwrap().get(sku.as_str()).cloned()
    }
}
