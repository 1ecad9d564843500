//! How the program ends.

use std::process::ExitCode;

/// The outcome of a command that ran; an error that stopped it is exit code 1, and a command line
/// that cannot be read is 2, as everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or there was nothing to do.
    Done,
    /// 1: a part of it failed; the result says which and why, beside what there is of the rest.
    Failed,
    /// 3: what was asked for is refused, or a check has found something.
    Refused,
    /// 4: it did not come to an end within its limit, or was paused or cancelled meanwhile.
    Unfinished,
    /// 5: a check has found something that somebody should look at, and nothing worse.
    Warned,
}

impl Exit {
    /// The code of an error that stopped a command.
    pub const ERROR: u8 = 1;

    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => Exit::ERROR,
            Exit::Refused => 3,
            Exit::Unfinished => 4,
            Exit::Warned => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
