use std::sync::atomic::AtomicBool;

use cartwright_event_log::memory::{Fault, MemoryGroupReader, MemoryLog};
use cartwright_event_log::{EventLog, GroupEvent, LogWriter, NewRecord};
use cartwright_events::Stream;
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_read_model::PositionKey;
use cartwright_read_model::feeders::{FedPartition, Feeder, Feeds};
use cartwright_read_model::versions::Versions;
use cartwright_service::health::Readiness;
use cartwright_sinks::{Batch, Loaded, MemorySink, MemoryStore, Semantics, Sink, SinkError};

use super::*;
use crate::board::ProjectionState;
use crate::gauges::gauges;
use crate::motion::held_up_by;
use crate::overview::{Fed, Overview};
use crate::plan::Limits;

/// A projection over the log and a store in memory, of one partition unless told otherwise.
struct Rig {
    log: MemoryLog,
    store: MemoryStore,
    readiness: Readiness,
    board: Board,
    seq: u64,
}

impl Rig {
    fn new() -> Self {
        Self::of(1)
    }

    fn of(partitions: u32) -> Self {
        let log = MemoryLog::waiting();
        log.create_topic(Stream::Product.topic(), partitions);
        Self {
            log,
            store: MemoryStore::new(Semantics::Transactional),
            readiness: Readiness::new(),
            board: Board::default(),
            seq: 0,
        }
    }

    fn plan() -> Plan {
        Plan::named("catalog", 1).unwrap()
    }

    fn at() -> TopicPartition {
        TopicPartition::new(Stream::Product.topic(), 0)
    }

    fn start(&self, sink: impl Fn() -> Box<dyn Sink> + Send + 'static) -> Runner {
        self.start_with(sink, Duration::from_secs(60))
    }

    fn start_with(
        &self,
        sink: impl Fn() -> Box<dyn Sink> + Send + 'static,
        stuck_after: Duration,
    ) -> Runner {
        let (plan, log) = (Self::plan(), self.log.clone());
        let make = move || {
            let reader = log.group_reader(&plan.group(), &plan.topics());
            let limits = Limits {
                poll: Duration::from_millis(1),
                retry_min: Duration::from_millis(1),
                retry_max: Duration::from_millis(1),
                ..Limits::default()
            };
            let (reader, codec) = (reader.unwrap(), Codec::fixed());
            Ok(Worker::<MemoryGroupReader>::new(
                plan,
                limits,
                reader,
                codec,
                sink(),
            ))
        };
        let pace = Pace {
            report_every: Duration::ZERO,
            pause: Duration::from_millis(1),
            pause_max: Duration::from_millis(1),
            stuck_after,
        };
        let (log, board) = (self.log.clone(), self.board.clone());
        let held_up_by = move |at: &TopicPartition| held_up_by(&log, at);
        let check = self.readiness.check("projection");
        let watchdog = Watchdog::default();
        Runner::start(plan, make, held_up_by, check, board, pace, &watchdog).unwrap()
    }

    fn sink(&self) -> impl Fn() -> Box<dyn Sink> + Send + 'static {
        let store = self.store.clone();
        move || Box::new(MemorySink::new(store.clone(), 1))
    }

    /// Writes a record of a shard.
    fn write(&mut self, key: &str, value: Option<Vec<u8>>) {
        self.seq += 1;
        let mut writer = self.log.writer("shard").unwrap();
        writer.take_over().unwrap();
        writer.commit(vec![record(self.seq, key, value)]).unwrap();
    }

    /// A record of a schema that this program does not know: the projection stops at it.
    fn write_newer(&mut self) {
        self.write("mug", Some(vec![0, 0, 0, 99, 1, 1]));
    }

    fn state(&self) -> Option<ProjectionState> {
        self.board.states().pop()
    }

    /// Waits until the projection stands as `is` says; answers how it stands.
    fn until(&self, what: &str, is: impl Fn(&ProjectionState) -> bool) -> ProjectionState {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let state = self.state();
            match state {
                Some(state) if is(&state) => return state,
                state => assert!(Instant::now() < deadline, "{what}: {state:?}"),
            }
            thread::yield_now();
        }
    }

    /// The values of a gauge.
    fn gauge(&self, name: &str) -> Vec<f64> {
        let gauges = gauges(&self.board.states());
        let gauge = gauges.into_iter().find(|gauge| gauge.name == name).unwrap();
        gauge.series.into_iter().map(|(_, value)| value).collect()
    }

    /// Another process says in the store, at `now`, that it feeds the partition.
    fn another_says_so(&self, now: Timestamp) {
        let fed = FedPartition {
            topic: Self::at().topic.to_string(),
            partition: 0,
            behind: Some(0),
            lag_seconds: Some(0.0),
            parked_keys: 0,
            parked_records: 0,
            stuck: None,
        };
        let feeder = Feeder {
            instance: "another".to_owned(),
            address: String::new(),
            seen_at: now,
            feeds: Feeds {
                phase: "following".to_owned(),
                reason: None,
                since: None,
                partitions: vec![fed],
            },
        };
        let fed = Fed {
            feeders: vec![feeder],
            ..Fed::default()
        };
        let versions = Versions::begin(Self::plan().projection, 1, now);
        let overview = Overview::of(Self::plan().projection, &versions, &[(1, fed)].into(), now);
        self.board.learn(overview, "this one");
    }
}

