//! The comparison.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cartwright_read_model::versions::Outcome;
use cartwright_read_model::{Row, Table, Value};
use serde::Serialize;

use super::buckets::{bucket_of, digest, groups, key, seq};
use super::made_by::MadeBy;
use super::{Ends, ParkedSet, Side};

/// How much is held and how often things are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Digests of a table.
    pub buckets: usize,
    /// Rows of which digests are held at a time.
    pub rows: usize,
    /// Whole rows held at a time.
    pub whole_rows: usize,
    /// Rows that are found to differ; with more, the rest is not looked at.
    pub differences: usize,
    /// How often something that keeps changing is looked at.
    pub rounds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buckets: 4_096,
            rows: 100_000,
            whole_rows: 1_000,
            differences: 1_000,
            rounds: 10,
        }
    }
}

/// A row that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: Vec<Value>,
    /// What differs.
    pub fields: Vec<Field>,
    /// `row_seq` on the left; `None`: there is no row.
    pub left_seq: Option<u64>,
    /// `row_seq` on the right.
    pub right_seq: Option<u64>,
    /// The events that wrote to the row, oldest first.
    pub events: Vec<MadeBy>,
}

/// A column that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// The column.
    pub column: &'static str,
    /// Its value on the left.
    pub left: Value,
    /// Its value on the right.
    pub right: Value,
}

/// What the comparison found.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// The left side.
    pub left: String,
    /// The right side.
    pub right: String,
    /// Rows compared, the larger of both sides.
    pub rows: u64,
    /// Rows that differ.
    pub differences: Vec<Difference>,
    /// Whether so many differ that the rest was not looked at.
    pub more: bool,
    /// Why the events that made rows which differ are not all told.
    pub events_incomplete: Option<String>,
    /// Rows and parked records that kept changing.
    pub unsettled: u64,
    /// Records parked on the left only, as topic, partition and offset.
    pub parked_left_only: ParkedSet,
    /// Records parked on the right only.
    pub parked_right_only: ParkedSet,
    /// A side that did not keep up.
    pub stuck: Option<String>,
}

impl Findings {
    /// What it comes to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.count() > 0 {
            return Outcome::Failed;
        }
        match self.unsettled > 0 || self.stuck.is_some() {
            true => Outcome::Unsettled,
            false => Outcome::Passed,
        }
    }

    /// Rows and parked records that differ.
    #[must_use]
    pub fn count(&self) -> u64 {
        let parked = self.parked_left_only.len() + self.parked_right_only.len();
        (self.differences.len() + parked) as u64
    }
}

/// Which columns are compared, by table and column.
pub type IsCompared<'a> = &'a dyn Fn(&str, &str) -> bool;

/// Compares `tables` of both sides. `ends` asks the log where its partitions end.
///
/// # Errors
/// When rows, parked records or the log cannot be read.
pub fn compare(
    left: &mut dyn Side,
    right: &mut dyn Side,
    tables: &[&'static Table],
    is_compared: IsCompared<'_>,
    ends: &dyn Fn() -> anyhow::Result<Ends>,
    limits: Limits,
) -> anyhow::Result<Findings> {
    let mut comparison = Comparison {
        findings: Findings {
            left: left.label(),
            right: right.label(),
            ..Findings::default()
        },
        left,
        right,
        is_compared,
        ends,
        limits,
    };
    comparison.parked()?;
    for table in tables {
        if comparison.findings.stuck.is_some() || comparison.findings.more {
            break;
        }
        comparison.table(table.name)?;
    }
    Ok(comparison.findings)
}

struct Comparison<'a> {
    left: &'a mut dyn Side,
    right: &'a mut dyn Side,
    is_compared: IsCompared<'a>,
    ends: &'a dyn Fn() -> anyhow::Result<Ends>,
    limits: Limits,
    findings: Findings,
}

/// A table on both sides, and the columns that both have and that count.
#[derive(Clone, Copy)]
struct Pair<'a> {
    left: &'static Table,
    right: &'static Table,
    columns: &'a [&'static str],
}

/// `row_seq` on both sides, as last seen.
type Seqs = (Option<u64>, Option<u64>);

/// The key of a row that was not the same on both sides, and how it was.
type Suspect = (Vec<Value>, Seqs);

