//! The program `cartwright-replay`: see [`cartwright_replay`].

use std::process::ExitCode;

use cartwright_replay::{Arguments, run};
use clap::Parser;

fn main() -> ExitCode {
    run(Arguments::parse())
}
