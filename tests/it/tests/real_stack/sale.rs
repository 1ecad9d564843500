//! What a shop does all day, through HTTP alone.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_events::partition::partition_of;
use cartwright_harness::{Answer, Api, PATIENCE, TestStack, eventually};
use serde_json::{Value, json};

/// An amount in pounds.
pub(crate) fn gbp(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": "GBP"})
}

/// The first name that begins so and is a key of this partition.
pub(crate) fn name_in(partition: u32, partitions: u32, prefix: &str) -> String {
    let mut names = (0..).map(|number| format!("{prefix}{number}"));
    let is_here = |name: &String| partition_of(name, partitions) == partition;
    names.find(is_here).unwrap_or_default()
}

/// A product with stock.
pub(crate) async fn stock_product(
    api: &Api,
    sku: &str,
    price_minor: i64,
    quantity: i64,
) -> anyhow::Result<Answer> {
    let product = json!({"sku": sku, "name": format!("The {sku}"), "price": gbp(price_minor)});
    let created = api.post("/v1/products", product).await?.expect(201)?;
    api.post(
        &format!("/v1/stock/{sku}/receipts"),
        json!({"quantity": quantity, "reference": "first"}),
    )
    .await?
    .accepted()?;
    Ok(created)
}

/// A cart with one line, priced at the catalog as of `position`.
pub(crate) async fn fill_cart(
    api: &Api,
    cart: &str,
    sku: &str,
    quantity: i64,
    position: Option<&str>,
) -> anyhow::Result<Answer> {
    let body = json!({
        "cart_id": cart, "customer_id": "ada", "currency": "GBP", "ship_to_country": "United Kingdom",
        "items": [{"sku": sku, "quantity": quantity}],
    });
    let key = format!("\"cart-{cart}\"");
    let mut headers = vec![("Idempotency-Key", key.as_str())];
    headers.extend(position.map(|token| ("Cartwright-Position", token)));
    api.post_under("/v1/carts", body, &headers)
        .await?
        .expect(201)
}

/// Checks out and waits for the outcome.
pub(crate) async fn check_out(api: &Api, cart: &str) -> anyhow::Result<Answer> {
    let key = format!("\"checkout-{cart}\"");
    let headers = [("Idempotency-Key", key.as_str()), ("Prefer", "wait=20")];
    let path = format!("/v1/carts/{cart}/checkout");
    // 202: it has not come to an end within the wait.
    eventually("the order's outcome", PATIENCE, || async {
        let answer = api.post_under(&path, json!({}), &headers).await.ok()?;
        (answer.status != 202).then_some(answer)
    })
    .await?
    .accepted()
}

/// Reports a capture of `amount`.
pub(crate) async fn capture(
    api: &Api,
    order: &str,
    operation: &str,
    amount: Value,
) -> anyhow::Result<Answer> {
    let body = json!({"payment_id": format!("pay-{order}"), "operation_id": operation, "kind": "captured", "amount": amount});
    api.post(&format!("/v1/orders/{order}/payments"), body)
        .await
}

