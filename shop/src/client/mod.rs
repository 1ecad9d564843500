//! HTTP as a client of the shop has to speak it: idempotency keys, problems, positions, and retries
//! that end.

mod api;
mod position;
mod pulse;
mod request;

pub use api::{Answer, Api, CallError, Problem, RetryPolicy};
pub use position::part_of;
pub use pulse::{Pulse, Trouble};
pub use request::{Request, segment};
