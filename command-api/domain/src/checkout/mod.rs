//! The checkout: carts, and the orders that come from them.

pub mod cart;
pub mod command;
pub mod order;
