//! A record that nobody can read, in a topic that everybody reads.
//!
//! No shard writes such a record, so this test comes last: the shard of its partition will not
//! serve after it, and says why.

use std::sync::Arc;

use anyhow::ensure;
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{EventLog, LogWriter, NewRecord};
use cartwright_events::partition::partition_of;
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use serde_json::json;

use crate::sale::{check_out, fill_cart, stock_product};

pub(crate) async fn a_poisoned_record_is_parked_and_the_rest_goes_on(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let product = stock_product(&api, "POISON", 100, 100).await?;
    let token = product.position.as_deref();
    fill_cart(&api, "bad-1", "POISON", 1, token).await?;
    let bootstrap = stack.stack.bootstrap();
    let partition = tokio::task::spawn_blocking(move || -> anyhow::Result<u32> {
        let log = KafkaLog::new(KafkaOptions::new(&bootstrap))?;
        let topic = "checkout.cart.events.v1";
        let partition = partition_of("bad-1", log.partition_count(topic)?);
        let mut stranger = log.writer("stranger")?;
        stranger.take_over()?;
        stranger.commit(vec![NewRecord {
            topic: topic.into(),
            partition,
            key: b"bad-1".to_vec(),
            value: Some(b"not an event".to_vec()),
            headers: Vec::new(),
        }])?;
        Ok(partition)
    })
    .await??;
    // The key's next event waits behind it, and the view of the key stays as it was.
    api.post(
        "/v1/carts/bad-1/items",
        json!({"sku": "POISON", "quantity": 4}),
    )
    .await?
    .accepted()?;
    // Other keys of the same partition go on.
    let beside = (0..)
        .map(|n| format!("beside-{n}"))
        .find(|id| partition_of(id, 2) == partition);
    let beside = beside.unwrap_or_default();
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

    stack.stack.kill(Part::CommandApi).await;
    // The shard reads its log back, finds a record that it did not write, and refuses.
    let _ = stack.stack.start(Part::CommandApi).await;
    eventually("the shard refuses and says so", PATIENCE, || async {
        let ready = api.get_command("/readyz?verbose").await.ok()?;
        ready.text.contains("refuses").then_some(())
    })
    .await
}
