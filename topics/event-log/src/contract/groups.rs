//! Checks of consumer groups.

use std::collections::BTreeSet;

use super::{POLL, Subject, commit, eventually, record, records, values};
use crate::{EventLog, GroupEvent, GroupReader, Record, Start, TopicPartition};

/// A worker that reads everything it is given from the beginning.
struct Member<R> {
    reader: R,
    owned: BTreeSet<TopicPartition>,
    read: Vec<Record>,
}

impl<R: GroupReader> Member<R> {
    fn join<L>(subject: &Subject<'_, L>, group: &str, topic: &str) -> Self
    where
        L: EventLog<GroupReader = R>,
    {
        Self {
            reader: subject
                .log
                .group_reader(group, &[topic])
                .expect("to join a group"),
            owned: BTreeSet::new(),
            read: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.reader.poll(100, POLL).expect("to poll a group") {
            GroupEvent::Assigned(owned) => {
                self.owned = owned.into_iter().collect();
                let starts: Vec<_> = self
                    .owned
                    .iter()
                    .map(|at| (at.clone(), Start::Beginning))
                    .collect();
                self.reader.seek_all(&starts).expect("to give starts");
            }
            GroupEvent::Revoked(lost) => {
                for at in lost {
                    assert!(self.owned.remove(&at), "{at} was not owned");
                }
            }
            GroupEvent::Records(records) => {
                for record in &records {
                    let at = record.topic_partition();
                    assert!(self.owned.contains(&at), "{at} is not assigned");
                }
                self.read.extend(records);
            }
        }
    }
}

fn places(topic: &std::sync::Arc<str>, count: u32) -> Vec<TopicPartition> {
    (0..count)
        .map(|partition| TopicPartition::new(topic.clone(), partition))
        .collect()
}

pub(super) fn one_member_gets_every_partition_and_reads_from_its_starts<L: EventLog>(
    subject: &Subject<'_, L>,
) {
    let topic = subject.topic("alone", 3);
    let places = places(&topic, 3);
    let mut writer = subject.writer(&topic);
    commit(
        &mut writer,
        places.iter().map(|at| record(at, "skipped")).collect(),
    );
    commit(
        &mut writer,
        places.iter().map(|at| record(at, "wanted")).collect(),
    );

    let mut reader = subject
        .log
        .group_reader(&topic, &[&*topic])
        .expect("to join a group");
    let assigned = eventually("the assignment", || {
        match reader.poll(100, POLL).expect("to poll a group") {
            GroupEvent::Assigned(assigned) => Some(assigned),
            GroupEvent::Records(records) => {
                assert_eq!(values(&records), Vec::<String>::new());
                None
            }
            GroupEvent::Revoked(_) => None,
        }
    });
    assert_eq!(
        assigned.into_iter().collect::<BTreeSet<_>>(),
        places.iter().cloned().collect()
    );
    // A record and its control record come before.
    let starts: Vec<_> = places
        .iter()
        .map(|at| (at.clone(), Start::Offset(2)))
        .collect();
    reader.seek_all(&starts).expect("to give starts");
    let mut read = Vec::new();
    eventually("one record of each partition", || {
        if let GroupEvent::Records(records) = reader.poll(100, POLL).expect("to poll a group") {
            read.extend(records);
        }
        (read.len() == 3).then_some(())
    });
    assert_eq!(values(&read), ["wanted"; 3]);
    for at in &places {
        let (_, high) = reader.watermarks(at).expect("watermarks");
        eventually("the position at the high watermark", || {
            let _ = reader.poll(100, POLL).expect("to poll a group");
            (reader.position(at).expect("a position") == high).then_some(())
        });
    }
}

pub(super) fn nothing_is_delivered_before_the_start_is_given<L: EventLog>(
    subject: &Subject<'_, L>,
) {
    let topic = subject.topic("waits", 1);
    let at = TopicPartition::new(topic.clone(), 0);
    let mut writer = subject.writer(&topic);
    commit(&mut writer, records(&at, &["a"]));
    let mut reader = subject
        .log
        .group_reader(&topic, &[&*topic])
        .expect("to join a group");
    eventually("the assignment", || {
        let event = reader.poll(100, POLL).expect("to poll a group");
        matches!(event, GroupEvent::Assigned(_)).then_some(())
    });
    let nowhere = TopicPartition::new(topic, 7);
    assert!(reader.seek_all(&[(nowhere, Start::Beginning)]).is_err());
    for _ in 0..5 {
        assert_eq!(
            reader.poll(100, POLL).expect("to poll a group"),
            GroupEvent::Records(Vec::new())
        );
    }
    reader
        .seek_all(&[(at, Start::Beginning)])
        .expect("to give starts");
    eventually("the record", || {
        match reader.poll(100, POLL).expect("to poll a group") {
            GroupEvent::Records(records) if !records.is_empty() => {
                assert_eq!(values(&records), ["a"]);
                Some(())
            }
            _ => None,
        }
    });
}

pub(super) fn two_members_share_the_partitions_and_none_is_in_two_hands<L: EventLog>(
    subject: &Subject<'_, L>,
) {
    let topic = subject.topic("pair", 4);
    let places = places(&topic, 4);
    let mut first = Member::join(subject, &topic, &topic);
    eventually("all partitions with the first", || {
        first.step();
        (first.owned.len() == 4).then_some(())
    });
    let mut second = Member::join(subject, &topic, &topic);
    eventually("two partitions with each", || {
        first.step();
        assert!(first.owned.is_disjoint(&second.owned));
        second.step();
        assert!(first.owned.is_disjoint(&second.owned));
        (first.owned.len() == 2 && second.owned.len() == 2).then_some(())
    });

    let mut writer = subject.writer(&topic);
    commit(
        &mut writer,
        places.iter().map(|at| record(at, "shared")).collect(),
    );
    eventually("each record with one of them", || {
        first.step();
        second.step();
        (first.read.len() + second.read.len() >= 4).then_some(())
    });
    for member in [&first, &second] {
        let read: BTreeSet<_> = member.read.iter().map(Record::topic_partition).collect();
        assert_eq!(read, member.owned);
    }
}

pub(super) fn a_member_that_leaves_leaves_its_partitions_to_the_other<L: EventLog>(
    subject: &Subject<'_, L>,
) {
    let topic = subject.topic("leaves", 2);
    let mut stays = Member::join(subject, &topic, &topic);
    let mut leaves = Member::join(subject, &topic, &topic);
    eventually("one partition with each", || {
        stays.step();
        leaves.step();
        (stays.owned.len() == 1 && leaves.owned.len() == 1).then_some(())
    });
    drop(leaves);
    eventually("both with the one that stays", || {
        stays.step();
        (stays.owned.len() == 2).then_some(())
    });
}

pub(super) fn a_member_can_read_again_from_elsewhere<L: EventLog>(subject: &Subject<'_, L>) {
    let topic = subject.topic("again", 1);
    let at = TopicPartition::new(topic.clone(), 0);
    let mut writer = subject.writer(&topic);
    let offsets = commit(&mut writer, records(&at, &["a", "b", "c"])).offsets;
    let mut member = Member::join(subject, &topic, &topic);
    eventually("three records", || {
        member.step();
        (member.read.len() == 3).then_some(())
    });
    member
        .reader
        .seek_all(&[(at.clone(), Start::Offset(offsets[1]))])
        .expect("to seek");
    assert_eq!(member.reader.position(&at), Ok(offsets[1]));
    eventually("two of them again", || {
        member.step();
        (member.read.len() == 5).then_some(())
    });
    assert_eq!(values(&member.read), ["a", "b", "c", "b", "c"]);
}

pub(super) fn a_pause_ends_when_the_partition_is_taken_away<L: EventLog>(subject: &Subject<'_, L>) {
    let topic = subject.topic("paused", 2);
    let places = places(&topic, 2);
    let mut stays = Member::join(subject, &topic, &topic);
    eventually("both partitions with the first", || {
        stays.step();
        (stays.owned.len() == 2).then_some(())
    });
    stays.reader.pause(&places).expect("a pause");
    let mut comes = Member::join(subject, &topic, &topic);
    eventually("one partition with each", || {
        stays.step();
        comes.step();
        (stays.owned.len() == 1 && comes.owned.len() == 1).then_some(())
    });
    let mut writer = subject.writer(&topic);
    let both = places.iter().map(|at| record(at, "after")).collect();
    commit(&mut writer, both);
    eventually("a record for who had paused", || {
        stays.step();
        comes.step();
        (stays.read.len() == 1).then_some(())
    });
}
