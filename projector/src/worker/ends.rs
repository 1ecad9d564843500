//! Asking the log where partitions end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cartwright_event_log::{GroupReader, TopicPartition};

use super::Worker;

/// For how long partitions whose ends the log has not told are left alone: each call waits for as long as
/// one may, and nothing of the others is applied meanwhile.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// Partitions that are left alone.
#[derive(Debug, Default)]
pub(super) struct Silent {
    /// That which did not answer comes last, after those whose turn would have come after it.
    partitions: Vec<TopicPartition>,
    until: Option<Instant>,
}

impl Silent {
    /// Those of `all` to ask at `now`, in this order.
    fn to_ask(&self, all: Vec<TopicPartition>, now: Instant) -> Vec<TopicPartition> {
        let (silent, mut asked): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|at| self.partitions.contains(at));
        if self.until.is_none_or(|until| now >= until) {
            let again = self.partitions.iter().filter(|at| silent.contains(at));
            asked.extend(again.cloned());
        }
        asked
    }

    fn answers(&mut self, at: &TopicPartition) {
        self.partitions.retain(|silent| silent != at);
    }

    /// `at` has not answered at `now`, and so `rest` is not asked.
    fn is_silent(&mut self, at: &TopicPartition, rest: &[TopicPartition], now: Instant) {
        self.partitions
            .retain(|silent| silent != at && !rest.contains(silent));
        self.partitions.extend_from_slice(rest);
        self.partitions.push(at.clone());
        self.until = Some(now + LEFT_ALONE);
    }
}

impl<G: GroupReader> Worker<G> {
    /// The ends of `partitions`, as far as the log tells them: after the first that it does not tell it is
    /// asked for no other.
    pub(super) fn ends(
        &mut self,
        partitions: Vec<TopicPartition>,
    ) -> BTreeMap<TopicPartition, u64> {
        let to_ask = self.silent.to_ask(partitions, Instant::now());
        let mut ends = BTreeMap::new();
        for (index, at) in to_ask.iter().enumerate() {
            match self.reader.watermarks(at) {
                Ok((_, end)) => {
                    self.silent.answers(at);
                    ends.insert(at.clone(), end);
                }
                Err(error) => {
                    tracing::warn!(partition = %at, %error, "the log does not say where it ends");
                    self.silent
                        .is_silent(at, &to_ask[index + 1..], Instant::now());
                    break;
                }
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: u32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[test]
    fn what_is_silent_is_left_alone_and_then_asked_last() {
        let all: Vec<TopicPartition> = (0..4).map(at).collect();
        let mut silent = Silent::default();
        let now = Instant::now();
        assert_eq!(silent.to_ask(all.clone(), now), all);
        silent.is_silent(&at(1), &all[2..], now);
        assert_eq!(silent.to_ask(all.clone(), now), [at(0)]);
        let later = now + LEFT_ALONE;
        let again = silent.to_ask(all.clone(), later);
        assert_eq!(again, [at(0), at(2), at(3), at(1)]);
        silent.answers(&at(2));
        silent.answers(&at(3));
        silent.is_silent(&at(1), &[], later);
        let others = silent.to_ask(all.clone(), later);
        assert_eq!(others, [at(0), at(2), at(3)], "it alone is left alone");
        silent.answers(&at(1));
        assert_eq!(silent.to_ask(all, later).len(), 4);
    }
}
