//! The shop's own clients: import and demo, as a user runs them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_harness::TestStack;
use cartwright_local::Part;
use serde_json::Value;
use tokio::process::Command;

/// A file in the format of the real one, with everything that is odd about it, and `shift` in its
/// invoice numbers so that two files have nothing in common.
fn retail_file(name: &str, invoices: u32, shift: u32) -> anyhow::Result<PathBuf> {
    let mut text = String::from(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n",
    );
    let countries = ["United Kingdom", "France", "EIRE", "Germany"];
    for n in 0..invoices {
        let (invoice, country) = (shift + n, countries[n as usize % countries.len()]);
        let customer = if n % 7 == 0 {
            String::new()
        } else {
            format!("{}.0", shift + n % 13)
        };
        let day = 1 + n % 27;
        for line in 0..=(n % 6) {
            let sku = format!("{}{}", shift / 1000, 10 + (n + line * 3) % 17);
            let price = 85 + ((n + line) % 5) * 40;
            let (pounds, pence) = (price / 100, price % 100);
            text += &format!(
                "{invoice},{sku},\"THING {sku}, SMALL\",{},2011-03-{day:02} 10:{line:02}:00,{pounds}.{pence:02},{customer},{country}\n",
                1 + (n * line) % 12
            );
        }
        if n % 5 == 4 {
            let sku = format!("{}{}", shift / 1000, 10 + (n - 1) % 17);
            let earlier = shift + (n - 1) % 13;
            text += &format!(
                "C{invoice},{sku},THING,-2,2011-04-{day:02} 09:00:00,0.85,{earlier}.0,{country}\n"
            );
        }
    }
    text += &format!("A{shift},B,Adjust bad debt,1,2011-03-01 08:00:00,11062.06,,United Kingdom\n");
    text += &format!(
        "{},POST,POSTAGE,1,2011-03-01 08:00:00,0.001,12345.0,France\n",
        shift + 900
    );
    text += &format!(
        "{},85123A,WHITE,-3,2011-03-01 08:00:00,2.55,12345.0,France\n",
        shift + 901
    );
    text += &format!(
        "{},85123A,WHITE,3,2011-03-01 08:00:00,0.0,12345.0,France\n",
        shift + 902
    );
    text += &format!(
        "{},85123A,WHITE,many,2011-03-01 08:00:00,2.55,12345.0,France\n",
        shift + 903
    );
    let path = std::env::temp_dir().join(format!("cartwright-{name}-{}.csv", std::process::id()));
    std::fs::write(&path, text)?;
    Ok(path)
}

