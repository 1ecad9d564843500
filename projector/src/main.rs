//! The projector's program: boot order, and nothing else.

use std::path::PathBuf;

use anyhow::{Context, Result};
use cartwright_projector::gauges;
use cartwright_projector::service::Projections;
use cartwright_projector::settings::Settings;
use cartwright_service::health::Readiness;
use cartwright_service::shutdown::{self, Shutdown};
use cartwright_service::{app, config, metrics, telemetry};
use clap::Parser;

/// The exit status of a process whose folds do not fit the versions that the stores hold.
const REFUSED: i32 = 3;

/// Follows the log and keeps the read model.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML). Environment variables `CARTWRIGHT__SECTION__KEY` override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings: Settings = config::load(arguments.config.as_deref(), config::ENV_PREFIX)?;
    telemetry::init(&settings.log)?;
    let metrics = metrics::install()?;
    let shutdown = Shutdown::on_signals()?;
    let listener = shutdown::bind(settings.http.listen)?;

    let readiness = Readiness::new();
    let runtime = tokio::runtime::Handle::current();
    let projections = Projections::start(&settings, &readiness, &runtime, &shutdown)?;
    let (refusal, board) = (projections.refusal(), projections.board().clone());
    let metrics = metrics.with_gauges(move || gauges(&board.states()));

    let router = app::assemble(
        projections.board().routes(),
        &settings.http,
        &readiness,
        &metrics,
    );
    shutdown::serve(listener, router, &settings.http, &readiness, &shutdown).await;

    let late = tokio::task::spawn_blocking(|| projections.stop())
        .await
        .context("stopping the projections")?;
    match late.is_empty() {
        true => tracing::info!("stopped"),
        false => tracing::warn!(projections = ?late, "stopped in the middle of a batch"),
    }
    if let Some(reason) = refusal.get() {
        tracing::error!(reason, "refused to run");
        eprintln!("cartwright-projector: refused: {reason}");
        std::process::exit(REFUSED);
    }
    // A thread that is stuck in a store's call must not keep the process.
    std::process::exit(0)
}
