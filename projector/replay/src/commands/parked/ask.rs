//! `parked retry` and `parked skip`: the projector is asked, and waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::{ParkAction, ParkRequest, RequestOutcome, RequestState};
use serde::Serialize;

use super::version_of;
use crate::context::Context;
use crate::exit::Exit;
use crate::parking::{self, Version, Waiting};

/// Requests that may wait at a time; a projector looks at a thousand.
const MOST_OPEN: usize = 500;
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
struct Chosen {
    projection: String,
    /// Another version than the current one.
    #[arg(long)]
    version: Option<u32>,
    /// Only this key.
    #[arg(long)]
    key: Option<String>,
    /// Only in this topic: a cart and the order that it became have the same key.
    #[arg(long, requires = "key")]
    topic: Option<String>,
    /// Only keys whose first record's reason holds this text.
    #[arg(long, value_name = "TEXT", conflicts_with = "key")]
    reason: Option<String>,
    /// Every key.
    #[arg(long, conflicts_with_all = ["key", "reason"])]
    all: bool,
    /// Who asks; kept with the request.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown")]
    by: String,
    /// Seconds to wait until the projector has carried it out; 0: don't.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Debug, clap::Args)]
pub(super) struct Skip {
    #[command(flatten)]
    chosen: Chosen,
    /// Why; kept for the record.
    #[arg(long, value_name = "TEXT")]
    because: String,
    /// Only if the key's first record is the one at this offset. Default, where one key is given and the
    /// first record alone is to go: that of the record which is the first one now, so that the same
    /// asked again before it is carried out does not give up the next one too.
    #[arg(long, requires = "key")]
    offset: Option<u64>,
    /// Every record of the keys that cannot be folded, not only the first one.
    #[arg(long)]
    every_bad: bool,
    /// Everything that waits under the keys, also what could be folded.
    #[arg(long, conflicts_with = "every_bad")]
    whole_queue: bool,
}

pub(super) fn retry(context: &Context, arguments: &Retry) -> anyhow::Result<Exit> {
    carry_out(context, &arguments.chosen, ParkAction::Retry, None, None)
}

pub(super) fn skip(context: &Context, arguments: &Skip) -> anyhow::Result<Exit> {
    let because = arguments.because.trim();
    ensure!(!because.is_empty(), "--because needs a reason");
    let action = match (arguments.every_bad, arguments.whole_queue) {
        (true, _) => ParkAction::SkipBad,
        (_, true) => ParkAction::SkipAll,
        _ => ParkAction::Skip,
    };
    let note = Some(because.to_owned());
    carry_out(context, &arguments.chosen, action, note, arguments.offset)
}

#[derive(Debug, Serialize)]
struct Asked {
    request: Option<String>,
    partitions: usize,
    finished: bool,
    retried: u64,
    skipped: u64,
    still_parked: u64,
    refused: Vec<String>,
}

fn carry_out(
    context: &Context,
    chosen: &Chosen,
    action: ParkAction,
    note: Option<String>,
    offset: Option<u64>,
) -> anyhow::Result<Exit> {
    if !chosen.all && chosen.key.is_none() && chosen.reason.is_none() {
        bail!("say which: --key KEY, --reason TEXT or --all");
    }
    let of = version_of(context, &chosen.projection, chosen.version)?;
    let asked_at = Timestamp::now();
    let id = parking::request_id(asked_at);
    let mut waiting = parking::waiting(context, of)?;
    if let Some(topic) = &chosen.topic {
        waiting.retain(|each| each.topic == topic);
    }
    let places = places(&waiting, chosen.key.as_deref(), action, offset)?;
    let asked: Vec<ParkRequest> = places
        .into_iter()
        .map(|((stream, partition), offset)| ParkRequest {
            id: id.clone(),
            stream,
            partition,
            action,
            key: chosen.key.clone(),
            offset,
            reason_part: chosen.reason.clone(),
            note: note.clone(),
            asked_by: chosen.by.clone(),
            asked_at,
        })
        .collect();
    check_room(context, of, asked.len())?;
    parking::ask(context, of, &asked)?;
    let result = wait(
        context,
        of,
        &id,
        asked.len(),
        Duration::from_secs(chosen.wait),
    )?;
    context.output.result(&result, asked_text);
    Ok(match &result {
        _ if !result.finished => Exit::Unfinished,
        _ if result.still_parked > 0 || !result.refused.is_empty() => Exit::Refused,
        _ => Exit::Done,
    })
}

/// The partitions in which something waits, of one key or of any, and the offset that its first record has to
/// have: the one that is `asked` for or, where the first record of one key is given up, that of the record
/// which is the first one now, and not of whichever is when the request is carried out.
///
/// # Errors
/// When the first record of one key is to be given up, and the key waits in several places.
fn places(
    waiting: &[Waiting],
    key: Option<&str>,
    action: ParkAction,
    asked: Option<u64>,
) -> anyhow::Result<BTreeMap<(Stream, u32), Option<u64>>> {
    let mut places: BTreeMap<_, u64> = BTreeMap::new();
    let of_key = |each: &&Waiting| key.is_none_or(|key| each.record.key == key);
    for each in waiting.iter().filter(of_key) {
        let offset = each.record.offset;
        let first = places
            .entry((each.stream, each.partition))
            .or_insert(offset);
        *first = offset.min(*first);
    }
    let is_of_one = action == ParkAction::Skip && key.is_some();
    if is_of_one && places.len() > 1 {
        if places.values().any(|first| Some(*first) == asked) {
            places.retain(|_, first| Some(*first) == asked);
        }
        let told = places.iter().map(|((stream, partition), first)| {
            let topic = stream.topic();
            format!("{topic}[{partition}]@{first}")
        });
        let told = told.collect::<Vec<_>>().join(", ");
        ensure!(
            places.len() == 1,
            "this key waits in several topics: {told}; say which with --topic"
        );
    }
    let places = places.into_iter();
    Ok(places
        .map(|(at, first)| (at, asked.or(is_of_one.then_some(first))))
        .collect())
}

/// Keeps one projector's list of requests short.
fn check_room(context: &Context, of: Version, more: usize) -> anyhow::Result<()> {
    const DAY_US: i64 = 86_400_000_000;
    let since = parking::request_id(Timestamp::from_micros(
        Timestamp::now().as_micros() - DAY_US,
    ));
    let requests = parking::requests(context, of, &since)?;
    let open = requests
        .iter()
        .filter(|(_, outcome)| outcome.state == RequestState::Asked)
        .count();
    ensure!(
        open + more <= MOST_OPEN,
        "{open} requests wait already: is the projector running?"
    );
    Ok(())
}

/// Waits until every partition has answered.
fn wait(
    context: &Context,
    of: Version,
    id: &str,
    partitions: usize,
    limit: Duration,
) -> anyhow::Result<Asked> {
    let until = Instant::now() + limit;
    // Names sort: a name without its last letter comes before it.
    let after = &id[..id.len().saturating_sub(1)];
    loop {
        let answers: Vec<RequestOutcome> = match partitions {
            0 => Vec::new(),
            _ => parking::requests(context, of, after)?
                .into_iter()
                .filter(|(request, _)| request.id == id)
                .map(|(_, outcome)| outcome)
                .collect(),
        };
        let answered = |outcome: &&RequestOutcome| outcome.state != RequestState::Asked;
        let finished = answers.iter().filter(answered).count() == partitions;
        if finished || Instant::now() >= until {
            return Ok(sum(id, partitions, finished, &answers));
        }
        std::thread::sleep(POLL);
    }
}

fn sum(id: &str, partitions: usize, finished: bool, answers: &[RequestOutcome]) -> Asked {
    let refused = answers
        .iter()
        .filter(|outcome| outcome.state == RequestState::Refused)
        .filter_map(|outcome| outcome.detail.clone());
    Asked {
        request: (partitions > 0).then(|| id.to_owned()),
        partitions,
        finished,
        retried: answers.iter().map(|outcome| outcome.retried).sum(),
        skipped: answers.iter().map(|outcome| outcome.skipped).sum(),
        still_parked: answers.iter().map(|outcome| outcome.still_parked).sum(),
        refused: refused.collect(),
    }
}

fn asked_text(asked: &Asked) -> String {
    if asked.partitions == 0 {
        return "nothing that this asks for is parked".to_owned();
    }
    let mut text = match asked.finished {
        true => format!(
            "{} records applied, {} given up, {} still parked",
            asked.retried, asked.skipped, asked.still_parked
        ),
        false => format!(
            "asked for in {} partitions and not carried out yet: is the projector running? \
             It will do so when it is",
            asked.partitions
        ),
    };
    for refusal in &asked.refused {
        text += &format!("\nrefused: {refusal}");
    }
    text
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::{ParkReason, ParkedRow};

    use super::*;

    fn waiting(key: &str, partition: u32, offset: u64) -> Waiting {
        waiting_in(Stream::Product, key, partition, offset)
    }

    fn waiting_in(stream: Stream, key: &str, partition: u32, offset: u64) -> Waiting {
        let reason = ParkReason::Behind;
        Waiting {
            stream,
            topic: stream.topic(),
            partition,
            record: ParkedRow::new(key.to_owned(), offset, offset, reason),
            parked_at: None,
        }
    }

    #[test]
    fn the_first_record_of_a_key_is_given_up_and_not_the_next_one_when_it_is_asked_twice() {
        let all = [
            waiting("cup", 0, 14),
            waiting("cup", 0, 10),
            waiting("hat", 1, 3),
        ];
        let of = |key, action, asked| {
            let places = places(&all, key, action, asked).expect("one place");
            let places = places.into_iter();
            let places = places.map(|((_, partition), offset)| (partition, offset));
            places.collect::<Vec<_>>()
        };
        let cup = Some("cup");
        assert_eq!(of(cup, ParkAction::Skip, None), [(0, Some(10))]);
        assert_eq!(of(cup, ParkAction::Skip, Some(14)), [(0, Some(14))]);
        for action in [ParkAction::Retry, ParkAction::SkipBad, ParkAction::SkipAll] {
            assert_eq!(of(cup, action, None), [(0, None)], "{action:?}");
        }
        let every = [(0, None), (1, None)];
        assert_eq!(of(None, ParkAction::Skip, None), every, "one of each key");
        assert_eq!(of(Some("mug"), ParkAction::Skip, None), []);
    }

    #[test]
    fn of_a_cart_and_the_order_of_the_same_key_not_both_lose_a_record() {
        let all = [
            waiting_in(Stream::Cart, "o-1", 0, 10),
            waiting_in(Stream::Order, "o-1", 0, 20),
        ];
        let key = Some("o-1");
        let error = places(&all, key, ParkAction::Skip, None).expect_err("which?");
        let error = error.to_string();
        assert!(error.contains("checkout.order.events.v1[0]@20"), "{error}");
        places(&all, key, ParkAction::Skip, Some(15)).expect_err("of neither");
        let found = places(&all, key, ParkAction::Skip, Some(20)).expect("one");
        assert!(found.into_iter().eq([((Stream::Order, 0), Some(20))]));
        let every = places(&all, key, ParkAction::SkipAll, None).expect("all");
        assert_eq!(every.len(), 2, "all of it was asked for");
    }
}
