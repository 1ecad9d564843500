//! Reading the whole log, as any consumer of it would.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{
    EventLog, LogReader, ReaderPurpose, Record, Start, TopicPartition, read_to,
};
use cartwright_events::codec::Codec;
use cartwright_events::{Context, Envelope, Stream, Timestamp};
use cartwright_ledger::Ledger;

/// How long reading may stand still.
const STALL: Duration = Duration::from_secs(20);
/// How long messages between shards may be under way after the last command.
const SETTLE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

/// The log and the codec of its records.
#[derive(Clone)]
pub struct Log {
    log: KafkaLog,
    codec: Codec,
}

impl Log {
    /// Connects to the brokers and the registry.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn connect(bootstrap: &str, registry: &str) -> anyhow::Result<Self> {
        let mut options = KafkaOptions::new(bootstrap);
        options.client_id = "cartwright-demo".to_owned();
        let registry = registry.to_owned();
        let connected = tokio::task::spawn_blocking(move || {
            let codec = Codec::connect(&registry).with_context(|| registry.clone())?;
            let log = KafkaLog::new(options).context("the log's settings")?;
            anyhow::Ok(Self { log, codec })
        });
        connected.await?
    }

    /// Reads everything from the beginning until messages between shards have come to rest, or
    /// until they should have.
    ///
    /// # Errors
    /// When the log cannot be read or a record is not understood.
    pub async fn audit(self, keys: String) -> anyhow::Result<Ledger> {
        tokio::task::spawn_blocking(move || self.read(&keys)).await?
    }

    fn read(&self, keys: &str) -> anyhow::Result<Ledger> {
        let mut ledger = Ledger::of_keys(keys);
        let mut reader = self.log.reader(ReaderPurpose::Recovery)?;
        let partitions = self.partitions()?;
        let starts: Vec<_> = partitions
            .iter()
            .map(|at| (at.clone(), Start::Beginning))
            .collect();
        reader.assign(&starts)?;
        let until = Instant::now() + SETTLE;
        loop {
            let ends = partitions
                .iter()
                .map(|at| Ok((at.clone(), reader.watermarks(at)?.1)))
                .collect::<anyhow::Result<Vec<_>>>()?;
            read_to(&mut reader, &ends, STALL, |record| {
                self.take(&mut ledger, &record)
            })?;
            if ledger.unsettled().is_empty() || Instant::now() > until {
                return Ok(ledger);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Partitions of all events and journals.
    fn partitions(&self) -> anyhow::Result<Vec<TopicPartition>> {
        let events = Stream::ALL.into_iter().map(Stream::topic);
        let journals = Context::ALL.into_iter().map(Context::journal_topic);
        let mut partitions = Vec::new();
        for topic in events.chain(journals) {
            let name: Arc<str> = topic.into();
            for partition in 0..self.log.partition_count(topic)? {
                partitions.push(TopicPartition::new(Arc::clone(&name), partition));
            }
        }
        Ok(partitions)
    }

    fn take(&self, ledger: &mut Ledger, record: &Record) -> anyhow::Result<()> {
        let place = || format!("{} at {}", record.topic_partition(), record.offset);
        let value = record.value.as_deref().with_context(place)?;
        if let Some(stream) = Stream::of_topic(&record.topic) {
            let at = Timestamp::from_micros(record.timestamp_us);
            let header = |name: &str| record.header(name);
            let envelope = Envelope::read(stream, record.partition, record.offset, at, header);
            let event = self.codec.decode_event(stream, value).with_context(place)?;
            ledger.event(&envelope.with_context(place)?, &event);
        } else if let Some(context) = journal_of(&record.topic) {
            let journal = self
                .codec
                .decode_journal(context, value)
                .with_context(place)?;
            let (partition, offset) = (record.partition, record.offset);
            ledger.journal.take(context, partition, offset, &journal);
        }
        Ok(())
    }
}

fn journal_of(topic: &str) -> Option<Context> {
    Context::ALL
        .into_iter()
        .find(|context| context.journal_topic() == topic)
}
