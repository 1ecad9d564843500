//! `parked`: what is put aside, and what is to become of it.

mod ask;
mod list;
mod show;

use clap::Subcommand;

use crate::context::{Context, known};
use crate::exit::Exit;
use crate::parking::Version;
use crate::registry::current;

/// Arguments of `parked`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Parked,
}

#[derive(Debug, Subcommand)]
enum Parked {
    /// Keys that are parked, with the reason of their first record.
    List(list::List),
    /// What waits under one key, record by record, and what was given up of it.
    Show(show::Show),
    /// Fold what waits again, with the code that the projector runs now.
    Retry(ask::Retry),
    /// Give records up, for a reason that is kept, and go on with what is behind them.
    Skip(ask::Skip),
}

/// Runs `parked`.
///
/// # Errors
/// An unknown projection, or a store that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.command {
        Parked::List(arguments) => list::run(context, arguments),
        Parked::Show(arguments) => show::run(context, arguments),
        Parked::Retry(arguments) => ask::retry(context, arguments),
        Parked::Skip(arguments) => ask::skip(context, arguments),
    }
}

/// The version asked for, or the current one.
fn version_of(context: &Context, name: &str, version: Option<u32>) -> anyhow::Result<Version> {
    let projection = known(name)?;
    Ok(Version {
        projection,
        version: match version {
            Some(version) => version,
            None => current(context, projection)?,
        },
    })
}
