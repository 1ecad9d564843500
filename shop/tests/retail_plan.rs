//! The rules of a retail file, held against written-out cases and against the script.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cartwright_shop::retail::import::{Options, Summary, run};
use serde_json::Value;
use support::retail_file;

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("retail-plan");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

async fn dry_run(file: PathBuf, limit_stock: Option<i64>) -> Summary {
    let rejects = file.with_extension("rejects.csv");
    let options = Options {
        file,
        limit_stock,
        rejects,
        concurrency: 1,
        command_url: "http://127.0.0.1:1".to_owned(),
        query_url: "http://127.0.0.1:1".to_owned(),
        namespace: "retail".to_owned(),
        give_up_after: Duration::ZERO,
        wait_for_views: Duration::ZERO,
        dry_run: true,
    };
    run(&options).await.unwrap()
}

const HEADER: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

async fn of_rows(name: &str, rows: &str) -> (Summary, String) {
    of_text(name, &format!("{HEADER}{rows}")).await
}

async fn of_text(name: &str, text: &str) -> (Summary, String) {
    let file = scratch(name);
    std::fs::write(&file, text).unwrap();
    let summary = dry_run(file, None).await;
    let rejects = std::fs::read_to_string(&summary.rejects_file).unwrap();
    (summary, rejects)
}

#[tokio::test]
async fn a_cancellation_takes_from_the_newest_order_first_and_pays_what_that_line_was_charged() {
    let (summary, rejects) = of_rows(
        "newest.csv",
        "1,A,Thing,5,2021-01-01 08:00:00,1.00,7.0,X\n\
         2,A,Thing,2,2021-01-02 08:00:00,3.00,7.0,X\n\
         2,A,Thing,2,2021-01-02 08:00:00,2.00,7.0,X\n\
         C3,a,Thing,-6,2021-01-03 08:00:00,9.99,7.0,X\n\
         C4,A,Thing,-9,2021-01-04 08:00:00,1.00,7.0,X\n\
         C5,A,Thing,-1,2021-01-05 08:00:00,1.00,,X\n\
         6,A,Thing,50,2021-01-06 08:00:00,1.00,7.0,X\n",
    )
    .await;
    // C3: 2 × 3.00 and 2 × 2.00 of order 2, then 2 × 1.00 of order 1. C4: the 3 left of order 1.
    assert_eq!(summary.totals.returned_units, 9);
    assert_eq!(summary.totals.refunded_minor, 600 + 400 + 200 + 300);
    assert_eq!(summary.totals.unmatched_return_units, 6 + 1);
    assert!(
        rejects.contains("6,unmatched-return,6 units,C4,"),
        "{rejects}"
    );
    assert!(
        rejects.contains("7,unmatched-return,1 units,C5,"),
        "{rejects}"
    );
    assert_eq!(summary.rejects, 2);
}

#[tokio::test]
async fn rows_of_one_sku_and_price_are_one_line_and_a_rejected_row_still_dates_its_invoice() {
    let (summary, rejects) = of_rows(
        "lines.csv",
        "10,B,,1,2021-01-01 09:00:00,0,,X\n\
         11,B,,4,2021-01-01 09:00:00,1.10,,X\n\
         10,B,,2,2021-01-01 09:05:00,1.10,8.0,X\n\
         10, b ,First name,3,2021-01-01 09:06:00,1.1,8.0,X\n\
         10,B,Other,3,2021-01-01 09:06:00,1.2,8.0,X\n\
         A1,B,Adjust,1,2021-01-01 09:06:00,1.2,,X\n",
    )
    .await;
    let totals = &summary.totals;
    assert_eq!(
        (totals.orders, totals.order_lines, totals.units),
        (2, 3, 12)
    );
    assert_eq!(totals.gross_minor, 5 * 110 + 3 * 120 + 4 * 110);
    assert_eq!((totals.products, totals.customers), (1, 1));
    assert_eq!(totals.rejected_rows["price-not-positive"], 1);
    assert_eq!(totals.rejected_rows["not-a-sale"], 1);
    assert!(
        rejects.contains("\n2,price-not-positive,,10,B,,1,"),
        "{rejects}"
    );
}

#[tokio::test]
async fn limited_stock_leaves_out_whole_orders_in_the_order_of_the_file() {
    let file = scratch("limited.csv");
    let rows = "1,A,x,3,2021-01-01 08:00:00,1.00,7.0,X\n\
                2,A,x,3,2021-01-01 08:00:00,1.00,7.0,X\n\
                2,B,x,1,2021-01-01 08:00:00,1.00,7.0,X\n\
                3,A,x,2,2021-01-01 08:00:00,1.00,7.0,X\n\
                3,B,x,5,2021-01-01 08:00:00,1.00,7.0,X\n\
                C4,B,x,-6,2021-01-01 08:00:00,1.00,7.0,X\n";
    std::fs::write(&file, format!("{HEADER}{rows}")).unwrap();
    let totals = dry_run(file, Some(5)).await.totals;
    assert_eq!((totals.orders, totals.rejected_orders), (2, 1));
    assert_eq!(
        (totals.returned_units, totals.unmatched_return_units),
        (5, 1)
    );
}

#[tokio::test]
async fn a_reject_stands_on_its_line_whatever_ends_the_lines() {
    let text = format!(
        "{HEADER}A1,B,Adjust,1,2021-01-01 09:06:00,1.2,,X\n\
         2,B,\"Bowl,\nround\",1,2021-01-01 09:00:00,0,,X\n\
         3,B,Bowl,many,2021-01-01 09:00:00,1,,X\n"
    );
    let (plain, rejects) = of_text("plain.csv", &text).await;
    let rows: Vec<&str> = rejects
        .lines()
        .filter(|line| line.contains(",B,"))
        .collect();
    let starts = ["2,not-a-sale,", "3,price-not-positive,", "5,malformed,"];
    assert_eq!(rows.len(), starts.len(), "{rejects}");
    for (row, start) in rows.iter().zip(starts) {
        assert!(row.starts_with(start), "{rejects}");
    }
    let (returned, with_returns) = of_text("returned.csv", &text.replace('\n', "\r\n")).await;
    assert_eq!(with_returns, rejects);
    assert_ne!(
        plain.digest, returned.digest,
        "it is of the bytes as they are"
    );
}

#[tokio::test]
async fn the_script_and_the_importer_agree_on_generated_files() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/retail_totals.py");
    for seed in 1..=6 {
        let file = scratch(&format!(
            "generated-{seed}.csv{}",
            ["", ".gz"][seed as usize % 2]
        ));
        retail_file::write(&file, seed, 400);
        let summary = dry_run(file.clone(), None).await;
        let json = serde_json::to_value(&summary).unwrap();
        assert!(json["returned_units"].as_i64().unwrap() > 0);
        assert!(json["unmatched_return_units"].as_i64().unwrap() > 0);
        for (rule, rows) in json["rejected_rows"].as_object().unwrap() {
            assert_ne!(rows, &Value::from(0), "seed {seed} has no {rule}");
        }
        let saved = file.with_extension("summary.json");
        std::fs::write(&saved, json.to_string()).unwrap();
        let said = Command::new("python3")
            .arg(script)
            .arg(&file)
            .arg("--check")
            .arg(&saved)
            .output();
        let said = said.expect("python3 is needed to run the script");
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(
            said.status.success(),
            "seed {seed}: {text} {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}
