//! The import from its beginning to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cartwright_events::Stream;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::naming::Naming;
use super::plan::Plan;
use super::read::{Reading, add_later, read};
use super::rejects::{Later, Rejects};
use super::rule::{InvoiceKind, Rule};
use super::session::Session;
use super::summary::{Outcome, Totals};
use super::text::BytesRead;
use super::{schedule, session, steps};
use crate::client::{Api, CallError, Request, RetryPolicy};
use crate::progress::{Display, Standing};

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file, plain or gzip.
    pub file: PathBuf,
    /// Receive only so many units of each SKU; as many as the file sells when not given.
    pub limit_stock: Option<i64>,
    /// Where the report of rejects goes.
    pub rejects: PathBuf,
    /// Most invoices in flight.
    pub concurrency: usize,
    /// The command-api.
    pub command_url: String,
    /// The query-api.
    pub query_url: String,
    /// What ids and references start with.
    pub namespace: String,
    /// Give up when nothing answers for so long.
    pub give_up_after: Duration,
    /// How long to wait, after the last command, for the views to hold it; zero: not at all.
    pub wait_for_views: Duration,
    /// Only read the file and say what would come of it; nothing is sent.
    pub dry_run: bool,
}

/// What an import did.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The file.
    pub file: String,
    /// SHA-256 of the file, unpacked.
    pub digest: String,
    /// Currency of all amounts; they are in its minor units.
    pub currency: &'static str,
    /// Whether nothing was sent.
    pub dry_run: bool,
    /// The figures.
    #[serde(flatten)]
    pub totals: Totals,
    /// Commands that were answered.
    pub commands: u64,
    /// Commands that were sent again because something did not answer.
    pub retries: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// The position after the last command.
    pub position: Option<String>,
    /// Whether orders and sales hold that position; none when it was not asked.
    pub views_hold_it: Option<bool>,
    /// The report of rejects.
    pub rejects_file: String,
    /// Entries in it.
    pub rejects: u64,
}

