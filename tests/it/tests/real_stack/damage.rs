//! Tables that somebody changed, emptied or dropped, while everything runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};
use cartwright_read_model::control::Control;
use cartwright_read_model::tables::{CART_LINES, ORDERS, SALES_ORDERS, TIMELINE, projections};
use cartwright_read_model::versions::Versions;
use cartwright_read_model::{Projection, Row, Store, Table, Value};
use serde_json::Value as Json;
use tokio::task::JoinHandle;

use crate::sale::{fill_cart, stock_product};
use crate::tools::every_projection_follows;
use crate::traces::control;
use crate::versions::{done, replay, sell};

/// With what the keys of the rows begin that are compared: other trials' orders may still change.
const OURS: &str = "HARMED-";
const SOLD: u32 = 6;
/// The order whose row is deleted.
const VICTIM: &str = "HARMED-3";
const REPORT: &str = "/v1/reports/sales?by=product&currency=GBP";

/// Rows of a table of either store are deleted, then all of them: `restore` tells what is empty, with
/// `--rows` also what is wrong. Versions that are built beside have all rows again, and nothing else
/// has changed. Orders alone write to both views, so the carts that are filled meanwhile do not heal
/// what is empty.
pub(crate) async fn what_was_deleted_is_told_and_versions_beside_have_it_again(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let position = sell(&api, "HARMED", SOLD).await?;
    ensure_whole(&stack).await?;
    let views = [
        View::current(&stack, &projections::SALES, &SALES_ORDERS).await?,
        View::current(&stack, &projections::ORDERS, &ORDERS).await?,
    ];
    let shop = Shop::open(&api, "HARMED-SHOP").await?;
    let others = others(&stack, &views).await?;
    let (read, rows) = (read(&api, &position).await?, rows(&views).await?);
    ensure!(rows[0].len() >= SOLD as usize, "{rows:?}");

    rows_are_deleted(&stack, &api, &views).await?;
    tables_are_emptied(&stack, &api, &views).await?;
    for view in &views {
        let unforced = ["flip", view.name()];
        let number = view.build_beside(&stack).await?;
        let (code, refused) = replay(&stack, &unforced).await?;
        ensure!(
            code == 3,
            "an unverified version was switched to: {refused}"
        );
        view.switch_to(&stack, number).await?;
    }

    ensure_whole(&stack).await?;
    let mended = [
        View::current(&stack, &projections::SALES, &SALES_ORDERS).await?,
        View::current(&stack, &projections::ORDERS, &ORDERS).await?,
    ];
    ensure!(self::rows(&mended).await? == rows, "other rows than before");
    let again = self::read(&api, &position).await?;
    ensure!(again == read, "{read:?} before, {again:?} after");
    ensure!(
        self::others(&stack, &views).await? == others,
        "another projection has changed"
    );
    let filled = shop.close().await?;
    ensure!(filled > 10, "only {filled} carts");
    for view in &views {
        view.retire(&stack).await?;
    }
    every_projection_follows(&stack).await
}

/// No table is empty, so only who looks at every row sees it.
async fn rows_are_deleted(stack: &TestStack, api: &Api, views: &[View]) -> anyhow::Result<()> {
    for view in views {
        let table = view.stored();
        let delete = format!("DELETE FROM {table} WHERE order_id = '{VICTIM}'");
        view.execute(&delete).await?;
    }
    let order = format!("/v1/orders/{VICTIM}");
    api.get(&order, None).await?.expect(404)?;
    done(stack, &["restore", "sales", "orders"]).await?;
    let report = damaged(stack, &["restore", "sales", "orders", "--rows"]).await?;
    for (view, restored) in views.iter().zip(projections_of(&report)?) {
        ensure!(restored["projection"] == view.name(), "{report}");
        let wrong = restored["wrong_rows"].as_array().context("rows")?;
        ensure!(wrong.len() == 1, "{report}");
        ensure!(wrong[0]["rule"] == "read_model_differs", "{report}");
        let detail = wrong[0]["detail"].as_str().unwrap_or_default();
        let missing = format!("{} [\"{VICTIM}\"]", view.table.name);
        ensure!(
            detail.starts_with(&missing) && detail.ends_with("is not there"),
            "{report}"
        );
    }
    Ok(())
}

async fn tables_are_emptied(stack: &TestStack, api: &Api, views: &[View]) -> anyhow::Result<()> {
    for view in views {
        let (of, version) = (view.table, view.version);
        view.execute(&format!("TRUNCATE {}", view.stored())).await?;
        ensure!(view.control.is_empty(of, version).await?, "{}", of.name);
    }
    let report = damaged(stack, &["restore"]).await?;
    let restored = projections_of(&report)?;
    ensure!(restored.len() == 8, "{report}");
    for each in restored {
        let emptied: Vec<&str> = views
            .iter()
            .filter(|view| each["projection"] == view.name())
            .map(|view| view.table.name)
            .collect();
        ensure!(each["emptied_tables"] == Json::from(emptied), "{report}");
    }
    // With the next order they are not empty any more.
    sell(api, "HARMED-LATER", 1).await?;
    let report = damaged(stack, &["restore", "sales", "orders", "--rows"]).await?;
    for restored in projections_of(&report)? {
        let wrong = restored["wrong_rows"].as_array().context("rows")?;
        ensure!(wrong.len() >= SOLD as usize, "{report}");
        ensure!(
            restored["emptied_tables"] == Json::Array(vec![]),
            "{report}"
        );
    }
    Ok(())
}

