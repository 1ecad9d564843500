//! `retire`: a version goes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cartwright_events::Timestamp;
use cartwright_read_model::control::Reader;
use cartwright_read_model::declaration;
use cartwright_read_model::versions::{Refused, State, Versions};
use serde::Serialize;

use super::readers::{POLL, READS_S, forget_the_dead, until_followed};
use crate::context::Context;
use crate::exit::Exit;
use crate::registry::Home;

/// Arguments of `retire`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// The version to take out of use.
    #[arg(long, value_name = "N")]
    version: u32,
    /// How long cursors of a version are good for after it was last current, in seconds: by default as
    /// long as query-api takes them.
    #[arg(long, value_name = "SECONDS", default_value_t = Versions::CURSORS_S)]
    cursors_s: u64,
    /// How long reads that have begun may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = READS_S)]
    reads_s: u64,
    /// How long to wait for cursors and readers together, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    wait_s: u64,
}

#[derive(Debug, Serialize)]
struct RetiredReport {
    projection: &'static str,
    version: u32,
    state: &'static str,
}

/// Takes a version out of use and removes its tables, when nobody reads them any more.
///
/// # Errors
/// [`Refused`], readers that do not follow, or what the store said.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.wait_s);
    let number = arguments.version;
    let versions = home.versions()?;
    let version = versions.get(number).ok_or(Refused::Unknown(number))?;
    let declared = declaration(home.projection.name, version.declared);
    let declared = declared.context("this code does not declare that version any more")?;
    if version.state != State::Retired {
        let next = until_cursors_died(&home, arguments, deadline)?;
        let knows = |reader: &Reader| reader.revision >= next.revision && reader.serves != number;
        let (readers, following) = until_followed(&home, knows, deadline)?;
        if following < readers {
            let late = readers - following;
            bail!(
                "{late} of {readers} readers have not seen that {} goes; try again",
                home.label(number)
            );
        }
        forget_the_dead(&home)?;
        // Reads that began before are still answered from it.
        std::thread::sleep(Duration::from_secs(arguments.reads_s));
        context.wait(home.control.remove_version(declared, number))?;
        home.change(|versions| versions.retired(number))?;
    }
    let report = RetiredReport {
        projection: home.projection.name,
        version: number,
        state: State::Retired.word(),
    };
    context
        .output
        .result(&report, |_| format!("{} is retired", home.label(number)));
    Ok(Exit::Done)
}

fn until_cursors_died(
    home: &Home<'_>,
    arguments: &Arguments,
    deadline: Instant,
) -> anyhow::Result<Versions> {
    let grace = Duration::from_secs(arguments.cursors_s);
    loop {
        let retire =
            |versions: &Versions| versions.retire(arguments.version, grace, Timestamp::now());
        match home.change(retire) {
            Ok(next) => return Ok(next),
            Err(error) => {
                let refused = error.downcast_ref::<Refused>();
                let alive = matches!(refused, Some(Refused::CursorsAlive { .. }));
                if !alive || Instant::now() >= deadline {
                    return Err(error);
                }
                std::thread::sleep(POLL);
            }
        }
    }
}
