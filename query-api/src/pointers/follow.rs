//! Following the versions, and saying which one is read.

use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::control::{Control, Reader};
use cartwright_read_model::versions::Versions;
use cartwright_read_model::{PROJECTIONS, ReadModelError, Store, declaration};

use crate::app::App;

/// How often a reader repeats what it has said.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// How long saying so may hold up the next look.
const SAY_LIMIT: Duration = Duration::from_secs(1);

/// Follows the versions in one store, for as long as somebody may be answered.
pub async fn follow(app: App, store: Store) {
    let every = app.settings.pointer_poll();
    let mut said: Option<Instant> = None;
    loop {
        if let Some(control) = app.stores().control(store) {
            let repeat = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
            // A look that hangs must not keep the next one from being made.
            let look = look(&app, &control, repeat);
            match tokio::time::timeout(app.settings.store_timeout(), look).await {
                Ok(Ok(news)) => {
                    // What cannot be said is said again, and keeps nobody from being answered.
                    let says = say(&app, &control, &news);
                    match tokio::time::timeout(SAY_LIMIT, says).await {
                        Ok(true) if repeat => said = Some(Instant::now()),
                        Ok(true) => {}
                        Ok(false) => said = None,
                        Err(_) => {
                            said = None;
                            app.stores().forget_control(store);
                        }
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "the versions were not seen"),
                Err(_) => {
                    tracing::debug!(store = store.name(), "the versions were not seen");
                    app.stores().forget_control(store);
                }
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Says that this reader is gone, so that nobody waits for it.
///
/// # Errors
/// What the store said.
pub async fn leave(app: &App, store: Store) -> Result<(), ReadModelError> {
    let Some(control) = app.stores().control(store) else {
        return Ok(());
    };
    for each in PROJECTIONS.iter().filter(|each| each.store == store) {
        control.forget_reader(each.name, &app.instance).await?;
    }
    Ok(())
}

/// Takes in what the store says of every projection; answers what is to be said about: the news, or
/// everything.
async fn look(
    app: &App,
    control: &Control,
    everything: bool,
) -> Result<Vec<(String, Versions)>, ReadModelError> {
    let began = Instant::now();
    let mut to_say = Vec::new();
    for (name, versions) in control.all_versions().await? {
        let before = app.pointers.known(&name);
        let is_news = before.is_none_or(|before| before.current != versions.current);
        if is_news {
            // So that the first reads of a version find its statements prepared.
            prepare(app, &name, &versions).await;
            tracing::info!(projection = name, version = versions.current, "is read");
        }
        let news = app.pointers.learn(&name, versions.clone(), began);
        if news || everything {
            to_say.push((name, versions));
        }
    }
    Ok(to_say)
}

/// Says of each of these that this reader has seen it; answers whether all of it was taken.
async fn say(app: &App, control: &Control, seen: &[(String, Versions)]) -> bool {
    let mut all_said = true;
    for (name, versions) in seen {
        let reader = reader(app, versions);
        if let Err(error) = control.say(name, &reader).await {
            tracing::debug!(%error, projection = name, "could not say what is read");
            all_said = false;
        }
    }
    all_said
}

fn reader(app: &App, versions: &Versions) -> Reader {
    Reader {
        instance: app.instance.clone(),
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

#[cfg(test)]
mod tests {
    use cartwright_service::config::load_from;
    use std::path::Path;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A server of PostgreSQL's protocol lets somebody in, and is ready for queries.
    const WELCOME: [u8; 15] = *b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

    #[tokio::test]
    async fn a_look_that_hangs_is_not_what_the_next_one_queues_behind() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let settings = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [postgres]\nurl = \"postgres://somebody@127.0.0.1:{port}/nothing\"\n\
             [cassandra]\nnodes = [\"127.0.0.1:1\"]\n\
             [query]\nstore_timeout_ms = 50\npointer_poll_ms = 10\n"
        );
        let file = Some((Path::new("query-api.toml"), settings.as_str()));
        let app = App::new(&load_from(file, "CARTWRIGHT__", []).unwrap()).unwrap();
        // It lets everybody in, and never answers.
        let (let_in, mut connections) = mpsc::channel(2);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let _ = client.read(&mut [0; 1_024]).await;
                let _ = client.write_all(&WELCOME).await;
                let _ = let_in.send(client).await;
            }
        });
        let following = tokio::spawn(follow(app, Store::Postgres));
        let first = tokio::time::timeout(PATIENCE, connections.recv()).await;
        let next = tokio::time::timeout(PATIENCE, connections.recv()).await;
        following.abort();
        first.expect("a look").expect("a connection");
        next.expect("a look").expect("a connection of its own");
    }
}
