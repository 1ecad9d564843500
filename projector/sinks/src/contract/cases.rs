//! The promises, one function each. Each has a partition and row keys of its own.

use std::sync::Arc;

use cartwright_events::Timestamp;
use cartwright_read_model::{PositionKey, Row, RowOp, Table, Value};

use super::{PARTS, Subject, THINGS, at};
use crate::sink::{Batch, Begun, Loaded, SeqOp, Sink, SinkError, Unparked};

pub(super) type Run = fn(&Case<'_>);

pub(super) const CASES: [(&str, Run); 13] = [
    ("an_unknown_partition_has_no_position", unknown_partition),
    ("rows_and_position_are_there_afterwards", applied),
    ("values_come_back_as_they_went_in", round_trip),
    ("cells_that_nobody_names_stay", unnamed_cells_stay),
    ("a_batch_given_twice_changes_nothing", given_twice),
    ("a_late_batch_of_an_earlier_position_loses", late_batch),
    ("a_delete_removes_what_came_before_it", delete_removes),
    (
        "a_row_can_be_written_again_after_a_delete",
        written_after_delete,
    ),
    ("a_row_can_be_replaced_by_one_event", replaced_by_one_event),
    ("the_position_moves_without_rows", moves_without_rows),
    ("partitions_do_not_meet", partitions_do_not_meet),
    ("a_large_batch_is_applied_whole", large_batch),
    ("what_is_begun_ends_with_its_sink_at_the_latest", begun),
];

pub(super) struct Case<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) name: &'static str,
    partition: u32,
}

impl<'a> Case<'a> {
    pub(super) fn new(subject: &'a dyn Subject, name: &'static str, partition: u32) -> Self {
        Self {
            subject,
            name,
            partition,
        }
    }

    pub(super) fn key(&self) -> PositionKey {
        super::key(self.subject.version(), self.partition)
    }

    fn id(&self) -> Value {
        self.name.into()
    }

