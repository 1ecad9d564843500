//! What the routes answer, as JSON.
//!
//! Amounts are in minor units of the currency beside them; times are RFC 3339 in UTC.

mod cart;
mod order;
mod product;
mod report;
mod timeline;

pub use cart::{Cart, CartLine};
pub use order::{
    CustomerOrder, CustomerOrders, Order, OrderLine, Payment, RefundDue, Return, ReturnedLine,
    Shipment, ShippedLine, Shortage,
};
pub use product::{Availability, FoundProduct, FoundProducts, Product, Products};
pub use report::{SalesReport, SalesRow};
pub use timeline::{Causal, Timeline, TimelineEvent};
