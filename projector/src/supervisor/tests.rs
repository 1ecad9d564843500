use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use cartwright_event_log::TopicPartition;
use cartwright_event_log::memory::MemoryGroupReader;
use cartwright_read_model::tables::projections::CATALOG;
use cartwright_read_model::versions::Build;
use tokio::runtime::Runtime;

use super::*;
use crate::board::Board;
use crate::runner::Pace;
use crate::settings::Settings;
use crate::watchdog::Watchdog;
use crate::worker::Worker;

/// Supervisors of `projections` over stores at these addresses, whose runners wait for a log.
struct Rig {
    runtime: Runtime,
    readiness: Readiness,
    board: Board,
}

impl Rig {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            readiness: Readiness::new(),
            board: Board::default(),
        }
    }

    fn supervisors(
        &self,
        projections: &[&str],
        postgres: SocketAddr,
        cassandra: SocketAddr,
    ) -> Vec<Supervisor<impl Fn(Plan) -> std::io::Result<Runner> + Clone + Send + 'static>> {
        let settings = format!(
            "
            [http]
            listen = '127.0.0.1:0'
            [kafka]
            bootstrap = '127.0.0.1:1'
            [registry]
            url = 'http://127.0.0.1:1'
            [postgres]
            url = 'postgres://postgres@{postgres}/nothing'
            connect_timeout_ms = 60000
            [cassandra]
            nodes = ['{cassandra}']
            [projector]
            projections = {projections:?}
            "
        );
        let settings: Settings = toml::from_str(&settings).unwrap();
        let (readiness, board) = (self.readiness.clone(), self.board.clone());
        let start = move |plan: Plan| {
            let make = || Err::<Worker<MemoryGroupReader>, _>("there is no log".to_owned());
            let nobody = |_: &TopicPartition| None;
            let check = readiness.check(format!("projection {}", plan.label()));
            let pace = Pace {
                report_every: Duration::ZERO,
                pause: Duration::from_millis(1),
                pause_max: Duration::from_millis(1),
                stuck_after: Duration::from_secs(30),
            };
            let watchdog = Watchdog::default();
            Runner::start(plan, make, nobody, check, board.clone(), pace, &watchdog)
        };
        let telling = Telling::new(self.board.clone(), String::new(), Duration::ZERO);
        let supervisors = Supervisor::for_each_store(
            &Stores::new(&settings, self.runtime.handle().clone()).unwrap(),
            &self.readiness,
            &settings.projector,
            start,
            &Refusal::default(),
            &Shutdown::new(),
            &telling,
        );
        supervisors.unwrap()
    }

    /// What is told: whether there is a check of the projection, and the projections on the board.
    fn told(&self, check: &str) -> (bool, usize) {
        let checks = self.readiness.report().checks;
        let is_there = checks.iter().any(|each| each.name == check);
        (is_there, self.board.states().len())
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Who is connected to is one that never says anything.
fn silent_store() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

#[test]
fn a_version_that_is_fed_again_is_still_told_of_when_its_first_runner_has_ended() {
    let rig = Rig::new();
    let ((_postgres, postgres), (_cassandra, cassandra)) = (silent_store(), silent_store());
    let mut supervisors = rig.supervisors(&["catalog"], postgres, cassandra);
    let supervisor = &mut supervisors[0];
    let check = "projection catalog@1";
    for wanted in [&[(1, &CATALOG)][..], &[], &[(1, &CATALOG)]] {
        supervisor.feed("catalog", wanted).unwrap();
    }
    until("the first one ends", || supervisor.leaving[0].is_finished());
    supervisor.part_with_the_ended();
    assert!(supervisor.leaving.is_empty());
    assert_eq!(rig.told(check), (true, 1));
    supervisor.feed("catalog", &[]).unwrap();
    until("the other one ends", || supervisor.leaving[0].is_finished());
    supervisor.part_with_the_ended();
    assert_eq!(rig.told(check), (false, 0));
}

#[test]
fn a_silent_store_keeps_nobody_from_looking_at_the_other_nor_from_stopping() {
    let rig = Rig::new();
    let ((one, postgres), (other, cassandra)) = (silent_store(), silent_store());
    let stop = Arc::new(AtomicBool::new(false));
    let supervisors = rig.supervisors(&["catalog", "products"], postgres, cassandra);
    assert_eq!(supervisors.len(), 2);
    let threads = supervisors.into_iter().map(|supervisor| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || supervisor.run(&stop))
    });
    let threads: Vec<_> = threads.collect();
    let mut connected: Vec<TcpStream> = Vec::new();
    for store in [one, other] {
        until("it is asked", || {
            let stream = store.accept().map(|(stream, _)| stream);
            let is_asked = stream.is_ok();
            connected.extend(stream);
            is_asked
        });
    }
    stop.store(true, Ordering::Release);
    until("they stop", || {
        threads.iter().all(|each| each.is_finished())
    });
}

fn fed(versions: &Versions, declared: &[&'static Projection]) -> Vec<u32> {
    match look_from(versions, "catalog", declared) {
        Look::Feed(fed) => fed.into_iter().map(|(number, _)| number).collect(),
        _ => panic!("refused"),
    }
}

#[test]
fn a_version_is_fed_from_the_moment_it_is_live_until_it_is_retired() {
    let now = Timestamp::from_micros(1);
    let one = Versions::begin(&CATALOG, 1, now);
    let building = one.add(&CATALOG, 2, Build::default(), now).expect("added");
    assert_eq!(fed(&building, &[&CATALOG]), [1]);
    let live = building.built(2).expect("built");
    assert_eq!(fed(&live, &[&CATALOG]), [1, 2]);
    let anew = Versions::begin_anew(&CATALOG, 3, now);
    assert_eq!(fed(&anew, &[&CATALOG]), [0; 0], "while it is restored");
    assert_eq!(fed(&anew.built(3).expect("built"), &[&CATALOG]), [3]);
    let retiring = live.retire(2, Duration::ZERO, now).expect("retired");
    assert_eq!(fed(&retiring, &[&CATALOG]), [1]);
}

#[test]
fn code_that_lacks_the_fold_of_a_live_version_is_refused_in_words() {
    static NEXT: Projection = Projection {
        version: 2,
        fold_version: 2,
        name: CATALOG.name,
        store: CATALOG.store,
        streams: CATALOG.streams,
        tables: CATALOG.tables,
        differs: CATALOG.differs,
    };
    let one = Versions::begin(&CATALOG, 1, Timestamp::from_micros(1));
    match look_from(&one, "catalog", &[&NEXT]) {
        Look::Refused(reason) => assert!(reason.contains("catalog@1"), "{reason}"),
        _ => panic!("not refused"),
    }
}
