use aws_sdk_scheduler::{
    error::ErrorMetadata,
    operation::{
        create_schedule::{CreateScheduleError, CreateScheduleOutput},
        create_schedule_group::{CreateScheduleGroupError, CreateScheduleGroupOutput},
        delete_schedule::DeleteScheduleOutput,
        delete_schedule_group::DeleteScheduleGroupOutput,
        get_schedule::{GetScheduleError, GetScheduleOutput, builders::GetScheduleOutputBuilder},
        get_schedule_group::{GetScheduleGroupError, GetScheduleGroupOutput},
        list_schedules::ListSchedulesOutput,
        list_tags_for_resource::ListTagsForResourceOutput,
        tag_resource::TagResourceOutput,
        update_schedule::UpdateScheduleOutput,
    },
    primitives::DateTime,
    types::{
        ActionAfterCompletion, DeadLetterConfig, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy,
        ScheduleGroupState, ScheduleState, ScheduleSummary, Tag, Target,
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::Timestamp;
use spec::Spec;
use step::{Outputs, digits};

use super::*;

const CRON: &str = "cron(0 5 ? * MON-FRI *)";
const DAY: i64 = 24 * 60 * 60;
const ARN: &str = "arn:aws:scheduler:us-east-1:123456789012:schedule-group/plinth-demo";

fn starts() -> Starts {
    Starts {
        machine: "arn:machine".to_owned(),
        role: "arn:role".to_owned(),
        dead_letters: Some("arn:queue".to_owned()),
    }
}

/// A context whose spec is rebuilt so.
fn of(operation: Operation, rebuild: &str) -> Context {
    let schedule = format!("{{ rebuild: '{rebuild}', timezone: Europe/Berlin }}");
    let spec = format!("{{ apiVersion: plinth/v1, name: demo, schedule: {schedule} }}");
    step::test::context(operation, spec::parse(&spec, None).expect("a spec"), Outputs::default())
}

fn context(operation: Operation) -> Context {
    of(operation, CRON)
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn code(code: &str, message: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).message(message).build()
}

fn no_group() -> Rule {
    mock!(Client::get_schedule_group)
        .then_error(|| GetScheduleGroupError::generic(code("ResourceNotFoundException", "no group")))
}

fn group_of(state: &ScheduleGroupState) -> GetScheduleGroupOutput {
    GetScheduleGroupOutput::builder().arn(ARN).name("plinth-demo").state(state.clone()).build()
}

fn group_in(state: ScheduleGroupState) -> Rule {
    mock!(Client::get_schedule_group)
        .match_requests(|request| request.name() == Some("plinth-demo"))
        .then_output(move || group_of(&state))
}

fn tagged(tags: Vec<(String, String)>) -> Rule {
    let tag = |(key, value): (String, String)| Tag::builder().key(key).value(value).build().expect("a tag");
    let tags: Vec<Tag> = tags.into_iter().map(tag).collect();
    mock!(Client::list_tags_for_resource)
        .match_requests(|request| request.resource_arn() == Some(ARN))
        .then_output(move || ListTagsForResourceOutput::builder().set_tags(Some(tags.clone())).build())
}

fn our_tags() -> Rule {
    tagged(context(Operation::Plan).tags("schedule").into_iter().collect())
}

fn listed(names: &'static [&'static str]) -> Rule {
    let summary = |name: &&str| ScheduleSummary::builder().name(*name).build();
    mock!(Client::list_schedules)
        .match_requests(|request| request.group_name() == Some("plinth-demo"))
        .then_output(move || {
            let schedules = names.iter().map(summary).collect();
            ListSchedulesOutput::builder().set_schedules(Some(schedules)).build().expect("schedules")
        })
}

fn target() -> aws_sdk_scheduler::types::builders::TargetBuilder {
    Target::builder()
        .arn("arn:machine")
        .role_arn("arn:role")
        .input(r#"{ "environment": "demo", "action": "rebuild" }"#)
        .dead_letter_config(DeadLetterConfig::builder().arn("arn:queue").build())
        .retry_policy(retries(20))
}

fn retries(times: i32) -> RetryPolicy {
    RetryPolicy::builder().maximum_retry_attempts(times).maximum_event_age_in_seconds(3600).build()
}

fn window(mode: FlexibleTimeWindowMode) -> FlexibleTimeWindow {
    FlexibleTimeWindow::builder().mode(mode).build().expect("a window")
}

/// The schedule as Scheduler tells of it when it is what the spec says.
fn schedule() -> GetScheduleOutputBuilder {
    GetScheduleOutput::builder()
        .schedule_expression(CRON)
        .schedule_expression_timezone("Europe/Berlin")
        .description("Rebuilds environment demo")
        .state(ScheduleState::Enabled)
        .action_after_completion(ActionAfterCompletion::None)
        .flexible_time_window(window(FlexibleTimeWindowMode::Off))
        .target(target().build().expect("a target"))
}

fn found(schedule: GetScheduleOutputBuilder) -> Rule {
    let schedule = schedule.build();
    mock!(Client::get_schedule)
        .match_requests(|request| {
            request.name() == Some("rebuild") && request.group_name() == Some("plinth-demo")
        })
        .then_output(move || schedule.clone())
}

fn no_schedule() -> Rule {
    mock!(Client::get_schedule)
        .then_error(|| GetScheduleError::generic(code("ResourceNotFoundException", "no schedule")))
}

fn scheduler(rules: &[Rule]) -> Client {
    mock_client!(aws_sdk_scheduler, RuleMode::MatchAny, &rules.iter().collect::<Vec<_>>())
}

fn calls(rules: &[Rule]) -> Vec<usize> {
    rules.iter().map(Rule::num_calls).collect()
}

fn now() -> i64 {
    DateTime::from(std::time::SystemTime::now()).secs()
}

/// Whether a moment is so many seconds from now.
fn is_in(date: Option<&DateTime>, seconds: i64) -> bool {
    date.is_some_and(|date| (date.secs() - now() - seconds).abs() < 60)
}

#[tokio::test]
async fn what_is_missing_is_made_the_group_with_our_tags_and_the_schedule_in_it() {
    let rules = [
        no_group(),
        no_schedule(),
        mock!(Client::create_schedule_group)
            .match_requests(|request| {
                let tagged = |tag: &Tag| tag.key() == "plinth:environment" && tag.value() == "demo";
                request.name() == Some("plinth-demo")
                    && request.client_token() == Some(&digits("run-schedule", 64))
                    && request.tags().iter().any(tagged)
            })
            .then_output(|| {
                CreateScheduleGroupOutput::builder().schedule_group_arn(ARN).build().expect("a group")
            }),
        mock!(Client::create_schedule)
            .match_requests(|request| {
                let target = request.target().expect("a target");
                let queue = target.dead_letter_config().and_then(DeadLetterConfig::arn);
                request.group_name() == Some("plinth-demo")
                    && request.schedule_expression() == Some(CRON)
                    && request.schedule_expression_timezone() == Some("Europe/Berlin")
                    && request.flexible_time_window() == Some(&window(FlexibleTimeWindowMode::Off))
                    && request.start_date().is_none()
                    && (target.arn(), target.role_arn(), queue)
                        == ("arn:machine", "arn:role", Some("arn:queue"))
                    && serde_json::from_str::<serde_json::Value>(target.input().unwrap_or_default())
                        .is_ok_and(|input| input["environment"] == "demo" && input["action"] == "rebuild")
                    && target.retry_policy() == Some(&retries(20))
            })
            .then_output(|| CreateScheduleOutput::builder().schedule_arn("arn").build().expect("a schedule")),
    ];
    let scheduler = scheduler(&rules);
    let planned = plan(&scheduler, &context(Operation::Plan), &starts()).await.expect("an answer");
    assert_eq!(
        planned.changes,
        [
            Change::create("schedule").with("name", "plinth-demo"),
            Change::create("schedule.rebuild").with("rebuild", CRON).with("timezone", "Europe/Berlin"),
        ]
    );
    assert_eq!(calls(&rules[2..]), [0, 0]);
    ensure(&scheduler, &context(Operation::Ensure), &starts()).await.expect("an answer");
    assert_eq!(calls(&rules[2..]), [1, 1]);
}

#[tokio::test]
async fn what_matches_is_left_alone_and_planned_as_nothing() {
    let rules = [group_in(ScheduleGroupState::Active), our_tags(), listed(&["rebuild"]), found(schedule())];
    let scheduler = scheduler(&rules);
    ensure(&scheduler, &context(Operation::Ensure), &starts()).await.expect("an answer");
    let planned = plan(&scheduler, &context(Operation::Plan), &starts()).await.expect("an answer");
    assert_eq!(planned.changes, []);
    let kept = prune(&scheduler, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(kept.changes, []);
}

#[tokio::test]
async fn a_spec_without_a_schedule_asks_for_none() {
    let scheduler = scheduler(&[no_group()]);
    ensure(&scheduler, &dropped(Operation::Ensure), &starts()).await.expect("an answer");
    let planned = plan(&scheduler, &dropped(Operation::Plan), &starts()).await.expect("an answer");
    assert_eq!(planned.changes, []);
}

#[tokio::test]
async fn each_field_that_drifted_is_planned_as_that_field_and_put_right() {
    let later = DateTime::from_secs(now() + DAY);
    let to = |target: aws_sdk_scheduler::types::builders::TargetBuilder| {
        schedule().target(target.build().expect("a target"))
    };
    let drifted = [
        ("rebuild", schedule().schedule_expression("rate(1 day)").start_date(later)),
        ("timezone", schedule().schedule_expression_timezone("UTC")),
        ("description", schedule().description("other")),
        ("state", schedule().state(ScheduleState::Disabled)),
        ("from", schedule().start_date(later)),
        ("until", schedule().end_date(later)),
        ("window", schedule().flexible_time_window(window(FlexibleTimeWindowMode::Flexible))),
        ("afterCompletion", schedule().action_after_completion(ActionAfterCompletion::Delete)),
        ("key", schedule().kms_key_arn("arn:key")),
        ("machine", to(target().arn("arn:other"))),
        ("role", to(target().role_arn("arn:other"))),
        ("input", to(target().input(r#"{ "environment": "demo" }"#))),
        ("deadLetters", to(target().set_dead_letter_config(None))),
        ("retries", to(target().retry_policy(retries(185)))),
    ];
    for (field, drifted) in drifted {
        let rules = [
            group_in(ScheduleGroupState::Active),
            our_tags(),
            listed(&["rebuild"]),
            found(drifted),
            mock!(Client::update_schedule)
                .match_requests(|request| {
                    request.schedule_expression() == Some(CRON)
                        && request.schedule_expression_timezone() == Some("Europe/Berlin")
                        && request.description() == Some("Rebuilds environment demo")
                        && request.state() == Some(&ScheduleState::Enabled)
                        && request.start_date().is_none()
                        && request.target().is_some_and(|target| target.retry_policy() == Some(&retries(20)))
                })
                .then_output(|| {
                    UpdateScheduleOutput::builder().schedule_arn("arn").build().expect("a schedule")
                }),
        ];
        let scheduler = scheduler(&rules);
        let planned = plan(&scheduler, &context(Operation::Plan), &starts()).await.expect("an answer");
        let fields: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!((planned.changes.len(), fields), (1, vec![field]));
        assert_eq!(rules[4].num_calls(), 0);
        ensure(&scheduler, &context(Operation::Ensure), &starts()).await.expect("an answer");
        assert_eq!(rules[4].num_calls(), 1, "{field}");
    }
}

#[tokio::test]
async fn a_rate_begins_one_interval_after_it_is_made() {
    let rules = [
        group_in(ScheduleGroupState::Active),
        our_tags(),
        no_schedule(),
        mock!(Client::create_schedule)
            .match_requests(|request| is_in(request.start_date(), 7 * DAY))
            .then_output(|| CreateScheduleOutput::builder().schedule_arn("arn").build().expect("a schedule")),
    ];
    let context = of(Operation::Ensure, "rate(7 days)");
    ensure(&scheduler(&rules), &context, &starts()).await.expect("an answer");
    assert_eq!(rules[3].num_calls(), 1);
}

/// What becomes of the beginning of a schedule at this rate when it is put right.
async fn begins_after_an_update(expression: &str, start: i64, wanted: i64) -> usize {
    let began = schedule()
        .schedule_expression(expression)
        .start_date(DateTime::from_secs(now() + start))
        .description("other");
    let rules = [
        group_in(ScheduleGroupState::Active),
        our_tags(),
        found(began),
        mock!(Client::update_schedule)
            .match_requests(move |request| is_in(request.start_date(), wanted))
            .then_output(|| UpdateScheduleOutput::builder().schedule_arn("arn").build().expect("a schedule")),
    ];
    let context = of(Operation::Ensure, "rate(7 days)");
    ensure(&scheduler(&rules), &context, &starts()).await.expect("an answer");
    rules[3].num_calls()
}

#[tokio::test]
async fn another_change_does_not_put_a_rebuild_off_nor_bring_it_forward() {
    assert_eq!(begins_after_an_update("rate(7 days)", 3 * DAY, 3 * DAY).await, 1);
    assert_eq!(begins_after_an_update("rate(7 days)", -3 * DAY, 7 * DAY).await, 1);
    assert_eq!(begins_after_an_update("rate(7 days)", 30 * DAY, 7 * DAY).await, 1);
    assert_eq!(begins_after_an_update("rate(2 days)", DAY, 7 * DAY).await, 1);
}

#[tokio::test]
async fn a_rate_that_has_begun_or_will_in_time_matches() {
    for start in [-30 * DAY, 6 * DAY] {
        let begun =
            schedule().schedule_expression("rate(7 days)").start_date(DateTime::from_secs(now() + start));
        let rules = [group_in(ScheduleGroupState::Active), our_tags(), listed(&["rebuild"]), found(begun)];
        let context = of(Operation::Plan, "rate(7 days)");
        let planned = plan(&scheduler(&rules), &context, &starts()).await.expect("an answer");
        assert_eq!(planned.changes, []);
    }
}

#[tokio::test]
async fn a_group_that_lost_a_tag_is_planned_and_tagged() {
    let mut tags = context(Operation::Plan).tags("schedule");
    tags.insert("plinth:address".to_owned(), "other".to_owned());
    let rules = [
        group_in(ScheduleGroupState::Active),
        tagged(tags.into_iter().collect()),
        listed(&["rebuild"]),
        found(schedule()),
        mock!(Client::tag_resource)
            .match_requests(|request| request.resource_arn() == Some(ARN))
            .then_output(|| TagResourceOutput::builder().build()),
    ];
    let scheduler = scheduler(&rules);
    let planned = plan(&scheduler, &context(Operation::Plan), &starts()).await.expect("an answer");
    assert_eq!(planned.changes[0].fields[0].name, "tags.plinth:address");
    ensure(&scheduler, &context(Operation::Ensure), &starts()).await.expect("an answer");
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn a_group_of_somebody_elses_is_refused_and_left_by_prune() {
    let rules = [group_in(ScheduleGroupState::Active), tagged(Vec::new())];
    let scheduler = scheduler(&rules);
    let error = ensure(&scheduler, &context(Operation::Ensure), &starts()).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    let error = plan(&scheduler, &context(Operation::Plan), &starts()).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    assert_eq!(prune(&scheduler, &dropped(Operation::Prune)).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_group_that_is_being_deleted_is_waited_for() {
    let rules = [group_in(ScheduleGroupState::Deleting), our_tags()];
    let error = ensure(&scheduler(&rules), &context(Operation::Ensure), &starts()).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(error.to_string().contains("is being deleted before it can be made anew"), "{error}");

    // It went between the two calls, and its name is still taken.
    let taken = mock!(Client::create_schedule_group)
        .then_error(|| CreateScheduleGroupError::generic(code("ConflictException", "it is there")));
    let error = ensure(&scheduler(&[no_group(), taken]), &context(Operation::Ensure), &starts()).await;
    assert_eq!(error.unwrap_err().kind(), "NotReadySoon");
}

/// What comes of a schedule that Scheduler refuses with this.
async fn refused(error: &'static str, message: &'static str) -> step::Error {
    let rules = [
        group_in(ScheduleGroupState::Active),
        our_tags(),
        no_schedule(),
        mock!(Client::create_schedule).then_error(move || CreateScheduleError::generic(code(error, message))),
    ];
    ensure(&scheduler(&rules), &context(Operation::Ensure), &starts()).await.unwrap_err()
}

#[tokio::test]
async fn a_time_zone_or_an_expression_that_aws_refuses_is_the_specs_fault() {
    let zone = refused("ValidationException", "Invalid time zone: Europe/Berlin").await;
    assert_eq!(zone.kind(), "InvalidSpec");
    assert!(zone.to_string().starts_with("schedule.timezone: "), "{zone}");
    assert!(zone.to_string().contains("Invalid time zone: Europe/Berlin; write one of the IANA time zones"));

    let expression =
        refused("ValidationException", "Invalid Schedule Expression cron(0 5 ? * MON-FRI *).").await;
    assert_eq!(expression.kind(), "InvalidSpec");
    assert!(expression.to_string().starts_with("schedule.rebuild: "), "{expression}");
    assert!(expression.to_string().contains("Invalid Schedule Expression"), "{expression}");
}

#[tokio::test]
async fn a_role_that_is_too_new_is_waited_for_and_what_starts_the_machine_is_not_the_specs_fault() {
    let words = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.";
    assert_eq!(refused("ValidationException", words).await.kind(), "NotReadySoon");
    let words = "1 validation error detected: Value 'x' at 'target.arn' failed to satisfy constraint";
    assert_eq!(refused("ValidationException", words).await.kind(), "Failed");
    assert_eq!(refused("ConflictException", "it is there").await.kind(), "NotReadySoon");
    assert_eq!(refused("ThrottlingException", "slow down").await.kind(), "Throttled");
}

/// Deletions, of whatever is asked for in our group.
fn deletions() -> [Rule; 2] {
    [
        mock!(Client::delete_schedule)
            .match_requests(|request| request.group_name() == Some("plinth-demo"))
            .then_output(|| DeleteScheduleOutput::builder().build()),
        mock!(Client::delete_schedule_group)
            .match_requests(|request| request.name() == Some("plinth-demo"))
            .then_output(|| DeleteScheduleGroupOutput::builder().build()),
    ]
}

#[tokio::test]
async fn a_dropped_schedule_is_planned_and_goes_before_its_group_which_is_waited_for() {
    let [schedule, group] = deletions();
    let rules =
        [group_in(ScheduleGroupState::Active), our_tags(), listed(&["rebuild", "by-hand"]), schedule, group];
    let scheduler = scheduler(&rules);
    let planned = plan(&scheduler, &dropped(Operation::Plan), &starts()).await.expect("an answer");
    assert_eq!(
        planned.changes,
        [
            Change::delete("schedule.rebuild"),
            Change::delete("schedule.by-hand"),
            Change::delete("schedule").with("name", "plinth-demo"),
        ]
    );
    assert_eq!(calls(&rules[3..]), [0, 0]);
    let error = prune(&scheduler, &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(error.to_string().contains("schedule group (plinth-demo) is being deleted"), "{error}");
    assert_eq!(calls(&rules[3..]), [2, 1]);
}

#[tokio::test]
async fn a_group_that_goes_is_not_deleted_again_and_one_that_is_gone_is_done() {
    let [schedule, group] = deletions();
    let rules = [group_in(ScheduleGroupState::Deleting), our_tags(), schedule, group];
    let error = prune(&scheduler(&rules), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((error.kind(), calls(&rules[2..])), ("NotReadySoon", vec![0, 0]));

    let [schedule, group] = deletions();
    let once = mock!(Client::get_schedule_group)
        .sequence()
        .output(|| group_of(&ScheduleGroupState::Active))
        .error(|| GetScheduleGroupError::generic(code("ResourceNotFoundException", "no group")))
        .build();
    let rules = [once, our_tags(), listed(&["rebuild"]), schedule, group];
    prune(&scheduler(&rules), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(calls(&rules[3..]), [1, 1]);
}

#[tokio::test]
async fn what_stands_in_the_group_by_hand_goes_and_the_rebuild_stays() {
    let [schedule, group] = deletions();
    let rules =
        [group_in(ScheduleGroupState::Active), our_tags(), listed(&["rebuild", "x"]), schedule, group];
    let pruned = prune(&scheduler(&rules), &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, [Change::delete("schedule.x")]);
    assert_eq!(calls(&rules[3..]), [1, 0]);
}

/// A context whose environment expires so many seconds from now.
fn expiring(operation: Operation, seconds: i64) -> Context {
    let spec = "{ apiVersion: plinth/v1, name: demo, expires: { after: 8h } }";
    let mut context =
        step::test::context(operation, spec::parse(spec, None).expect("a spec"), Outputs::default());
    context.run.expires = Some(moment(seconds));
    context
}

/// The moment so many seconds from when it was first asked for.
fn moment(seconds: i64) -> Timestamp {
    static NOW: std::sync::LazyLock<i64> = std::sync::LazyLock::new(now);
    Timestamp::from_second(*NOW + seconds).expect("a moment")
}

fn at(moment: Timestamp) -> String {
    moment.strftime("at(%Y-%m-%dT%H:%M:%S)").to_string()
}

/// The schedule of the end, due so many seconds from now, as Scheduler tells of it.
fn end(seconds: i64) -> Rule {
    let input = r#"{ "environment": "demo", "action": "expire" }"#;
    let schedule = schedule()
        .schedule_expression(at(moment(seconds)))
        .schedule_expression_timezone("UTC")
        .description("Ends the time of environment demo")
        .target(target().input(input).build().expect("a target"))
        .build();
    mock!(Client::get_schedule)
        .match_requests(|request| request.name() == Some("expire"))
        .then_output(move || schedule.clone())
}

#[tokio::test]
async fn an_environment_that_expires_has_a_schedule_for_that_moment_which_asks_once_whether_it_has_come() {
    let rules = [
        group_in(ScheduleGroupState::Active),
        our_tags(),
        listed(&[]),
        no_schedule(),
        mock!(Client::create_schedule)
            .match_requests(|request| {
                let input = request.target().and_then(Target::input).unwrap_or_default();
                request.name() == Some("expire")
                    && request.schedule_expression() == Some(&at(moment(600)))
                    && request.schedule_expression_timezone() == Some("UTC")
                    && request.start_date().is_none()
                    && request.action_after_completion().is_none()
                    && serde_json::from_str::<serde_json::Value>(input)
                        .is_ok_and(|input| input["environment"] == "demo" && input["action"] == "expire")
            })
            .then_output(|| CreateScheduleOutput::builder().schedule_arn("arn").build().expect("a schedule")),
    ];
    let scheduler = scheduler(&rules);
    let planned = plan(&scheduler, &expiring(Operation::Plan, 600), &starts()).await.expect("an answer");
    let addresses: Vec<&str> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(addresses, ["schedule.expire"]);
    ensure(&scheduler, &expiring(Operation::Ensure, 600), &starts()).await.expect("an answer");
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn a_schedule_that_has_been_due_is_left_as_it_is_and_one_of_another_upload_is_moved() {
    for seconds in [600, -600] {
        let rules = [group_in(ScheduleGroupState::Active), our_tags(), listed(&["expire"]), end(seconds)];
        let scheduler = scheduler(&rules);
        ensure(&scheduler, &expiring(Operation::Ensure, seconds), &starts()).await.expect("an answer");
        let planned =
            plan(&scheduler, &expiring(Operation::Plan, seconds), &starts()).await.expect("an answer");
        assert_eq!(planned.changes, []);
    }
    let moved = mock!(Client::update_schedule)
        .match_requests(|request| request.schedule_expression() == Some(&at(moment(900))))
        .then_output(|| UpdateScheduleOutput::builder().schedule_arn("arn").build().expect("a schedule"));
    let rules = [group_in(ScheduleGroupState::Active), our_tags(), end(600), moved];
    ensure(&scheduler(&rules), &expiring(Operation::Ensure, 900), &starts()).await.expect("an answer");
    assert_eq!(rules[3].num_calls(), 1);
}

#[tokio::test]
async fn each_schedule_that_the_spec_drops_goes_and_the_other_stays() {
    let [schedule, group] = deletions();
    let rules =
        [group_in(ScheduleGroupState::Active), our_tags(), listed(&["rebuild", "expire"]), schedule, group];
    let scheduler = scheduler(&rules);
    let pruned = prune(&scheduler, &expiring(Operation::Prune, 600)).await.expect("an answer");
    assert_eq!(pruned.changes, [Change::delete("schedule.rebuild")]);
    let pruned = prune(&scheduler, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, [Change::delete("schedule.expire")]);
    assert_eq!(calls(&rules[3..]), [2, 0]);
}
