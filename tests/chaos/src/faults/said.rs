//! What the brokers' own logs say of who does what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;

use anyhow::Context as _;

use crate::ground::Ground;

const ACTIVE: &str = "Becoming the active controller";
const ELECTED: &str = "Elected as the txn coordinator for partition ";

/// Length of the time at the begin of a line; such texts are in the order of their times.
const TIME: usize = "2000-01-01 00:00:00,000".len();

/// What a broker said, and when.
struct Said {
    time: String,
    broker: usize,
    rest: String,
}

/// Every line of any broker that holds `text`, with what follows it, in order.
fn said(ground: &Ground, text: &str) -> anyhow::Result<Vec<Said>> {
    let mut all = Vec::new();
    for broker in 0..=usize::from(ground.layout.late_broker()) {
        let path = ground.log_of(&format!("broker-{}", broker + 1));
        let log = match fs::read(&path) {
            // The one that joins has not said anything yet.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            log => log.with_context(|| format!("reading {}", path.display()))?,
        };
        let log = String::from_utf8_lossy(&log);
        all.extend(log.lines().filter_map(|line| {
            let (_, rest) = line.split_once(text)?;
            Some(Said {
                time: line.get(..TIME)?.to_owned(),
                broker,
                rest: rest.to_owned(),
            })
        }));
    }
    all.sort_by(|one, other| one.time.cmp(&other.time));
    Ok(all)
}

/// The broker that was the last to become the active controller.
pub(crate) fn active_controller(ground: &Ground) -> anyhow::Result<usize> {
    let said = said(ground, ACTIVE)?;
    let last = said
        .last()
        .context("no broker says that it is the controller")?;
    Ok(last.broker)
}

/// By partition of the transactions' own topic, the broker that was elected its coordinator last.
pub(crate) fn coordinators(ground: &Ground) -> anyhow::Result<BTreeMap<u32, usize>> {
    let elected = said(ground, ELECTED)?;
    Ok(elected
        .iter()
        .filter_map(|said| {
            let partition = said.rest.split_whitespace().next()?.parse().ok()?;
            Some((partition, said.broker))
        })
        .collect())
}

/// How often a partition of the transactions' topic changed its coordinator.
pub(crate) fn coordinator_moves(ground: &Ground) -> anyhow::Result<usize> {
    let elected = said(ground, ELECTED)?;
    let partitions: BTreeSet<&str> = elected
        .iter()
        .filter_map(|said| said.rest.split_whitespace().next())
        .collect();
    Ok(elected.len() - partitions.len())
}
