//! The thread that fills the price table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_event_log::{
    EventLog, LogError, LogReader, ReaderPurpose, Record, Start, TopicPartition,
};
use cartwright_events::codec::{Codec, CodecError};
use cartwright_events::{Envelope, EventBody, Sku, Stream, Timestamp};

use super::{PriceTable, TableState};

/// Records taken from the reader at a time.
const BATCH: usize = 4_096;
/// How long a poll waits while the end is not reached: positions may move without a record.
const LOADING_POLL: Duration = Duration::from_millis(5);
/// How long a poll waits at the end; also how long a stop may take.
const TAILING_POLL: Duration = Duration::from_millis(100);
/// A reader is made anew that brings nothing for so long of a partition whose end it has not reached.
pub(super) const STALL: Duration = Duration::from_secs(15);
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
    stall: Duration,
}

/// Where a partition stood when it was looked at, and where it ended then.
#[derive(Clone, Copy)]
struct Stand {
    position: u64,
    end: u64,
}

impl<L: EventLog> Follower<L> {
    pub(super) fn spawn(
        table: PriceTable,
        log: L,
        codec: Codec,
        stall: Duration,
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
            stall,
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
            .collect::<Result<Vec<_>, _>>()?;
        let mut moved = Instant::now();
        let mut positions = Vec::new();
        loop {
            // What is read beyond its end says nothing of a partition that stands still before its own.
            let now = ends
                .iter()
                .map(|(at, end)| reader.position(at).map(|position| position.min(*end)))
                .collect::<Result<Vec<_>, _>>()?;
            if now.iter().zip(&ends).all(|(now, (_, end))| now == end) {
                break;
            }
            if now != positions {
                moved = Instant::now();
                positions = now;
            } else if moved.elapsed() > self.stall {
                return Err(Halt::Retry("reading to the end stands still".to_owned()));
            }
            self.take(&mut reader, LOADING_POLL)?;
        }
        self.loaded = true;
        self.table.set_state(TableState::Following);
        tracing::info!(seqs = ?self.seqs, "prices are loaded");
        Ok(())
    }

    fn tail(&mut self) -> Result<std::convert::Infallible, Halt> {
        let mut reader = self.reader(ReaderPurpose::Tailing)?;
        let mut looked = Instant::now();
        let mut stands = vec![None; self.seqs.len()];
        loop {
            self.take(&mut reader, TAILING_POLL)?;
            if looked.elapsed() > self.stall {
                self.refuse_to_stand_still(&reader, &mut stands)?;
                looked = Instant::now();
            }
        }
    }

    /// A consumer can miss that there is more, as after its broker was away: another one does not. Each
    /// partition is judged by itself, by what could be read of it at the look before.
    fn refuse_to_stand_still(
        &self,
        reader: &L::Reader,
        stands: &mut [Option<Stand>],
    ) -> Result<(), Halt> {
        for (at, stand) in self.partitions().into_iter().zip(stands) {
            let position = reader.position(&at)?;
            if let Some(before) = *stand
                && before.position == position
                && position < before.end
            {
                let end = before.end;
                let reason = format!("{at} stands at offset {position}, its end is {end}");
                return Err(Halt::Retry(reason));
            }
            // A partition that can't tell its end keeps nobody from the others.
            let end = reader.stable_end(&at).ok();
            *stand = end.map(|end| Stand { position, end });
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
mod tests {
    use cartwright_event_log::memory::MemoryLog;
    use cartwright_event_log::{LogWriter, NewRecord};
    use cartwright_events::catalog::{ProductCreated, ProductEvent};
    use cartwright_events::{Currency, Event};

    use super::bent::BentLog;
    use super::*;
    use crate::prices::Progress;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A catalog of two partitions.
    struct Catalog {
        log: MemoryLog,
        seqs: [u64; 2],
    }

    impl Catalog {
        /// Writes a product.
        fn write(&mut self, partition: u32) {
            let seq = &mut self.seqs[partition as usize];
            *seq += 1;
            let aggregate_id = format!("mug-{partition}-{seq}");
            let body = ProductCreated {
                name: "Mug".to_owned(),
                description: None,
                price_minor: 500,
                currency: Currency::new("GBP").unwrap(),
            };
            let event = Event {
                aggregate_id: aggregate_id.clone(),
                version: 1,
                occurred_at: Timestamp::EPOCH,
                body: ProductEvent::Created(body).into(),
            };
            let record = NewRecord {
                topic: Arc::from(Stream::Product.topic()),
                partition,
                key: aggregate_id.into_bytes(),
                value: Some(Codec::fixed().encode_event(&event)),
                headers: vec![
                    ("seq", seq.to_string().into_bytes()),
                    ("writer_epoch", b"1".to_vec()),
                ],
            };
            let mut writer = self.log.writer("catalog").unwrap();
            writer.take_over().unwrap();
            writer.commit(vec![record]).unwrap();
        }

        /// Writes to the first partition, and to no other, until the table is so far.
        fn write_until(&mut self, table: &PriceTable, wanted: impl Fn(&Progress) -> bool) {
            let begun = Instant::now();
            while !wanted(&table.progress().borrow()) {
                assert!(begun.elapsed() < PATIENCE, "it stands still");
                self.write(0);
                thread::park_timeout(Duration::from_millis(5));
            }
        }
    }

    /// A reader can miss that there is more of one partition. That others move says nothing of it.
    #[test]
    fn a_partition_that_stands_still_is_read_anew_although_others_move() {
        for purpose in [ReaderPurpose::Recovery, ReaderPurpose::Tailing] {
            let log = MemoryLog::waiting();
            log.create_topic(Stream::Product.topic(), 2);
            let bent = BentLog::new(log.clone(), Stream::Product.topic());
            let still = TopicPartition::new(Stream::Product.topic(), 1);
            bent.deafen_next(purpose, still);
            let mut catalog = Catalog { log, seqs: [0; 2] };
            catalog.write(1);
            let table = PriceTable::new(2, 1);
            let stall = Duration::from_millis(200);
            let thread = Follower::spawn(table.clone(), bent.clone(), Codec::fixed(), stall);
            catalog.write_until(&table, |now| now.state == TableState::Following);
            catalog.write(1);
            catalog.write_until(&table, |now| now.seqs[1] == 2);
            assert!(bent.is_deaf());
            assert!(thread.unwrap().stop(PATIENCE));
        }
    }
}
