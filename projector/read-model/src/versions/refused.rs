//! Why a change of the versions is not made.

use thiserror::Error;

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// The code declares something else than what the version was built by.
    #[error(
        "{label} was begun with fold version {built} and this code declares fold version {declared} \
         {tables}under the same number: put the fold back, or declare it as a new version, which \
         `replay start` builds beside this one"
    )]
    IdentityChanged {
        /// `name@number`.
        label: String,
        /// The fold version that it was begun with.
        built: u32,
        /// The fold version in the code.
        declared: u32,
        /// Says so when the tables differ.
        tables: &'static str,
    },
    /// The code no longer has what a version that is in use is built by.
    #[error(
        "{label} is still {state} and this code no longer declares version {declared}, which it is \
         built by: retire it before its fold is removed"
    )]
    NotDeclared {
        /// `name@number`.
        label: String,
        /// Its state.
        state: &'static str,
        /// What the code lacks.
        declared: u32,
    },
    /// There is no such version.
    #[error("there is no version {0}")]
    Unknown(u32),
    /// A number that has been used, by a version that is no more.
    #[error("version {number} has been used; the next number is {next}")]
    Used {
        /// What was asked for.
        number: u32,
        /// The smallest that is free.
        next: u32,
    },
    /// A number far above those that have been used.
    #[error(
        "version {number} is too far ahead; the next number is {next}, and at most {most} may be left out"
    )]
    Ahead {
        /// What was asked for.
        number: u32,
        /// The smallest that is free.
        next: u32,
        /// How many may be left out.
        most: u32,
    },
    /// There is a version with the number, and it is another one than is asked for.
    #[error(
        "version {number} is {state}, {how} than is asked for{}",
        goes_on(state)
    )]
    Otherwise {
        /// Which.
        number: u32,
        /// What it is.
        state: &'static str,
        /// What is other about it.
        how: &'static str,
    },
    /// The name is taken by another version.
    #[error("there is a version called {0:?} already")]
    NameTaken(String),
    /// The version's state does not allow it.
    #[error("version {number} is {state}, not {needed}{}", instead(state, needed))]
    WrongState {
        /// Which.
        number: u32,
        /// What it is.
        state: &'static str,
        /// What it would have to be.
        needed: &'static str,
    },
    /// It is the current version.
    #[error("version {0} is current")]
    IsCurrent(u32),
    /// Another version is current than was looked at.
    #[error("version {current} has become current in place of version {looked_at}")]
    Switched {
        /// What was looked at.
        looked_at: u32,
        /// What is current.
        current: u32,
    },
    /// Its build is to hold still.
    #[error("the build of version {0} is paused")]
    Paused(u32),
    /// It holds only a part of the log.
    #[error("version {0} holds only a part of the log")]
    Partial(u32),
    /// It has not been compared with the current version.
    #[error("version {number} has not been verified against version {current}")]
    NotVerified {
        /// Which.
        number: u32,
        /// The current version.
        current: u32,
    },
    /// The comparison found something.
    #[error("version {number} was verified and differs (rows or parked records: {differences})")]
    VerificationFailed {
        /// Which.
        number: u32,
        /// How many rows or parked records differ.
        differences: u64,
    },
    /// The comparison came to no end.
    #[error(
        "version {number} was verified and did not settle, which proves nothing: verify it again"
    )]
    VerificationUnsettled {
        /// Which.
        number: u32,
    },
    /// The comparison is too long ago.
    #[error("version {number} was verified {age_s} s ago, and {limit_s} s is the limit")]
    VerificationStale {
        /// Which.
        number: u32,
        /// How long ago.
        age_s: u64,
        /// The limit.
        limit_s: u64,
    },
    /// It has not read as far as the current version.
    #[error("version {number} is {events} events behind version {current} in {topic}-{partition}")]
    Behind {
        /// Which.
        number: u32,
        /// The current version.
        current: u32,
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: u32,
        /// How many.
        events: u64,
    },
    /// Nothing was current before.
    #[error("no version was current before version {0}")]
    NoPrevious(u32),
    /// It was current too recently.
    #[error(
        "version {number} was current until {left_s} s ago; its cursors are good for {grace_s} s"
    )]
    CursorsAlive {
        /// Which.
        number: u32,
        /// How long ago.
        left_s: u64,
        /// How long cursors are good for.
        grace_s: u64,
    },
}

/// What to do to a version in place of what its state does not allow.
fn instead(state: &str, needed: &str) -> &'static str {
    match (state, needed) {
        ("live", "building") => ": `replay retire` takes it away",
        _ => "",
    }
}

/// What is done with a build that is not the one that was asked for.
fn goes_on(state: &str) -> &'static str {
    match state {
        "building" => "; `replay resume` goes on with it",
        _ => "",
    }
}
