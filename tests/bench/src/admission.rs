//! Three times the load that command-api can bear: how much is still accepted, and how long it takes.
//!
//! Two ways. The real router over real shards on the log in memory, where a shard decides a few commands in
//! a group and pauses between groups, so that it, and not this machine, is the limit. And over HTTP, against
//! a command-api that runs with whatever settings it has: the address is in
//! `CARTWRIGHT_TEST_COMMAND_URL`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Body;
use cartwright_command_api::app::App;
use cartwright_command_api::config::{Command, Config};
use cartwright_command_api::routes;
use cartwright_event_log::memory::MemoryLog;
use cartwright_events::Context;
use cartwright_events::codec::Codec;
use cartwright_service::config;
use cartwright_service::health::Readiness;
use http::{Request, header};
use tower::ServiceExt;

const SETTINGS: &str = r#"
[http]
listen = "127.0.0.1:0"
[kafka]
bootstrap = "none"
[registry]
url = "none"
[shard]
mailbox_capacity = 200
group_records = 20
commit_gap_ms = 20
"#;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(5);
/// As many callers as keep the shards busy and their mailboxes from being full: of 200 commands in process,
/// by default of 2,048 each over HTTP.
const CALLERS: usize = 100;
const CALLERS_OVER_HTTP: usize = 2_000;
const OVERLOAD: f64 = 3.0;
/// Requests that may be under way at a time, below what a command-api has connections for; a load balancer
/// has such a limit too.
const UNDER_WAY: usize = 8_000;
/// What is received: enough for every shard of a small shop to have some.
const SKUS: u64 = 16;
/// What has to be left of the best rate under overload.
const LEAST: f64 = 0.8;

#[derive(Default)]
struct Round {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    retry_after_s: Vec<u64>,
    other: usize,
    /// Due while too many were under way.
    not_sent: usize,
}

impl Round {
    fn rate(&self) -> f64 {
        self.accepted.len() as f64 / ROUND.as_secs_f64()
    }

    fn add(&mut self, answer: (u16, Option<u64>), took: Duration) {
        match answer {
            (201, _) => self.accepted.push(took),
            (503, Some(retry_after_s)) => {
                self.refused.push(took);
                self.retry_after_s.push(retry_after_s);
            }
            _ => self.other += 1,
        }
    }
}

/// # Errors
/// When less than [`LEAST`] of the best rate is left, what was accepted took longer than a command may
/// wait, or anything was answered but success and \"come back later\".
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    match std::env::var("CARTWRIGHT_TEST_COMMAND_URL") {
        Ok(url) => runtime.block_on(compare(&Target::Http {
            client: reqwest::Client::new(),
            url: url.trim_end_matches('/').to_owned(),
        })),
        Err(_) => runtime.block_on(in_process()),
    }
}

async fn in_process() -> anyhow::Result<()> {
    let file = std::path::Path::new("bench.toml");
    let config: Config = config::load_from(Some((file, SETTINGS)), "NONE__", [])?;
    let log = MemoryLog::waiting();
    for context in Context::ALL {
        let events = context.streams().iter().map(|stream| stream.topic());
        let own = [
            context.inbox_topic(),
            context.journal_topic(),
            context.snapshots_topic(),
        ];
        for topic in events.chain(own) {
            log.create_topic(topic, 1);
        }
    }
    let readiness = Readiness::new();
    let (app, running) = App::start(&config, &log, &Codec::fixed(), &readiness)?;
    while !readiness.is_ready() {
        tokio::time::sleep(TICK).await;
    }
    let outcome = compare(&Target::InProcess(routes::router(app))).await;
    let stopped = tokio::task::spawn_blocking(move || running.stop(Duration::from_secs(10)));
    ensure!(stopped.await?, "the shards did not stop");
    outcome
}

