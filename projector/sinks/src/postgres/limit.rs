//! How long a call waits for the server.

use std::time::{Duration, Instant};

use cartwright_read_model::postgres::forget_connections;
use deadpool_postgres::Pool;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;

use crate::sink::SinkError;

/// Longer than the server takes over any statement that it has been given a minute for.
pub(super) const DEFAULT: Duration = Duration::from_secs(75);

/// Waits for `task`, which was `begun` a while ago, until it has taken as long as `limit` says. A server that is frozen, or cut off, says nothing, and
/// its connections look well.
///
/// After that the task is dropped wherever it is, and so are the pool's connections: in what state the
/// task left its own nobody knows, and the others lead to the same server. What had been sent to it may
/// still be carried out; the position that every batch expects makes that harmless.
pub(super) fn wait<T>(
    runtime: &Handle,
    pool: &Pool,
    limit: Option<Duration>,
    begun: Instant,
    mut task: JoinHandle<Result<T, SinkError>>,
) -> Result<T, SinkError> {
    let ended = runtime.block_on(async {
        let Some(limit) = limit else {
            return Ok((&mut task).await);
        };
        let left = limit.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, &mut task).await {
            Ok(ended) => Ok(ended),
            Err(_) => {
                task.abort();
                // Only then is its connection in the pool again.
                let _ = (&mut task).await;
                Err(limit)
            }
        }
    });
    let result = match ended {
        Ok(Ok(result)) => result,
        Ok(Err(error)) if error.is_cancelled() => Err(SinkError::retry("the runtime is stopping")),
        Ok(Err(error)) => Err(SinkError::fatal(error)),
        Err(limit) => {
            forget_connections(pool);
            let seconds = limit.as_secs_f64();
            return Err(SinkError::retry(format!(
                "postgres: no answer in {seconds} s"
            )));
        }
    };
    if result.as_ref().is_err_and(takes_no_writes) {
        forget_connections(pool);
    }
    result
}

/// A server that was the primary and is no longer: its connections would lead there for ever.
fn takes_no_writes(error: &SinkError) -> bool {
    let code = SqlState::READ_ONLY_SQL_TRANSACTION.code();
    matches!(error, SinkError::Retry { reason } if reason.ends_with(&format!("({code})")))
}
