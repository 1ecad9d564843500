//! A process that is started, frozen, killed and started again, and seen to be so.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::process::{Child, Command};

/// Bytes beyond which a process that may write no more cannot write into a file: a full disk.
const NO_ROOM_BYTES: u64 = 1;

/// Runs a helper program to its end, and answers what it says.
pub(crate) async fn output_of(mut command: Command) -> anyhow::Result<String> {
    let output = command.kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{}", complained.trim());
    Ok(said)
}

/// See the module.
pub(crate) struct Process {
    pub(crate) name: String,
    command: Vec<String>,
    cwd: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Whether it was started with something in its environment that does not belong there.
    disguised: bool,
}

impl Process {
    pub(crate) fn new(name: &str, command: Vec<String>, cwd: PathBuf, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            command,
            cwd,
            log,
            child: None,
            disguised: false,
        }
    }

    /// The lines of its log with this in them, over all of its starts.
    pub(crate) fn has_logged(&self, text: &str) -> anyhow::Result<Vec<String>> {
        let log = fs::read(&self.log)?;
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains(text));
        Ok(lines.map(str::to_owned).collect())
    }

    /// Starts it with these additional variables in its environment. It ends with this program,
    /// however that ends.
    pub(crate) fn start(&mut self, env: &[(&str, String)]) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        // It becomes the program, and keeps what it has asked the system for.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.command)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        self.child = Some(child);
        self.disguised = !env.is_empty();
        Ok(())
    }

    /// Whether it runs with more in its environment than it was made for.
    pub(crate) fn is_disguised(&mut self) -> bool {
        self.disguised && self.runs()
    }

    /// Kills it at once, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        ensure!(self.runs(), "{} had ended by itself", self.name);
        let mut child = self.child.take().context("it does not run")?;
        child.start_kill()?;
        child.wait().await?;
        Ok(())
    }

    /// Asks it to end, and waits until it has, `limit` at most. Returns how it ended.
    pub(crate) async fn stop(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.gone_within(limit).await
    }

    /// Lets it write nothing more into any file. (A file system that is full would need a root who may
    /// mount one.)
    pub(crate) fn fill_its_disk(&self) -> anyhow::Result<()> {
        let limit = Rlimit {
            current: Some(NO_ROOM_BYTES),
            maximum: Some(NO_ROOM_BYTES),
        };
        prlimit(Some(self.pid()?), Resource::Fsize, limit)?;
        Ok(())
    }

    /// Waits until it has ended. Returns how.
    pub(crate) async fn gone_within(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it does not run")?;
        let Ok(ended) = tokio::time::timeout(limit, child.wait()).await else {
            bail!("{} has not ended within {limit:?}", self.name);
        };
        self.child = None;
        Ok(ended?)
    }

    /// Whether it was started and does not run any more, although nobody has ended it.
    pub(crate) fn has_ended_by_itself(&mut self) -> bool {
        self.child.is_some() && !self.runs()
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
        bail!("{} does not stand still", self.name)
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

    fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.child.as_ref().and_then(Child::id);
        let id = id.and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw)
            .with_context(|| format!("{} does not run", self.name))
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// The state letter of its main thread.
    fn state(&self) -> Option<char> {
        let pid = self.pid().ok()?.as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.trim_start().chars().next()
    }

    /// Ends it, whatever it is doing: nothing of it is needed any more.
    pub(crate) async fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Gone already is what was wanted.
            let _ = child.kill().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_by_itself_is_told_from_what_was_ended() {
        let folder = std::env::temp_dir();
        let log = folder.join(format!(
            "cartwright-chaos-process-{}.log",
            std::process::id()
        ));
        let process = |command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            Process::new("it", command, folder.clone(), log.clone())
        };
        let mut killed = process(&["sleep", "600"]);
        assert!(!killed.has_ended_by_itself());
        killed.start(&[]).unwrap();
        assert!(!killed.has_ended_by_itself());
        killed.kill().await.unwrap();
        assert!(!killed.has_ended_by_itself());
        let mut died = process(&["false"]);
        died.start(&[]).unwrap();
        while died.runs() {
            tokio::task::yield_now().await;
        }
        assert!(died.has_ended_by_itself());
        let status = died.gone_within(Duration::from_secs(60)).await.unwrap();
        assert_eq!(status.code(), Some(1));
        fs::remove_file(log).unwrap();
    }
}
