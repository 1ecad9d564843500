//! What the routes answer, as JSON.
//!
//! Amounts are in minor units of the currency beside them; times are RFC 3339 in UTC.

mod cart;
mod order;
mod product;
mod report;

pub use cart::{Cart, CartLine};
pub use order::{
    CustomerOrder, CustomerOrders, Order, OrderLine, Payment, RefundDue, Return, ReturnedLine,
    Shipment, ShippedLine, Shortage, Timeline, TimelineEvent,
};
pub use product::{Availability, FoundProduct, FoundProducts, Product, Products};
pub use report::{SalesReport, SalesRow};
