//! A process that is started, frozen, killed and started again, and seen to be so.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// See the module.
pub(crate) struct Process {
    pub(crate) name: String,
    command: Vec<String>,
    cwd: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(name: &str, command: Vec<String>, cwd: PathBuf, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            command,
            cwd,
            log,
            child: None,
        }
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let (program, arguments) = self.command.split_first().context("a command")?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it at once, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        ensure!(
            child.try_wait()?.is_none(),
            "{} had ended by itself",
            self.name
        );
        child.start_kill()?;
        child.wait().await?;
        Ok(())
    }

    /// Freezes it, and waits until it stands still.
    pub(crate) async fn freeze(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        for _ in 0..200 {
            if self.state() == Some('T') {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("{} does not stand still", self.name)
    }

    /// Lets it go on; harmless when it does.
    pub(crate) fn thaw(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Whether it runs, frozen or not.
    pub(crate) fn runs(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn pid(&self) -> Option<i32> {
        let id = self.child.as_ref()?.id()?;
        i32::try_from(id).ok()
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} does not run", self.name))?;
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// The state letter of its main thread.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        stat.rsplit(')').next()?.trim_start().chars().next()
    }

    /// Asks it to end, and kills it when it does not.
    pub(crate) async fn end(&mut self) {
        let _ = self.thaw();
        let _ = self.signal(Signal::TERM);
        if let Some(mut child) = self.child.take()
            && tokio::time::timeout(Duration::from_secs(8), child.wait())
                .await
                .is_err()
        {
            let _ = child.kill().await;
        }
    }
}
