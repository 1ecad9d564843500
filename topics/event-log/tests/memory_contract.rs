//! The model keeps the contract, with polls that return at once and with polls
//! that wait.

use std::sync::atomic::{AtomicU32, Ordering};

use cartwright_event_log::contract;
use cartwright_event_log::memory::MemoryLog;

fn run(log: &MemoryLog) {
    let created = AtomicU32::new(0);
    let make_topic = |hint: &str, partitions: u32| {
        let topic = format!("{hint}.{}", created.fetch_add(1, Ordering::Relaxed));
        log.create_topic(&topic, partitions);
        topic
    };
    let passed = contract::run_all(log, &make_topic);
    assert_eq!(passed, contract::names::<MemoryLog>());
}

#[test]
fn the_model_for_one_thread_keeps_the_contract() {
    run(&MemoryLog::new());
}

#[test]
fn the_model_for_several_threads_keeps_the_contract() {
    run(&MemoryLog::waiting());
}
