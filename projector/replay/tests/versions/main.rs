//! Building and comparing versions, over the log and the stores in memory.

#[allow(dead_code, reason = "shared with the projector's own tests")]
#[path = "../../../tests/suite/history.rs"]
mod history;
#[allow(dead_code, reason = "shared with the projector's own tests")]
#[path = "../../../tests/suite/setup.rs"]
mod setup;

mod auditing;
#[allow(
    dead_code,
    reason = "shared with the tests of the tools that read the log"
)]
#[path = "../log_tools/away.rs"]
mod away;
mod building;
mod busy;
mod comparing;
mod estimating;
mod giving_up;
mod memory;
mod reaching;
mod rows;
mod strays;
