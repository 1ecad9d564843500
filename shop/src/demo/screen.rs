//! What is seen while the demo runs: one screen that redraws itself on a terminal, plain lines
//! elsewhere. Both go to standard error.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::floor::{Floor, Told};
use super::run::Options;

const REDRAW_EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Lines of news on the screen.
const NEWS_LINES: usize = 6;

/// A running display.
pub struct Screen {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
    note: Arc<Mutex<String>>,
}

impl Screen {
    /// Starts to show the floor.
    #[must_use]
    pub fn start(floor: &Arc<Floor>, options: &Options) -> Self {
        let (end, ended) = watch::channel(false);
        let note: Arc<Mutex<String>> = Arc::default();
        let (shown, open_for) = (Arc::clone(&note), options.open_for);
        let floor = Arc::clone(floor);
        let task = tokio::spawn(async move {
            if std::io::stderr().is_terminal() {
                redraw(&floor, open_for, &shown, ended).await;
            } else {
                print_lines(&floor, ended).await;
            }
        });
        Self { end, task, note }
    }

    /// Says what is being done now.
    pub fn note(&self, text: &str) {
        let mut note = self
            .note
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        text.clone_into(&mut note);
    }

    /// Ends the display; the last picture stays.
    pub async fn stop(self) {
        self.end.send_replace(true);
        // A display that broke down has nothing left to say.
        let _ = self.task.await;
    }
}

async fn redraw(
    floor: &Floor,
    open_for: Duration,
    note: &Mutex<String>,
    mut ended: watch::Receiver<bool>,
) {
    let mut drawn = 0;
    loop {
        let over = tokio::time::timeout(REDRAW_EVERY, ended.wait_for(|over| *over))
            .await
            .is_ok();
        let note = note
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone();
        let picture = picture(floor, open_for, &note);
        let mut out = std::io::stderr().lock();
        // Up to the first line of the last picture, and everything below it away.
        let up = if drawn > 0 {
            format!("\x1b[{drawn}F\x1b[J")
        } else {
            String::new()
        };
        let _ = write!(out, "{up}{}", picture.join("\n") + "\n");
        let _ = out.flush();
        drawn = picture.len();
        if over {
            return;
        }
    }
}

async fn print_lines(floor: &Floor, mut ended: watch::Receiver<bool>) {
    let mut told = 0;
    let mut since_figures = Duration::ZERO;
    loop {
        let over = tokio::time::timeout(REDRAW_EVERY, ended.wait_for(|over| *over))
            .await
            .is_ok();
        for news in floor.told(told) {
            told += 1;
            eprintln!("{}", line(&news));
        }
        since_figures += REDRAW_EVERY;
        if since_figures >= LINE_EVERY || over {
            since_figures = Duration::ZERO;
            eprintln!(
                "{:>6.1} s  {}",
                floor.started.elapsed().as_secs_f64(),
                orders(floor)
            );
        }
        if over {
            return;
        }
    }
}

fn picture(floor: &Floor, open_for: Duration, note: &str) -> Vec<String> {
    let elapsed = floor.started.elapsed();
    let share = elapsed.as_secs_f64() / open_for.as_secs_f64().max(0.1);
    let full = (share.min(1.0) * 40.0) as usize;
    let (all, visible) = (floor.stats.all_commands(), floor.stats.visibility());
    let rate = all.count as f64 / elapsed.as_secs_f64().max(0.1);
    let mut lines = vec![
        format!(
            "Cartwright demo {}   [{:<40}] {:>4.0} s",
            floor.run,
            "=".repeat(full),
            elapsed.as_secs_f64()
        ),
        format!("  orders    {}", orders(floor)),
        format!(
            "  commands  {} ({rate:.0}/s), p50 {:.1} ms, p99 {:.1} ms",
            all.count, all.p50_ms, all.p99_ms
        ),
        format!(
            "  in reads  after p50 {:.1} ms, p99 {:.1} ms ({} reads)",
            visible.p50_ms, visible.p99_ms, visible.count
        ),
        format!("  refused   {}", counts(floor.stats.refusals())),
    ];
    if let Some(trouble) = floor.commands.pulse().trouble() {
        lines.push(format!(
            "  waiting   {} tries: {}",
            trouble.failures, trouble.reason
        ));
    }
    let told = floor.told(0);
    lines.extend(told.iter().rev().take(NEWS_LINES).rev().map(line));
    if !note.is_empty() {
        lines.push(format!("  {note}"));
    }
    lines
}

fn line(news: &Told) -> String {
    format!("{:>6.1} s  {}", news.at.as_secs_f64(), news.text)
}

fn orders(floor: &Floor) -> String {
    counts(floor.outcomes())
}

fn counts<K: std::fmt::Display>(counts: impl IntoIterator<Item = (K, u64)>) -> String {
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    if counts.is_empty() {
        "none yet".to_owned()
    } else {
        counts.join(", ")
    }
}
