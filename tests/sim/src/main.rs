//! `cartwright-sim`: runs seeds of the simulation, replays one, or hunts a deliberate bug.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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
    let sums = match run_all(first, seeds, weather) {
        Ok(sums) => sums,
        Err(violation) => {
            eprintln!(
                "{violation}\nreplay it: ./cartwright sim --seed {} --shoppers {}",
                violation.seed, arguments.shoppers
            );
            return ExitCode::FAILURE;
        }
    };
    if arguments.seed.is_some() {
        println!("trace digest {:016x}", sums.last_digest);
    }
    for (title, counts) in [
        ("faults that struck", &sums.faults),
        ("what became of versions", &sums.versions),
    ] {
        println!("{title}:");
        for (kind, count) in counts {
            println!("{count:>10}  {kind}");
        }
    }
    println!("what became of orders:");
    for (end, count) in &sums.orders {
        println!("{count:>10}  {end}");
    }
    println!(
        "{} commands were queued; in {} transactions the inbox was not applied in its order; {} commands were \
         decided anew, their keys being forgotten",
        sums.queued, sums.passed_in_inbox, sums.anew
    );
    println!(
        "{seeds} seeds from {first}: every invariant held; {} commands acknowledged, \
         {} faults, {} rows compared, {:.1} s",
        sums.acknowledged,
        sums.faults.values().sum::<u64>(),
        sums.rows,
        begun.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// What all runs together did: what is kept of a run does not grow with their number.
#[derive(Default)]
struct Sums {
    seeds: u64,
    acknowledged: u64,
    queued: u64,
    passed_in_inbox: u64,
    anew: u64,
    rows: u64,
    faults: BTreeMap<&'static str, u64>,
    versions: BTreeMap<&'static str, u64>,
    orders: BTreeMap<String, u64>,
    last_digest: u64,
    /// Of the smallest seed that shows one.
    violation: Option<Violation>,
}

impl Sums {
    fn take(&mut self, result: Result<Report, Violation>) {
        self.seeds += 1;
        match result {
            Ok(report) => {
                self.acknowledged += report.acknowledged;
                self.queued += report.queued;
                self.passed_in_inbox += report.passed_in_inbox;
                self.anew += report.anew;
                self.rows += report.rows;
                add(&mut self.faults, report.faults);
                add(&mut self.versions, report.versions);
                add(&mut self.orders, report.orders);
                self.last_digest = report.trace_digest;
            }
            Err(violation) => {
                let known = self.violation.take();
                let all = known.into_iter().chain([violation]);
                self.violation = all.min_by_key(|violation| violation.seed);
            }
        }
    }
}

/// Runs the seeds on every core, until one shows a violation; a run itself is one thread. Answers the
/// violation of the smallest seed that shows one: smaller ones that are under way are waited for.
fn run_all(first: u64, seeds: u64, weather: Weather) -> Result<Sums, Violation> {
    let next = AtomicU64::new(first);
    let end = AtomicU64::new(first.saturating_add(seeds));
    let sums = Mutex::new(Sums::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let progress = Progress::new(seeds);
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
                    let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                    sums.take(result);
                    progress.tell(sums.seeds);
                }
            });
        }
    });
    progress.end();
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    match sums.violation {
        Some(violation) => Err(violation),
        None => Ok(sums),
    }
}

/// Says on stderr how far a long run is.
struct Progress {
    seeds: u64,
    begun: Instant,
    every: Duration,
    told: Mutex<Instant>,
}

impl Progress {
    fn new(seeds: u64) -> Self {
        Self {
            seeds,
            begun: Instant::now(),
            every: match io::stderr().is_terminal() {
                true => Duration::from_secs(2),
                false => Duration::from_secs(30),
            },
            told: Mutex::new(Instant::now()),
        }
    }

    fn end(&self) {
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }

    fn tell(&self, done: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < self.every {
            return;
        }
        *told = Instant::now();
        let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let left = self.seeds.saturating_sub(done) as f64 / rate.max(0.001);
        let line = format!(
            "{done} of {} seeds, {rate:.1} a second, {left:.0} s left",
            self.seeds
        );
        match io::stderr().is_terminal() {
            true => eprint!("\r{line}\x1b[K"),
            false => eprintln!("{line}"),
        }
    }
}

fn add<K: Ord>(sums: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
    for (kind, count) in more {
        *sums.entry(kind).or_default() += count;
    }
}
