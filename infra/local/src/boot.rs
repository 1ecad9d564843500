//! Waiting until a started part serves, and telling why it does not.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::StackConfig;
use crate::error::{Result, StackError};
use crate::health;
use crate::part::Part;
use crate::ports::Ports;
use crate::process::Identity;

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Waits until a part answers in its own protocol.
///
/// # Errors
/// [`StackError::Died`] as soon as its process is gone, [`StackError::NotReady`] after the part's limit.
pub async fn wait_until_ready(
    config: &StackConfig,
    ports: Ports,
    part: Part,
    identity: &Identity,
    log_start: u64,
) -> Result<()> {
    let began = Instant::now();
    let log = config.log_file(part);
    loop {
        // Asked first: another process could answer on the port after ours has gone.
        let alive = identity.is_alive();
        let answer = health::check(part, ports).await;
        if !alive {
            let reason = telling_line(&log, log_start);
            return Err(StackError::Died { part, reason, log });
        }
        let Err(reason) = answer else {
            return Ok(());
        };
        if began.elapsed() > part.start_limit() {
            return Err(StackError::NotReady {
                part,
                pid: identity.pid,
                address: part.address(ports),
                waited_s: began.elapsed().as_secs(),
                reason,
                log,
            });
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// How much of a log there is, so that a later look starts where this run did.
pub fn log_length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |meta| meta.len())
}

/// The line of a log, from a byte position on, that most likely says what went wrong.
fn telling_line(log: &Path, from: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[from..]);
    most_telling(&text)
        .unwrap_or("its log says nothing")
        .trim()
        .to_owned()
}

fn most_telling(text: &str) -> Option<&str> {
    const SIGNS: [&str; 7] = [
        "ERROR",
        "FATAL",
        "Error",
        "error:",
        "Exception",
        "panicked",
        "refuse",
    ];
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    // The first complaint is the cause; what follows are its consequences.
    lines()
        .find(|line| SIGNS.iter().any(|sign| line.contains(sign)))
        .or_else(|| lines().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_complaint_is_told_rather_than_the_last_words() {
        let log = "INFO starting\nERROR disk is read-only\n\tat x.y\nINFO bye\n";
        assert_eq!(most_telling(log), Some("ERROR disk is read-only"));
        assert_eq!(most_telling("starting\nstopping\n\n"), Some("stopping"));
        assert_eq!(most_telling("\n"), None);
    }
}
