//! A record that nobody can read, in a topic that everybody reads.
//!
//! No shard writes such a record, so this test comes last: the shard of its partition will not
//! serve after it, and says why.

use std::sync::Arc;

use anyhow::ensure;
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::partition::partition_of;
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use serde_json::json;

use crate::carried::{GivenUp, it_stays_given_up};
use crate::sale::{check_out, fill_cart, name_in, stock_product};
use crate::tools::{every_projection_follows, replay};

/// Why the operator gives the record up.
const WHY: &str = "a stranger wrote it";

pub(crate) async fn a_poisoned_record_is_parked_and_the_rest_goes_on(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let product = stock_product(&api, "POISON", 100, 100).await?;
    let token = product.position.as_deref();
    fill_cart(&api, "bad-1", "POISON", 1, token).await?;
    // The shard must not read its log back while the test needs it: a commit must not be slow, so
    // nothing may be catching up beside it. After the storm shards bear slow ones.
    every_projection_follows(&stack).await?;
    let partition = plant(&stack, "checkout.cart.events.v1", "bad-1").await?;
    // The key's next event waits behind it, and the view of the key stays as it was.
    api.post(
        "/v1/carts/bad-1/items",
        json!({"sku": "POISON", "quantity": 4}),
    )
    .await?
    .accepted()?;
    // Other keys of the same partition go on.
    let beside = name_in(partition, 2, "beside-");
    fill_cart(&api, &beside, "POISON", 1, token).await?;
    let outcome = check_out(&api, &beside).await?;
    let seen = api
        .get(&format!("/v1/carts/{beside}"), outcome.position.as_deref())
        .await?
        .expect(200)?;
    ensure!(seen.body["status"] == "checked_out", "{}", seen.text);
    let parked = api.get("/v1/carts/bad-1", None).await?.expect(200)?;
    ensure!(
        parked.text.contains("\"quantity\":1"),
        "the key stays where it was: {}",
        parked.text
    );

    the_operator_sees_it_and_gives_it_up(&stack, &api).await?;
    for (projection, read) in [
        ("carts", "/v1/carts/bad-1"),
        ("timeline", "/v1/orders/bad-1/timeline"),
    ] {
        let given_up = GivenUp {
            projection,
            key: "bad-1",
            because: WHY,
            read,
        };
        it_stays_given_up(&stack, &api, &given_up).await?;
    }
    a_report_says_that_a_key_of_it_waits(&stack).await?;

    stack.stack.kill(Part::CommandApi).await;
    // The shard reads its log back, finds a record that it did not write, and refuses.
    let _ = stack.stack.start(Part::CommandApi).await;
    eventually("the shard refuses and says so", PATIENCE, || async {
        let ready = api.get_command("/readyz?verbose").await.ok()?;
        ready.text.contains("refuses").then_some(())
    })
    .await
}

/// Writes a record that nobody can read, as no shard does. Returns its partition.
async fn plant(stack: &TestStack, topic: &'static str, key: &'static str) -> anyhow::Result<u32> {
    let bootstrap = stack.stack.bootstrap();
    tokio::task::spawn_blocking(move || {
        let log = KafkaLog::new(KafkaOptions::new(&bootstrap))?;
        let partition = partition_of(key, log.partition_count(topic)?);
        let mut stranger = log.writer("stranger")?;
        stranger.take_over()?;
        stranger.commit(vec![NewRecord {
            topic: topic.into(),
            partition,
            key: key.as_bytes().to_vec(),
            value: Some(b"not an event".to_vec()),
            headers: Vec::new(),
        }])?;
        Ok(partition)
    })
    .await?
}

async fn a_report_says_that_a_key_of_it_waits(stack: &TestStack) -> anyhow::Result<()> {
    plant(stack, "checkout.order.events.v1", "bad-1").await?;
    let query = stack.stack.query_url();
    let url = format!("{query}/v1/reports/sales?by=day&currency=GBP");
    eventually("the report says that a key waits", PATIENCE, || async {
        let answer = reqwest::get(&url).await.ok()?;
        let parked = answer.headers().get("cartwright-parked")?;
        (answer.status() == 200 && parked == "1").then_some(())
    })
    .await
}

/// Listed, looked at, retried in vain, and given up: then the key shows what waited behind it.
async fn the_operator_sees_it_and_gives_it_up(stack: &TestStack, api: &Api) -> anyhow::Result<()> {
    let listed = eventually("the key is parked", PATIENCE, || async {
        let (_, keys) = replay(stack, &["parked", "list", "carts"]).await.ok()?;
        let key = keys.as_array()?.first()?.clone();
        (key["records"] == 2).then_some(key)
    })
    .await?;
    ensure!(listed["key"] == "bad-1", "{listed}");
    let (_, shown) = replay(stack, &["parked", "show", "carts", "bad-1"]).await?;
    ensure!(shown["waiting"][1]["reason"] == "behind", "{shown}");
    let (code, report) = replay(stack, &["restore", "carts"]).await?;
    let restored = &report["projections"][0];
    ensure!(code == Some(5) && restored["parked"] == 2, "{report}");
    ensure!(report["complete"] == true, "{report}");
    let url = format!("{}/v1/carts/bad-1", stack.stack.query_url());
    let answer = reqwest::get(&url).await?;
    let parked = answer.headers().get("cartwright-parked");
    ensure!(parked.is_some_and(|records| records == "2"), "{parked:?}");
    for projection in ["carts", "timeline"] {
        let key = ["--key", "bad-1"];
        let retry = ["parked", "retry", projection, key[0], key[1]];
        let (code, retried) = replay(stack, &retry).await?;
        ensure!(code == Some(3), "it still can't be folded: {retried}");
        ensure!(retried["still_parked"] == 2, "{retried}");
        let skip = [
            "parked",
            "skip",
            projection,
            key[0],
            key[1],
            "--because",
            WHY,
        ];
        let (code, skipped) = replay(stack, &skip).await?;
        ensure!(code == Some(0), "{skipped}");
        ensure!(
            skipped["skipped"] == 1 && skipped["retried"] == 1,
            "{skipped}"
        );
    }
    let cart = api.get("/v1/carts/bad-1", None).await?.expect(200)?;
    ensure!(
        cart.text.contains("\"quantity\":5"),
        "what waited is there: {}",
        cart.text
    );
    let (_, shown) = replay(stack, &["parked", "show", "carts", "bad-1"]).await?;
    ensure!(shown["given_up"][0]["note"] == WHY, "{shown}");
    // The log keeps it, and tools that read the log say so; what was given up is no problem any more of
    // who gave it up.
    let (code, report) = replay(stack, &["dry-run", "carts"]).await?;
    ensure!(code == Some(0) && report["problem_count"] == 0, "{report}");
    ensure!(report["projections"][0]["given_up"] == 1, "{report}");
    let (code, report) = replay(stack, &["dry-run", "causal"]).await?;
    ensure!(code == Some(3) && report["problem_count"] == 1, "{report}");
    let (code, report) = replay(stack, &["audit"]).await?;
    ensure!(code == Some(3), "{report}");
    let finding = &report["findings"][0];
    ensure!(finding["rule"] == "written_by_a_shard", "{report}");
    Ok(())
}
