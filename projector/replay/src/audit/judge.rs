//! What is wrong with what is open.

use std::time::Duration;

use cartwright_events::{Currency, Stream, Timestamp};

use super::findings::{Evidence, Finding, Severity};
use super::open_order::{OpenOrder, Stage};
use super::watch::Watch;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A conversation between shards, and everything else that needs nobody.
    pub settle: Duration,
    /// From owing money to paying it back.
    pub refund: Duration,
    /// From payment to shipment; `None`: as long as it likes.
    pub shipment: Option<Duration>,
}

struct Judge<'a> {
    now: Timestamp,
    limits: &'a Limits,
    findings: Vec<Finding>,
}

/// Everything that is wrong at `now`, the worst first, with the breaches that the watch keeps.
#[must_use]
pub fn judge(watch: &Watch, now: Timestamp, limits: &Limits) -> Vec<Finding> {
    let mut judge = Judge {
        now,
        limits,
        findings: watch.breaches.clone(),
    };
    judge.findings.extend(watch.unread.findings().cloned());
    // What either says of the other is not known where one can't be read to its end.
    let is_read = |stream: Stream| !watch.unread.is_of(stream.topic(), None);
    let both_are_read = is_read(Stream::Order) && is_read(Stream::Stock);
    if watch.more_breaches > 0 {
        let detail = format!("{} more rules are broken", watch.more_breaches);
        judge.add(Severity::Error, "more_breaches", "the log", detail, None);
    }
    if watch.more_strays > 0 {
        let count = watch.more_strays;
        let detail = format!("{count} more rows that no event made, and are not looked at again");
        judge.add(
            Severity::Error,
            "more_strays",
            "the read models",
            detail,
            None,
        );
    }
    for (id, order) in &watch.orders {
        let (topic, partition) = (&order.at.topic, order.at.partition);
        if !watch.unread.is_of(topic, Some(partition)) {
            judge.stage(id, order);
            judge.refunds(id, order);
        }
        if both_are_read {
            judge.holds(id, order, watch);
        }
    }
    for (id, skus) in &watch.holds {
        if watch.orders.contains_key(id) || !both_are_read {
            continue;
        }
        let units: i64 = skus.values().map(|hold| hold.units).sum();
        let last = skus.values().max_by_key(|hold| hold.changed_at);
        if let Some(last) = last.filter(|hold| judge.is_late(hold.changed_at, limits.settle)) {
            judge.add(
                Severity::Error,
                "reservation_without_order",
                id,
                format!("{units} units are held, and no open order wants them"),
                Some(&last.at),
            );
        }
    }
    let mut findings = judge.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

impl Judge<'_> {
    fn is_late(&self, since: Timestamp, limit: Duration) -> bool {
        let limit_us = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
        self.now.as_micros().saturating_sub(since.as_micros()) > limit_us
    }

    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        subject: &str,
        detail: String,
        evidence: Option<&Evidence>,
    ) {
        self.findings.push(Finding {
            severity,
            rule,
            subject: subject.to_owned(),
            detail,
            evidence: evidence.cloned(),
        });
    }

    fn stage(&mut self, id: &str, order: &OpenOrder) {
        let at = Some(&order.at);
        let since = order.progressed_at;
        match order.stage {
            Stage::Pending if self.is_late(since, self.limits.settle) => {
                let detail = format!("inventory is being asked since {since}");
                self.add(Severity::Error, "stuck_order", id, detail, at);
            }
            Stage::Confirmed => {
                let deadline = order.payment_deadline.unwrap_or(since);
                // A deadline that has passed is acted on by the shard's timer, in the log's time.
                if self.is_late(deadline.max(since), self.limits.settle) {
                    let detail = format!("unpaid, and not expired at its deadline {deadline}");
                    self.add(Severity::Error, "stuck_order", id, detail, at);
                }
            }
            Stage::Paid => {
                if let Some(limit) = self.limits.shipment
                    && self.is_late(since, limit)
                {
                    let (left, units) = (order.units - order.shipped_units, order.units);
                    let detail = format!("{left} of {units} units wait for shipment since {since}");
                    self.add(Severity::Warning, "stuck_order", id, detail, at);
                }
            }
            Stage::Unknown => {
                let unknown = order.debts().filter(|(_, owed)| owed.known().is_none());
                for (currency, owed) in unknown {
                    if self.is_late(owed.since, self.limits.settle) {
                        let amount = amount(currency, owed.minor);
                        let detail = format!("{amount} came for an order that nobody knows");
                        let at = Some(&owed.at);
                        self.add(Severity::Warning, "payment_without_order", id, detail, at);
                    }
                }
            }
            Stage::Pending | Stage::Ended => {}
        }
    }

    fn refunds(&mut self, id: &str, order: &OpenOrder) {
        for (currency, owed) in order.debts() {
            let amount = amount(currency, owed.minor);
            let mut detail = format!("{amount} are owed since {}", owed.since);
            let severity = match owed.known() {
                Some(known) => {
                    detail.push_str(&format!("; known since {}: {}", known.at, known.reason));
                    Severity::Info
                }
                None if self.is_late(owed.since, self.limits.refund) => Severity::Warning,
                None => Severity::Info,
            };
            self.add(severity, "refund_due", id, detail, Some(&owed.at));
        }
    }

    fn holds(&mut self, id: &str, order: &OpenOrder, watch: &Watch) {
        let Some(wanted) = order.units_to_hold() else {
            return;
        };
        let skus = watch.holds.get(id);
        let held: i64 = skus.map_or(0, |skus| skus.values().map(|hold| hold.units).sum());
        let changed = skus.and_then(|skus| skus.values().map(|hold| hold.changed_at).max());
        let since = changed
            .unwrap_or(order.progressed_at)
            .max(order.progressed_at);
        if held != wanted && self.is_late(since, self.limits.settle) {
            let detail = format!("{held} units are held, {wanted} should be");
            self.add(Severity::Error, "holds_differ", id, detail, Some(&order.at));
        }
    }
}

fn amount(currency: Option<&Currency>, minor: i64) -> String {
    let currency = currency.map_or("the order's currency", Currency::as_str);
    format!("{minor} in minor units of {currency}")
}
