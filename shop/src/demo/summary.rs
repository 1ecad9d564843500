//! What is left to say when the demo is over.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::catalog::CURRENCY;
use super::checks::Check;
use super::floor::Floor;
use super::run::Options;
use super::stats::Latency;

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What tells this run's ids from those of others.
    pub run: String,
    /// The seed.
    pub seed: u64,
    /// From the first command to the end, in milliseconds.
    pub elapsed_ms: u64,
    /// From the start to the first order's outcome, in milliseconds.
    pub first_order_ms: Option<u64>,
    /// Orders by how they ended.
    pub orders: BTreeMap<&'static str, u64>,
    /// All commands: from sending to the answer, repeats included.
    pub commands: Latency,
    /// The same by kind. A checkout's time includes its order's outcome.
    pub by_kind: BTreeMap<&'static str, Latency>,
    /// From a command's answer to the read that shows it.
    pub visible: Latency,
    /// Refusals by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Commands that were sent again because something did not answer.
    pub retries: u64,
    /// The invariants.
    pub checks: Vec<Check>,
    /// Whether all of them held.
    pub holds: bool,
    /// What to try next.
    pub next: Vec<String>,
}

impl Summary {
    /// The summary of a run with these checks.
    #[must_use]
    pub fn of(floor: &Floor, options: &Options, checks: Vec<Check>) -> Self {
        let orders = floor.orders();
        let shown = orders
            .iter()
            .find(|(_, status)| **status == "shipped")
            .or_else(|| orders.iter().next());
        let order = shown.map_or("", |(id, _)| id);
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            run: floor.run.clone(),
            seed: options.seed,
            elapsed_ms: millis(floor.started.elapsed()),
            first_order_ms: floor.first_order().map(millis),
            orders: floor.outcomes(),
            commands: floor.stats.all_commands(),
            by_kind: floor.stats.by_kind(),
            visible: floor.stats.visibility(),
            refusals: floor.stats.refusals(),
            retries: floor.commands.pulse().retries(),
            holds: checks.iter().all(|check| check.holds != Some(false)),
            checks,
            next: vec![
                format!("curl -s {}/v1/orders/{order}", floor.queries.base_url()),
                format!(
                    "curl -s '{}/v1/reports/sales?by=country&currency={CURRENCY}'",
                    floor.queries.base_url()
                ),
                format!("./cartwright replay explain order {order}"),
            ],
        }
    }

    /// The summary for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let total: u64 = self.orders.values().sum();
        writeln!(out, "\nOrders ({total})")?;
        for (status, count) in &self.orders {
            writeln!(out, "  {status:<22}{count:>7}")?;
        }
        if let Some(first) = self.first_order_ms {
            writeln!(
                out,
                "  first order after      {:.1} s",
                first as f64 / 1000.0
            )?;
        }
        writeln!(
            out,
            "\nCommands                  count   p50 ms   p99 ms   max ms"
        )?;
        for (kind, latency) in &self.by_kind {
            write_latency(out, kind, latency)?;
        }
        write_latency(out, "all", &self.commands)?;
        write_latency(out, "until visible in reads", &self.visible)?;
        writeln!(
            out,
            "  (a checkout waits for its order's outcome; {} commands were sent again)",
            self.retries
        )?;
        if !self.refusals.is_empty() {
            writeln!(out, "\nRefused, as they should be")?;
            for (reason, count) in &self.refusals {
                writeln!(out, "  {reason:<22}{count:>7}")?;
            }
        }
        writeln!(out, "\nInvariants")?;
        for check in &self.checks {
            let mark = match check.holds {
                Some(true) => "✓",
                Some(false) => "✗",
                None => "–",
            };
            writeln!(out, "  {mark} {:<54} {}", check.name, check.figures)?;
            for example in &check.examples {
                writeln!(out, "      {example}")?;
            }
        }
        writeln!(out, "\nThe stack is still running. To try next:")?;
        for command in &self.next {
            writeln!(out, "  {command}")?;
        }
        Ok(())
    }
}

fn write_latency(out: &mut String, name: &str, latency: &Latency) -> std::fmt::Result {
    let Latency {
        count,
        p50_ms,
        p99_ms,
        max_ms,
    } = latency;
    writeln!(
        out,
        "  {name:<22}{count:>7}{p50_ms:>9.1}{p99_ms:>9.1}{max_ms:>9.1}"
    )
}
