//! Carrying out what operators ask to be done about parked records.
//!
//! The worker that owns the partition does it, between records. The records are read again from
//! the log, folded in its order, and applied together with their leaving the list. Whatever a key
//! has waiting is a queue: only its beginning can be settled, so stopping anywhere, or being killed
//! there, leaves a shorter queue and nothing else. What arrives for a key meanwhile goes behind it.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use cartwright_event_log::{LogError, LogReader, Record};
use cartwright_events::Timestamp;
use cartwright_folds::Outcome;
use cartwright_read_model::{
    ParkAction, ParkReason, ParkRequest, ParkedRow, RequestOutcome, RequestState, SkippedRow,
};
use cartwright_sinks::{SeqOp, Unparked};

use crate::folding;
use crate::halt::{Halt, halt_of};
use crate::partition::Partition;
use crate::scan::{Found, Scan, Wanted};
use crate::work::Work;

/// Makes readers for records that were put aside.
pub(crate) type Lookup = Box<dyn FnMut() -> Result<Box<dyn LogReader>, LogError> + Send>;

/// Times that records are read before new ones of the same keys are kept out until it is done.
const PATIENT_ROUNDS: u32 = 3;
/// How long that may take at a time.
const IMPATIENT: Duration = Duration::from_secs(10);

/// A request that is being carried out in a partition.
pub(crate) struct Drain {
    request: ParkRequest,
    /// Keys that may still go on.
    open: BTreeSet<String>,
    /// Keys that cannot.
    stuck: BTreeSet<String>,
    scan: Option<Scan>,
    rounds: u32,
    retried: u64,
    skipped: u64,
    refusal: Option<String>,
}

/// A batch in the making.
#[derive(Default)]
struct Settling {
    ops: Vec<SeqOp>,
    parked: Vec<ParkedRow>,
    unparked: Unparked,
}

impl Settling {
    fn is_empty(&self) -> bool {
        self.len() == 0 && self.unparked.answered.is_empty()
    }

    fn len(&self) -> usize {
        self.ops.len() + self.parked.len() + self.unparked.settled.len()
    }
}

impl Drain {
    /// What it carries out.
    pub(crate) const fn request(&self) -> &ParkRequest {
        &self.request
    }

    fn new(request: ParkRequest) -> Self {
        Self {
            request,
            open: BTreeSet::new(),
            stuck: BTreeSet::new(),
            scan: None,
            rounds: 0,
            retried: 0,
            skipped: 0,
            refusal: None,
        }
    }

    /// Chooses the keys and gives up what is to be given up.
    pub(crate) fn begin(
        request: ParkRequest,
        partition: &mut Partition,
        work: &mut Work,
    ) -> Result<Self, Halt> {
        let mut drain = Self::new(request);
        drain.choose(partition, work)?;
        Ok(drain)
    }

    fn choose(&mut self, partition: &mut Partition, work: &mut Work) -> Result<(), Halt> {
        self.refusal = self.refuses(partition);
        if self.refusal.is_some() {
            if !self.was_begun(partition, work)? {
                return Ok(());
            }
            self.refusal = None;
            self.skipped = 1;
        }
        let keys = match &self.request.key {
            Some(key) => Vec::from_iter(partition.parked.contains(key).then(|| key.clone())),
            None => partition.parked.keys().cloned().collect(),
        };
        let concerned = |key: &String| {
            let head = partition.parked.head(key)?;
            let reason = self.request.reason_part.as_deref().unwrap_or_default();
            head.reason.text().contains(reason).then(|| key.clone())
        };
        self.open = keys.iter().filter_map(concerned).collect();
        let mut settling = Settling::default();
        for row in self.given_up(partition) {
            self.give_up(partition, &row, &mut settling);
            if settling.len() >= work.limits.max_rows {
                work.unpark(partition, std::mem::take(&mut settling).into())?;
            }
        }
        if settling.is_empty() {
            return Ok(());
        }
        work.unpark(partition, settling.into())
    }

    fn refuses(&self, partition: &Partition) -> Option<String> {
        let skips = self.request.action != ParkAction::Retry;
        if skips && self.request.note.as_deref().unwrap_or_default().is_empty() {
            return Some("records are given up for a reason only, and none is given".to_owned());
        }
        let (key, asked) = (self.request.key.as_ref()?, self.request.offset?);
        match partition.parked.head(key) {
            Some(head) if head.offset == asked => None,
            Some(head) => Some(format!(
                "the first record that waits under the key is at offset {}",
                head.offset
            )),
            None => Some("nothing is parked under the key".to_owned()),
        }
    }