fn record(seq: u64, key: &str, value: Option<Vec<u8>>) -> NewRecord {
    NewRecord {
        topic: Rig::at().topic,
        partition: 0,
        key: key.as_bytes().to_vec(),
        value,
        headers: vec![
            (header::SEQ, seq.to_string().into_bytes()),
            (header::WRITER_EPOCH, b"1".to_vec()),
            (header::COMMAND_ID, b"command".to_vec()),
            (header::CORRELATION_ID, b"request".to_vec()),
        ],
    }
}

fn end(runner: Runner) {
    runner.stop();
    assert!(runner.join());
}

fn follows(state: &ProjectionState) -> bool {
    state.phase == Phase::Following && !state.partitions.is_empty()
}

fn has_stopped(state: &ProjectionState) -> bool {
    state.phase == Phase::Stopped && !state.let_go.is_empty()
}

/// The client of a store, with a defect while it is told to have one.
struct Broken(Arc<AtomicBool>, Box<dyn Sink>);

impl Sink for Broken {
    fn prepare(&mut self) -> Result<(), SinkError> {
        assert!(!self.0.load(Ordering::Acquire), "no connection number 7");
        self.1.prepare()
    }

    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
        assert!(!self.0.load(Ordering::Acquire), "no connection number 8");
        self.1.load(key, generation)
    }

    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError> {
        self.1.apply(batch)
    }
}

#[test]
fn a_panic_is_told_with_its_words_and_the_projection_begun_anew() {
    let rig = Rig::new();
    let broken = Arc::new(AtomicBool::new(true));
    let (sink, defect) = (rig.sink(), Arc::clone(&broken));
    let runner = rig.start(move || Box::new(Broken(Arc::clone(&defect), sink())));
    let state = rig.until("it fails", |state| state.phase == Phase::Failed);
    let reason = state.reason.unwrap();
    assert_eq!(
        reason,
        "starting again after a panic: no connection number 7"
    );
    assert!(!rig.readiness.is_ready());
    assert_eq!(rig.gauge(names::UP), [0.0]);
    broken.store(false, Ordering::Release);
    rig.until("it follows", follows);
    assert_eq!(rig.gauge(names::UP), [1.0]);
    end(runner);
}

#[test]
fn a_projection_that_has_stopped_falls_behind_until_another_process_feeds_it() {
    let mut rig = Rig::new();
    rig.write("cup", None);
    let runner = rig.start(rig.sink());
    let applied = |state: &ProjectionState| {
        let mut partitions = state.partitions.iter();
        partitions.any(|each| each.position.is_some_and(|position| position.seq == 1))
    };
    rig.until("it follows", applied);
    rig.write_newer();
    let state = rig.until("it stops", has_stopped);
    assert_eq!(state.partitions, []);
    let before = state.let_go[0].last.clone();
    assert_eq!(before.position.map(|position| position.seq), Some(1));
    let later = rig.until("it falls behind", |state| {
        state.let_go[0].last.lag_seconds > before.lag_seconds
    });
    assert_eq!(later.phase, Phase::Stopped);
    assert!(rig.gauge(names::LAG_SECONDS)[0] > before.lag_seconds);
    assert_eq!(rig.gauge(names::PARKED_RECORDS), [1.0]);
    assert_eq!(rig.gauge(names::LAG_RECORDS), [0.0; 0], "nobody knows");
    rig.another_says_so(later.let_go[0].let_go_at);
    assert_eq!(rig.state().unwrap().let_go.len(), 1, "that was before");
    rig.another_says_so(Timestamp::now());
    assert_eq!(rig.state().unwrap().let_go, []);
    for gauge in [names::LAG_SECONDS, names::PARKED_RECORDS, names::STUCK] {
        assert_eq!(rig.gauge(gauge), [0.0; 0], "the other one tells of it");
    }
    end(runner);
}

#[test]
fn what_has_not_been_fed_for_long_is_stuck_and_says_why() {
    let mut rig = Rig::new();
    rig.write_newer();
    let runner = rig.start_with(rig.sink(), Duration::from_millis(1));
    let state = rig.until("it is stuck", |state| {
        let mut let_go = state.let_go.iter();
        let_go.any(|each| each.last.stuck.is_some())
    });
    let stuck = state.let_go[0].last.stuck.as_deref().unwrap();
    assert!(stuck.contains("has not been fed for"), "{stuck}");
    assert!(stuck.contains("is unknown to the registry"), "{stuck}");
    assert_eq!(rig.gauge(names::STUCK), [1.0]);
    end(runner);
}

