//! Points in time, read beside the present.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_events::Timestamp;
use cartwright_harness::{Api, PATIENCE, TestStack, eventually};

use crate::sale::fill_cart;
use crate::versions::{done, replay, sell, tool};

/// Views as of a moment, given as a position or as a time, stay what they were while the present goes
/// on.
pub(crate) async fn a_point_in_time_is_read_beside_the_present(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let api = stack.api();
    let position = sell(&api, "ASOF", 3).await?;
    let report = "/v1/reports/sales?by=product&currency=GBP";
    let then = api.get(report, Some(&position)).await?.expect(200)?.body;
    let moment = Timestamp::now().to_string();

    let start = ["start", "timeline", "--until", &position, "--name", "then"];
    let built = done(&stack, &start).await?;
    let again = done(&stack, &start).await?;
    ensure!(
        again["state"] == "frozen" && again["version"] == built["version"],
        "{built}, and again {again}"
    );
    let number = built["version"].as_u64().context("a version")?.to_string();
    let whole = ["start", "timeline", "--to-version", &number];
    let (code, other) = replay(&stack, &whole).await?;
    ensure!(code == 3, "a point in time is not the whole: {other}");
    let another = [
        "start",
        "timeline",
        "--until",
        "2011-01-01T00:00:00Z",
        "--name",
        "then",
    ];
    let (code, taken) = replay(&stack, &another).await?;
    ensure!(code == 3, "another cut under that name: {taken}");
    for projection in ["carts", "sales"] {
        let start = ["start", projection, "--until", &moment, "--name", "then"];
        done(&stack, &start).await?;
    }
    fill_cart(&api, "ASOF-later", "ASOF", 1, None).await?;
    let later = sell(&api, "ASOF-MORE", 1).await?;
    let past_report = format!("{report}&as_of=then");
    for path in [
        past_report.as_str(),
        "/v1/orders/ASOF-0/timeline?as_of=then",
        "/v1/carts/ASOF-0?as_of=then",
        "/v1/orders/ASOF-later/timeline",
        "/v1/carts/ASOF-later",
    ] {
        is_there(&api, path).await?;
    }
    let past = api.get("/v1/carts/ASOF-later?as_of=then", None).await?;
    past.expect(404)?;
    let past = api.get(&past_report, None).await?.expect(200)?.body;
    ensure!(past == then, "{past} is not what it was: {then}");
    let now = api.get(report, Some(&later)).await?.expect(200)?.body;
    ensure!(now != then, "nothing was sold since");
    let unknown = api.get("/v1/orders/ASOF-0/timeline?as_of=never", None);
    unknown.await?.expect(422)?;

    a_time_before_the_log_is_warned_of(&stack).await
}

async fn is_there(api: &Api, path: &str) -> anyhow::Result<()> {
    eventually(path, PATIENCE, || async {
        let answer = api.get(path, None).await.ok()?;
        answer.status.is_success().then_some(())
    })
    .await
}

async fn a_time_before_the_log_is_warned_of(stack: &TestStack) -> anyhow::Result<()> {
    let (time, name) = ("2011-01-01T00:00:00Z", "ancient");
    let start = ["start", "timeline", "--until", time, "--name", name];
    let output = tool(stack, &start).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.contains("holds nothing from before"),
        "{output:?}"
    );
    Ok(())
}