fn import(stack: &TestStack, file: &Path) -> Command {
    let mut command = Command::new(stack.stack.config().program("cartwright-shop"));
    command
        .args(["import", "retail"])
        .arg(file)
        .args([
            "--json",
            "--command-url",
            &stack.stack.command_url(),
            "--query-url",
            &stack.stack.query_url(),
        ])
        .arg("--rejects")
        .arg(file.with_extension("rejects.csv"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Removes what [`retail_file`] and an [`import`] of it have written.
fn discard(file: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(file.with_extension("rejects.csv"))?;
    Ok(std::fs::remove_file(file)?)
}

async fn json_of(mut command: Command) -> anyhow::Result<Value> {
    let output = command.output().await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON: {stderr}"))
}

/// What the independent script says, which also compares its tables with the running reports.
async fn totals(stack: &TestStack, file: &Path) -> anyhow::Result<Value> {
    let mut script = Command::new("python3");
    script
        .arg(
            stack
                .stack
                .config()
                .root
                .join("shop/scripts/retail_totals.py"),
        )
        .arg("--totals")
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(json_of(script).await?["totals"].take())
}

/// Rows of a report by key; only keys of the file under test, so other tests' sales don't matter.
async fn sales_by_product(stack: &TestStack, prefix: &str) -> anyhow::Result<Vec<Value>> {
    let report = stack
        .api()
        .get("/v1/reports/sales?by=product&currency=GBP&limit=5000", None)
        .await?
        .expect(200)?;
    let rows = report.body["rows"].as_array().context("no rows")?;
    let ours = |row: &&Value| {
        row["key"]
            .as_str()
            .is_some_and(|key| key.starts_with(prefix))
    };
    Ok(rows.iter().filter(ours).cloned().collect())
}

fn sum(rows: &[Value], field: &str) -> i64 {
    rows.iter().filter_map(|row| row[field].as_i64()).sum()
}

fn same_totals(imported: &Value, script: &Value) -> anyhow::Result<()> {
    for field in [
        "orders",
        "order_lines",
        "units",
        "gross_minor",
        "refunded_minor",
        "returned_units",
        "unmatched_return_units",
        "products",
        "customers",
        "rejected_rows",
    ] {
        ensure!(
            imported[field] == script[field],
            "{field}: {} and {}",
            imported[field],
            script[field]
        );
    }
    ensure!(
        imported["orders"].as_i64() > Some(0) && imported["returned_units"].as_i64() > Some(0),
        "{imported}"
    );
    Ok(())
}

pub(crate) async fn an_import_gives_the_totals_of_an_independent_script_and_a_second_one_changes_nothing(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let file = retail_file("import", 120, 71_000)?;
    let imported = json_of(import(&stack, &file)).await?;
    let script = totals(&stack, &file).await?;
    same_totals(&imported, &script)?;
    let rows = sales_by_product(&stack, "71").await?;
    ensure!(
        sum(&rows, "gross_minor") == imported["gross_minor"],
        "{} and {imported}",
        sum(&rows, "gross_minor")
    );
    ensure!(
        sum(&rows, "refunded_minor") == imported["refunded_minor"],
        "{imported}"
    );
    ensure!(
        sum(&rows, "returned_units") == imported["returned_units"],
        "{imported}"
    );
    let again = json_of(import(&stack, &file)).await?;
    same_totals(&again, &script)?;
    ensure!(
        again["position"] == imported["position"],
        "nothing was written: {} and {}",
        again["position"],
        imported["position"]
    );
    ensure!(
        sales_by_product(&stack, "71").await? == rows,
        "a second import changes nothing"
    );
    discard(&file)?;
    Ok(())
}

pub(crate) async fn with_limited_stock_orders_are_rejected_and_nothing_is_oversold(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    const LIMIT: i64 = 40;
    let file = retail_file("limited", 120, 73_000)?;
    let mut command = import(&stack, &file);
    command.args(["--limit-stock", &LIMIT.to_string()]);
    let imported = json_of(command).await?;
    discard(&file)?;
    for outcome in ["orders", "rejected_orders"] {
        ensure!(imported[outcome].as_i64() > Some(0), "{imported}");
    }
    let rows = sales_by_product(&stack, "73").await?;
    ensure!(
        sum(&rows, "gross_minor") == imported["gross_minor"],
        "{imported}"
    );
    for row in &rows {
        let units = |field: &str| row[field].as_i64().context("no number");
        let kept = units("units")? - units("returned_units")?;
        ensure!(kept <= LIMIT, "more than there was: {row}");
    }
    Ok(())
}

pub(crate) async fn an_import_survives_the_death_of_every_process(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let file = retail_file("survivor", 900, 72_000)?;
    let mut command = import(&stack, &file);
    command.args(["--concurrency", "4"]);
    let running = tokio::spawn(json_of(command));
    for part in [Part::CommandApi, Part::Projector, Part::Kafka] {
        // Not before the import is under way again.
        let before = sum(
            &sales_by_product(&stack, "72").await.unwrap_or_default(),
            "units",
        );
        cartwright_harness::eventually(
            "the import moves",
            cartwright_harness::PATIENCE,
            || async {
                let rows = sales_by_product(&stack, "72").await.ok()?;
                (sum(&rows, "units") > before || running.is_finished()).then_some(())
            },
        )
        .await?;
        ensure!(
            !running.is_finished(),
            "the import was over before {part} died: make it longer"
        );
        ensure!(stack.stack.kill(part).await, "{part} did not run");
        stack.stack.start(part).await?;
    }
    let imported = running.await??;
    let script = totals(&stack, &file).await?;
    same_totals(&imported, &script)?;
    let rows = sales_by_product(&stack, "72").await?;
    for field in ["units", "returned_units", "gross_minor", "refunded_minor"] {
        ensure!(
            sum(&rows, field) == imported[field],
            "{field}: {} and {imported}",
            sum(&rows, field)
        );
    }
    discard(&file)?;
    Ok(())
}

pub(crate) async fn the_demo_holds_its_invariants(stack: Arc<TestStack>) -> anyhow::Result<()> {
    let mut demo = Command::new(stack.stack.config().program("cartwright-shop"));
    demo.args(["demo", "--seconds", "16", "--shoppers", "60", "--json"])
        .args([
            "--command-url",
            &stack.stack.command_url(),
            "--query-url",
            &stack.stack.query_url(),
        ])
        .args([
            "--bootstrap",
            &stack.stack.bootstrap(),
            "--registry",
            &stack.stack.registry_url(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // It exits with an error when an invariant does not hold.
    json_of(demo).await.map(drop)
}