#[test]
fn with_its_store_away_from_the_start_a_projection_falls_behind() {
    let mut rig = Rig::new();
    rig.write("cup", None);
    rig.store.set_down(true);
    let runner = rig.start(rig.sink());
    let waits = |state: &ProjectionState| {
        let mut partitions = state.partitions.iter();
        state.phase == Phase::Waiting && partitions.any(|each| each.lag_seconds > 0.0)
    };
    let first = rig.until("it waits", waits).partitions[0].clone();
    assert_eq!((first.position, first.behind), (None, None), "nobody knows");
    rig.until("it falls behind", |state| {
        state.partitions[0].lag_seconds > first.lag_seconds
    });
    rig.store.set_down(false);
    rig.until("it catches up", |state| {
        follows(state) && state.partitions[0].lag_seconds < first.lag_seconds
    });
    end(runner);
}

#[test]
fn a_projection_that_begins_anew_while_its_store_is_away_knows_where_it_was() {
    let mut rig = Rig::new();
    rig.write("cup", None);
    let broken = Arc::new(AtomicBool::new(false));
    let (sink, defect) = (rig.sink(), Arc::clone(&broken));
    let runner = rig.start(move || Box::new(Broken(Arc::clone(&defect), sink())));
    let position = |state: &ProjectionState| state.partitions.first()?.position;
    let was = position(&rig.until("it follows", |state| position(state).is_some()));
    broken.store(true, Ordering::Release);
    rig.log.force_rebalance(&Rig::plan().group());
    rig.until("it fails", |state| state.phase == Phase::Failed);
    rig.store.set_down(true);
    broken.store(false, Ordering::Release);
    let waits = |state: &ProjectionState| state.phase == Phase::Waiting;
    let state = rig.until("it waits", |state| {
        waits(state) && !state.partitions.is_empty()
    });
    assert_eq!(position(&state), was);
    let lag = state.partitions[0].lag_seconds;
    rig.until("it falls behind", |state| {
        waits(state) && state.partitions.iter().any(|each| each.lag_seconds > lag)
    });
    end(runner);
}

#[test]
fn a_partition_that_an_open_transaction_holds_up_is_stuck_and_says_why() {
    let mut rig = Rig::new();
    rig.write("cup", None);
    let runner = rig.start_with(rig.sink(), Duration::from_millis(1));
    rig.until("it follows", follows);
    assert!(rig.readiness.is_ready());
    let mut stranger = rig.log.writer("stranger").unwrap();
    stranger.take_over().unwrap();
    let fault = Fault::UnknownCommit { committed: false };
    rig.log.inject_for("stranger", fault);
    assert!(stranger.commit(vec![record(2, "cup", None)]).is_err());
    let state = rig.until("it is stuck", |state| {
        let mut reason = state.reason.iter();
        reason.any(|why| why.contains("stranger"))
    });
    let reason = state.reason.unwrap_or_default();
    assert!(reason.contains("has stood still for"), "{reason}");
    let stuck = state.partitions[0].stuck.as_deref().unwrap_or_default();
    assert!(stuck.contains("stranger"), "{stuck}");
    assert_eq!(state.phase, Phase::Following);
    assert_eq!(rig.gauge(names::STUCK), [1.0]);
    assert!(rig.gauge(names::LAG_RECORDS)[0] > 0.0);
    let check = rig.readiness.report().checks.remove(0);
    assert!(!check.ok && check.detail.contains("stranger"), "{check:?}");
    end(runner);
}

#[test]
fn a_projection_whose_group_does_not_answer_falls_behind_and_does_not_follow() {
    let rig = Rig::of(2);
    let runner = rig.start_with(rig.sink(), Duration::from_millis(50));
    rig.until("it follows", follows);
    let plan = Rig::plan();
    let mut other = rig.log.group_reader(&plan.group(), &plan.topics()).unwrap();
    let wait = Duration::from_millis(10);
    while !matches!(other.poll(1, wait), Ok(GroupEvent::Assigned(_))) {}
    rig.until("each has its part", |state| {
        follows(state) && state.partitions.len() == 1
    });
    // Nobody gets anything before the other one gives back what it has.
    rig.log.force_rebalance(&plan.group());
    let state = rig.until("it waits", |state| state.phase == Phase::Waiting);
    let reason = state.reason.unwrap_or_default();
    assert!(
        reason.starts_with("the group has not answered for"),
        "{reason}"
    );
    assert!(!rig.readiness.is_ready());
    assert_eq!(rig.gauge(names::UP), [0.0]);
    let lag = |state: &ProjectionState| {
        let let_go = state.let_go.iter().map(|each| each.last.lag_seconds);
        let_go.fold(0.0, f64::max)
    };
    let before = rig.state().map_or(0.0, |state| lag(&state));
    rig.until("it falls behind", |state| lag(state) > before);
    drop(other);
    rig.until("it follows again", |state| {
        follows(state) && state.partitions.len() == 2
    });
    assert!(rig.readiness.is_ready());
    end(runner);
}
