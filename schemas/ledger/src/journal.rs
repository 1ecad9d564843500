//! The journal: one record a transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cartwright_events::journal::JournalRecord;
use cartwright_events::{Context, Stream};

use crate::audit::{Audit, Place};

/// What shards wrote about their transactions.
#[derive(Debug, Default)]
pub struct JournalLedger {
    /// Transactions are numbered densely, and the seqs that they claim follow each other.
    pub dense: Audit,
    /// Transactions read.
    pub transactions: u64,
    /// Results by idempotency key, of keys that start with the prefix asked for.
    results: HashMap<String, u32>,
    prefix: String,
    numbers: BTreeMap<(Context, u32), u64>,
    /// Journals of which retention has taken the beginning.
    cut: BTreeSet<(Context, u32)>,
    claimed: BTreeMap<(String, u32), u64>,
}

impl JournalLedger {
    /// Counts results of keys with this prefix only: keys are remembered for a limited time, so
    /// only those of this run can be held to one result.
    #[must_use]
    pub fn of_keys(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            ..Self::default()
        }
    }

    /// Retention has taken the beginning of a journal, or all of it: its first record may have any number.
    pub fn is_cut(&mut self, context: Context, partition: u32) {
        self.cut.insert((context, partition));
    }

    /// Takes the next record of a journal partition, which stands at `offset`.
    pub fn take(&mut self, context: Context, partition: u32, offset: u64, record: &JournalRecord) {
        self.transactions += 1;
        let place = (context, partition);
        // What comes before the first that is kept is taken as it should be.
        let before = |first: u64| match self.cut.contains(&place) {
            true => first.saturating_sub(1),
            false => 0,
        };
        let number = self.numbers.entry(place);
        let number = number.or_insert_with(|| before(record.transaction));
        self.dense.check(record.transaction == *number + 1, || {
            let name = context.name();
            format!(
                "{name}[{partition}]: transaction {} after {number}",
                record.transaction
            )
        });
        *number = record.transaction;
        for range in &record.ranges {
            let last = self.claimed.entry((range.topic.clone(), partition));
            let last = last.or_insert_with(|| before(range.first));
            self.dense.check(
                range.first == *last + 1 && range.last >= range.first,
                || {
                    let (topic, first) = (&range.topic, range.first);
                    format!("{topic}[{partition}]: seqs from {first} after {last}")
                },
            );
            *last = range.last;
        }
        self.dense.place(Place {
            topic: context.journal_topic(),
            partition,
            offset,
        });
        for decided in &record.decided {
            if let Some(key) = &decided.idempotency_key
                && key.starts_with(&self.prefix)
            {
                *self.results.entry(key.clone()).or_default() += 1;
            }
        }
    }

    /// How many results each key of the run has.
    #[must_use]
    pub const fn results(&self) -> &HashMap<String, u32> {
        &self.results
    }

    /// The last seq that transactions claim for a topic-partition; none where those that did are no longer
    /// kept.
    #[must_use]
    pub fn claimed(&self, stream: Stream, partition: u32) -> Option<u64> {
        let key = (stream.topic().to_owned(), partition);
        let is_cut = self.cut.contains(&(stream.context(), partition));
        let claimed = self.claimed.get(&key).copied();
        claimed.or((!is_cut).then_some(0))
    }
}
