//! The end of a group: committed and answered, or in doubt and read back, or the end of the shard.

use cartwright_domain::BoundedContext;
use cartwright_event_log::{CommitError, EventLog, LogWriter};
use tokio::sync::oneshot;

use crate::decide::Halt;
use crate::group::{Group, Pending, Place};
use crate::mailbox::Reply;
use crate::ownership::Ownership;
use crate::shard::{Live, Shard, Step};
use crate::snapshots::add;
use crate::state::ShardState;

impl<B: BoundedContext, L: EventLog> Shard<B, L> {
    pub(crate) fn commit(
        &mut self,
        mut live: Live<B, L::Writer>,
        mut group: Group<B::Command>,
    ) -> Step {
        group.close(&mut live.state, &self.place);
        let topics = group.topics();
        let records = std::mem::take(&mut group.records);
        let count = records.len();
        match live.writer.commit(records) {
            Ok(receipt) => {
                metrics::histogram!("cartwright_shard_commit_seconds", "context" => B::CONTEXT.name())
                    .record(receipt.duration.as_secs_f64());
                metrics::histogram!("cartwright_shard_group_commands", "context" => B::CONTEXT.name())
                    .record(group.pending.len() as f64);
                metrics::counter!("cartwright_shard_records_total", "context" => B::CONTEXT.name())
                    .increment(count as u64);
                add::committed(
                    &self.context,
                    &mut live.state,
                    &mut group,
                    &topics,
                    &receipt,
                );
                gauge::<B>(&self.place, &live.state, &self.context);
                reply_all(std::mem::take(&mut group.pending));
                self.tell_waiters(&live.state, &group.touched);
                if receipt.doubtful {
                    return self.doubt(Some(live), "a commit was slow or its connection broke");
                }
                self.live = Some(live);
                Step::Committed
            }
            Err(CommitError::Fenced) => {
                let fenced = self.fenced();
                fail_all(group.pending, &fenced.to_string());
                self.end(fenced)
            }
            Err(error @ (CommitError::TooLarge { .. } | CommitError::Empty)) => {
                for pending in group.pending {
                    send(
                        pending.submission.reply,
                        Reply::Failed {
                            reason: error.to_string(),
                        },
                    );
                }
                self.doubt(Some(live), &error.to_string())
            }
            Err(error) => {
                // Settled by the read-back: the journal knows which of them took effect.
                for pending in group.pending.into_iter().rev() {
                    self.backlog.push_front(pending.submission);
                }
                self.doubt(Some(live), &error.to_string())
            }
        }
    }

    pub(crate) fn halt(
        &mut self,
        halt: Halt,
        live: Live<B, L::Writer>,
        group: Group<B::Command>,
    ) -> Step {
        match halt {
            Halt::Refuse(reason) => {
                fail_all(group.pending, "the shard has stopped");
                self.end(Ownership::Refused { reason })
            }
            Halt::NewerWriter(reason) => {
                fail_all(group.pending, "the shard has stopped");
                self.end(Ownership::Outdated { reason })
            }
            Halt::Retry(reason) => {
                for pending in group.pending.into_iter().rev() {
                    self.backlog.push_front(pending.submission);
                }
                self.doubt(Some(live), &reason)
            }
        }
    }

    /// Whether the writer can still be trusted with a group.
    pub(crate) fn check_writer(&mut self) -> Step {
        let broken = |live: &mut Live<B, L::Writer>| live.writer.needs_take_over();
        match self.live.take_if(broken) {
            Some(live) => self.doubt(Some(live), "its connection to the log broke"),
            None => Step::Idle,
        }
    }

    /// Crash-only: whatever raised the doubt, the state is read back from the log. Of `live` is kept
    /// where everything is that had left memory, which is certain and takes longest to read.
    pub(crate) fn doubt(&mut self, live: Option<Live<B, L::Writer>>, because: &str) -> Step {
        tracing::warn!(
            context = B::CONTEXT.name(),
            partition = self.place.partition,
            because,
            "reading the log back"
        );
        metrics::counter!("cartwright_shard_take_overs_total", "context" => B::CONTEXT.name())
            .increment(1);
        self.live = None;
        self.kept_archive = live.map(|live| live.state.archive);
        self.ownership.send_replace(Ownership::Recovering {
            because: because.to_owned(),
        });
        Step::TakeOver
    }

    /// Ends the shard: everything that waits is told.
    pub(crate) fn end(&mut self, ownership: Ownership) -> Step {
        tracing::warn!(
            context = B::CONTEXT.name(),
            partition = self.place.partition,
            %ownership,
            "the shard has ended"
        );
        self.live = None;
        self.standby = None;
        for submission in self.backlog.drain(..).chain(self.held.drain(..)) {
            send(
                submission.reply,
                Reply::Unknown {
                    reason: ownership.to_string(),
                },
            );
        }
        self.ownership.send_replace(ownership);
        Step::Ended
    }
}

pub(crate) fn send(sender: oneshot::Sender<Reply>, reply: Reply) {
    // A caller that does not wait any more is no error.
    let _ = sender.send(reply);
}

pub(crate) fn reply_all<C>(pending: Vec<Pending<C>>) {
    for Pending { submission, reply } in pending {
        send(submission.reply, reply);
    }
}

fn fail_all<C>(pending: Vec<Pending<C>>, reason: &str) {
    for Pending { submission, .. } in pending {
        send(
            submission.reply,
            Reply::Unknown {
                reason: reason.to_owned(),
            },
        );
    }
}

fn gauge<B: BoundedContext>(place: &Place, state: &ShardState<B>, context: &B) {
    let labels = [
        ("context", B::CONTEXT.name().to_owned()),
        ("partition", place.partition.to_string()),
    ];
    metrics::gauge!("cartwright_shard_aggregates", &labels)
        .set(context.count(&state.aggregates) as f64);
    metrics::gauge!("cartwright_shard_archived", &labels).set(state.archive.len() as f64);
    let parts = [
        ("aggregates", state.aggregate_bytes),
        ("results", state.results.bytes()),
        ("archive", state.archive.bytes()),
    ];
    let [context, partition] = labels;
    for (part, bytes) in parts {
        let labels = [
            context.clone(),
            partition.clone(),
            ("part", part.to_owned()),
        ];
        metrics::gauge!("cartwright_shard_memory_bytes", &labels).set(bytes as f64);
    }
}
