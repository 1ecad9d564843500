//! Waiting for what others do.

use std::time::{Duration, Instant};

use anyhow::ensure;

pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks again and again until nothing lacks any more; `lacking` says what does.
///
/// # Errors
/// What still lacks after `limit`.
pub(crate) async fn complete_within(
    limit: Duration,
    mut lacking: impl AsyncFnMut() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Some(lacks) = lacking().await? {
        ensure!(began.elapsed() < limit, lacks);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