/// A table of either store is dropped while it is written to: the projector stops feeding the view and
/// says why, whoever reads it is told to come again, and everything else goes on. Versions that are
/// built beside take over.
pub(crate) async fn a_dropped_table_stops_its_view_alone_until_a_version_beside_takes_over(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let position = sell(&api, "DROPPED", 2).await?;
    ensure_whole(&stack).await?;
    let views = [
        View::current(&stack, &projections::TIMELINE, &TIMELINE).await?,
        View::current(&stack, &projections::CARTS, &CART_LINES).await?,
    ];
    let reads = ["/v1/orders/DROPPED-0/timeline", "/v1/carts/DROPPED-0"];
    let mut before = Vec::new();
    for path in reads {
        before.push(api.get(path, Some(&position)).await?.expect(200)?.text);
    }
    let others = others(&stack, &views).await?;
    let shop = Shop::open(&api, "DROPPED-SHOP").await?;
    for view in &views {
        view.execute(&format!("DROP TABLE {}", view.stored()))
            .await?;
        ensure!(view.is_missing().await?, "{} is there", view.stored());
    }

    they_stop_alone(&stack, &views).await?;
    for path in reads {
        let lost = api.get(path, None).await?;
        ensure!(lost.status == 503, "{path}: {} {}", lost.status, lost.text);
    }
    let report = damaged(&stack, &["restore", "timeline", "carts"]).await?;
    for (view, restored) in views.iter().zip(projections_of(&report)?) {
        let missing = vec![view.table.physical_name(view.version)];
        ensure!(
            restored["missing_tables"] == Json::from(missing),
            "{report}"
        );
    }
    for view in &views {
        let number = view.build_beside(&stack).await?;
        view.switch_to(&stack, number).await?;
        ensure!(view.is_missing().await?, "{} is back", view.stored());
        view.retire(&stack).await?;
    }

    let filled = shop.close().await?;
    ensure!(filled > 10, "only {filled} carts");
    for (path, before) in reads.iter().zip(&before) {
        let after = api.get(path, Some(&position)).await?.expect(200)?.text;
        ensure!(*before == after, "{path}: {before} before, {after} after");
    }
    ensure_whole(&stack).await?;
    ensure!(
        self::others(&stack, &views).await? == others,
        "another projection has changed"
    );
    every_projection_follows(&stack).await
}

/// The projector says which table it misses, and feeds every other view.
async fn they_stop_alone(stack: &TestStack, views: &[View]) -> anyhow::Result<()> {
    let port = stack.stack.ports().projector();
    let url = format!("http://127.0.0.1:{port}/v1/projections");
    eventually(
        "the views without a table have stopped",
        PATIENCE,
        || async {
            let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
            let answer: Json = serde_json::from_str(&text).ok()?;
            let mut states = answer["projections"].as_array()?.iter();
            let as_it_should = |state: &Json| {
                let hit = views.iter().find(|view| state["projection"] == view.name());
                let Some(view) = hit else {
                    return state["phase"] == "following";
                };
                let table = view.table.physical_name(view.version);
                let gone = format!("{table} is gone although its positions are there");
                let reason = state["reason"].as_str().unwrap_or_default();
                state["phase"] == "stopped" && reason.contains(&gone)
            };
            states.all(as_it_should).then_some(())
        },
    )
    .await
}

/// A projection's version, and the table of it that is harmed.
pub(crate) struct View {
    of: &'static Projection,
    pub(crate) table: &'static Table,
    control: Control,
    pub(crate) version: u32,
}