impl Summary {
    /// Whether everything that the file asks for is done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.totals.refused_invoices == 0
            && self.totals.skipped_return_units == 0
            && self.views_hold_it != Some(false)
    }

    /// The summary for people.
    #[must_use]
    pub fn text(&self) -> String {
        let totals = &self.totals;
        let pounds = |minor: i64| format!("{}.{:02} {}", minor / 100, minor % 100, self.currency);
        let mut lines = vec![
            format!(
                "orders            {} ({} lines)",
                totals.orders, totals.order_lines
            ),
            format!("units             {}", totals.units),
            format!("gross             {}", pounds(totals.gross_minor)),
            format!("refunded          {}", pounds(totals.refunded_minor)),
            format!("returned units    {}", totals.returned_units),
            format!("unmatched returns {} units", totals.unmatched_return_units),
            format!("products          {}", totals.products),
            format!("customers         {}", totals.customers),
        ];
        for (rule, rows) in totals.rejected_rows.iter().filter(|(_, rows)| **rows > 0) {
            lines.push(format!("rejected rows     {rows} {rule}"));
        }
        for (what, count) in [
            ("orders out of stock", totals.rejected_orders),
            ("invoices refused by the shop", totals.refused_invoices),
        ] {
            if count > 0 {
                lines.push(format!("not done          {count} {what}"));
            }
        }
        lines.push(format!(
            "{} commands, {} sent again, {:.1} s; {} entries in {}",
            self.commands,
            self.retries,
            self.elapsed_ms as f64 / 1000.0,
            self.rejects,
            self.rejects_file,
        ));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Imports a file.
///
/// # Errors
/// When the file or the report of rejects cannot be used, or when nothing answers for too long.
/// The import can be started again at any time; nothing is done twice.
pub async fn run(options: &Options) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let (reading, mut rejects) = read_file(options).await?;
    let Reading {
        book,
        rejected,
        digest_hex,
        ..
    } = reading;
    let plan = Plan::of(&book, options.limit_stock);
    add_unmatched(&options.file, &plan, &mut rejects)?;
    eprintln!(
        "plan: {} invoices, {} products, {} units that find no order to return to",
        book.invoices.len(),
        book.products.len(),
        plan.unmatched.iter().map(|one| one.units).sum::<i64>(),
    );
    let mut summary = Summary {
        file: options.file.display().to_string(),
        digest: digest_hex.clone(),
        currency: session::CURRENCY,
        dry_run: options.dry_run,
        totals: Totals::default(),
        commands: 0,
        retries: 0,
        elapsed_ms: 0,
        position: None,
        views_hold_it: None,
        rejects_file: options.rejects.display().to_string(),
        rejects: 0,
    };
    if options.dry_run {
        let outcome = |index| match plan.is_short(index) {
            true => Outcome::OutOfStock,
            false => Outcome::Done,
        };
        summary.totals = Totals::of(&book, &plan, &rejected, outcome, |_, _| true);
    } else {
        let commands = api(&options.command_url, options)?;
        let naming = Naming::new(&options.namespace, rand::random());
        let limit = options.limit_stock;
        let session = Session::new(commands, book, plan, naming, limit, digest_hex);
        let session = send(session, options).await?;
        summarise(&session, &rejected, &mut summary);
        add_later(&options.file, &session.refusals(), &mut rejects)?;
        summary.views_hold_it = wait_for_views(&session, options).await?;
    }
    rejects.flush().context("the report of rejects")?;
    summary.rejects = rejects.written();
    summary.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

async fn read_file(options: &Options) -> anyhow::Result<(Reading, Rejects)> {
    let progress: Arc<BytesRead> = Arc::default();
    let (path, report) = (options.file.clone(), options.rejects.clone());
    let read_to = Arc::clone(&progress);
    let reading = tokio::task::spawn_blocking(move || {
        read(&path, &read_to, |columns| Rejects::create(&report, columns))
    });
    let standing = || Standing {
        done: progress.done.load(Ordering::Relaxed) / 1024,
        total: progress.total.load(Ordering::Relaxed) / 1024,
        note: None,
    };
    let display = Display {
        title: "reading",
        unit: "KiB",
    };
    let read = display.during(standing, reading).await?;
    read.with_context(|| options.file.display().to_string())
}

fn add_unmatched(file: &Path, plan: &Plan, rejects: &mut Rejects) -> anyhow::Result<()> {
    let unmatched = plan.unmatched.iter();
    let later: Later = unmatched
        .map(|one| {
            (
                one.row,
                (Rule::UnmatchedReturn, format!("{} units", one.units)),
            )
        })
        .collect();
    add_later(file, &later, rejects).with_context(|| file.display().to_string())
}

fn api(url: &str, options: &Options) -> anyhow::Result<Api> {
    let policy = RetryPolicy {
        give_up_after: options.give_up_after,
        ..RetryPolicy::default()
    };
    Api::new(url, policy).context("HTTP client")
}

async fn send(session: Session, options: &Options) -> anyhow::Result<Arc<Session>> {
    let session = Arc::new(session);
    let gave_up = || format!("{}: {AGAIN}", options.command_url);
    send_products(&session, options)
        .await
        .with_context(gave_up)?;
    send_invoices(&session, options)
        .await
        .with_context(gave_up)?;
    Ok(session)
}

const AGAIN: &str = "the import stopped; start it again to go on, nothing is done twice";

async fn send_products(session: &Arc<Session>, options: &Options) -> Result<(), CallError> {
    let count = u32::try_from(session.book.products.len()).unwrap_or(u32::MAX);
    let work = futures::stream::iter(0..count)
        .map(|sku| async move {
            steps::product(session, sku).await?;
            session.done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .buffer_unordered(options.concurrency)
        .try_collect::<()>();
    let display = Display {
        title: "catalog",
        unit: "products with their stock",
    };
    display.during(standing(session, count), work).await
}

async fn send_invoices(session: &Arc<Session>, options: &Options) -> Result<(), CallError> {
    session.done.store(0, Ordering::Relaxed);
    let count = u32::try_from(session.book.invoices.len()).unwrap_or(u32::MAX);
    let catalog: Arc<str> = session.position_of(Stream::Product).to_string().into();
    let lanes = |index| {
        let invoice = session.invoice(index);
        schedule::lanes(&session.book, &session.plan, session.limit_stock, invoice)
    };
    let work = |index| {
        let (session, catalog) = (Arc::clone(session), Arc::clone(&catalog));
        async move {
            steps::invoice(&session, index, &catalog).await?;
            session.done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    let display = Display {
        title: "orders",
        unit: "invoices",
    };
    let run = schedule::run(count, options.concurrency, lanes, work);
    display.during(standing(session, count), run).await
}

fn standing(session: &Session, total: u32) -> impl Fn() -> Standing {
    move || Standing {
        done: session.done.load(Ordering::Relaxed),
        total: total.into(),
        note: session
            .commands
            .pulse()
            .trouble()
            .map(|trouble| format!("waiting, {} tries: {}", trouble.failures, trouble.reason)),
    }
}

fn summarise(session: &Session, rejected: &BTreeMap<Rule, u64>, summary: &mut Summary) {
    summary.totals = Totals::of(
        &session.book,
        &session.plan,
        rejected,
        |index| session.outcome(index),
        |cancellation, order| !session.is_refused_return(cancellation, order),
    );
    let pulse = session.commands.pulse();
    summary.commands = pulse.answers();
    summary.retries = pulse.retries();
    summary.position = Some(session.position().to_string());
}

/// Asks the orders and the sales for the last position, until both hold it. What inventory did in answer to
/// the commands has positions of its own, which nobody is told of.
async fn wait_for_views(session: &Session, options: &Options) -> anyhow::Result<Option<bool>> {
    // Both views fold orders, and nothing else.
    let position = session.position_of(Stream::Order);
    if options.wait_for_views.is_zero() || position.seqs.is_empty() {
        return Ok(None);
    }
    let position = position.to_string();
    let policy = RetryPolicy {
        give_up_after: options.wait_for_views,
        ..RetryPolicy::default()
    };
    let views = Api::new(&options.query_url, policy).context("HTTP client")?;
    let report = format!(
        "/v1/reports/sales?by=country&currency={}&limit=1",
        session::CURRENCY
    );
    let mut reads = vec![report];
    let is_order = |index: &u32| {
        session.invoice(*index).kind == InvoiceKind::Sale
            && session.outcome(*index) == Outcome::Done
    };
    let invoices = u32::try_from(session.book.invoices.len()).unwrap_or(u32::MAX);
    if let Some(order) = (0..invoices).rev().find(is_order) {
        reads.push(format!("/v1/orders/{}", session.order_id(order)));
    }
    for path in reads {
        match views.call(&Request::get(path).at(&*position)).await {
            Ok(_) => {}
            Err(CallError::GaveUp { last, .. }) => {
                eprintln!("views: do not hold {position} yet: {last}");
                return Ok(Some(false));
            }
            Err(CallError::Refused(problem)) => bail!("{}: {problem}", options.query_url),
        }
    }
    eprintln!(
        "views: orders and sales hold everything that was sent ({position}); stock may still follow"
    );
    Ok(Some(true))
}
