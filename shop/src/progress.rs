//! Progress on standard error: a bar on a terminal, a plain line now and then elsewhere.

use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BAR_EVERY: Duration = Duration::from_millis(150);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far something is.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Done so far.
    pub done: u64,
    /// Out of.
    pub total: u64,
    /// What is to be said beside it.
    pub note: Option<String>,
}

/// What a display says and how.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    /// What is being done, one word.
    pub title: &'static str,
    /// What is being counted, in the plural.
    pub unit: &'static str,
}

impl Display {
    /// Runs `work` and shows how far it is.
    pub async fn during<T>(
        self,
        standing: impl Fn() -> Standing,
        work: impl Future<Output = T>,
    ) -> T {
        let terminal = std::io::stderr().is_terminal();
        let bar = terminal.then(|| self.bar());
        let mut tick = tokio::time::interval(if terminal { BAR_EVERY } else { LINE_EVERY });
        tick.tick().await;
        let started = Instant::now();
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = tick.tick() => match &bar {
                    Some(bar) => draw(bar, &standing(), started.elapsed()),
                    None => eprintln!("{}", self.line(&standing(), started.elapsed())),
                }
            }
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        eprintln!("{}", self.last_line(&standing(), started.elapsed()));
        result
    }

    fn bar(self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // The template is a constant; a bad one would only look plain.
        if let Ok(style) = ProgressStyle::with_template("{prefix:>9} [{bar:32}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(self.title);
        bar
    }

    fn line(self, standing: &Standing, elapsed: Duration) -> String {
        format!(
            "{}: {} {}",
            self.title,
            self.unit,
            figures(standing, elapsed)
        )
    }

    fn last_line(self, standing: &Standing, elapsed: Duration) -> String {
        format!(
            "{}: {} of {} {} in {:.1} s ({:.0}/s)",
            self.title,
            standing.done,
            standing.total,
            self.unit,
            elapsed.as_secs_f64(),
            rate(standing.done, elapsed),
        )
    }
}

fn draw(bar: &ProgressBar, standing: &Standing, elapsed: Duration) {
    bar.set_length(standing.total);
    bar.set_position(standing.done);
    bar.set_message(figures(standing, elapsed));
    bar.tick();
}

fn figures(standing: &Standing, elapsed: Duration) -> String {
    let Standing { done, total, note } = standing;
    let rate = rate(*done, elapsed);
    let eta = match total.saturating_sub(*done) {
        left if rate > 0.0 => clock(left as f64 / rate),
        _ => "--:--".to_owned(),
    };
    let note = note
        .as_deref()
        .map(|note| format!("  {note}"))
        .unwrap_or_default();
    format!("{done}/{total}  {rate:.0}/s  ETA {eta}{note}")
}

fn rate(done: u64, elapsed: Duration) -> f64 {
    done as f64 / elapsed.as_secs_f64().max(1e-3)
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_rate_and_time_left() {
        let standing = Standing {
            done: 50,
            total: 200,
            note: None,
        };
        let text = figures(&standing, Duration::from_secs(10));
        assert_eq!(text, "50/200  5/s  ETA 00:30");
        let nothing = figures(&Standing::default(), Duration::ZERO);
        assert_eq!(nothing, "0/0  0/s  ETA --:--");
    }
}
