//! A transaction that the broker itself never ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cartwright_event_log::kafka::{KafkaLog, KafkaOptions};
use cartwright_event_log::{EventLog, LogWriter, OpenTransaction, TopicPartition};
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_local::Part;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const ID: &str = "left-hanging";
/// Sessions that are tried: on a busy machine the broker may be registered anew before its coordinator
/// gives the transaction up, and then ends it as it should.
const SESSIONS_MS: [u32; 4] = [9_000, 20_000, 40_000, 9_000];
/// How long it may take beyond that until the transaction is seen to hang.
const BOOT: Duration = Duration::from_secs(40);

/// The broker is killed while a transaction is open, and comes back with a session so long that its
/// coordinator gives the transaction up before the broker is registered anew: then the marker is lost.
pub(crate) async fn a_transaction_that_a_killed_broker_left_hanging_is_ended(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let mut tries = SESSIONS_MS.iter();
    let ended = loop {
        let session_ms = tries.next();
        let session_ms = session_ms.context("the broker ended the transaction each time")?;
        if let Some(open) = leave_hanging(&stack, *session_ms).await? {
            break open;
        }
    };
    ensure!(ended.is_empty(), "a take-over of the id ends it: {ended:?}");
    Ok(())
}

/// What is open after a take-over of the id of a transaction that hung; `None` when the broker ended it.
async fn leave_hanging(
    stack: &TestStack,
    session_ms: u32,
) -> anyhow::Result<Option<Vec<OpenTransaction>>> {
    let at = TopicPartition::new("catalog.inbox.v1", 0);
    let bootstrap = stack.stack.bootstrap();
    let left_open = spawn_blocking({
        let (at, bootstrap) = (at.clone(), bootstrap.clone());
        move || leave_open(&at, &bootstrap)
    })
    .await?;

    let command = command_of(stack)?;
    ensure!(
        stack.stack.kill(Part::Kafka).await,
        "the broker was running"
    );
    let slow = Restarted::new(
        command,
        &[
            "--override",
            &format!("broker.session.timeout.ms={session_ms}"),
        ],
        &stack.stack.config().log_file(Part::Kafka),
    )?;
    let limit = BOOT + Duration::from_millis(session_ms.into());
    let hangs = eventually("the transaction hangs", limit, || async {
        let (at, bootstrap) = (at.clone(), bootstrap.clone());
        let open = spawn_blocking(move || open_on(&at, &bootstrap));
        let open = open.await.ok()?.pop()?;
        // Ended, as its coordinator believes.
        (open.transactional_id.as_deref() == Some(ID) && open.open_ms.is_none()).then_some(())
    })
    .await;
    drop(left_open);
    let ended = match hangs {
        Ok(()) => spawn_blocking(move || take_over(&at, &bootstrap))
            .await
            .map(Some),
        Err(_) => Ok(None),
    };
    drop(slow);
    stack.stack.start(Part::Kafka).await?;
    ended
}

async fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn leave_open(at: &TopicPartition, bootstrap: &str) -> anyhow::Result<BaseProducer> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", ID)
        .set("transaction.timeout.ms", "1000")
        .set("message.timeout.ms", "1000")
        .create()?;
    producer.init_transactions(PATIENCE)?;
    producer.begin_transaction()?;
    let record = BaseRecord::<[u8], [u8]>::to(&at.topic)
        .partition(i32::try_from(at.partition)?)
        .payload(b"left open");
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;
    Ok(producer)
}

fn open_on(at: &TopicPartition, bootstrap: &str) -> anyhow::Result<Vec<OpenTransaction>> {
    Ok(KafkaLog::new(KafkaOptions::new(bootstrap))?.open_transactions(at)?)
}

fn take_over(at: &TopicPartition, bootstrap: &str) -> anyhow::Result<Vec<OpenTransaction>> {
    let mut options = KafkaOptions::new(bootstrap);
    // Without looking, the take-over changes nothing.
    let log = KafkaLog::new(options.clone())?;
    log.writer(ID)?.take_over()?;
    let still = log.open_transactions(at)?;
    ensure!(still.len() == 1, "it hangs: {still:?}");
    options.written_topics = vec![at.topic.to_string()];
    let log = KafkaLog::new(options)?;
    log.writer(ID)?.take_over()?;
    Ok(log.open_transactions(at)?)
}

/// How the broker was started, and where.
fn command_of(stack: &TestStack) -> anyhow::Result<(Vec<String>, PathBuf)> {
    let kafka = stack.stack.pid(Part::Kafka).context("the broker runs")?;
    let proc = PathBuf::from(format!("/proc/{}", kafka.pid));
    let command = fs::read(proc.join("cmdline"))?;
    let words = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
    Ok((words.collect(), fs::read_link(proc.join("cwd"))?))
}

/// A broker that the trial runs itself; killed when dropped.
struct Restarted(Child);

impl Restarted {
    fn new(
        (words, cwd): (Vec<String>, PathBuf),
        more: &[&str],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let said = File::options().append(true).create(true).open(log)?;
        let (program, arguments) = words.split_first().context("a command")?;
        let child = Command::new(program)
            .args(arguments)
            .args(more)
            .current_dir(cwd)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
