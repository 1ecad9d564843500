//! `cartwright-sim`: runs seeds of the simulation, replays one, or hunts a deliberate bug.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use cartwright_sim::{BUGS, Planted, Report, Violation, Weather, hunt, run};
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
    #[arg(long, default_value_t = 10)]
    shoppers: u64,
    /// Plants this deliberate bug: with `--seed` in that run, otherwise in seeds until one finds it.
    /// `list` names them all, `all` hunts each.
    #[arg(long)]
    bug: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.bug.as_deref() {
        Some("list") => {
            for planted in BUGS {
                println!("{:<28} within {} seeds", planted.name, planted.seeds);
            }
            ExitCode::SUCCESS
        }
        Some("all") => hunt_all(&arguments),
        Some(name) => match BUGS.iter().find(|planted| planted.name == name) {
            Some(planted) => plant(&arguments, planted),
            None => {
                eprintln!("sim: no such bug: {name}; `--bug list` names them");
                ExitCode::FAILURE
            }
        },
        None => run_seeds(&arguments),
    }
}

fn plant(arguments: &Arguments, planted: &Planted) -> ExitCode {
    let Some(seed) = arguments.seed else {
        return hunt_one(planted, arguments.first_seed, arguments.seeds);
    };
    let weather = Weather {
        shoppers: arguments.shoppers,
        trace: true,
        bug: Some(planted.bug),
        ..Weather::default()
    };
    match run(seed, weather) {
        Ok(_) => {
            println!("seed {seed} does not show {}", planted.name);
            ExitCode::FAILURE
        }
        Err(violation) => {
            println!("found: {violation}");
            ExitCode::SUCCESS
        }
    }
}

fn hunt_all(arguments: &Arguments) -> ExitCode {
    let mut missed = false;
    for planted in &BUGS {
        missed |= hunt_one(planted, arguments.first_seed, arguments.seeds) != ExitCode::SUCCESS;
    }
    ExitCode::from(u8::from(missed))
}

fn hunt_one(planted: &Planted, first: u64, most: u64) -> ExitCode {
    match hunt(planted.bug, first, most) {
        Ok((tried, violation)) => {
            println!("{:<28} after {tried:>4} seeds: {violation}", planted.name);
            ExitCode::SUCCESS
        }
        Err(most) => {
            println!("{:<28} NOT FOUND in {most} seeds", planted.name);
            ExitCode::FAILURE
        }
    }
}

fn run_seeds(arguments: &Arguments) -> ExitCode {
    let weather = Weather {
        shoppers: arguments.shoppers,
        trace: arguments.seed.is_some(),
        ..Weather::default()
    };
    let (first, seeds) = arguments
        .seed
        .map_or((arguments.first_seed, arguments.seeds), |seed| (seed, 1));
    let begun = Instant::now();
    let (mut acknowledged, mut rows) = (0, 0);
    let (mut faults, mut orders) = (BTreeMap::new(), BTreeMap::new());
    for result in run_all(first, seeds, weather) {
        match result {
            Ok(report) => {
                acknowledged += report.acknowledged;
                rows += report.rows;
                add(&mut faults, report.faults);
                add(&mut orders, report.orders);
                if arguments.seed.is_some() {
                    println!("trace digest {:016x}", report.trace_digest);
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
    println!("faults that struck:");
    for (kind, count) in &faults {
        println!("{count:>10}  {kind}");
    }
    println!("orders that ended:");
    for (end, count) in &orders {
        println!("{count:>10}  {end}");
    }
    println!(
        "{seeds} seeds from {first}: every invariant held; {acknowledged} commands acknowledged, \
         {} faults, {rows} rows compared, {:.1} s",
        faults.values().sum::<u64>(),
        begun.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// Runs the seeds on every core, until one shows a violation; a run itself is one thread. Results are
/// in the order of the seeds, up to the smallest one that shows it.
fn run_all(first: u64, seeds: u64, weather: Weather) -> Vec<Result<Report, Violation>> {
    let next = AtomicU64::new(first);
    let end = AtomicU64::new(first.saturating_add(seeds));
    let done = Mutex::new(BTreeMap::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end.load(Ordering::SeqCst) {
                        return;
                    }
                    let result = run(seed, weather);
                    if result.is_err() {
                        end.fetch_min(seed, Ordering::SeqCst);
                    }
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert(seed, result);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut results = Vec::new();
    for result in done.into_values() {
        let failed = result.is_err();
        results.push(result);
        if failed {
            break;
        }
    }
    results
}

fn add<K: Ord>(sums: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    for (kind, count) in more {
        *sums.entry(kind).or_default() += count;
    }
}