pub(crate) async fn a_sale_from_product_to_report(stack: Arc<TestStack>) -> anyhow::Result<()> {
    let api = stack.api();
    let product = stock_product(&api, "MUG", 1250, 10).await?;
    fill_cart(&api, "sale-1", "MUG", 3, product.position.as_deref()).await?;
    let outcome = check_out(&api, "sale-1").await?;
    ensure!(outcome.body["status"] == "confirmed", "{}", outcome.text);
    ensure!(outcome.body["total_minor"] == 3750, "{}", outcome.text);
    capture(&api, "sale-1", "capture", gbp(3750))
        .await?
        .accepted()?;
    let shipped = api
        .post(
            "/v1/orders/sale-1/shipments",
            json!({"shipment_id": "ship-1"}),
        )
        .await?
        .accepted()?;
    let returned = api
        .post(
            "/v1/orders/sale-1/returns",
            json!({"return_id": "return-1", "lines": [{"line": 1, "quantity": 1}]}),
        )
        .await?
        .accepted()?;
    let refund = json!({"payment_id": "pay-sale-1", "operation_id": "refund", "kind": "refunded", "amount": gbp(1250)});
    let refunded = api
        .post("/v1/orders/sale-1/payments", refund)
        .await?
        .accepted()?;
    ensure!(
        refunded.body["version"].as_u64() > returned.body["version"].as_u64(),
        "versions grow"
    );
    ensure!(
        returned.body["version"].as_u64() > shipped.body["version"].as_u64(),
        "versions grow"
    );
    let token = refunded.position.as_deref();
    ensure!(
        token == refunded.body["position"].as_str(),
        "the token is in body and header"
    );

    let order = api.get("/v1/orders/sale-1", token).await?.expect(200)?;
    ensure!(order.body["total_minor"] == 3750, "{}", order.text);
    ensure!(order.body["refunded_minor"] == 1250, "{}", order.text);
    ensure!(
        order.body["lines"]
            .as_array()
            .is_some_and(|lines| lines.len() == 1),
        "{}",
        order.text
    );
    let timeline = api
        .get("/v1/orders/sale-1/timeline", token)
        .await?
        .expect(200)?;
    for event in [
        "CartCreated",
        "OrderCreated",
        "OrderConfirmed",
        "OrderPaid",
        "OrderShipped",
        "OrderReturned",
    ] {
        ensure!(
            timeline.text.contains(event),
            "{event} is not in {}",
            timeline.text
        );
    }
    let orders = api
        .get("/v1/customers/ada/orders", token)
        .await?
        .expect(200)?;
    ensure!(orders.text.contains("sale-1"), "{}", orders.text);
    let cart = api.get("/v1/carts/sale-1", token).await?.expect(200)?;
    ensure!(cart.body["status"] == "checked_out", "{}", cart.text);
    let found = api
        .get("/v1/search/products?q=mug", product.position.as_deref())
        .await?
        .expect(200)?;
    ensure!(found.text.contains("MUG"), "{}", found.text);
    let report = api
        .get("/v1/reports/sales?by=product&currency=GBP&limit=500", token)
        .await?
        .expect(200)?;
    let row = report.body["rows"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["key"] == "MUG"))
        .context("no row of the product")?;
    ensure!(
        row["orders"] == 1 && row["units"] == 3 && row["returned_units"] == 1,
        "{row}"
    );
    ensure!(
        row["gross_minor"] == 3750 && row["refunded_minor"] == 1250 && row["net_minor"] == 2500,
        "{row}"
    );
    Ok(())
}

pub(crate) async fn a_price_that_changed_is_a_conflict_with_both_prices(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let product = stock_product(&api, "LAMP", 2000, 5).await?;
    fill_cart(&api, "price-1", "LAMP", 1, product.position.as_deref()).await?;
    let changed = api
        .put("/v1/products/LAMP/price", gbp(2500))
        .await?
        .expect(200)?;
    let key = [
        ("Idempotency-Key", "\"price-expected\""),
        (
            "Cartwright-Position",
            changed.position.as_deref().unwrap_or_default(),
        ),
    ];
    let stale = json!({"sku": "LAMP", "quantity": 1, "expected_price": gbp(2000)});
    let conflict = api
        .post_under("/v1/carts/price-1/items", stale, &key)
        .await?
        .expect(409)?;
    ensure!(conflict.code() == "price_changed", "{}", conflict.text);
    ensure!(
        conflict.text.contains("2000") && conflict.text.contains("2500"),
        "both prices: {}",
        conflict.text
    );
    let conflict = api
        .post(
            "/v1/carts/price-1/checkout",
            json!({"expected_total": gbp(2000)}),
        )
        .await?
        .expect(409)?;
    ensure!(conflict.code() == "price_changed", "{}", conflict.text);
    let accepted = json!({"expected_total": gbp(2500)});
    let headers = [
        ("Idempotency-Key", "\"price-accepted\""),
        ("Prefer", "wait=20"),
    ];
    let outcome = api
        .post_under("/v1/carts/price-1/checkout", accepted, &headers)
        .await?
        .accepted()?;
    ensure!(outcome.body["total_minor"] == 2500, "{}", outcome.text);
    Ok(())
}