    /// Whether the request is met again after it has given up the very record that it names: its answer
    /// was not stored.
    fn was_begun(&self, partition: &Partition, work: &mut Work) -> Result<bool, Halt> {
        let (Some(key), Some(offset)) = (&self.request.key, self.request.offset) else {
            return Ok(false);
        };
        let skipped = work.sink.skipped(partition.key(), key, offset);
        let skipped = skipped.map_err(halt_of)?;
        Ok(skipped.is_some_and(|row| row.request_id == self.request.id))
    }

    /// The records that the request gives up without looking at them.
    fn given_up(&self, partition: &Partition) -> Vec<ParkedRow> {
        let heads = self
            .open
            .iter()
            .filter_map(|key| partition.parked.head(key));
        match self.request.action {
            ParkAction::Retry | ParkAction::SkipBad => Vec::new(),
            ParkAction::Skip if self.skipped > 0 => Vec::new(),
            // After a crash in the middle of it the request is met again. A record that was behind
            // the one given up then, or that this request itself left parked, is not meant.
            ParkAction::Skip => heads
                .filter(|head| matches!(head.reason, ParkReason::Rejected(_)))
                .filter(|head| {
                    head.tried_by
                        .as_ref()
                        .is_none_or(|by| *by < self.request.id)
                })
                .cloned()
                .collect(),
            ParkAction::SkipAll => {
                let queues = self.open.iter().map(|key| partition.parked.queue(key));
                queues.flatten().cloned().collect()
            }
        }
    }

    /// Whether a record is given up that still can't be folded, for this reason.
    fn gives_up(&self, reason: &str) -> bool {
        let part = self.request.reason_part.as_deref().unwrap_or_default();
        self.request.action == ParkAction::SkipBad && reason.contains(part)
    }

    fn give_up(&mut self, partition: &mut Partition, row: &ParkedRow, settling: &mut Settling) {
        partition.parked.remove(&row.key, row.offset);
        self.skipped += 1;
        settling.unparked.skipped.push(SkippedRow {
            key: row.key.clone(),
            offset: row.offset,
            seq: row.seq,
            reason: row.reason.text().to_owned(),
            note: self.request.note.clone().unwrap_or_default(),
            skipped_by: self.request.asked_by.clone(),
            skipped_at: Timestamp::now(),
            request_id: self.request.id.clone(),
        });
        settling.unparked.settled.push(row.clone());
    }

