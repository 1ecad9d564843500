//! A cart.

pub mod add_item;
pub mod change_item;
pub mod check_out;
pub mod create;
pub mod remove_item;
