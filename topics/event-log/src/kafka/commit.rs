//! Committing through the C call.
//!
//! rust-rdkafka's `commit_transaction` first flushes with a timeout of 0 and
//! then polls for 100 ms at a time, so that every commit takes 100 ms, even
//! with nothing left to deliver. Here every delivery has been awaited before,
//! and librdkafka's own flush returns at once: the commit takes well under a
//! millisecond. This is the crate's only unsafe code.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::bindings as rdsys;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;

use super::context::ProducerContext;
use super::failure::Failure;

/// Commits the open transaction of a producer, waiting up to `timeout`.
pub(super) fn commit_transaction(
    client: &Client<ProducerContext>,
    timeout: Duration,
) -> Result<(), Failure> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` owns the handle and outlives the call; librdkafka's
    // functions may be called from any thread.
    let error = unsafe { rdsys::rd_kafka_commit_transaction(client.native_ptr(), timeout_ms) };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null error is ours until it is destroyed below, and not
    // used after that. Its string lives as long as it does, ends with a NUL, and
    // is copied.
    let failure = unsafe {
        let failure = Failure {
            code: RDKafkaErrorCode::from(rdsys::rd_kafka_error_code(error)),
            fatal: rdsys::rd_kafka_error_is_fatal(error) != 0,
            text: CStr::from_ptr(rdsys::rd_kafka_error_string(error))
                .to_string_lossy()
                .into_owned(),
        };
        rdsys::rd_kafka_error_destroy(error);
        failure
    };
    Err(failure)
}
