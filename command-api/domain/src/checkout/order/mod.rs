//! An order.

pub mod cancel;
pub mod pay;
pub mod return_goods;
pub mod ship;
