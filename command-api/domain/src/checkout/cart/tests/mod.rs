//! The rules of a cart.

mod check_out;
mod filling;
mod opening;
