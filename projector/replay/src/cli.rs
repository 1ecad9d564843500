//! The command line, and from there to the command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cartwright_read_model::versions::Refused;

use crate::commands::{
    audit, dry_run, explain, flip, hold, list, parked, plan, restore, retire, start, status, verify,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;

/// Versions of projections: see, build, verify, switch.
///
/// Exit codes: 0 done; 1 something failed; 2 the command line is wrong; 3 refused, or a check has
/// found something; 4 not finished; 5 a check has found something lesser.
#[derive(Debug, Parser)]
#[command(name = "cartwright-replay", version)]
pub struct Arguments {
    /// The projector's configuration file (TOML). Environment variables `CARTWRIGHT__SECTION__KEY`
    /// override it.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Results as JSON on standard output: one value, whatever becomes of the command, unless the command line
    /// is wrong. When it fails or is refused, that is `{"error": …, "refused": true|false}`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The projections, their versions and how far these are.
    List(list::Arguments),
    /// Records that were put aside: see them, retry them, give them up.
    Parked(parked::Arguments),
    /// Fold the whole log and write nothing: what no longer decodes, upcasts or folds.
    DryRun(dry_run::Arguments),
    /// Why something is what it is.
    Explain(explain::Arguments),
    /// The log against the shop's invariants and against the read models.
    Audit(audit::Arguments),
    /// What building a version would read and write.
    Plan(plan::Arguments),
    /// Build a version beside the others, from the log. Safe to run twice.
    Start(start::Arguments),
    /// How versions stand, partition by partition.
    Status(status::Arguments),
    /// Make a build hold still.
    Pause(hold::Arguments),
    /// Let a build go on.
    Resume(hold::Arguments),
    /// End a build and leave nothing of it behind.
    Cancel(hold::Arguments),
    /// Compare two versions row by row while both move; the outcome is recorded.
    Verify(verify::Arguments),
    /// Make a verified version the one that is read.
    Flip(flip::Arguments),
    /// Make the version current that was it before.
    Rollback(flip::Arguments),
    /// Take a version out of use and remove its tables.
    Retire(retire::Arguments),
    /// Bring everything back from the log after a store was lost, or both. Safe to run twice.
    Restore(restore::Arguments),
}

/// Runs one command; errors are one line on standard error, and a result for programs.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let output = Output::new(arguments.json);
    let context = Context::new(arguments.config.as_deref(), output);
    match context.and_then(|context| dispatch(&context, &arguments.command)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let refused = error.downcast_ref::<Refused>().is_some();
            output.error(format!("{error:#}"), refused);
            match refused {
                true => Exit::Refused.into(),
                false => ExitCode::from(Exit::ERROR),
            }
        }
    }
}

fn dispatch(context: &Context, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::List(arguments) => list::run(context, arguments),
        Command::Parked(arguments) => parked::run(context, arguments),
        Command::DryRun(arguments) => dry_run::run(context, arguments),
        Command::Explain(arguments) => explain::run(context, arguments),
        Command::Audit(arguments) => audit::run(context, arguments),
        Command::Plan(arguments) => plan::run(context, arguments),
        Command::Start(arguments) => start::run(context, arguments),
        Command::Status(arguments) => status::run(context, arguments),
        Command::Pause(arguments) => hold::pause(context, arguments),
        Command::Resume(arguments) => hold::resume(context, arguments),
        Command::Cancel(arguments) => hold::cancel(context, arguments),
        Command::Verify(arguments) => verify::run(context, arguments),
        Command::Flip(arguments) => flip::flip(context, arguments),
        Command::Rollback(arguments) => flip::rollback(context, arguments),
        Command::Retire(arguments) => retire::run(context, arguments),
        Command::Restore(arguments) => restore::run(context, arguments),
    }
}
