//! What can happen next.

use super::{Bounds, Delayed, Kind, Owner, Record, Rules, State, Status};

/// A next state, and what led to it.
pub(super) type Next = (String, State);

pub(super) fn next(state: &State, rules: Rules, bounds: Bounds) -> Vec<Next> {
    let mut steps = Steps {
        state,
        rules,
        bounds,
        next: Vec::new(),
    };
    for who in 0..state.owners.len() {
        steps.owner(who);
    }
    steps.network();
    steps.cluster();
    steps.next
}

struct Steps<'a> {
    state: &'a State,
    rules: Rules,
    bounds: Bounds,
    next: Vec<Next>,
}

impl Steps<'_> {
    fn push(&mut self, what: impl Into<String>, change: impl FnOnce(&mut State)) {
        let mut next = self.state.clone();
        change(&mut next);
        self.next.push((what.into(), next));
    }

    fn owner(&mut self, who: usize) {
        let name = ["A", "B"][who];
        let owner = self.state.owners[who];
        if owner != Owner::Refused && self.state.take_overs < self.bounds.take_overs {
            self.take_over(who, name);
        }
        if owner != Owner::Down && self.state.losses < self.bounds.losses {
            self.push(format!("{name} is killed"), |next| {
                next.losses += 1;
                next.owners[who] = Owner::Down;
            });
        }
        match owner {
            Owner::Recovering { epoch, target } => self.recover(who, name, epoch, target),
            Owner::Serving { epoch, seq, seen } => self.begin(who, name, (epoch, seq, seen)),
            Owner::Produced {
                epoch,
                seq,
                seen,
                command,
                journaled,
            } => match journaled {
                false => self.journal(who, name, (epoch, seq, seen), command),
                true => self.commit(who, name, (epoch, seq, seen), command),
            },
            Owner::Down | Owner::Doubtful | Owner::Refused => {}
        }
    }

    fn take_over(&mut self, who: usize, name: &str) {
        let rules = self.rules;
        self.push(format!("{name} takes over"), |next| {
            next.take_overs += 1;
            if rules.fence || next.epoch == 0 {
                next.end(false);
                next.epoch += 1;
            }
            let target = match rules.recover_to_high_watermark {
                true => next.log.len(),
                false => next.stable(),
            };
            next.owners[who] = Owner::Recovering {
                epoch: next.epoch,
                target,
            };
        });
    }

    /// Reads to the target once the leader shows that much, and holds events against the journal.
    fn recover(&mut self, who: usize, name: &str, epoch: u8, target: usize) {
        if self.state.stable() < target {
            return;
        }
        let (state, rules) = (self.state, self.rules);
        let events = state.committed(Kind::Event, target);
        let journal = state.committed(Kind::Journal, target);
        let same = events
            .map(|event| event.seq)
            .eq(journal.map(|record| record.seq));
        let seq = state.committed(Kind::Event, target).count();
        let seen = state
            .committed(Kind::Journal, target)
            .fold(0_u8, |seen, record| seen | 1 << record.command);
        self.push(format!("{name} has read the log"), |next| {
            next.owners[who] = match same || !rules.refuse_half_transactions {
                true => Owner::Serving {
                    epoch,
                    seq: u8::try_from(seq).unwrap_or(u8::MAX),
                    seen,
                },
                false => Owner::Refused,
            };
        });
    }

    fn begin(&mut self, who: usize, name: &str, (epoch, seq, seen): (u8, u8, u8)) {
        for command in 0..self.bounds.commands {
            if seen & (1 << command) != 0 {
                continue;
            }
            let event = Record {
                kind: Kind::Event,
                command,
                seq: seq + 1,
                status: Status::Open,
            };
            let produced = Owner::Produced {
                epoch,
                seq: seq + 1,
                seen,
                command,
                journaled: false,
            };
            self.produce(
                who,
                &format!("{name} produces event {command}"),
                epoch,
                event,
                produced,
            );
            // Any command will do: which one is a matter of names.
            return;
        }
    }

    fn journal(&mut self, who: usize, name: &str, held: (u8, u8, u8), command: u8) {
        let (epoch, seq, seen) = held;
        let record = Record {
            kind: Kind::Journal,
            command,
            seq,
            status: Status::Open,
        };
        if !self.state.is_open() && epoch == self.state.epoch {
            // Somebody has ended the transaction: the broker refuses more of it.
            self.push(
                format!("{name} is refused in an ended transaction"),
                |next| {
                    next.owners[who] = Owner::Doubtful;
                },
            );
            return;
        }
        let produced = Owner::Produced {
            epoch,
            seq,
            seen,
            command,
            journaled: true,
        };
        self.produce(
            who,
            &format!("{name} produces journal {command}"),
            epoch,
            record,
            produced,
        );
        if self.state.delays < self.bounds.delays && epoch == self.state.epoch {
            let after = match self.rules.take_over_after_failure {
                true => Owner::Doubtful,
                false => Owner::Serving {
                    epoch,
                    seq: seq - 1,
                    seen,
                },
            };
            self.push(
                format!("{name}'s journal record is delayed, it aborts"),
                |next| {
                    next.delays += 1;
                    next.delayed.push(Delayed::Produce { epoch, record });
                    next.end(false);
                    next.owners[who] = after;
                },
            );
        }
    }

    fn produce(&mut self, who: usize, what: &str, epoch: u8, record: Record, produced: Owner) {
        let fenced = epoch != self.state.epoch;
        self.push(
            if fenced {
                format!("{what}, fenced")
            } else {
                what.to_owned()
            },
            |next| {
                if fenced {
                    next.owners[who] = Owner::Down;
                } else {
                    next.log.push(record);
                    next.owners[who] = produced;
                }
            },
        );
    }

    fn commit(&mut self, who: usize, name: &str, held: (u8, u8, u8), command: u8) {
        let (epoch, seq, seen) = held;
        if epoch != self.state.epoch {
            self.push(format!("{name} commits, fenced"), |next| {
                next.owners[who] = Owner::Down
            });
            return;
        }
        if !self.state.is_open() {
            self.push(format!("{name} commits what has ended"), |next| {
                next.owners[who] = Owner::Doubtful;
            });
            return;
        }
        let serving = Owner::Serving {
            epoch,
            seq,
            seen: seen | 1 << command,
        };
        let bit = 1 << command;
        self.push(format!("{name} commits {command}"), |next| {
            next.end(true);
            next.acknowledged |= bit;
            next.owners[who] = serving;
        });
        if self.state.delays < self.bounds.delays {
            let doubts = self.rules.take_over_after_doubt && !self.bounds.unnoticed;
            let after = if doubts { Owner::Doubtful } else { serving };
            let what = format!("{name} commits {command}, a second EndTxn is on its way");
            self.push(what, |next| {
                next.delays += 1;
                next.end(true);
                next.acknowledged |= bit;
                next.delayed.push(Delayed::EndTxn { epoch });
                next.owners[who] = after;
            });
        }
        if self.state.losses < self.bounds.losses {
            let trusting = !self.rules.read_back_the_unknown;
            let after = if trusting { serving } else { Owner::Doubtful };
            let acknowledged = if trusting { bit } else { 0 };
            for committed in [true, false] {
                let what = format!("{name}'s commit of {command} is lost, committed: {committed}");
                self.push(what, |next| {
                    next.losses += 1;
                    if committed {
                        next.end(true);
                    } else {
                        // It may still arrive.
                        next.delayed.push(Delayed::EndTxn { epoch });
                    }
                    next.acknowledged |= acknowledged;
                    next.owners[who] = after;
                });
            }
        }
    }

    /// A delayed request arrives.
    fn network(&mut self) {
        for (index, delayed) in self.state.delayed.iter().copied().enumerate() {
            self.push(format!("{delayed:?} arrives"), |next| {
                next.delayed.remove(index);
                match delayed {
                    Delayed::EndTxn { epoch } if epoch == next.epoch => next.end(true),
                    // Brokers refuse a produce outside of an open transaction.
                    Delayed::Produce { epoch, record } if epoch == next.epoch && next.is_open() => {
                        next.log.push(record);
                    }
                    _ => {}
                }
            });
        }
    }

    fn cluster(&mut self) {
        if self.state.is_open() {
            self.push("the coordinator times the transaction out", |next| {
                next.end(false);
                next.epoch += 1;
            });
        }
        if self.state.shown.is_some() {
            self.push("the leader has caught up", |next| next.shown = None);
        } else if self.state.elections < self.bounds.elections && !self.state.log.is_empty() {
            // One transaction behind.
            let behind = self.state.log.len().saturating_sub(2);
            self.push("a leader is elected that shows less", |next| {
                next.elections += 1;
                next.shown = Some(behind);
            });
        }
    }
}
