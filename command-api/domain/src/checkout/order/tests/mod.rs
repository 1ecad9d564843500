//! The rules of an order.

mod ending;
mod goods;
mod money;
mod reserving;
mod sharing;
mod stray_money;
