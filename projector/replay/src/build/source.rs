//! A reader of one partition that ends somewhere, and that may be slowed down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cartwright_event_log::{LogError, LogReader, Record, Start, TopicPartition};
use cartwright_events::envelope::header;

/// Where reading ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The first offset that is not read.
    pub offset: u64,
    /// The first record that is not read, when it comes before.
    pub cut: Option<Cut>,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Records of this time of the log (microseconds since 1970) and later are not read.
    Time(i64),
    /// Records after this seq are not read.
    Seq(u64),
}

/// See the module.
pub struct Bounded<R> {
    reader: R,
    at: TopicPartition,
    end: End,
    rate: Option<Arc<Rate>>,
}

impl<R: LogReader> Bounded<R> {
    /// Reads `at` up to `end`, not faster than `rate`.
    #[must_use]
    pub fn new(reader: R, at: TopicPartition, end: End, rate: Option<Arc<Rate>>) -> Self {
        Self {
            reader,
            at,
            end,
            rate,
        }
    }

    fn is_beyond(&self, record: &Record) -> bool {
        if record.offset >= self.end.offset {
            return true;
        }
        self.end.cut.is_some_and(|cut| cut.excludes(record))
    }
}

impl Cut {
    /// Whether a record lies after it.
    #[must_use]
    pub fn excludes(self, record: &Record) -> bool {
        match self {
            Cut::Time(time) => record.timestamp_us >= time,
            Cut::Seq(last) => seq(record).is_some_and(|seq| seq > last),
        }
    }
}

/// A record without a seq is put aside wherever it is.
fn seq(record: &Record) -> Option<u64> {
    let text = std::str::from_utf8(record.header(header::SEQ)?).ok()?;
    text.parse().ok()
}

impl<R: LogReader> LogReader for Bounded<R> {
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError> {
        self.reader.assign(partitions)
    }

    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        if self.reader.position(&self.at)? >= self.end.offset {
            return Ok(Vec::new());
        }
        let max = match &self.rate {
            None => max,
            Some(rate) => match rate.take(max, timeout) {
                0 => return Ok(Vec::new()),
                allowed => allowed,
            },
        };
        let mut records = self.reader.poll(max, timeout)?;
        if let Some(rate) = &self.rate {
            rate.give_back(max - records.len().min(max));
        }
        if let Some(first) = records.iter().position(|record| self.is_beyond(record)) {
            self.end.offset = self.end.offset.min(records[first].offset);
            records.truncate(first);
        }
        Ok(records)
    }

    fn position(&self, at: &TopicPartition) -> Result<u64, LogError> {
        Ok(self.reader.position(at)?.min(self.end.offset))
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError> {
        let (low, high) = self.reader.watermarks(at)?;
        Ok((low, high.min(self.end.offset)))
    }

    fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError> {
        Ok(self.reader.stable_end(at)?.min(self.end.offset))
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader.resume(partitions)
    }
}

/// So many records a second, shared by those who read.
#[derive(Debug)]
pub struct Rate {
    state: Mutex<Budget>,
}

#[derive(Debug)]
struct Budget {
    /// `None`: there is no limit.
    per_second: Option<u32>,
    records: f64,
    since: Instant,
}

impl Rate {
    /// At most `per_second`; `None`: as many as there are.
    #[must_use]
    pub fn new(per_second: Option<u32>) -> Self {
        Self {
            state: Mutex::new(Budget {
                per_second,
                records: 0.0,
                since: Instant::now(),
            }),
        }
    }

    /// At most `per_second` from now on.
    pub fn set(&self, per_second: Option<u32>) {
        self.lock().per_second = per_second;
    }

    /// Up to `most` records; 0 when there are none to be had within `timeout`.
    fn take(&self, most: usize, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
        loop {
            let allowed = self.take_now(most);
            let left = deadline.saturating_duration_since(Instant::now());
            if allowed > 0 || left.is_zero() {
                return allowed;
            }
            std::thread::sleep(left.min(Duration::from_millis(10)));
        }
    }

    fn take_now(&self, most: usize) -> usize {
        let mut budget = self.lock();
        let Some(per_second) = budget.per_second else {
            return most;
        };
        let rate = f64::from(per_second.max(1));
        // What was not used for long is not kept: at most a tenth of a second's worth.
        let earned = budget.since.elapsed().as_secs_f64() * rate;
        budget.records = (budget.records + earned).min((rate / 10.0).max(1.0));
        budget.since = Instant::now();
        let allowed = (budget.records as usize).min(most);
        budget.records -= allowed as f64;
        allowed
    }

    fn give_back(&self, records: usize) {
        self.lock().records += records as f64;
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
