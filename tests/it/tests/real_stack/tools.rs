//! The operator's tools, as programs, on the real stack.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use cartwright_read_model::postgres::{PostgresOptions, pool};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::sale::{capture, check_out, fill_cart, gbp, stock_product};

/// What `cartwright-replay` said, and how it ended.
pub(crate) async fn replay(
    stack: &TestStack,
    arguments: &[&str],
) -> anyhow::Result<(Option<i32>, Value)> {
    let config = stack.stack.config();
    let output = Command::new(config.program("cartwright-replay"))
        .arg("--config")
        .arg(config.service_config_file(Part::Projector))
        .arg("--json")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cartwright-replay")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = serde_json::from_str(&text).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{arguments:?} said {text}{errors}")
    })?;
    Ok((output.status.code(), said))
}

fn types(explanation: &Value) -> Vec<&str> {
    let facts = explanation["facts"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    facts
        .iter()
        .filter_map(|fact| fact["type"].as_str())
        .collect()
}

pub(crate) async fn an_order_is_explained_and_the_log_audited(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let product = stock_product(&api, "WHY", 100, 10).await?;
    fill_cart(&api, "why-1", "WHY", 3, product.position.as_deref()).await?;
    check_out(&api, "why-1").await?;
    capture(&api, "why-1", "capture", gbp(300))
        .await?
        .accepted()?;

    every_projection_follows(&stack).await?;
    let (code, status) = replay(&stack, &["status", "orders"]).await?;
    ensure!(code == Some(0), "{code:?}: {status}");
    let versions = status.as_array().context("versions")?;
    let current = versions.iter().find(|each| each["current"] == true);
    let current = current.context("the current version")?;
    ensure!(current["phase"] == "following", "{status}");
    ensure!(current["partitions"][0]["lag_s"].is_number(), "{status}");

    let (code, explanation) = replay(&stack, &["explain", "order", "why-1"]).await?;
    ensure!(code == Some(0), "{code:?}: {explanation}");
    let told = types(&explanation);
    let chain = [
        "CartCreated",
        "CartCheckedOut",
        "OrderCreated",
        "ReserveStock",
        "StockReserved",
        "ReservationAnswer",
        "OrderConfirmed",
        "OrderPaymentCaptured",
        "OrderPaid",
    ];
    let mut at = 0;
    for step in chain {
        let found = told[at..].iter().position(|name| *name == step);
        at += found.with_context(|| format!("{step} in its place among {told:?}"))?;
    }
    let facts = explanation["facts"].as_array().context("facts")?;
    for fact in facts.iter().filter(|fact| fact["kind"] == "event") {
        ensure!(fact["transaction"]["number"].as_u64() > Some(0), "{fact}");
    }

    the_timeline_tells_causes(&api).await?;

    let (code, unknown) = replay(&stack, &["explain", "order", "nobody"]).await?;
    ensure!(code == Some(3), "{unknown}");

    let (code, report) = replay(&stack, &["dry-run"]).await?;
    ensure!(code == Some(0), "{code:?}: {report}");
    ensure!(report["problem_count"] == 0, "{report}");
    ensure!(report["records"].as_u64() >= Some(10), "{report}");

    let state = std::env::temp_dir().join(format!("audit-{}.json", std::process::id()));
    let file = state.to_string_lossy().into_owned();
    let mut read = Vec::new();
    for _ in 0..2 {
        let (_, report) = replay(&stack, &["audit", "--state", &file]).await?;
        ensure!(report["errors"] == 0, "{report}");
        read.push(report["records_read"].as_u64().unwrap_or_default());
    }
    std::fs::remove_file(&state)?;
    ensure!(
        read[0] >= 10 && read[1] < read[0],
        "only what is new: {read:?}"
    );
    let (_, whole) = replay(&stack, &["audit", "--full"]).await?;
    ensure!(whole["errors"] == 0, "{whole}");
    a_row_that_was_changed_and_one_that_no_event_made_are_found(&stack).await
}

/// Somebody changes a row by hand and adds another.
async fn a_row_that_was_changed_and_one_that_no_event_made_are_found(
    stack: &TestStack,
) -> anyhow::Result<()> {
    let pool = pool(&PostgresOptions::new(stack.stack.postgres_url()))?;
    let client = pool.get().await?;
    let set = |name: &str| {
        format!("UPDATE catalog_products_v1 SET name = '{name}' WHERE sku = 'WHY' RETURNING sku")
    };
    let before = "SELECT name FROM catalog_products_v1 WHERE sku = 'WHY'";
    let before: String = client.query_one(before, &[]).await?.try_get(0)?;
    client.query_one(&set("Spoiled"), &[]).await?;
    let add = "INSERT INTO catalog_products_v1 (sku, name, row_seq) VALUES ('NOBODY', 'Ghost', 1)";
    client.batch_execute(add).await?;
    let (code, spoiled) = replay(stack, &["audit", "--rows"]).await?;
    client.query_one(&set(&before), &[]).await?;
    let remove = "DELETE FROM catalog_products_v1 WHERE sku = 'NOBODY'";
    client.batch_execute(remove).await?;
    ensure!(
        code == Some(3) && spoiled["errors"] == 2,
        "{code:?}: {spoiled}"
    );
    let findings = spoiled["findings"].as_array().context("findings")?;
    let wrong = findings
        .iter()
        .filter(|each| each["rule"] == "read_model_differs");
    let details: Vec<&str> = wrong.filter_map(|each| each["detail"].as_str()).collect();
    let changed =
        |detail: &&str| detail.contains("name is \"Spoiled\"") && detail.contains("ProductCreated");
    let added = |detail: &&str| detail.contains("NOBODY") && detail.contains("no event");
    ensure!(
        details.len() == 2 && details.iter().any(changed) && details.iter().any(added),
        "{spoiled}"
    );
    let (_, mended) = replay(stack, &["audit", "--rows"]).await?;
    ensure!(mended["errors"] == 0, "{mended}");
    ensure!(mended["rows_checked"].as_u64() >= Some(20), "{mended}");
    Ok(())
}

/// query-api tells the same events, with their places and times; page by page as well as at once.
async fn the_timeline_tells_causes(api: &Api) -> anyhow::Result<()> {
    let path = "/v1/orders/why-1/timeline?detail=causal";
    let whole = api.get(path, None).await?.expect(200)?.body;
    let items = whole["items"].as_array().context("items")?;
    let told: Vec<&str> = items
        .iter()
        .filter_map(|each| each["type"].as_str())
        .collect();
    let mut at = 0;
    for step in [
        "CartCreated",
        "OrderCreated",
        "StockReserved",
        "OrderConfirmed",
        "OrderPaid",
    ] {
        let found = told[at..].iter().position(|name| *name == step);
        at += found.with_context(|| format!("{step} in its place among {told:?}"))?;
    }
    for item in items {
        let causal = &item["causal"];
        ensure!(
            causal["topic"].is_string() && causal["offset"].is_u64(),
            "{item}"
        );
        ensure!(causal["writer_epoch"].as_u64() > Some(0), "{item}");
        ensure!(causal["since_previous_ms"].is_i64(), "{item}");
        ensure!(causal["origin"] == "command", "{item}");
        let message = match item["type"].as_str() {
            Some("StockReserved") => json!("ReserveStock"),
            Some("OrderConfirmed") => json!("ReservationAnswer"),
            _ => Value::Null,
        };
        ensure!(causal["message"] == message, "{item}");
    }
    let (mut paged, mut next) = (Vec::new(), Some(format!("{path}&limit=3")));
    while let Some(url) = next {
        let page = api.get(&url, None).await?.expect(200)?.body;
        paged.extend(page["items"].as_array().context("items")?.iter().cloned());
        let cursor = page["next_cursor"].as_str();
        next = cursor.map(|cursor| format!("{path}&limit=3&cursor={cursor}"));
    }
    ensure!(paged == *items, "{paged:?} page by page, {items:?} at once");
    api.get("/v1/orders/why-1/timeline?detail=all", None)
        .await?
        .expect(422)?;
    Ok(())
}

/// The projector says so itself, over HTTP.
pub(crate) async fn every_projection_follows(stack: &TestStack) -> anyhow::Result<()> {
    let port = stack.stack.ports().projector();
    let url = format!("http://127.0.0.1:{port}/v1/projections");
    eventually("every projection follows the log", PATIENCE, || async {
        let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
        let answer: Value = serde_json::from_str(&text).ok()?;
        let projections = answer["projections"].as_array()?;
        let follows = |each: &Value| {
            each["phase"] == "following"
                && each["partitions"][0]["lag_seconds"].is_number()
                && each["partitions"][0]["stuck"].is_null()
        };
        (projections.len() >= 8 && projections.iter().all(follows)).then_some(())
    })
    .await
}