impl Comparison<'_> {
    /// Waits for both sides; answers whether they came.
    fn settle(&mut self) -> anyhow::Result<Option<Ends>> {
        let ends = (self.ends)()?;
        for side in [&mut *self.left, &mut *self.right] {
            if let Some(stuck) = side.reach(&ends)? {
                self.findings.stuck = Some(format!("{}: {stuck}", side.label()));
                return Ok(None);
            }
        }
        Ok(Some(ends))
    }

    /// Compares what is parked. What is parked on one side only is looked at again, like a row: it may have
    /// been taken off one list a moment before the other was read.
    fn parked(&mut self) -> anyhow::Result<()> {
        let mut seen = (ParkedSet::new(), ParkedSet::new());
        let mut moving = 0;
        for _ in 0..self.limits.rounds {
            let Some(ends) = self.settle()? else {
                break;
            };
            let left = self.left.parked(&ends)?;
            let right = self.right.parked(&ends)?;
            let only = (&left - &right, &right - &left);
            let findings = &mut self.findings;
            findings.parked_left_only = &only.0 & &seen.0;
            findings.parked_right_only = &only.1 & &seen.1;
            let settled = findings.parked_left_only.len() + findings.parked_right_only.len();
            moving = only.0.len() + only.1.len() - settled;
            if moving == 0 {
                break;
            }
            seen = only;
        }
        self.findings.unsettled += moving as u64;
        Ok(())
    }

    fn table(&mut self, name: &'static str) -> anyhow::Result<()> {
        let (Some(left), Some(right)) = (self.left.table(name), self.right.table(name)) else {
            return Ok(());
        };
        let columns: Vec<&'static str> = left
            .columns()
            .filter(|column| right.columns().any(|other| other == *column))
            .map(|column| column.name)
            .filter(|column| (self.is_compared)(name, column))
            .collect();
        let pair = Pair {
            left,
            right,
            columns: &columns,
        };
        let buckets = self.limits.buckets;
        let mut counted = [0_u64; 2];
        let mut digests = [vec![(0_u64, 0_u64); buckets], vec![(0_u64, 0_u64); buckets]];
        let sides: [(&mut dyn Side, _); 2] = [(&mut *self.left, left), (&mut *self.right, right)];
        for (index, (side, table)) in sides.into_iter().enumerate() {
            let digests = &mut digests[index];
            let counted = &mut counted[index];
            side.scan(table, &mut |row| {
                let (count, sum) = &mut digests[bucket_of(key(&row), buckets)];
                *count += 1;
                *sum = sum.wrapping_add(digest(&row, &columns));
                *counted += 1;
            })?;
        }
        self.findings.rows += counted[0].max(counted[1]);
        let differing = (0..buckets).filter(|&at| digests[0][at] != digests[1][at]);
        let sized: Vec<(usize, u64)> = differing
            .map(|at| (at, digests[0][at].0.max(digests[1][at].0)))
            .collect();
        for group in groups(&sized, self.limits.rows as u64) {
            let suspects = self.suspects(pair, &group)?;
            self.look_again(pair, suspects)?;
            if self.findings.stuck.is_some() || self.findings.more {
                break;
            }
        }
        Ok(())
    }

    /// The keys in these buckets whose rows differ, in an order that does not change.
    fn suspects(
        &mut self,
        pair: Pair<'_>,
        buckets: &BTreeSet<usize>,
    ) -> anyhow::Result<Vec<Suspect>> {
        let all = self.limits.buckets;
        let is_in = |row: &Row| buckets.contains(&bucket_of(key(row), all));
        let mut rows: HashMap<Vec<Value>, (u64, Option<u64>)> = HashMap::new();
        self.left.scan(pair.left, &mut |row| {
            if is_in(&row) {
                let known = (digest(&row, pair.columns), seq(&row));
                rows.insert(key(&row).to_vec(), known);
            }
        })?;
        let mut suspects: BTreeMap<String, Suspect> = BTreeMap::new();
        self.right.scan(pair.right, &mut |row| {
            if !is_in(&row) {
                return;
            }
            let left = rows.remove(key(&row));
            if left.is_none_or(|(left, _)| left != digest(&row, pair.columns)) {
                let seqs = (left.and_then(|(_, seq)| seq), seq(&row));
                suspects.insert(format!("{:?}", key(&row)), (key(&row).to_vec(), seqs));
            }
        })?;
        for (key, (_, seq)) in rows {
            suspects.insert(format!("{key:?}"), (key, (seq, None)));
        }
        Ok(suspects.into_values().collect())
    }

    /// Looks at rows until they agree or are found to differ, so many whole rows at a time.
    fn look_again(&mut self, pair: Pair<'_>, mut suspects: Vec<Suspect>) -> anyhow::Result<()> {
        for _ in 0..self.limits.rounds {
            if suspects.is_empty() || self.settle()?.is_none() {
                break;
            }
            let mut moving = Vec::new();
            for chunk in suspects.chunks(self.limits.whole_rows) {
                moving.extend(self.look_at(pair, chunk)?);
                if self.findings.differences.len() >= self.limits.differences {
                    self.findings.more = true;
                    return Ok(());
                }
            }
            suspects = moving;
        }
        self.findings.unsettled += suspects.len() as u64;
        Ok(())
    }

    /// Looks at rows once; answers those that have changed since they were seen and still differ.
    fn look_at(&mut self, pair: Pair<'_>, suspects: &[Suspect]) -> anyhow::Result<Vec<Suspect>> {
        let keys: Vec<Vec<Value>> = suspects.iter().map(|(key, _)| key.clone()).collect();
        let left = by_key(self.left.get(pair.left, &keys)?);
        let right = by_key(self.right.get(pair.right, &keys)?);
        let mut moving = Vec::new();
        for (key, before) in suspects {
            let (left, right) = (left.get(key), right.get(key));
            let fields = fields(left, right, pair.columns);
            if fields.is_empty() && left.is_some() == right.is_some() {
                continue;
            }
            let seqs = (left.and_then(seq), right.and_then(seq));
            // Both have applied all that the log held when the row was last seen: what made it
            // what it was then is no longer under way.
            if seqs == *before || (seqs.0 == seqs.1 && seqs.0.is_some()) {
                self.findings.differences.push(Difference {
                    table: pair.right.name,
                    key: key.clone(),
                    fields,
                    left_seq: seqs.0,
                    right_seq: seqs.1,
                    events: Vec::new(),
                });
            } else {
                moving.push((key.clone(), seqs));
            }
        }
        Ok(moving)
    }
}

fn by_key(rows: Vec<Row>) -> HashMap<Vec<Value>, Row> {
    rows.into_iter()
        .map(|row| (key(&row).to_vec(), row))
        .collect()
}

fn fields(left: Option<&Row>, right: Option<&Row>, columns: &[&'static str]) -> Vec<Field> {
    let value =
        |row: Option<&Row>, column| row.map_or(Value::Unset, |row| row.value(column).clone());
    columns
        .iter()
        .map(|column| Field {
            column,
            left: value(left, column),
            right: value(right, column),
        })
        .filter(|field| field.left != field.right)
        .collect()
}
