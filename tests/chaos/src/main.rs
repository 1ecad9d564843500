//! `cartwright-chaos`: the write side on a cluster of three brokers, under load, while processes are
//! killed and frozen and connections are cut and slowed down. What clients were told is written to a
//! history; a separate program, which shares no code with this project, judges it against the log.

mod faults;
mod ground;
mod load;
mod process;
mod proxy;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use faults::Nemesis;
use ground::Ground;
use load::Load;

/// Runs load and faults on a cluster of its own, then has the history judged.
#[derive(Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long faults strike, in minutes.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// What the choice of faults and requests comes from. (The machine's timing does not.)
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes of command-api, at most 4.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// Clients at a time.
    #[arg(long, default_value_t = 8)]
    clients: u64,
    /// First port; the cluster takes 100 from it upwards.
    #[arg(long, env = "CARTWRIGHT_BASE_PORT", default_value_t = 7200)]
    base_port: u16,
    /// The cluster's data, logs and history; emptied first. Default: `.cartwright/chaos`.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// The Python that the checker's environment is made with.
    #[arg(long, default_value = "python3")]
    python: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether the verdict is clean.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let mut ground = Ground::new(&arguments).context("making the cluster's folders")?;
    let checker = report::prepare_checker(&ground, &arguments.python)
        .await
        .context("preparing the checker")?;
    let outcome = rehearse(&mut ground, &arguments).await;
    let verdict = match outcome {
        Ok((load, nemesis)) => {
            report::print(&load, &nemesis);
            let clean = report::judge(&ground, &checker).await;
            clean.map(|clean| clean && report::enough(&load, &nemesis))
        }
        Err(error) => Err(error),
    };
    ground.end().await;
    verdict
}

async fn rehearse(
    ground: &mut Ground,
    arguments: &Arguments,
) -> anyhow::Result<(Arc<Load>, Nemesis)> {
    ground.start().await?;
    let load = Arc::new(Load::new(ground, arguments.seed)?);
    load.open_the_shop().await?;
    println!("the shop is open: faults for {} minutes", arguments.minutes);
    let running = load.start(arguments.clients);
    let mut nemesis = Nemesis::new(arguments.seed);
    let limit = Duration::from_secs_f64(arguments.minutes * 60.0);
    nemesis.rage(ground, &load, limit).await?;
    ground.heal().await?;
    load.stop();
    for client in running {
        client.await?;
    }
    ground.wait_until_ready().await?;
    Ok((load, nemesis))
}