impl View {
    pub(crate) async fn current(
        stack: &TestStack,
        of: &'static Projection,
        table: &'static Table,
    ) -> anyhow::Result<Self> {
        let control = control(stack, of.store).await?;
        let versions = control.versions(of.name).await?.context("versions")?;
        Ok(Self {
            of,
            table,
            control,
            version: versions.current,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.of.name
    }

    /// The table, as statements name it.
    pub(crate) fn stored(&self) -> String {
        let name = self.table.physical_name(self.version);
        match &self.control {
            Control::Postgres(_) => name,
            Control::Cassandra(_, keyspace) => format!("{keyspace}.{name}"),
        }
    }

    pub(crate) async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        match &self.control {
            Control::Postgres(pool) => pool.get().await?.batch_execute(statement).await?,
            Control::Cassandra(session, _) => {
                session.query_unpaged(statement, ()).await?;
            }
        }
        Ok(())
    }

    async fn is_missing(&self) -> anyhow::Result<bool> {
        let missing = self.control.missing_tables(self.of, self.version).await?;
        Ok(missing.contains(&self.table.physical_name(self.version)))
    }

    pub(crate) async fn build_beside(&self, stack: &TestStack) -> anyhow::Result<String> {
        let built = done(stack, &["start", self.name(), "--again"]).await?;
        ensure!(built["state"] == "live", "{built}");
        let number = built["version"].as_u64().context("a version")?;
        Ok(number.to_string())
    }

    /// By force: a comparison with what was harmed proves nothing.
    async fn switch_to(&self, stack: &TestStack, number: String) -> anyhow::Result<()> {
        let flip = ["flip", self.name(), "--to-version", &number, "--force"];
        let flipped = done(stack, &flip).await?;
        ensure!(flipped["forced"].is_string(), "{flipped}");
        ensure!(flipped["from"] == self.version, "{flipped}");
        Ok(())
    }

    pub(crate) async fn retire(&self, stack: &TestStack) -> anyhow::Result<()> {
        let number = self.version.to_string();
        let waits = ["--cursors-s", "0", "--reads-s", "1"];
        let mut retire = vec!["retire", self.name(), "--version", &number];
        retire.extend(waits);
        done(stack, &retire).await.map(drop)
    }
}

/// Our rows of all tables of each view, in one order.
async fn rows(views: &[View]) -> anyhow::Result<Vec<Vec<Row>>> {
    let mut all = Vec::with_capacity(views.len());
    for view in views {
        let mut ours = Vec::new();
        for table in view.of.tables {
            let mut take = |row: Row| {
                let mut key = row.values[..table.key_len()].iter();
                if key.any(|part| matches!(part, Value::Text(text) if text.starts_with(OURS))) {
                    ours.push(row);
                }
            };
            view.control.scan(table, view.version, &mut take).await?;
        }
        // Those sold later are in the view after alone.
        ours.retain(|row| !format!("{:?}", row.values).contains("HARMED-LATER"));
        ours.sort_by_cached_key(|row| format!("{:?}", (row.table.name, &row.values)));
        all.push(ours);
    }
    Ok(all)
}

/// What either store answers of what was sold.
async fn read(api: &Api, position: &str) -> anyhow::Result<(String, Json)> {
    let order = format!("/v1/orders/{VICTIM}");
    let order = api.get(&order, Some(position)).await?.expect(200)?;
    let report = api.get(REPORT, Some(position)).await?.expect(200)?.body;
    let mut rows = report["rows"].as_array().context("rows")?.iter();
    let sold = rows.find(|row| row["key"] == "HARMED").context("a row")?;
    ensure!(sold["orders"] == SOLD, "{sold}");
    Ok((order.text, sold.clone()))
}

/// The versions of every projection but those of `views`.
async fn others(stack: &TestStack, views: &[View]) -> anyhow::Result<Vec<(String, Versions)>> {
    let mut all = Vec::new();
    for store in [Store::Postgres, Store::Cassandra] {
        all.extend(control(stack, store).await?.all_versions().await?);
    }
    all.retain(|(name, _)| views.iter().all(|view| view.name() != name));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(all)
}

async fn ensure_whole(stack: &TestStack) -> anyhow::Result<()> {
    let whole = done(stack, &["restore", "--rows"]).await?;
    ensure!(whole["complete"] == true, "{whole}");
    for restored in projections_of(&whole)? {
        ensure!(restored["rows_checked"].as_u64() > Some(0), "{whole}");
    }
    Ok(())
}

/// What `restore` says of views that have lost something.
async fn damaged(stack: &TestStack, arguments: &[&str]) -> anyhow::Result<Json> {
    let (code, report) = replay(stack, arguments).await?;
    ensure!(code == 3, "{arguments:?} ended with {code}: {report}");
    ensure!(report["complete"] == false, "{report}");
    Ok(report)
}

fn projections_of(report: &Json) -> anyhow::Result<&Vec<Json>> {
    report["projections"].as_array().context("projections")
}

/// A shop that goes on selling meanwhile.
struct Shop {
    stop: Arc<AtomicBool>,
    filling: JoinHandle<anyhow::Result<u32>>,
}

impl Shop {
    async fn open(api: &Api, sku: &'static str) -> anyhow::Result<Self> {
        let product = stock_product(api, sku, 100, 1).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let (api, closed) = (api.clone(), Arc::clone(&stop));
        let filling = tokio::spawn(async move {
            let mut filled = 0;
            while !closed.load(Ordering::Relaxed) {
                let id = format!("{sku}-{filled}");
                fill_cart(&api, &id, sku, 1, product.position.as_deref()).await?;
                filled += 1;
            }
            Ok(filled)
        });
        Ok(Self { stop, filling })
    }

    /// Answers how many carts were filled.
    async fn close(mut self) -> anyhow::Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        (&mut self.filling).await?
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Also where a trial has failed: others come after it.
        self.stop.store(true, Ordering::Relaxed);
    }
}
