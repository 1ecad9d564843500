//! A stack of the tests' own, beside whatever else runs on the machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cartwright_local::{Stack, StackConfig};

use crate::api::Api;

/// First base port tried; the next ones follow in steps of a hundred.
const FIRST_BASE_PORT: u16 = 21_000;
const PORTS_PER_STACK: u16 = 60;
/// Lines of each part's log that a failed test shows.
const COMPLAINTS: usize = 8;

/// A whole stack on free ports with an empty log. Stop it with [`TestStack::stop`].
#[derive(Debug)]
pub struct TestStack {
    /// The stack itself, to kill and start its parts.
    pub stack: Stack,
}

impl TestStack {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// When no ports are free or a part does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let base_port = free_base_port().context("no free ports for a test stack")?;
        let state_dir = state_dir(base_port);
        if state_dir.exists() {
            std::fs::remove_dir_all(&state_dir)?;
        }
        let stack = Stack::new(StackConfig::new(base_port, &state_dir)?)?;
        let test = Self { stack };
        if let Err(error) = test.stack.up().await {
            // Leave nothing behind, but tell what went wrong rather than what the clean-up says.
            let _ = test.stack.down().await;
            return Err(error.into());
        }
        Ok(test)
    }

    /// A client of the two services.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.stack.command_url(), self.stack.query_url())
    }

    /// What the parts complained of last, for a test that failed: the logs go with the stack.
    #[must_use]
    pub fn complaints(&self) -> String {
        let mut all = String::new();
        for part in self.stack.parts() {
            let log = self.stack.config().log_file(part);
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().filter(|line| complains(line)).collect();
            for line in &lines[lines.len().saturating_sub(COMPLAINTS)..] {
                all.extend([part.name(), ": ", line, "\n"]);
            }
        }
        all
    }

    /// Ends every process and removes the data.
    ///
    /// # Errors
    /// When a process does not end.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stack.down().await?;
        std::fs::remove_dir_all(&self.stack.config().state_dir)?;
        Ok(())
    }
}

fn complains(line: &str) -> bool {
    ["WARN", "ERROR", "FATAL", "Fencing broker"]
        .iter()
        .any(|word| line.contains(word))
}

fn free_base_port() -> Option<u16> {
    (0..50)
        .map(|step| FIRST_BASE_PORT + step * 100)
        .find(|base| {
            (0..PORTS_PER_STACK)
                .all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok())
        })
}

/// Not below a home folder: PostgreSQL runs as another user, who must be able to get there.
fn state_dir(base_port: u16) -> PathBuf {
    Path::new(&std::env::temp_dir()).join(format!("cartwright-test-{base_port}"))
}
