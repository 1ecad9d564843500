//! The catalog: products and their prices.

pub mod change_price;
pub mod command;
pub mod create_product;
pub mod retire_product;
