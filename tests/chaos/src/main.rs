//! `cartwright-chaos`: everything on a cluster of three brokers, under load, while processes are killed and
//! frozen, connections are cut and slowed down, and disks are full. What clients were told is written to a
//! history; a separate program, which shares no code with this project, judges it against the log.

mod commons;
mod faults;
mod ground;
mod history;
mod load;
mod process;
mod proxy;
mod reads;
mod report;
mod skew;
mod visit;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use faults::{Family, Nemesis};
use ground::{Ground, PAYMENT_DEADLINE, PROJECTORS, have_own_mounts};
use load::Load;

/// How long the last orders get to expire and to let go of what they hold, after their deadline.
const SETTLE: Duration = Duration::from_secs(5);
/// How long queued commands may take to be decided that nobody waits for any more, on a busy machine.
const QUEUE_LIMIT: Duration = Duration::from_secs(120);

/// Runs load and faults on a cluster of its own, then has the history judged. Ends with 0 when the
/// verdict is clean, 1 when it is not, 2 when there is none.
#[derive(Parser)]
#[command(name = "cartwright-chaos")]
struct Arguments {
    /// How long faults strike, in minutes.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// What the choice of faults and requests comes from. (The machine's timing does not.)
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only faults of these families, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Family>,
    /// Nodes of command-api, at most 4.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// Clients at a time.
    #[arg(long, default_value_t = 16)]
    clients: u64,
    /// First port; the cluster takes 100 from it upwards. Default: 200 above CARTWRIGHT_BASE_PORT.
    #[arg(long)]
    base_port: Option<u16>,
    /// The cluster's data, logs and history; emptied first. Default: `chaos` in the local stack's.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// The Python that the checker's environment is made with.
    #[arg(long, default_value = "python3")]
    python: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match have_own_mounts() {
        Ok(()) => run(arguments).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether the verdict is clean. Whatever happens, nothing goes on running.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut ground = Ground::new(&arguments)
        .await
        .context("making the cluster's folders")?;
    let verdict = tokio::select! {
        verdict = rehearse_and_judge(&mut ground, &arguments) => verdict,
        _ = terminate.recv() => Err(anyhow::anyhow!("told to stop")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    if verdict.is_err() {
        let logs = ground.config.state_dir.join("logs");
        eprintln!("chaos: the logs are in {}", logs.display());
    }
    let ended = ground.end().await;
    let verdict = verdict?;
    ended?;
    Ok(verdict)
}

async fn rehearse_and_judge(ground: &mut Ground, arguments: &Arguments) -> anyhow::Result<bool> {
    if !(0.0..=24.0 * 60.0).contains(&arguments.minutes) {
        bail!("--minutes: 0 to 1440");
    }
    let checker = report::prepare_checker(ground, &arguments.python)
        .await
        .context("preparing the checker")?;
    let began = Instant::now();
    let (load, nemesis) = rehearse(ground, arguments).await?;
    report::print(ground, &load, &nemesis)?;
    let went_on = report::commands_went_on(&load, &nemesis);
    let whole = report::nothing_broke(ground, &load)?;
    load.history.is_whole()?;
    let so_long = began.elapsed();
    let judged = report::judge(ground, &checker, so_long).await?;
    let audited = report::audit(ground, so_long).await?;
    println!(
        "seed {}, {:.0} s in all",
        arguments.seed,
        began.elapsed().as_secs_f64()
    );
    Ok(went_on && whole && judged && audited && report::enough(&load, &nemesis))
}

async fn rehearse(
    ground: &mut Ground,
    arguments: &Arguments,
) -> anyhow::Result<(Arc<Load>, Nemesis)> {
    println!(
        "starting three brokers, {} nodes, the stores, {PROJECTORS} projectors and query-api",
        arguments.nodes
    );
    let began = Instant::now();
    ground.start().await?;
    let load = Arc::new(Load::new(ground, arguments.seed, arguments.clients)?);
    load.open_the_shop().await.context("opening the shop")?;
    println!(
        "the shop is open after {:.0} s: faults for {} minutes, seed {}",
        began.elapsed().as_secs_f64(),
        arguments.minutes,
        arguments.seed
    );
    let running = load.start();
    let mut nemesis = Nemesis::new(arguments.seed, arguments.only.clone());
    let limit = Duration::from_secs_f64(arguments.minutes * 60.0);
    let raged = nemesis.rage(ground, &load, limit).await;
    if raged.is_err() {
        // What there was is worth knowing all the same.
        report::print(ground, &load, &nemesis)?;
    }
    raged?;
    load.stop();
    for client in running {
        client.await?;
    }
    load.queue_is_empty(QUEUE_LIMIT).await;
    tokio::time::sleep(PAYMENT_DEADLINE + SETTLE).await;
    Ok((load, nemesis))
}
