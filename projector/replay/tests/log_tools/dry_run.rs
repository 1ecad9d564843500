use std::collections::BTreeSet;

use cartwright_events::{Envelope, Event, Stream};
use cartwright_folds::Outcome;
use cartwright_projector::Plan;
use cartwright_read_model::{PROJECTIONS, Projection};
use cartwright_replay::audit::Place;
use cartwright_replay::dry_run::{Report, dry_run};
use cartwright_replay::given_up::without;

use crate::log::{TestLog, confirmed, created};

fn run(log: &TestLog) -> Report {
    run_without(log, &[], BTreeSet::new())
}

/// With records that were given up under some projections.
fn run_without(log: &TestLog, names: &[&str], given_up: BTreeSet<Place>) -> Report {
    let plan = |each: &&Projection| {
        let plan = Plan::named(each.name, 1).expect("a fold");
        match names.contains(&each.name) {
            true => without(plan, given_up.clone()),
            false => plan,
        }
    };
    let plans: Vec<Plan> = PROJECTIONS.iter().map(plan).collect();
    let mut told = 0;
    let report = dry_run(&log.log, &log.codec, &plans, 3, |_| told += 1);
    let report = report.expect("a report");
    assert_eq!(told, report.records);
    report
}

fn examples() -> Vec<Event> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/avro/examples");
    let entries = std::fs::read_dir(folder).expect("the examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    // Those of messages and journals are in folders of their own.
    let texts = paths
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).expect("text"));
    texts
        .filter_map(|text| serde_json::from_str(&text).ok())
        .collect()
}

#[test]
fn one_example_of_every_event_decodes_and_folds() {
    let mut log = TestLog::new();
    let examples = examples();
    assert!(examples.len() >= 30, "{}", examples.len());
    for event in &examples {
        log.commit("c", std::slice::from_ref(event), &[]);
    }
    let report = run(&log);
    assert_eq!(report.records, examples.len() as u64);
    assert_eq!(report.problem_count, 0, "{:?}", report.problems);
    assert_eq!(report.types.len(), examples.len(), "one of each type");
    assert!(report.types.iter().all(|each| each.schema_id.is_some()));
    for fold in &report.projections {
        assert!(fold.emitted > 0, "{fold:?}");
        assert_eq!(fold.rejected, 0, "{fold:?}");
    }
    // Each record is one outcome of each projection that reads its topic.
    for fold in &report.projections {
        let label = format!("{}@{}", fold.projection, fold.version);
        let of = report
            .outcomes
            .iter()
            .filter(|each| each.projection == label);
        let counted = of.fold((0, 0), |(emitted, dropped), each| {
            (emitted + each.ends.emitted, dropped + each.ends.dropped)
        });
        assert_eq!(counted, (fold.emitted, fold.dropped), "{label}");
    }
}

#[test]
fn what_does_not_decode_or_fold_is_listed_and_all_of_it_counted() {
    let mut log = TestLog::new();
    log.commit("c", &[created("o-1", "cup"), confirmed("o-1")], &[]);
    log.raw(Stream::Order, "o-1", None);
    log.raw(Stream::Order, "o-1", Some(vec![0, 0, 0, 0, 99, 1]));
    log.raw(Stream::Product, "cup", Some(b"no event".to_vec()));
    // Of another aggregate than its key, and one that no store takes: a fold refuses it.
    let foreign = log.codec.encode_event(&created("o-2", "cup"));
    log.raw(Stream::Order, "o-1", Some(foreign));
    let mut nul = serde_json::to_value(created("o-3", "cup")).expect("json");
    nul["data"]["lines"][0]["name"] = "a\0b".into();
    log.commit("c", &[serde_json::from_value(nul).expect("an event")], &[]);
    let report = run(&log);
    assert_eq!(report.records, 7);
    assert!(report.problem_count >= 6, "{report:?}");
    assert_eq!(report.problems.len(), 3, "as many as were asked for");
    let orders = report
        .projections
        .iter()
        .find(|fold| fold.projection == "orders");
    assert_eq!(orders.map(|fold| fold.rejected), Some(1));
    let of = |event: &str| {
        let mut outcomes = report.outcomes.iter();
        let of = outcomes.find(|each| {
            each.projection.starts_with("orders@")
                && each.event_type == event
                && each.schema_id.is_some()
        });
        of.map(|each| each.ends).expect("its outcomes")
    };
    let created = of("OrderCreated");
    let ends = (created.emitted, created.rejected, created.undecodable);
    assert_eq!(ends, (1, 1, 1), "one of them is not about its key");
    assert_eq!(of("?").undecodable, 1, "of a schema that nobody knows");
}

#[test]
fn what_was_given_up_is_no_problem_of_the_projection_that_gave_it_up() {
    let mut log = TestLog::new();
    log.commit("c", &[created("o-1", "cup")], &[]);
    log.raw(Stream::Product, "cup", Some(b"no event".to_vec()));
    let [problem] = run(&log).problems.try_into().expect("one problem");
    let place = (Stream::Product, problem.partition, problem.offset);
    let report = run_without(&log, &["catalog"], [place].into());
    assert_eq!(report.problem_count, 1, "of the others that read the topic");
    for fold in &report.projections {
        let own = u64::from(fold.projection == "catalog");
        assert_eq!(fold.given_up, own, "{}", fold.projection);
    }
    let counted = report
        .outcomes
        .iter()
        .find(|each| each.projection.starts_with("catalog@") && each.event_type == "?");
    let ends = counted.expect("its outcomes").ends;
    assert_eq!((ends.given_up, ends.undecodable), (1, 0));
    let everywhere = PROJECTIONS.map(|each| each.name);
    let report = run_without(&log, &everywhere, [place].into());
    assert_eq!(report.problem_count, 0, "{:?}", report.problems);
}

#[test]
fn a_record_that_a_fold_panics_over_is_listed_and_the_rest_is_read() {
    fn broken(_: &Envelope, event: &Event) -> Outcome {
        assert_ne!(event.aggregate_id, "o-1", "not this one");
        Outcome::Drop("a test")
    }
    let mut log = TestLog::new();
    let events = ["o-1", "o-2"].map(|id| created(id, "cup"));
    log.commit("c", &events, &[]);
    let plan = Plan {
        fold: broken,
        ..Plan::named("orders", 1).expect("a fold")
    };
    let report = dry_run(&log.log, &log.codec, &[plan], 3, |_| {}).expect("a report");
    let count = &report.projections[0];
    assert_eq!((count.rejected, count.dropped), (1, 1));
    let problem = &report.problems[0];
    assert_eq!((problem.key.as_str(), problem.stage), ("o-1", "fold"));
    let reason = &problem.reason;
    assert!(reason.starts_with("the fold panicked: "), "{reason}");
    assert!(reason.contains("not this one"), "{reason}");
}
