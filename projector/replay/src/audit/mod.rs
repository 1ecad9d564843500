//! The log against the shop's invariants and the read models.
//!
//! [`Watch`] is what has to be remembered between two audits: positions, and whatever is not
//! settled yet (open orders, holds, money owed). It grows with what is open and not with the log.

mod behind;
mod books;
mod findings;
mod judge;
mod made;
mod open_order;
mod owed;
mod rows;
mod state;
mod stored;
mod strays;
mod told;
mod unread;
mod view;
mod watch;
mod written;

pub use behind::behind;
pub use books::{books, everything};
pub use findings::{Evidence, Finding, Severity};
pub use judge::{Limits, judge};
pub use made::{Expected, Fault, Made, RowId};
pub use rows::{Place, RowCheck, ViewRows};
pub use state::{Held, hold, load, save};
pub use stored::StoredView;
pub use strays::KnownStray;
pub use watch::{Seen, Watch};
