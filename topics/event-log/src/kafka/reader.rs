//! Readers of named partitions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::fetcher::Fetcher;
use super::options::KafkaOptions;
use crate::{LogError, LogReader, ReaderPurpose, Record, Start, TopicPartition};

/// After so long without a record a reader looks whether it is answered at all.
const QUIET: Duration = Duration::from_secs(10);
/// How long it waits for that answer.
const ANSWER: Duration = Duration::from_secs(5);

/// See [`LogReader`].
///
/// A consumer that has lost sight of every broker never finds one again (see `Cluster`), and reads nothing
/// without a word. Where none answers it, it is replaced by one that goes on from where it stands. (A
/// member of a group notices that its session ends, and joins anew.)
pub struct KafkaReader {
    options: Arc<KafkaOptions>,
    cluster: Arc<Cluster>,
    purpose: ReaderPurpose,
    fetcher: Option<Fetcher>,
    paused: BTreeSet<TopicPartition>,
    /// When a record or an answer has come last, or was looked for.
    heard: Instant,
    quiet: Duration,
}

impl KafkaReader {
    pub(super) fn new(
        options: Arc<KafkaOptions>,
        cluster: Arc<Cluster>,
        purpose: ReaderPurpose,
    ) -> Self {
        Self {
            options,
            cluster,
            purpose,
            fetcher: None,
            paused: BTreeSet::new(),
            heard: Instant::now(),
            quiet: QUIET,
        }
    }

    fn open(&self, starts: &[(TopicPartition, Start)]) -> Result<Fetcher, LogError> {
        let config = self.options.reader(self.purpose);
        let mut fetcher = Fetcher::new(&config, &self.cluster)?;
        fetcher.assign(starts)?;
        Ok(fetcher)
    }

    /// Replaces a consumer that nobody answers, if another one is answered.
    fn look_for_brokers(&mut self) {
        self.heard = Instant::now();
        let Some(fetcher) = &self.fetcher else { return };
        if fetcher.is_answered(ANSWER) {
            return;
        }
        let fresh = fetcher.starts().and_then(|starts| self.open(&starts));
        let paused: Vec<_> = self.paused.iter().cloned().collect();
        match fresh.and_then(|fresh| fresh.set_paused(&paused, true).map(|()| fresh)) {
            Ok(fresh) => {
                tracing::warn!("no broker answered the reader; another one goes on");
                self.fetcher = Some(fresh);
            }
            // The brokers are away: it is looked for them again.
            Err(error) => tracing::debug!(%error, "no broker answers a reader"),
        }
    }

    fn assigned(&self, at: &TopicPartition) -> Result<&Fetcher, LogError> {
        self.fetcher
            .as_ref()
            .ok_or_else(|| LogError::NotAssigned(at.clone()))
    }
}

impl LogReader for KafkaReader {
    /// With a consumer of its own: the position of a partition that one consumer
    /// reads a second time is the earlier one for a while.
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        self.fetcher = None;
        self.paused.clear();
        self.fetcher = Some(self.open(partitions)?);
        self.heard = Instant::now();
        Ok(())
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        let Some(fetcher) = &mut self.fetcher else {
            thread::sleep(timeout);
            return Ok(Vec::new());
        };
        let records = fetcher.poll(max, timeout)?;
        if !records.is_empty() {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > self.quiet {
            self.look_for_brokers();
        }
        Ok(records)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.assigned(at)?.position(at)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        self.cluster.watermarks(at)
    }

    fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        self.assigned(at)?.stable_end(at)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        if let Some(at) = partitions.first() {
            self.assigned(at)?.set_paused(partitions, true)?;
            self.paused.extend(partitions.iter().cloned());
        }
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        if let Some(at) = partitions.first() {
            self.assigned(at)?.set_paused(partitions, false)?;
            self.paused.retain(|at| !partitions.contains(at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::fake_broker::FakeBroker;

    #[test]
    fn a_reader_whose_consumer_was_told_of_no_broker_goes_on() {
        let broker = FakeBroker::start();
        let options = Arc::new(broker.options());
        let cluster = Arc::new(Cluster::new(&options).expect("a client"));
        let mut reader = KafkaReader::new(options, cluster, ReaderPurpose::Tailing);
        let at = TopicPartition::new(FakeBroker::TOPIC, 0);
        let start = [(at.clone(), Start::Beginning)];
        reader.assign(&start).expect("an assignment");
        reader.pause(std::slice::from_ref(&at)).expect("a pause");
        reader.quiet = Duration::ZERO;
        let fetcher = reader.fetcher.as_ref().expect("a consumer");
        assert!(fetcher.is_answered(ANSWER));
        broker.mislead(fetcher.consumer().expect("a consumer"));
        let goes_on = (0..5).any(|_| {
            assert_eq!(reader.poll(1, Duration::ZERO), Ok(Vec::new()));
            let fetcher = reader.fetcher.as_ref().expect("a consumer");
            fetcher.is_answered(ANSWER)
        });
        assert!(goes_on, "another consumer reads");
        assert_eq!(reader.position(&at), Ok(0));
        assert_eq!(reader.resume(&[at]), Ok(()));
    }
}
