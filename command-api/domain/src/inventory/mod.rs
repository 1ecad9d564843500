//! The inventory: what lies in the warehouse and what orders hold of it.

pub mod adjust;
pub mod command;
pub mod receive;
