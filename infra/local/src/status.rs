//! How the parts of a stack stand, asked anew each time.

use futures::future::join_all;
use serde::Serialize;

use crate::health;
use crate::part::Part;
use crate::process::{self, Identity};
use crate::stack::Stack;

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartState {
    /// Its process runs and answers.
    Running,
    /// Its process runs and does not answer (yet).
    NotAnswering,
    /// Its process is gone though nobody stopped it.
    Killed,
    /// It was not started, or it was stopped.
    Stopped,
}

impl PartState {
    /// Its name, as `status --json` gives it.
    pub fn name(self) -> &'static str {
        match self {
            PartState::Running => "running",
            PartState::NotAnswering => "not-answering",
            PartState::Killed => "killed",
            PartState::Stopped => "stopped",
        }
    }
}

/// One line of `status`.
#[derive(Debug, Clone, Serialize)]
pub struct PartStatus {
    /// The part's name.
    pub name: &'static str,
    /// How it stands.
    pub state: PartState,
    /// Where it listens, or would.
    pub address: String,
    /// Its process, while there is one; for a killed part, the process that is gone.
    pub pid: Option<u32>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip)]
    part: Part,
}

impl PartStatus {
    /// The part this is about.
    pub fn part(&self) -> Part {
        self.part
    }
}

impl Stack {
    /// The process of a part, while it runs.
    pub fn pid(&self, part: Part) -> Option<Identity> {
        process::read_pid_file(&self.config().pid_file(part)).filter(Identity::is_alive)
    }

    /// How every part stands, asked now.
    pub async fn status(&self) -> Vec<PartStatus> {
        join_all(self.parts().into_iter().map(|part| self.status_of(part))).await
    }

    /// How one part stands, asked now.
    pub async fn status_of(&self, part: Part) -> PartStatus {
        let known = process::read_pid_file(&self.config().pid_file(part));
        let (state, detail) = match &known {
            None => (PartState::Stopped, None),
            Some(identity) if !identity.is_alive() => (PartState::Killed, None),
            Some(_) => match health::check(part, self.ports()).await {
                Ok(()) => (PartState::Running, None),
                Err(reason) => (PartState::NotAnswering, Some(reason)),
            },
        };
        PartStatus {
            name: part.name(),
            state,
            address: part.address(self.ports()),
            pid: known.map(|identity| identity.pid),
            detail,
            part,
        }
    }
}
