//! How soon readers follow a switch.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cartwright_events::Timestamp;
use cartwright_harness::TestStack;
use cartwright_read_model::postgres::{PostgresOptions, pool};
use serde_json::Value;

/// The guarantee: from the moment at which the pointer is written.
const BOUND: Duration = Duration::from_secs(1);

/// An answer, by the clock of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    /// Which of the readers was asked.
    pub(crate) reader: usize,
    pub(crate) sent: Timestamp,
    pub(crate) received: Timestamp,
    /// `name@version`.
    pub(crate) by: String,
}

/// Holds the answers about the sales against the switches in the store: every reader has answered from
/// the new version within the bound, and nobody who asked later than that was answered from the one
/// before.
pub(crate) async fn every_switch_was_followed(
    stack: &TestStack,
    readers: usize,
    answers: &[Answered],
) -> anyhow::Result<()> {
    let pool = pool(&PostgresOptions::new(stack.stack.postgres_url()))?;
    let client = pool.get().await?;
    let sql = "SELECT document::text FROM versions_v1 WHERE projection = 'sales'";
    let document: String = client.query_one(sql, &[]).await?.try_get(0)?;
    let document: Value = serde_json::from_str(&document)?;
    let switches = document["switches"].as_array().context("switches")?;
    let switches: Vec<Switch> = switches.iter().filter_map(Switch::of).collect();
    ensure!(switches.len() >= 4, "{document}");
    let mut slowest = Vec::new();
    for (number, switch) in switches.iter().enumerate() {
        let end = switches.get(number + 1).map(|next| next.at);
        let meanwhile =
            |each: &&Answered| each.sent >= switch.at && end.is_none_or(|end| each.received < end);
        let mut delays = Vec::new();
        for reader in 0..readers {
            let own = answers.iter().filter(|each| each.reader == reader);
            let own: Vec<&Answered> = own.filter(meanwhile).collect();
            let mut by_new = own.iter().filter(|each| each.by == switch.to);
            let first = by_new
                .next()
                .with_context(|| format!("reader {reader} never answered by {}", switch.to))?;
            let by_old = own.iter().filter(|each| each.by == switch.from);
            let last = by_old.map(|each| each.sent).max().unwrap_or(switch.at);
            for at in [first.received, last] {
                let us = at.as_micros() - switch.at.as_micros();
                delays.push(Duration::from_micros(us.try_into()?));
            }
        }
        slowest.extend(delays.into_iter().max());
    }
    slowest.sort();
    eprintln!(
        "{} switches were followed within {slowest:?}",
        switches.len()
    );
    // One of them may have come while the machine stood still for a moment.
    let [most @ .., worst] = slowest.as_slice() else {
        bail!("no switch");
    };
    let late = most.iter().find(|delay| **delay >= BOUND);
    ensure!(
        late.is_none(),
        "two switches were followed after {late:?} and {worst:?} only"
    );
    ensure!(
        *worst < 5 * BOUND,
        "a switch was followed after {worst:?} only"
    );
    Ok(())
}

struct Switch {
    from: String,
    to: String,
    at: Timestamp,
}

impl Switch {
    fn of(switch: &Value) -> Option<Self> {
        Some(Self {
            from: format!("sales@{}", switch["from"].as_u64()?),
            to: format!("sales@{}", switch["to"].as_u64()?),
            at: switch["at"].as_str()?.parse().ok()?,
        })
    }
}
