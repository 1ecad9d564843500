//! What every Cartwright service shares, so that the three of them are configured, observed,
//! refused and stopped in one way.
//!
//! A service's `main` is its boot order:
//!
//! 1. [`config::load`]: read the settings once.
//! 2. [`telemetry::init`] and [`metrics::install`].
//! 3. [`shutdown::Shutdown::on_signals`] and [`shutdown::bind`], so that a port in use is found
//!    before anything is taken over.
//! 4. Build the parts; each registers itself with [`health::Readiness`].
//! 5. [`app::assemble`] the routes and [`shutdown::serve`] them until a signal.
//! 6. Stop the parts, in the reverse order.
//!
//! Nothing here knows the shop: no topic, table, command or view is named in this crate.

pub mod app;
pub mod config;
pub mod extract;
pub mod health;
pub mod metric_names;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod request_id;
mod settings;
pub mod shutdown;
pub mod telemetry;

/// Of every program that links this crate. What is made in millions on one thread (rows of a batch) is
/// freed on another, which costs the C library's allocator up to a third of a rebuild's CPU time. Its feature
/// `override` gives it the memory of C libraries as well: librdkafka allocates for every header of a record.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
