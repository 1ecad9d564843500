//! What commands stand on: settings, stores, log and codec.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use cartwright_event_log::kafka::KafkaLog;
use cartwright_events::codec::Codec;
use cartwright_projector::connect::{LateCodec, Stores, kafka_options};
use cartwright_projector::settings::Settings;
use cartwright_read_model::{PROJECTIONS, Projection, ReadModelError, Store, projection};
use cartwright_service::config;
use tokio::runtime::Runtime;

use crate::output::Output;

/// How long a store may take for what it answers at once when it is well.
const ANSWER: Duration = Duration::from_secs(30);

/// The parts of one run. Connects to nothing before it is asked to.
pub struct Context {
    /// The projector's settings, which are this tool's too.
    pub settings: Settings,
    /// Both stores.
    pub stores: Stores,
    /// Where results go.
    pub output: Output,
    codec: LateCodec,
    runtime: Runtime,
}

impl Context {
    /// Reads the settings.
    ///
    /// # Errors
    /// Settings that cannot be read or break a rule.
    pub fn new(config_file: Option<&Path>, output: Output) -> anyhow::Result<Self> {
        let settings: Settings = config::load(config_file, config::ENV_PREFIX)?;
        settings.projector.check()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self {
            stores: Stores::new(&settings, runtime.handle().clone())?,
            codec: LateCodec::new(&settings.registry.url),
            output,
            settings,
            runtime,
        })
    }

    /// Waits for what a store answers at once when it is well. One that stands still keeps its connections and says
    /// nothing.
    ///
    /// # Errors
    /// What the store said, or that it says nothing.
    pub fn ask<T>(
        &self,
        store: Store,
        question: impl Future<Output = Result<T, ReadModelError>>,
    ) -> anyhow::Result<T> {
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(ANSWER, question).await });
        match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.stores.forget_connections(store);
                let (store, seconds) = (store.name(), ANSWER.as_secs());
                bail!("{store} has not answered for {seconds} s")
            }
        }
    }

    /// Waits for what the stores' drivers do, however long it takes.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The log, to read from.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn log(&self) -> anyhow::Result<KafkaLog> {
        Ok(KafkaLog::new(kafka_options(
            &self.settings,
            "cartwright-replay",
        ))?)
    }

    /// The codec, from the registry.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub fn codec(&self) -> anyhow::Result<Codec> {
        self.codec.get().map_err(|reason| anyhow!("{reason}"))
    }

    /// The generation of the log.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.settings.projector.log_generation
    }
}

/// The projection called `name`, as this code declares it.
///
/// # Errors
/// Names those that there are.
pub fn known(name: &str) -> anyhow::Result<&'static Projection> {
    match projection(name) {
        Some(projection) => Ok(projection),
        None => {
            let names = PROJECTIONS.map(|each| each.name).join(", ");
            bail!("there is no projection {name:?}; there are {names}")
        }
    }
}