    pub(super) fn thing<const N: usize>(
        &self,
        seq: u64,
        cells: [(&'static str, Value); N],
    ) -> SeqOp {
        let op = RowOp::upsert(&THINGS, [self.id()], cells);
        SeqOp { seq, op }
    }

    fn remove_thing(&self, seq: u64) -> SeqOp {
        let op = RowOp::delete(&THINGS, [self.id()]);
        SeqOp { seq, op }
    }

    pub(super) fn batch(&self, from: u64, to: u64, ops: Vec<SeqOp>) -> Arc<Batch> {
        super::batch(self.key(), from, to, ops)
    }

    pub(super) fn apply(&self, batch: &Arc<Batch>) {
        let result = self.subject.sink().apply(batch);
        assert_eq!(result, Ok(()), "{}", self.name);
    }

    /// Applies a batch that is not the next one: refused or outvoted, as the store does it.
    pub(super) fn apply_stale(&self, batch: &Arc<Batch>) {
        let result = self.subject.sink().apply(batch);
        let expected = match self.subject.refuses_stale_batches() {
            true => Err(SinkError::PositionMoved),
            false => Ok(()),
        };
        assert_eq!(result, expected, "{}", self.name);
    }

    pub(super) fn load(&self) -> Loaded {
        let loaded = self.subject.sink().load(&self.key(), 1);
        loaded.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn rows(&self, table: &'static Table) -> Vec<Row> {
        let mut rows = self.subject.rows(table);
        rows.retain(|row| row.values[0] == self.id());
        rows
    }

    pub(super) fn the_thing(&self) -> Row {
        let mut rows = self.rows(&THINGS);
        assert_eq!(rows.len(), 1, "{}: one row", self.name);
        rows.remove(0)
    }
}

fn unknown_partition(case: &Case<'_>) {
    assert_eq!(case.load(), Loaded::default());
}

fn applied(case: &Case<'_>) {
    let ops = vec![
        case.thing(1, [("label", "a".into()), ("amount", Value::Int(1))]),
        case.thing(3, [("amount", Value::Int(2))]),
    ];
    case.apply(&case.batch(0, 4, ops));
    assert_eq!(case.load().position, Some(at(4)));
    let row = case.the_thing();
    assert_eq!(row.value("label"), &"a".into());
    assert_eq!(row.value("amount"), &Value::Int(2));
    assert_eq!(row.value("row_seq"), &Value::Int(3));
}

fn round_trip(case: &Case<'_>) {
    let time = Timestamp::from_micros(1_291_180_560_123_457);
    let before_1970 = Timestamp::from_micros(-1);
    let details = serde_json::json!({"list": [1, {"deep": "Ø"}], "none": null, "big": i64::MIN});
    let cells = [
        ("label", "naïve 漢字 '\"\\ \n".into()),
        ("amount", Value::Int(i64::MIN)),
        ("active", false.into()),
        ("seen_at", time.into()),
        ("details", Value::Json(details.clone())),
    ];
    case.apply(&case.batch(0, 1, vec![case.thing(1, cells)]));
    let row = case.the_thing();
    assert_eq!(row.value("label"), &"naïve 漢字 '\"\\ \n".into());
    assert_eq!(row.value("amount"), &Value::Int(i64::MIN));
    assert_eq!(row.value("active"), &Value::Bool(false));
    assert_eq!(row.value("seen_at"), &Value::Time(time));
    assert_eq!(row.value("details"), &Value::Json(details));
    let cells = [("label", "".into()), ("seen_at", before_1970.into())];
    case.apply(&case.batch(1, 2, vec![case.thing(2, cells)]));
    let row = case.the_thing();
    assert_eq!(row.value("label"), &"".into());
    assert_eq!(row.value("seen_at"), &Value::Time(before_1970));
}

fn unnamed_cells_stay(case: &Case<'_>) {
    let cells = [("label", "a".into()), ("active", true.into())];
    case.apply(&case.batch(0, 1, vec![case.thing(1, cells)]));
    case.apply(&case.batch(1, 2, vec![case.thing(2, [("amount", Value::Int(7))])]));
    let row = case.the_thing();
    assert_eq!(row.value("label"), &"a".into());
    assert_eq!(row.value("active"), &Value::Bool(true));
    assert_eq!(row.value("amount"), &Value::Int(7));
    assert_eq!(row.value("details"), &Value::Unset);
    assert_eq!(row.value("row_seq"), &Value::Int(2));
}

fn given_twice(case: &Case<'_>) {
    let ops = vec![
        case.thing(1, [("label", "a".into())]),
        case.remove_thing(2),
        case.thing(3, [("amount", Value::Int(3))]),
    ];
    let batch = case.batch(0, 3, ops);
    case.apply(&batch);
    let once = case.the_thing();
    case.apply_stale(&batch);
    assert_eq!(case.the_thing(), once);
    assert_eq!(case.load().position, Some(at(3)));
}

fn late_batch(case: &Case<'_>) {
    let first = [("label", "a".into()), ("amount", Value::Int(1))];
    case.apply(&case.batch(0, 1, vec![case.thing(1, first)]));
    let late = case.batch(1, 2, vec![case.thing(2, [("amount", Value::Int(2))])]);
    let both = vec![
        case.thing(2, [("amount", Value::Int(2))]),
        case.thing(3, [("amount", Value::Int(3)), ("label", "c".into())]),
    ];
    case.apply(&case.batch(1, 3, both));
    let settled = case.the_thing();
    case.apply_stale(&late);
    case.apply_stale(&case.batch(0, 1, vec![case.remove_thing(1)]));
    assert_eq!(case.the_thing(), settled);
    assert_eq!(settled.value("amount"), &Value::Int(3));
    assert_eq!(
        case.load().position,
        Some(at(3)),
        "the position never goes back"
    );
}

fn delete_removes(case: &Case<'_>) {
    case.apply(&case.batch(0, 1, vec![case.thing(1, [("label", "a".into())])]));
    assert_eq!(case.rows(&THINGS).len(), 1);
    case.apply(&case.batch(1, 2, vec![case.remove_thing(2)]));
    assert_eq!(case.rows(&THINGS), []);
    case.apply(&case.batch(2, 3, vec![case.remove_thing(3)]));
    assert_eq!(case.rows(&THINGS), [], "deleting nothing is no error");
}

fn written_after_delete(case: &Case<'_>) {
    case.apply(&case.batch(0, 1, vec![case.thing(1, [("label", "a".into())])]));
    let ops = vec![
        case.remove_thing(2),
        case.thing(3, [("amount", Value::Int(3))]),
    ];
    case.apply(&case.batch(1, 3, ops));
    let row = case.the_thing();
    assert_eq!(row.value("label"), &Value::Unset, "old cells are gone");
    assert_eq!(row.value("amount"), &Value::Int(3));
}

fn replaced_by_one_event(case: &Case<'_>) {
    case.apply(&case.batch(0, 1, vec![case.thing(1, [("label", "a".into())])]));
    let ops = vec![
        case.remove_thing(2),
        case.thing(2, [("amount", Value::Int(2))]),
    ];
    case.apply(&case.batch(1, 2, ops));
    let row = case.the_thing();
    assert_eq!(row.value("label"), &Value::Unset);
    assert_eq!(row.value("amount"), &Value::Int(2));
}

fn moves_without_rows(case: &Case<'_>) {
    case.apply(&case.batch(0, 1, vec![]));
    let mut next = at(1);
    next.next_offset += 1;
    let batch = Batch {
        key: case.key(),
        expected: Some(at(1)),
        next,
        ops: vec![],
        parked: vec![],
        unparked: Unparked::default(),
    };
    case.apply(&Arc::new(batch));
    assert_eq!(
        case.load().position,
        Some(next),
        "the offset alone has moved"
    );
}

fn partitions_do_not_meet(case: &Case<'_>) {
    case.apply(&case.batch(0, 5, vec![]));
    let mut other = Batch::clone(&case.batch(0, 2, vec![]));
    other.key.partition += 1_000;
    case.apply(&Arc::new(other.clone()));
    assert_eq!(case.load().position, Some(at(5)));
    let loaded = case.subject.sink().load(&other.key, 1);
    assert_eq!(loaded.map(|loaded| loaded.position), Ok(Some(at(2))));
}

fn large_batch(case: &Case<'_>) {
    let part = |number: i64| {
        let time = Timestamp::from_micros(1_700_000_000_000_000 + number % 7);
        let key = [case.id(), time.into(), number.into()];
        let cells = [
            ("amount", number.into()),
            ("label", format!("#{number}").into()),
        ];
        SeqOp {
            seq: number as u64 + 1,
            op: RowOp::upsert(&PARTS, key, cells),
        }
    };
    let ops: Vec<SeqOp> = (0..1_200).map(part).collect();
    case.apply(&case.batch(0, 1_200, ops));
    let rows = case.rows(&PARTS);
    assert_eq!(rows.len(), 1_200);
    let sum: i64 = rows
        .iter()
        .map(|row| match row.value("amount") {
            Value::Int(amount) => *amount,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(sum, (0..1_200).sum::<i64>());
}

fn begun(case: &Case<'_>) {
    let batch = |from: u64| {
        let cells = [("amount", Value::from(from))];
        case.batch(from, from + 1, vec![case.thing(from + 1, cells)])
    };
    let mut sink = case.subject.sink();
    let ended = |sink: &mut dyn Sink, from| match sink.begin(&batch(from)) {
        Begun::Ended(result) => result,
        Begun::UnderWay => sink.finish(&case.key()),
    };
    assert_eq!(ended(&mut *sink, 0), Ok(()), "{}", case.name);
    assert_eq!(ended(&mut *sink, 1), Ok(()), "{}", case.name);
    assert_eq!(sink.finish(&case.key()), Ok(()), "nothing is under way");
    if case.subject.refuses_stale_batches() {
        assert_eq!(ended(&mut *sink, 0), Err(SinkError::PositionMoved));
    }
    let _ = sink.begin(&batch(2));
    drop(sink);
    assert_eq!(case.load().position, Some(at(3)), "{}", case.name);
    assert_eq!(case.the_thing().value("amount"), &Value::Int(2));
}