    /// Goes on until the time is up. Answers whether the request is carried out and answered.
    pub(crate) fn advance(
        &mut self,
        partition: &mut Partition,
        work: &mut Work,
        lookup: &mut Lookup,
        until: Instant,
    ) -> Result<bool, Halt> {
        let until = match self.rounds {
            0..PATIENT_ROUNDS => until,
            _ => Instant::now() + IMPATIENT,
        };
        loop {
            if self.scan.as_ref().is_none_or(Scan::is_idle) {
                let wanted = self.wanted(partition, work.limits.unpark_records);
                if wanted.is_empty() {
                    return self.answer(partition, work).map(|()| true);
                }
                self.rounds += 1;
                let scan = match &mut self.scan {
                    Some(scan) => scan,
                    none => {
                        let reader = lookup().map_err(|error| Halt::Wait(error.to_string()))?;
                        let max_bytes = work.limits.unpark_bytes;
                        none.insert(Scan::new(reader, partition.at.clone(), max_bytes))
                    }
                };
                scan.want(wanted);
            }
            let Some(scan) = &mut self.scan else {
                return Ok(false);
            };
            match scan.advance(until) {
                Ok(true) => {
                    let found = scan.take();
                    self.settle(partition, work, found)?;
                }
                Ok(false) => return Ok(false),
                Err(error) => {
                    self.scan = None;
                    return Err(Halt::Wait(error.to_string()));
                }
            }
            if !partition.started {
                // Somebody else has applied something: it is loaded again, and the request too.
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    /// The first of what waits under the keys that may go on, in the order of the log.
    fn wanted(&self, partition: &Partition, most: usize) -> VecDeque<Wanted> {
        let queues = self.open.iter().map(|key| partition.parked.queue(key));
        let mut wanted: Vec<Wanted> = queues
            .flatten()
            .map(|row| Wanted {
                offset: row.offset,
                key: row.key.clone(),
            })
            .collect();
        wanted.sort_unstable_by_key(|wanted| wanted.offset);
        wanted.truncate(most);
        wanted.into()
    }

    /// Folds what was read, in its order.
    fn settle(
        &mut self,
        partition: &mut Partition,
        work: &mut Work,
        found: Vec<Found>,
    ) -> Result<(), Halt> {
        let mut settling = Settling::default();
        let mut halted = Ok(());
        for (wanted, record) in found {
            let head = partition.parked.head(&wanted.key);
            let Some(row) = head.filter(|head| head.offset == wanted.offset).cloned() else {
                continue;
            };
            if !self.open.contains(&wanted.key) {
                continue;
            }
            halted = self.settle_one(partition, work, &row, record.as_ref(), &mut settling);
            if halted.is_err() {
                break;
            }
            if settling.len() >= work.limits.max_rows {
                work.unpark(partition, std::mem::take(&mut settling).into())?;
                if !partition.started {
                    return Ok(());
                }
            }
        }
        if !settling.is_empty() {
            work.unpark(partition, settling.into())?;
        }
        halted
    }

    fn settle_one(
        &mut self,
        partition: &mut Partition,
        work: &Work,
        row: &ParkedRow,
        record: Option<&Record>,
        settling: &mut Settling,
    ) -> Result<(), Halt> {
        let rejected = match record {
            None => Err("the log holds no such record".to_owned()),
            Some(record) => refold(partition, work, row, record)?,
        };
        match rejected {
            Ok(ops) => {
                settling.ops.extend(ops);
                partition.parked.remove(&row.key, row.offset);
                settling.unparked.settled.push(row.clone());
                self.retried += 1;
            }
            Err(reason) if self.gives_up(&reason) => {
                let tried = row.tried(&self.request.id, reason);
                self.give_up(partition, &tried, settling);
            }
            Err(reason) => {
                let tried = row.tried(&self.request.id, reason);
                partition.parked.put(tried.clone());
                settling.parked.push(tried);
                self.open.remove(&row.key);
                self.stuck.insert(row.key.clone());
            }
        }
        Ok(())
    }

    fn answer(&self, partition: &mut Partition, work: &mut Work) -> Result<(), Halt> {
        let stuck = self.stuck.iter().map(|key| partition.parked.queue(key));
        let still_parked = stuck.map(|queue| queue.count() as u64).sum();
        let nothing = self.retried + self.skipped + still_parked == 0;
        let outcome = RequestOutcome {
            state: match self.refusal {
                Some(_) => RequestState::Refused,
                None => RequestState::Done,
            },
            retried: self.retried,
            skipped: self.skipped,
            still_parked,
            detail: match &self.refusal {
                Some(refusal) => Some(refusal.clone()),
                None => nothing.then(|| "nothing that it asks for is parked".to_owned()),
            },
            done_at: Some(Timestamp::now()),
        };
        tracing::info!(
            partition = %partition.at,
            request = self.request.id,
            asked_by = self.request.asked_by,
            ?outcome,
            "a request about parked records is carried out"
        );
        let mut settling = Settling::default();
        let answered = (self.request.clone(), outcome);
        settling.unparked.answered.push(answered);
        work.unpark(partition, settling.into())
    }
}

impl From<Settling> for (Vec<SeqOp>, Vec<ParkedRow>, Unparked) {
    fn from(settling: Settling) -> Self {
        (settling.ops, settling.parked, settling.unparked)
    }
}

/// The row operations of a parked record, or why it still can't be folded.
fn refold(
    partition: &Partition,
    work: &Work,
    row: &ParkedRow,
    record: &Record,
) -> Result<Result<Vec<SeqOp>, String>, Halt> {
    let envelope = match folding::envelope(partition.key().stream, record) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(folding::foreign(&error))),
    };
    let seq = envelope.seq;
    match folding::outcome(&work.plan, &work.codec, &envelope, record, &row.key) {
        Ok(Outcome::Emit(ops)) => {
            let ops = ops.into_iter().map(|op| SeqOp { seq, op });
            Ok(Ok(ops.collect()))
        }
        Ok(Outcome::Drop(_)) => Ok(Ok(Vec::new())),
        // What stops a projection when it is met first leaves a parked record where it is.
        Ok(Outcome::Reject(reason)) | Err(Halt::Stop(reason)) => Ok(Err(reason)),
        Err(other) => Err(other),
    }
}
