//! Following the versions, and saying which one is read.

use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::control::{Control, Reader};
use cartwright_read_model::versions::Versions;
use cartwright_read_model::{PROJECTIONS, ReadModelError, Store, declaration};
use cartwright_service::shutdown::Shutdown;

use crate::app::App;

/// How often a reader repeats what it has said.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Follows the versions in one store until `shutdown`.
pub async fn follow(app: App, store: Store, instance: String, shutdown: Shutdown) {
    let every = app.settings.pointer_poll();
    let mut said: Option<Instant> = None;
    while !shutdown.is_requested() {
        if let Some(control) = app.stores().control(store) {
            // A look that hangs must not keep the next one from being made.
            let look = look(&app, &control, &instance, &mut said);
            match tokio::time::timeout(app.settings.store_timeout(), look).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the versions were not seen"),
                Err(_) => tracing::debug!(store = store.name(), "the versions were not seen"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shutdown.requested() => {}
        }
    }
}

/// Says that this reader is gone, so that nobody waits for it.
///
/// # Errors
/// What the store said.
pub async fn leave(app: &App, store: Store, instance: &str) -> Result<(), ReadModelError> {
    let Some(control) = app.stores().control(store) else {
        return Ok(());
    };
    for each in PROJECTIONS.iter().filter(|each| each.store == store) {
        control.forget_reader(each.name, instance).await?;
    }
    Ok(())
}

async fn look(
    app: &App,
    control: &Control,
    instance: &str,
    said: &mut Option<Instant>,
) -> Result<(), ReadModelError> {
    let began = Instant::now();
    let repeat = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
    for (name, versions) in control.all_versions().await? {
        let before = app.pointers.known(&name);
        let is_news = before.is_none_or(|before| before.current != versions.current);
        if is_news {
            // So that the first reads of a version find its statements prepared.
            prepare(app, &name, &versions).await;
            tracing::info!(projection = name, version = versions.current, "is read");
        }
        let news = app.pointers.learn(&name, versions.clone(), began);
        if news || repeat {
            control
                .say(&name, &reader(app, instance, &versions))
                .await?;
        }
    }
    if repeat {
        *said = Some(began);
    }
    Ok(())
}

fn reader(app: &App, instance: &str, versions: &Versions) -> Reader {
    Reader {
        instance: instance.to_owned(),
        revision: versions.revision,
        serves: versions.current,
        pointer_max_age_ms: app.settings.pointer_max_age_ms,
        seen_at: Timestamp::now(),
    }
}

/// What fails here fails again, and is told, when somebody reads.
async fn prepare(app: &App, name: &str, versions: &Versions) {
    let current = versions.get(versions.current);
    let declared = current.and_then(|version| declaration(name, version.declared));
    if let (Some(declared), Ok(views)) = (declared, app.stores().by_key.views())
        && declared.store == Store::Cassandra
        && let Err(error) = views.prepare(declared, versions.current).await
    {
        tracing::debug!(%error, projection = name, "not prepared");
    }
}
