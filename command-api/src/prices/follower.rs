//! The thread that fills the price table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_event_log::{
    EventLog, LogError, LogReader, ReaderPurpose, Record, Start, TopicPartition,
};
use cartwright_events::codec::{Codec, CodecError};
use cartwright_events::{Envelope, EventBody, Sku, Stream, Timestamp};
use cartwright_shard::{Look, Standstill};

use super::{PriceTable, TableState};

/// Records taken from the reader at a time.
const BATCH: usize = 4_096;
/// How long a poll waits while the end is not reached: positions may move without a record.
const LOADING_POLL: Duration = Duration::from_millis(5);
/// How long a poll waits at the end; also how long a stop may take.
const TAILING_POLL: Duration = Duration::from_millis(100);
/// How often it is looked whether the reader of a partition stands still before its end.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pauses between tries to read.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The running thread.
#[derive(Debug)]
pub struct PriceThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl PriceThread {
    /// Asks it to end. Returns whether it did within `limit`.
    #[must_use]
    pub fn stop(self, limit: Duration) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let asked = Instant::now();
        while !self.thread.is_finished() {
            if asked.elapsed() > limit {
                return false;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        self.thread.join().is_ok()
    }
}

/// Why reading ended.
#[derive(Debug)]
enum Halt {
    /// Try again after a pause, where it stood.
    Retry(String),
    /// Nothing may be priced any more.
    Stop(String),
    /// It was asked to end.
    Asked,
}

impl From<LogError> for Halt {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable { .. } | LogError::Stalled { .. } | LogError::Fatal { .. } => {
                Halt::Retry(error.to_string())
            }
            _ => Halt::Stop(error.to_string()),
        }
    }
}

pub(super) struct Follower<L> {
    table: PriceTable,
    log: L,
    codec: Codec,
    stop: Arc<AtomicBool>,
    /// Next offset and last seq, by partition.
    offsets: Vec<Option<u64>>,
    seqs: Vec<u64>,
    loaded: bool,
    look_every: Duration,
}

impl<L: EventLog> Follower<L> {
    pub(super) fn spawn(
        table: PriceTable,
        log: L,
        codec: Codec,
        look_every: Duration,
    ) -> std::io::Result<PriceThread> {
        let stop = Arc::new(AtomicBool::new(false));
        let seqs = table.progress().borrow().seqs.clone();
        let follower = Self {
            table,
            log,
            codec,
            stop: Arc::clone(&stop),
            offsets: vec![None; seqs.len()],
            seqs,
            loaded: false,
            look_every,
        };
        let thread = thread::Builder::new()
            .name("prices".to_owned())
            .spawn(|| follower.run())?;
        Ok(PriceThread { stop, thread })
    }

    fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.seqs.clone();
            let halt = match self.load().and_then(|()| self.tail()) {
                Ok(never) => match never {},
                Err(halt) => halt,
            };
            match halt {
                Halt::Asked => return,
                Halt::Stop(reason) => {
                    tracing::error!(reason, "prices have stopped");
                    self.table.set_state(TableState::Stopped { reason });
                    return;
                }
                Halt::Retry(reason) => tracing::warn!(reason, "prices can't be read; trying again"),
            }
            pause = if before == self.seqs {
                (pause * 2).min(LONGEST_PAUSE)
            } else {
                FIRST_PAUSE
            };
            thread::park_timeout(pause);
        }
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        (0..)
            .zip(&self.seqs)
            .map(|(p, _)| TopicPartition::new(Stream::Product.topic(), p))
            .collect()
    }

    fn reader(&self, purpose: ReaderPurpose) -> Result<L::Reader, Halt> {
        let mut reader = self.log.reader(purpose)?;
        let starts: Vec<_> = self
            .partitions()
            .into_iter()
            .zip(&self.offsets)
            .map(|(at, offset)| (at, offset.map_or(Start::Beginning, Start::Offset)))
            .collect();
        reader.assign(&starts)?;
        Ok(reader)
    }

    /// Reads to the end that the partitions have now.
    fn load(&mut self) -> Result<(), Halt> {
        if self.loaded {
            return Ok(());
        }
        let mut reader = self.reader(ReaderPurpose::Recovery)?;
        let ends = self
            .partitions()
            .into_iter()
            .map(|at| reader.watermarks(&at).map(|(_, high)| (at, high)))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut standstills = self.standstills();
        let begun = Instant::now();
        loop {
            let positions = ends.keys().map(|at| reader.position(at));
            let positions = positions.collect::<Result<Vec<_>, _>>()?;
            if positions
                .iter()
                .zip(ends.values())
                .all(|(now, end)| now >= end)
            {
                break;
            }
            // What is read beyond its end says nothing of a partition that stands still before its own.
            let end = |_: &L::Reader, at: &TopicPartition| Ok(ends[at]);
            self.look(&reader, &mut standstills, begun.elapsed(), end)?;
            self.take(&mut reader, LOADING_POLL)?;
        }
        self.loaded = true;
        self.table.set_held_up(None);
        self.table.set_state(TableState::Following);
        tracing::info!(seqs = ?self.seqs, "prices are loaded");
        Ok(())
    }

    fn tail(&mut self) -> Result<std::convert::Infallible, Halt> {
        let mut reader = self.reader(ReaderPurpose::Tailing)?;
        let mut standstills = self.standstills();
        let begun = Instant::now();
        loop {
            self.take(&mut reader, TAILING_POLL)?;
            let end = |reader: &L::Reader, at: &TopicPartition| Ok(reader.watermarks(at)?.1);
            self.look(&reader, &mut standstills, begun.elapsed(), end)?;
        }
    }

    fn standstills(&self) -> Vec<(TopicPartition, Standstill)> {
        let of = |at| (at, Standstill::new(self.look_every));
        self.partitions().into_iter().map(of).collect()
    }

    /// Begins anew where a reader has missed that there is more; says what holds it up otherwise. Each
    /// partition is judged by itself, and one that can't tell its end keeps nobody from the others.
    fn look(
        &self,
        reader: &L::Reader,
        standstills: &mut [(TopicPartition, Standstill)],
        now: Duration,
        end: impl Fn(&L::Reader, &TopicPartition) -> Result<u64, LogError>,
    ) -> Result<(), Halt> {
        let mut looked = false;
        let mut held_up = None;
        for (at, standstill) in standstills {
            let seen = standstill.look(now, &self.log, reader, at, || end(reader, at));
            looked |= seen != Look::TooEarly;
            if let Look::StandsStill {
                what, is_held_up, ..
            } = seen
            {
                if !is_held_up {
                    return Err(Halt::Retry(what));
                }
                tracing::warn!(what, "prices stand still");
                held_up.get_or_insert(what);
            }
        }
        if looked {
            self.table.set_held_up(held_up);
        }
        Ok(())
    }

    fn take(&mut self, reader: &mut L::Reader, wait: Duration) -> Result<(), Halt> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Halt::Asked);
        }
        let records = reader.poll(BATCH, wait)?;
        let folded = records.iter().try_for_each(|record| self.fold(record));
        self.table.set_seqs(&self.seqs);
        folded
    }

    fn fold(&mut self, record: &Record) -> Result<(), Halt> {
        let stop = |problem: String| {
            let at = record.topic_partition();
            Halt::Stop(format!("{at} offset {}: {problem}", record.offset))
        };
        let recorded_at = Timestamp::from_micros(record.timestamp_us);
        let envelope = Envelope::read(
            Stream::Product,
            record.partition,
            record.offset,
            recorded_at,
            |name| record.header(name),
        )
        .map_err(|error| stop(error.to_string()))?;
        let partition = record.partition as usize;
        let expected = self.seqs[partition] + 1;
        if envelope.seq != expected {
            return Err(stop(format!(
                "seq {} where {expected} was due",
                envelope.seq
            )));
        }
        let value = record.value.as_deref().unwrap_or_default();
        let event = match self.codec.decode_event(Stream::Product, value) {
            Ok(event) => event,
            Err(CodecError::RegistryUnavailable(error)) => {
                return Err(Halt::Retry(error.to_string()));
            }
            Err(error) => return Err(stop(error.to_string())),
        };
        let EventBody::Product(body) = event.body else {
            return Err(stop("no event of a product".to_owned()));
        };
        let sku = Sku::new(event.aggregate_id).map_err(|error| stop(error.to_string()))?;
        self.table
            .fold(sku, body, envelope.seq)
            .map_err(|error| stop(error.to_string()))?;
        self.seqs[partition] = envelope.seq;
        self.offsets[partition] = Some(record.offset + 1);
        Ok(())
    }
}

#[cfg(test)]
#[allow(
    dead_code,
    reason = "suites share this file, and the test here needs little of it"
)]
#[path = "../../shard/tests/suite/bent.rs"]
mod bent;

#[cfg(test)]
mod tests;
