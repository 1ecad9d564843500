//! Ending what runs, gently or not.

use std::fs;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::Signal;

use crate::download::Library;
use crate::error::{Result, at, remove};
use crate::part::{MAX_NODES, Part};
use crate::process::{self, Identity};
use crate::stack::Stack;

impl Stack {
    /// Stops one part the way `down` does.
    ///
    /// # Errors
    /// [`StackError::Io`] when its pid file cannot be removed.
    pub async fn stop(&self, part: Part) -> Result<()> {
        let _lock = self.lock().await?;
        self.stop_parts(&[part]).await
    }

    /// Kills one part at once (SIGKILL), as a crash would; its pid file stays. `false` when it did not run.
    pub async fn kill(&self, part: Part) -> bool {
        let running = self.pid(part);
        if let Some(identity) = &running {
            identity.kill().await;
        }
        running.is_some()
    }

    /// Freezes every process of a part (SIGSTOP), and waits until they stand still. `false` when none
    /// runs or one does not within a second.
    pub async fn freeze(&self, part: Part) -> bool {
        const LIMIT: Duration = Duration::from_secs(1);
        // Its first process comes first: whatever that would start is not started any more.
        if let Some(first) = self.pid(part) {
            first.signal(Signal::STOP);
        }
        let all = self.processes(part);
        all.iter().for_each(|each| each.signal(Signal::STOP));
        let began = Instant::now();
        while !all.iter().all(Identity::stands_still) {
            if began.elapsed() > LIMIT {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        !all.is_empty()
    }

    /// Lets a frozen part go on; harmless when it does.
    pub fn thaw(&self, part: Part) {
        let all = self.processes(part);
        all.iter().for_each(|each| each.signal(Signal::CONT));
    }

    /// Whether any process of a part runs, frozen or not.
    pub fn runs(&self, part: Part) -> bool {
        !self.processes(part).is_empty()
    }

    fn processes(&self, part: Part) -> Vec<Identity> {
        let all = process::processes_of(&self.config.state_dir).into_iter();
        all.filter(|(of, _)| *of == part)
            .map(|(_, identity)| identity)
            .collect()
    }

    /// Stops everything and leaves no process, also none that no pid file knows.
    ///
    /// # Errors
    /// [`StackError::Io`] when a pid file cannot be removed.
    pub async fn down(&self) -> Result<()> {
        let _lock = self.lock().await?;
        let ours = process::processes_of(&self.config.state_dir);
        self.stop_nodes_beyond().await?;
        self.stop_parts(&self.services()).await?;
        self.stop_parts(&[Part::Registry]).await?;
        self.stop_parts(&[Part::Kafka, Part::Cassandra, Part::Postgres])
            .await?;
        join_all(ours.iter().map(|(_, identity)| identity.reaped())).await;
        Ok(())
    }

    async fn stop_parts(&self, parts: &[Part]) -> Result<()> {
        join_all(parts.iter().map(|part| self.stop_one(*part)))
            .await
            .into_iter()
            .collect()
    }

    async fn stop_one(&self, part: Part) -> Result<()> {
        if let Some(identity) = self.pid(part) {
            self.progress.step(part.name(), "stopping");
            let killed = identity.stop(part.stop_signal(), part.stop_limit()).await;
            Library::in_cache(&self.config.cache_dir).keep_class_archive(
                part,
                self.config.base_port,
                !killed,
            );
            self.progress.done(
                part.name(),
                if killed {
                    "did not stop by itself: killed"
                } else {
                    "stopped"
                },
            );
        }
        // PostgreSQL's children follow their parent a moment later; a process without a pid file is found here too.
        for stray in self.processes(part) {
            stray.stop(part.stop_signal(), Duration::from_secs(5)).await;
        }
        self.forget(part)
    }

    /// Removes a part's pid file.
    pub(crate) fn forget(&self, part: Part) -> Result<()> {
        remove(&self.config.pid_file(part))
    }

    /// Stops everything and removes data, logs and generated configuration; downloads stay.
    ///
    /// # Errors
    /// As [`Stack::down`], and [`StackError::Io`] when something cannot be removed.
    pub async fn reset(&self) -> Result<()> {
        self.down().await?;
        let _lock = self.lock().await?;
        for name in ["data", "logs", "config"] {
            let folder = self.config.state_dir.join(name);
            at(&folder, fs::remove_dir_all(&folder))?;
            at(&folder, fs::create_dir_all(&folder))?;
        }
        self.forget_nodes()
    }

    /// Stops nodes of command-api that a larger stack had.
    pub(crate) async fn stop_nodes_beyond(&self) -> Result<()> {
        let wanted = self.parts();
        let beyond: Vec<Part> = Part::command_nodes(MAX_NODES)
            .into_iter()
            .filter(|part| !wanted.contains(part) && self.config.pid_file(*part).exists())
            .collect();
        self.stop_parts(&beyond).await
    }
}
