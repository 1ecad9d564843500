//! `cartwright-sim`: runs seeds of the simulation, or replays one.

use std::process::ExitCode;
use std::time::Instant;

use cartwright_sim::{Weather, run};
use clap::Parser;

/// Runs the shop under faults, seed after seed, and checks the invariants after each.
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Replays this one seed and prints what happens.
    #[arg(long, conflicts_with_all = ["seeds", "first_seed"])]
    seed: Option<u64>,
    /// Shoppers in each run.
    #[arg(long, default_value_t = 12)]
    shoppers: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let weather = Weather {
        shoppers: arguments.shoppers,
        trace: arguments.seed.is_some(),
        ..Weather::default()
    };
    let (first, seeds) = arguments
        .seed
        .map_or((arguments.first_seed, arguments.seeds), |seed| (seed, 1));
    let begun = Instant::now();
    let (mut faults, mut crashes, mut acknowledged) = (0, 0, 0);
    for seed in first..first.saturating_add(seeds) {
        match run(seed, weather) {
            Ok(report) => {
                faults += report.faults;
                crashes += report.crashes;
                acknowledged += report.acknowledged;
                if arguments.seed.is_some() {
                    println!("orders {:?}, digest {:016x}", report.orders, report.digest);
                }
            }
            Err(violation) => {
                eprintln!(
                    "{violation}\nreplay it: ./cartwright sim --seed {}",
                    violation.seed
                );
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{seeds} seeds from {first}: every invariant held; {acknowledged} commands acknowledged, \
         {faults} faults of the log, {crashes} crashes, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