pub(crate) async fn a_hot_item_is_never_oversold(stack: Arc<TestStack>) -> anyhow::Result<()> {
    let api = stack.api();
    let product = stock_product(&api, "HOT", 100, 5).await?;
    let shoppers = (0..20).map(|shopper| {
        let (api, position) = (api.clone(), product.position.clone());
        tokio::spawn(async move {
            let cart = format!("hot-{shopper}");
            fill_cart(&api, &cart, "HOT", 1, position.as_deref()).await?;
            check_out(&api, &cart).await
        })
    });
    let mut confirmed = 0;
    for shopper in shoppers.collect::<Vec<_>>() {
        let outcome = shopper.await??;
        match outcome.body["status"].as_str() {
            Some("confirmed") => confirmed += 1,
            Some("rejected") => ensure!(
                outcome.text.contains("HOT"),
                "names what is short: {}",
                outcome.text
            ),
            other => anyhow::bail!("{other:?}: {}", outcome.text),
        }
    }
    ensure!(confirmed == 5, "{confirmed} orders for 5 units");
    Ok(())
}

pub(crate) async fn odd_money_is_recorded_and_due_for_refund(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let unknown = capture(&api, "nobody-knows-me", "op-1", gbp(500))
        .await?
        .accepted()?;
    let product = stock_product(&api, "ODD", 1000, 5).await?;
    fill_cart(&api, "odd-1", "ODD", 1, product.position.as_deref()).await?;
    check_out(&api, "odd-1").await?;
    capture(&api, "odd-1", "op-1", gbp(1000))
        .await?
        .accepted()?;
    let twice = capture(&api, "odd-1", "op-2", gbp(1000))
        .await?
        .accepted()?;
    let other = capture(
        &api,
        "odd-1",
        "op-3",
        json!({"amount_minor": 7, "currency": "EUR"}),
    )
    .await?
    .accepted()?;
    let order = api
        .get("/v1/orders/odd-1", other.position.as_deref())
        .await?
        .expect(200)?;
    ensure!(order.body["refund_due_minor"] == 1000, "{}", order.text);
    let repeat = capture(&api, "odd-1", "op-2", gbp(1000))
        .await?
        .accepted()?;
    ensure!(
        repeat.body["version"] == twice.body["version"],
        "a repeat answers with what happened then"
    );
    let changed = capture(&api, "odd-1", "op-2", gbp(999))
        .await?
        .expect(409)?;
    ensure!(changed.code() == "operation_reused", "{}", changed.text);
    let timeline = api
        .get(
            "/v1/orders/nobody-knows-me/timeline",
            unknown.position.as_deref(),
        )
        .await?
        .expect(200)?;
    ensure!(
        timeline.text.contains("OrderRefundDue"),
        "{}",
        timeline.text
    );
    Ok(())
}

pub(crate) async fn duplicate_requests_have_one_effect(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    stock_product(&api, "DUP", 100, 1).await?;
    let headers = [("Idempotency-Key", "\"duplicate\"")];
    let receive = || api.post_under("/v1/stock/DUP/receipts", json!({"quantity": 5}), &headers);
    let (first, second, third) = tokio::join!(receive(), receive(), receive());
    let (first, second, third) = (first?.accepted()?, second?.accepted()?, third?.accepted()?);
    ensure!(
        first == second && second == third,
        "byte for byte: {} / {}",
        first.text,
        second.text
    );
    let stock = api
        .get("/v1/products/DUP/availability", first.position.as_deref())
        .await?
        .expect(200)?;
    ensure!(stock.body["on_hand"] == 6, "{}", stock.text);
    let other = api
        .post_under("/v1/stock/DUP/receipts", json!({"quantity": 6}), &headers)
        .await?
        .expect(422)?;
    ensure!(other.code() == "idempotency_key_reused", "{}", other.text);
    Ok(())
}

pub(crate) async fn bad_input_names_the_field_and_the_rule(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let missing_key = api
        .post_with("/v1/products", json!({}), &[])
        .await?
        .expect(400)?;
    ensure!(
        missing_key.text.contains("Idempotency-Key"),
        "{}",
        missing_key.text
    );
    let bad = json!({"sku": "X", "name": "X", "price": {"amount_minor": 1, "currency": "pounds"}});
    let bad = api.post("/v1/products", bad).await?.expect(422)?;
    ensure!(bad.text.contains("currency"), "{}", bad.text);
    let missing = api.get("/v1/orders/not-there", None).await?.expect(404)?;
    ensure!(missing.code() == "order_not_found", "{}", missing.text);
    let bad = api.get("/v1/reports/sales?by=moon", None).await?;
    ensure!(
        bad.status.is_client_error() && bad.text.contains("by"),
        "{}",
        bad.text
    );
    Ok(())
}
