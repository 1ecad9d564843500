//! What tests on the real stack share: a stack of their own, an HTTP client that keeps the
//! contract's headers, and waiting on conditions.

mod api;
mod stack;

pub use api::{Answer, Api};
pub use stack::TestStack;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take to come true before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks until there is an answer.
///
/// # Errors
/// When there is none within `limit`: says what was waited for.
pub async fn eventually<T, F, Fut>(what: &str, limit: Duration, mut ask: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        anyhow::ensure!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
