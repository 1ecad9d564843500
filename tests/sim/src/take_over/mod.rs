//! The take-over protocol as a small model, explored exhaustively.
//!
//! Two processes want the same partition. Between them stands what Kafka keeps of one transactional
//! id: an epoch, at most one open transaction, a log whose records are open, committed or aborted,
//! and requests that are still on their way. The protocol of librdkafka is transactions v1: an
//! EndTxn or a Produce that is delayed beyond its transaction hits the next one of the same epoch.
//!
//! A transaction is two records, the event and its journal record, so that half of one can show.
//! [`explore`] visits every state that [`Rules`] allow within [`Bounds`], breadth first, and answers
//! with the shortest way to a state that breaks a property.

mod explore;
mod step;

pub use explore::{Counterexample, Explored, explore};

/// The rules of the protocol. Production keeps all of them; without any one, a property breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A take-over raises the epoch and aborts what is open; otherwise it joins the epoch.
    pub fence: bool,
    /// Recovery reads to the high watermark; otherwise to the last stable offset that the leader
    /// shows.
    pub recover_to_high_watermark: bool,
    /// A commit that was answered after a disconnect is followed by a take-over.
    pub take_over_after_doubt: bool,
    /// A transaction that failed is followed by a take-over.
    pub take_over_after_failure: bool,
    /// A commit whose answer was lost is nobody's success before it was read back.
    pub read_back_the_unknown: bool,
    /// Recovery refuses to serve when events and journal differ.
    pub refuse_half_transactions: bool,
}

impl Rules {
    /// As in production.
    pub const ALL: Rules = Rules {
        fence: true,
        recover_to_high_watermark: true,
        take_over_after_doubt: true,
        take_over_after_failure: true,
        read_back_the_unknown: true,
        refuse_half_transactions: true,
    };
}

/// What can go wrong, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Commands that clients send.
    pub commands: u8,
    /// Take-overs, of both processes together.
    pub take_overs: u8,
    /// Processes that are killed or lose their answer.
    pub losses: u8,
    /// Requests that are delayed beyond their transaction.
    pub delays: u8,
    /// Elections of a leader whose last stable offset is behind.
    pub elections: u8,
    /// Whether a second copy of an EndTxn can be on its way without the client having noticed a
    /// broken connection. Kafka's client does notice; this asks what would happen if not.
    pub unnoticed: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            commands: 2,
            take_overs: 3,
            losses: 1,
            delays: 1,
            elections: 1,
            unnoticed: false,
        }
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Event,
    Journal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Status {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Record {
    kind: Kind,
    command: u8,
    seq: u8,
    status: Status,
}

/// A request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Delayed {
    EndTxn { epoch: u8 },
    Produce { epoch: u8, record: Record },
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    /// Owns nothing, knows nothing.
    Down,
    /// Has taken over and reads the log up to `target`.
    Recovering { epoch: u8, target: usize },
    /// Decides. `seen` is a set of commands.
    Serving { epoch: u8, seq: u8, seen: u8 },
    /// Has produced the event of `command`.
    Produced {
        epoch: u8,
        seq: u8,
        seen: u8,
        command: u8,
        journaled: bool,
    },
    /// Must take over before anything else.
    Doubtful,
    /// Has found half a transaction, and says so.
    Refused,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    epoch: u8,
    log: Vec<Record>,
    delayed: Vec<Delayed>,
    /// Where the leader says that the log is stable, if that is behind the truth.
    shown: Option<usize>,
    owners: [Owner; 2],
    /// Set of commands that were answered with success.
    acknowledged: u8,
    take_overs: u8,
    losses: u8,
    delays: u8,
    elections: u8,
}

impl State {
    fn first() -> Self {
        Self {
            epoch: 0,
            log: Vec::new(),
            delayed: Vec::new(),
            shown: None,
            owners: [Owner::Down; 2],
            acknowledged: 0,
            take_overs: 0,
            losses: 0,
            delays: 0,
            elections: 0,
        }
    }

    fn is_open(&self) -> bool {
        self.log.iter().any(|record| record.status == Status::Open)
    }

    /// Ends the open transaction.
    fn end(&mut self, commit: bool) {
        for record in &mut self.log {
            if record.status == Status::Open {
                record.status = match commit {
                    true => Status::Committed,
                    false => Status::Aborted,
                };
            }
        }
    }

    /// Where readers of committed records have to stop.
    fn stable(&self) -> usize {
        let open = self
            .log
            .iter()
            .position(|record| record.status == Status::Open);
        let stable = open.unwrap_or(self.log.len());
        self.shown.map_or(stable, |shown| shown.min(stable))
    }

    fn committed(&self, kind: Kind, up_to: usize) -> impl Iterator<Item = &Record> {
        let read = self.log.iter().take(up_to);
        read.filter(move |record| record.kind == kind && record.status == Status::Committed)
    }

    /// The first property that does not hold.
    fn broken(&self) -> Option<String> {
        let all = self.log.len();
        let mut last = 0;
        let mut took_effect = 0_u8;
        for event in self.committed(Kind::Event, all) {
            let bit = 1 << event.command;
            if took_effect & bit != 0 {
                return Some(format!("command {} took effect twice", event.command));
            }
            took_effect |= bit;
            if event.seq != last + 1 {
                return Some(format!("seq {} follows {last}: two writers", event.seq));
            }
            last = event.seq;
        }
        if self.acknowledged & !took_effect != 0 {
            return Some("a command was acknowledged and is not in the log".to_owned());
        }
        // Somebody who serves knows everything that was committed before it took over; a half
        // transaction must have stopped it.
        let halves =
            self.committed(Kind::Event, all).count() != self.committed(Kind::Journal, all).count();
        let serves = |owner: &Owner| match owner {
            Owner::Serving { epoch, .. } => *epoch == self.epoch,
            _ => false,
        };
        if halves && !self.is_open() && self.owners.iter().any(serves) {
            return Some("half a transaction is committed, and a shard goes on".to_owned());
        }
        None
    }
}
