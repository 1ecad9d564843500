//! The whole system on real Kafka, Cassandra, PostgreSQL and registry: one stack, started once,
//! shared by all tests of this binary, stopped at the end whatever happens.
//!
//! The tests run one after the other: some kill parts of the stack.

mod as_of;
mod beside;
mod cancelling;
mod carried;
mod clients;
mod crashes;
mod damage;
mod following;
mod freshness;
mod hanging;
mod nodes;
mod operating;
mod poison;
mod projectors;
mod racing;
mod readers;
mod readme;
mod refused;
mod restore;
mod sale;
mod seams;
mod storm;
mod tools;
mod topics;
mod traces;
mod verifying;
mod versions;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cartwright_harness::TestStack;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

/// Several times what the longest takes on a busy machine: what hangs is named, with what the parts say.
const TRIAL_LIMIT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other, in the order below: the poison goes in last.
    arguments.test_threads = Some(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let runtime = Arc::new(Runtime::new().expect("a tokio runtime"));
    let stack = match runtime.block_on(TestStack::start()) {
        Ok(stack) => Arc::new(stack),
        Err(error) => {
            eprintln!("the test stack did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(
        &arguments,
        trials(Some((Arc::clone(&runtime), Arc::clone(&stack)))),
    );
    let stopped = Arc::into_inner(stack).map(|stack| runtime.block_on(stack.stop()));
    match stopped {
        Some(Ok(())) => conclusion.exit_code(),
        other => {
            eprintln!("the test stack did not stop: {other:?}");
            ExitCode::FAILURE
        }
    }
}

type Rig = Option<(Arc<Runtime>, Arc<TestStack>)>;

fn trials(rig: Rig) -> Vec<Trial> {
    macro_rules! trials {
        ($($module:ident :: $test:ident),* $(,)?) => {
            vec![$(trial(&rig, concat!(stringify!($module), "::", stringify!($test)), $module::$test)),*]
        };
    }
    trials![
        seams::kafka_keeps_the_contract_of_the_event_log,
        seams::both_stores_keep_the_contract_of_the_sinks,
        seams::both_stores_show_what_the_pipeline_wrote,
        topics::a_fresh_cluster_has_no_difference_to_the_plan,
        topics::a_drifted_setting_is_shown_and_put_right,
        versions::a_version_is_built_verified_flipped_to_and_the_old_one_retired_under_reads,
        versions::a_build_that_is_killed_goes_on_where_it_was_and_one_that_is_cancelled_leaves_nothing,
        versions::a_build_whose_store_is_killed_ends_as_if_it_had_not_been,
        verifying::a_row_that_was_changed_by_hand_is_found_and_nobody_switches_to_it,
        cancelling::a_build_that_is_cancelled_while_its_keys_are_made_leaves_nothing,
        cancelling::a_cancel_that_was_killed_is_finished_by_the_same_command,
        racing::of_changes_to_versions_at_the_same_moment_one_is_taken,
        operating::a_build_is_planned_held_resumed_and_tried_with_a_few_keys,
        as_of::a_point_in_time_is_read_beside_the_present,
        readers::a_reader_that_cannot_say_what_it_reads_answers_and_one_that_leaves_says_so,
        tools::an_order_is_explained_and_the_log_audited,
        restore::both_stores_are_lost_and_one_command_brings_everything_back,
        restore::what_no_projector_has_read_yet_is_named,
        damage::what_was_deleted_is_told_and_versions_beside_have_it_again,
        damage::a_dropped_table_stops_its_view_alone_until_a_version_beside_takes_over,
        refused::a_projector_with_another_fold_under_the_same_number_does_not_start,
        readme::every_command_is_known_to_the_launcher,
        readme::the_commands_to_try_sell_a_mug,
        sale::a_sale_from_product_to_report,
        sale::a_price_that_changed_is_a_conflict_with_both_prices,
        sale::a_hot_item_is_never_oversold,
        sale::odd_money_is_recorded_and_due_for_refund,
        sale::duplicate_requests_have_one_effect,
        sale::bad_input_names_the_field_and_the_rule,
        clients::an_import_gives_the_totals_of_an_independent_script_and_a_second_one_changes_nothing,
        clients::with_limited_stock_orders_are_rejected_and_nothing_is_oversold,
        clients::an_import_survives_the_death_of_every_process,
        clients::the_demo_holds_its_invariants,
        freshness::a_rebuild_leaves_the_live_versions_fresh,
        crashes::command_api_dies_and_no_acknowledged_command_is_lost,
        crashes::the_projector_dies_and_the_read_model_is_as_if_it_had_not,
        projectors::a_projector_joins_and_leaves_under_load_and_every_row_is_right,
        crashes::a_process_that_stood_still_is_fenced_and_serves_again,
        crashes::a_second_owner_fences_the_first,
        hanging::a_transaction_that_a_killed_broker_left_hanging_is_ended,
        nodes::three_nodes_lose_and_refuse_nothing,
        storm::a_storm_of_poison_is_parked_read_around_and_given_up,
        poison::a_poisoned_record_is_parked_and_the_rest_goes_on,
    ]
}

/// A test as libtest knows it: runs on the shared runtime and stack.
fn trial<F, Fut>(rig: &Rig, name: &str, test: F) -> Trial
where
    F: FnOnce(Arc<TestStack>) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let rig = rig.clone();
    Trial::test(name, move || {
        let (runtime, stack) = rig.ok_or_else(|| Failed::from("no stack"))?;
        let limited = async {
            let test = tokio::time::timeout(TRIAL_LIMIT, test(Arc::clone(&stack)));
            let late = |_| anyhow::anyhow!("it has not ended after {TRIAL_LIMIT:?}");
            test.await.map_err(late)?
        };
        runtime
            .block_on(limited)
            .map_err(|error| Failed::from(format!("{error:#}\n{}", stack.complaints())))
    })
}