async fn compare(target: &Target) -> anyhow::Result<()> {
    let (mut ratios, mut slowest) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let best = closed_loop(target).await?;
        let overloaded = open_loop(target, best.rate() * OVERLOAD).await?;
        let ratio = overloaded.rate() / best.rate();
        let unexpected = best.other + overloaded.other;
        ensure!(
            unexpected == 0,
            "{unexpected} answers were neither 201 nor 503 with Retry-After"
        );
        println!(
            "round {round}: best {:.0}/s (p99 {:?}); at {OVERLOAD} times that {:.0}/s accepted \
             (p50 {:?}, p99 {:?}), {} refused (p99 {:?}, Retry-After {}..={} s), {} not sent; ratio {ratio:.2}",
            best.rate(),
            percentile(&best.accepted, 99),
            overloaded.rate(),
            percentile(&overloaded.accepted, 50),
            percentile(&overloaded.accepted, 99),
            overloaded.refused.len(),
            percentile(&overloaded.refused, 99),
            overloaded.retry_after_s.iter().min().unwrap_or(&0),
            overloaded.retry_after_s.iter().max().unwrap_or(&0),
            overloaded.not_sent,
        );
        ratios.push(ratio);
        slowest.push(percentile(&overloaded.accepted, 99));
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("goodput under {OVERLOAD} times the load: {median:.2} of the best");
    ensure!(median >= LEAST, "below {LEAST}");
    // What waits for longer is not decided, so only its commit comes to that.
    let deadline = Duration::from_millis(Command::default().deadline_ms);
    slowest.sort_unstable();
    let median = slowest[slowest.len() / 2];
    println!("what is accepted then: 99 % within {median:?}");
    ensure!(median <= deadline, "a command may wait for {deadline:?}");
    Ok(())
}

/// A few callers, each sending its next request when the one before is answered.
async fn closed_loop(target: &Target) -> anyhow::Result<Round> {
    let until = Instant::now() + ROUND;
    let callers = match target {
        Target::InProcess(_) => CALLERS,
        Target::Http { .. } => CALLERS_OVER_HTTP,
    };
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let target = target.clone();
            tokio::spawn(async move {
                let mut round = Round::default();
                while Instant::now() < until {
                    let begun = Instant::now();
                    let answer = target.send().await?;
                    round.add(answer, begun.elapsed());
                }
                anyhow::Ok(round)
            })
        })
        .collect();
    let mut all = Round::default();
    for caller in callers {
        let round = caller.await??;
        all.accepted.extend(round.accepted);
        all.refused.extend(round.refused);
        all.retry_after_s.extend(round.retry_after_s);
        all.other += round.other;
    }
    Ok(all)
}

/// Requests at a rate, whatever becomes of those before.
async fn open_loop(target: &Target, rate: f64) -> anyhow::Result<Round> {
    let round = Arc::new(Mutex::new(Round::default()));
    let begun = Instant::now();
    let (mut sent, mut not_sent, mut sending) = (0.0, 0, tokio::task::JoinSet::new());
    while begun.elapsed() < ROUND {
        while sent < rate * begun.elapsed().as_secs_f64() {
            sent += 1.0;
            while let Some(done) = sending.try_join_next() {
                done??;
            }
            if sending.len() >= UNDER_WAY {
                not_sent += 1;
                continue;
            }
            let (target, round) = (target.clone(), Arc::clone(&round));
            sending.spawn(async move {
                let began = Instant::now();
                let answer = target.send().await?;
                let mut round = round.lock().unwrap_or_else(PoisonError::into_inner);
                round.add(answer, began.elapsed());
                anyhow::Ok(())
            });
        }
        tokio::time::sleep(TICK).await;
    }
    while let Some(done) = sending.join_next().await {
        done??;
    }
    let round = Arc::into_inner(round).context("every request has ended")?;
    let round = round.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Round { not_sent, ..round })
}

/// What is asked.
#[derive(Clone)]
enum Target {
    InProcess(Router),
    Http {
        client: reqwest::Client,
        url: String,
    },
}

impl Target {
    /// One receipt under a key of its own: its status, and after how many seconds to come back.
    async fn send(&self) -> anyhow::Result<(u16, Option<u64>)> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/v1/stock/MUG-{}/receipts", number % SKUS);
        let key = format!("\"{}-{number}\"", std::process::id());
        let body = r#"{"quantity":1}"#;
        let (status, headers) = match self {
            Self::InProcess(router) => {
                let request = Request::post(path)
                    .header(header::CONTENT_TYPE, "application/json")
                    .header("idempotency-key", key)
                    .body(Body::from(body))?;
                let answer = router.clone().oneshot(request).await?;
                (answer.status(), answer.headers().clone())
            }
            Self::Http { client, url } => {
                let request = client
                    .post(format!("{url}{path}"))
                    .header(header::CONTENT_TYPE, "application/json")
                    .header("idempotency-key", key)
                    .body(body);
                let answer = request.send().await?;
                let head = (answer.status(), answer.headers().clone());
                // Read to its end, so that the connection serves the next request.
                answer.bytes().await?;
                head
            }
        };
        let retry_after = headers.get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((status.as_u16(), retry_after))
    }
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(index).copied().unwrap_or_default()
}
