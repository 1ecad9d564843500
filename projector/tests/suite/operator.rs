//! What an operator sees parked, asks about it, and is answered.

use cartwright_events::Timestamp;
use cartwright_read_model::{
    ParkAction, ParkRequest, ParkedRow, PositionKey, RequestOutcome, RequestState,
};
use cartwright_sinks::{MemorySink, MemoryStore, Sink};

use crate::setup::{PARTITIONS, partition_of, plan};

pub(crate) fn position_keys(name: &str) -> Vec<PositionKey> {
    let plan = plan(name);
    let streams = plan.projection.streams.iter();
    streams
        .flat_map(|stream| {
            (0..PARTITIONS).map(|partition| PositionKey {
                projection: plan.projection.name,
                version: 1,
                stream: *stream,
                partition,
            })
        })
        .collect()
}

pub(crate) fn parked(store: &MemoryStore, name: &str) -> Vec<ParkedRow> {
    let mut sink = MemorySink::new(store.clone(), 1);
    let keys = position_keys(name);
    let loaded = keys.iter().map(|key| sink.load(key, 1).expect("up"));
    loaded.flat_map(|loaded| loaded.parked).collect()
}

pub(crate) fn request(id: &str, action: ParkAction, of: &PositionKey) -> ParkRequest {
    ParkRequest {
        id: id.to_owned(),
        stream: of.stream,
        partition: of.partition,
        action,
        key: None,
        offset: None,
        reason_part: None,
        note: (action != ParkAction::Retry).then(|| "not worth it".to_owned()),
        asked_by: "test".to_owned(),
        asked_at: Timestamp::EPOCH,
    }
}

/// Asks for `action` in every partition of a projection.
pub(crate) fn ask_all(store: &MemoryStore, name: &str, id: &str, action: ParkAction) {
    for key in position_keys(name) {
        store.ask(key.projection, 1, &request(id, action, &key));
    }
}

/// Asks in the partition of `sku`.
pub(crate) fn ask_one(store: &MemoryStore, sku: &str, change: impl FnOnce(&mut ParkRequest)) {
    let keys = position_keys("products");
    let key = keys.iter().find(|key| key.partition == partition_of(sku));
    let mut request = request("1", ParkAction::Retry, key.expect("a partition"));
    request.key = Some(sku.to_owned());
    change(&mut request);
    store.ask("products", 1, &request);
}

/// Gives a record up.
pub(crate) fn skip(request: &mut ParkRequest) {
    request.action = ParkAction::Skip;
    request.note = Some("a test".to_owned());
}

/// What came of the request called `id`, over all partitions.
pub(crate) fn outcome(store: &MemoryStore, name: &str, id: &str) -> RequestOutcome {
    let found = MemorySink::new(store.clone(), 1).requests(name, 1, "");
    let mut outcomes = found.expect("up").into_iter();
    let mut sum = outcomes
        .find(|(request, _)| request.id == id)
        .map(|(_, outcome)| outcome)
        .expect("the request");
    for (_, outcome) in outcomes.filter(|(request, _)| request.id == id) {
        assert_eq!(outcome.state, sum.state, "{outcome:?}");
        sum.retried += outcome.retried;
        sum.skipped += outcome.skipped;
        sum.still_parked += outcome.still_parked;
    }
    sum
}

pub(crate) fn counts(outcome: &RequestOutcome) -> (RequestState, u64, u64, u64) {
    let RequestOutcome {
        state,
        retried,
        skipped,
        still_parked,
        ..
    } = outcome;
    (*state, *retried, *skipped, *still_parked)
}
