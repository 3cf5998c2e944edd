use aws_sdk_cloudwatchlogs::{
    operation::{
        create_log_group::CreateLogGroupOutput, describe_log_groups::DescribeLogGroupsOutput,
        list_tags_for_resource::ListTagsForResourceOutput, put_retention_policy::PutRetentionPolicyOutput,
    },
    types::LogGroup,
};
use aws_sdk_ecr::{
    operation::describe_images::{DescribeImagesError, DescribeImagesOutput},
    types::ImageDetail,
};
use aws_sdk_elasticloadbalancingv2::operation::{
    describe_target_health::DescribeTargetHealthOutput, register_targets::RegisterTargetsOutput,
};
use aws_sdk_lambda::{
    error::ErrorMetadata,
    operation::{
        add_permission::AddPermissionOutput,
        create_function::{CreateFunctionError, CreateFunctionOutput},
        delete_function::DeleteFunctionOutput,
        get_function::GetFunctionError,
        get_policy::{GetPolicyError, GetPolicyOutput},
        list_functions::ListFunctionsOutput,
        remove_permission::RemovePermissionOutput,
        tag_resource::TagResourceOutput,
        update_function_code::UpdateFunctionCodeOutput,
        update_function_configuration::{
            UpdateFunctionConfigurationError, UpdateFunctionConfigurationOutput,
        },
    },
    types::{EnvironmentResponse, TagsError, VpcConfigResponse, builders::FunctionConfigurationBuilder},
};
use aws_sdk_s3::{
    operation::get_object::{GetObjectError, GetObjectOutput},
    primitives::ByteStream,
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::ToSpan;
use spec::Spec;
use step::{LoadBalancerOutput, NetworkOutput, Outputs, RepositoryOutput};

use super::*;

const ZIP: &[u8] = b"zip";

/// The base64 of the SHA-256 of `zip`.
const HASH: &str = "SnD+mqZDbgLC3qNA+9HjUuTvLYzmylKtJdS5VHH8i/I=";

const DIGEST: &str = "sha256:1111";

const URI: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/demo-index";

fn context_for(operation: Operation, function: &str) -> Context {
    let spec = format!(r#"{{ "index": {function} }}"#);
    let mut wanted = Spec::empty("demo");
    wanted.functions = serde_json::from_str(&spec).expect("functions");
    wanted.repositories = serde_json::from_str(r#"{ "index": {} }"#).expect("repositories");
    let network = NetworkOutput {
        private: vec!["subnet-b".into(), "subnet-a".into()],
        group: "sg-1".into(),
        ..NetworkOutput::default()
    };
    let mut outputs = Outputs { network: Some(network), ..Outputs::default() };
    let name = "demo-index".to_owned();
    let repository = RepositoryOutput { name, uri: URI.into(), ..RepositoryOutput::default() };
    outputs.repositories.insert("index".into(), repository);
    step::test::context(operation, wanted, outputs)
}

fn context(operation: Operation) -> Context {
    context_for(
        operation,
        r#"{ "package": "reportportal-index", "vpc": true, "timeout": "60s", "memory": 256,
            "environment": { "WHERE": "${region}" } }"#,
    )
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn demo(context: &Context) -> Wanted {
    wanted(context).expect("functions").remove(0)
}

/// The function as Lambda tells it when it is what the spec says.
fn function() -> FunctionConfigurationBuilder {
    let vpc =
        VpcConfigResponse::builder().subnet_ids("subnet-a").subnet_ids("subnet-b").security_group_ids("sg-1");
    FunctionConfiguration::builder()
        .function_name("demo-index")
        .function_arn("arn:aws:lambda:us-east-1:123456789012:function:demo-index")
        .role("arn:aws:iam::123456789012:role/plinth/demo/demo-index-function")
        .package_type(PackageType::Zip)
        .runtime(Runtime::from("provided.al2023"))
        .handler("bootstrap")
        .architectures(Architecture::X8664)
        .memory_size(256)
        .timeout(60)
        .environment(EnvironmentResponse::builder().variables("WHERE", "us-east-1").build())
        .vpc_config(vpc.build())
        .code_sha256(HASH)
        .state(State::Active)
        .last_update_status(LastUpdateStatus::Successful)
        .last_modified("2026-01-01T00:00:00.000+0000")
}

/// The function as Lambda tells it when it is an image.
fn imaged() -> FunctionConfigurationBuilder {
    function()
        .package_type(PackageType::Image)
        .set_runtime(None)
        .set_handler(None)
        .memory_size(128)
        .timeout(3)
        .set_environment(None)
        .set_vpc_config(None)
}

fn location(digest: &str) -> FunctionCodeLocation {
    let location = FunctionCodeLocation::builder().image_uri(format!("{URI}:1"));
    location.resolved_image_uri(format!("{URI}@{digest}")).build()
}

fn told(function: FunctionConfigurationBuilder) -> Rule {
    told_with(function, FunctionCodeLocation::builder().build(), demo(&context(Operation::Plan)).tags)
}

fn told_with(
    function: FunctionConfigurationBuilder,
    code: FunctionCodeLocation,
    tags: BTreeMap<String, String>,
) -> Rule {
    let function = function.build();
    mock!(Lambda::get_function).then_output(move || {
        let told = GetFunctionOutput::builder().configuration(function.clone()).code(code.clone());
        told.set_tags(Some(tags.clone().into_iter().collect())).build()
    })
}

fn absent() -> Rule {
    mock!(Lambda::get_function)
        .then_error(|| GetFunctionError::generic(coded("ResourceNotFoundException", "no function")))
}

fn coded(code: &str, message: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).message(message).build()
}

fn all() -> Rule {
    mock!(Lambda::list_functions)
        .then_output(|| ListFunctionsOutput::builder().functions(function().build()).build())
}

fn no_policy() -> Rule {
    mock!(Lambda::get_policy)
        .then_error(|| GetPolicyError::generic(coded("ResourceNotFoundException", "no policy")))
}

fn with_policy(statements: &str) -> Rule {
    let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    mock!(Lambda::get_policy).then_output(move || GetPolicyOutput::builder().policy(&policy).build())
}

fn statement(id: &str, target: &str) -> String {
    format!(
        r#"{{"Sid":"{id}","Effect":"Allow","Principal":{{"Service":"elasticloadbalancing.amazonaws.com"}},
            "Action":"lambda:InvokeFunction","Resource":"arn:function",
            "Condition":{{"ArnLike":{{"AWS:SourceArn":"{target}"}}}}}}"#
    )
}

/// The log group when it is what the spec says.
fn group(name: &str) -> Vec<Rule> {
    let group = LogGroup::builder().log_group_name(name).arn("arn:group:*").retention_in_days(30).build();
    let tags = context(Operation::Plan).tags("functions.index.logs");
    vec![
        mock!(Logs::describe_log_groups)
            .then_output(move || DescribeLogGroupsOutput::builder().log_groups(group.clone()).build()),
        mock!(Logs::list_tags_for_resource)
            .match_requests(|request| request.resource_arn() == Some("arn:group"))
            .then_output(move || {
                let tags = tags.clone().into_iter().collect();
                ListTagsForResourceOutput::builder().set_tags(Some(tags)).build()
            }),
    ]
}

fn no_groups() -> Rule {
    mock!(Logs::describe_log_groups).then_output(|| DescribeLogGroupsOutput::builder().build())
}

fn object() -> Rule {
    mock!(S3::get_object)
        .then_output(|| GetObjectOutput::builder().body(ByteStream::from_static(ZIP)).build())
}

fn no_object(code: &'static str) -> Rule {
    mock!(S3::get_object).then_error(move || GetObjectError::generic(coded(code, "no")))
}

fn image(digest: &'static str) -> Rule {
    mock!(Ecr::describe_images).then_output(move || {
        let image = ImageDetail::builder().image_digest(digest).build();
        DescribeImagesOutput::builder().image_details(image).build()
    })
}

/// Clients that refuse every call for which there is no rule.
fn registered() -> Rule {
    let context = context(Operation::Plan);
    let arn = output(&context, &demo(&context)).1.arn;
    let target = aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder().id(arn).build();
    let health =
        aws_sdk_elasticloadbalancingv2::types::TargetHealthDescription::builder().target(target).build();
    mock!(Elb::describe_target_health).then_output(move || {
        DescribeTargetHealthOutput::builder().target_health_descriptions(health.clone()).build()
    })
}

fn clients(lambda: &[&Rule], logs: &[&Rule], s3: &[&Rule], ecr: &[&Rule]) -> Clients {
    let object_store = || mock_client!(aws_sdk_s3, RuleMode::MatchAny, s3);
    Clients {
        lambda: mock_client!(aws_sdk_lambda, RuleMode::MatchAny, lambda),
        // Every target group has the function.
        elb: mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, [&registered()]),
        logs: mock_client!(aws_sdk_cloudwatchlogs, RuleMode::MatchAny, logs),
        ecr: mock_client!(aws_sdk_ecr, RuleMode::MatchAny, ecr),
        s3: object_store(),
        packages: object_store(),
    }
}

/// Clients of an environment whose log group and package are there.
fn standing(lambda: &[&Rule]) -> Clients {
    let (group, object) = (group("/aws/lambda/demo-index"), object());
    clients(lambda, &group.iter().collect::<Vec<_>>(), &[&object], &[])
}

fn names(change: &Change) -> Vec<&str> {
    change.fields.iter().map(|field| field.name.as_str()).collect()
}

fn created(state: State) -> CreateFunctionOutput {
    CreateFunctionOutput::builder().state(state).build()
}

#[tokio::test]
async fn a_missing_function_is_created_after_its_log_group_with_our_tags_and_waited_for() {
    let group = mock!(Logs::create_log_group)
        .match_requests(|request| {
            request.log_group_name() == Some("/aws/lambda/demo-index")
                && request.tags().is_some_and(|tags| tags["plinth:address"] == "functions.index.logs")
        })
        .then_output(|| CreateLogGroupOutput::builder().build());
    let retention = mock!(Logs::put_retention_policy)
        .match_requests(|request| request.retention_in_days() == Some(30))
        .then_output(|| PutRetentionPolicyOutput::builder().build());
    let package = mock!(S3::get_object)
        .match_requests(|request| {
            request.bucket() == Some("plinth-bucket")
                && request.key() == Some("packages/reportportal-index-x86_64.zip")
        })
        .then_output(|| GetObjectOutput::builder().body(ByteStream::from_static(ZIP)).build());
    let create =
        mock!(Lambda::create_function)
            .match_requests(|request| {
                let vpc = request.vpc_config().expect("a network");
                request.function_name() == Some("demo-index")
                    && request.role()
                        == Some("arn:aws:iam::123456789012:role/plinth/demo/demo-index-function")
                    && request.code().and_then(|code| code.zip_file()).map(AsRef::as_ref) == Some(ZIP)
                    && request.runtime().map(Runtime::as_str) == Some("provided.al2023")
                    && request.handler() == Some("bootstrap")
                    && request.architectures() == [Architecture::X8664]
                    && (request.memory_size(), request.timeout()) == (Some(256), Some(60))
                    && request
                        .environment()
                        .and_then(|environment| environment.variables())
                        .expect("variables")["WHERE"]
                        == "us-east-1"
                    && vpc.subnet_ids() == ["subnet-a", "subnet-b"]
                    && vpc.security_group_ids() == ["sg-1"]
                    && request.tags().is_some_and(|tags| tags["plinth:address"] == "functions.index")
            })
            .then_output(|| created(State::Pending));
    let none = no_groups();
    let clients = clients(&[&absent(), &create], &[&none, &group, &retention], &[&package], &[]);
    let error = ensure(&clients, &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error, Error::soon("Lambda function (demo-index) is pending"));
    assert_eq!([&group, &retention, &create].map(Rule::num_calls), [1, 1, 1]);
}

#[tokio::test]
async fn a_plan_of_a_missing_function_names_it_and_its_arn_and_writes_nothing() {
    let (all, none, object) = (mock!(Lambda::list_functions), no_groups(), object());
    let all = all.then_output(|| ListFunctionsOutput::builder().build());
    let mut context = context(Operation::Plan);
    context.outputs.network = Some(NetworkOutput {
        private: vec![step::UNKNOWN.into()],
        group: step::UNKNOWN.into(),
        ..NetworkOutput::default()
    });
    let clients = clients(&[&all, &absent()], &[&none], &[&object], &[]);
    let answer = plan(&clients, &context).await.expect("an answer");
    let logs = Change::create("functions.index.logs").with("name", "/aws/lambda/demo-index");
    let code = "s3://plinth-bucket/packages/reportportal-index-x86_64.zip";
    let own = Change::create("functions.index").with("name", "demo-index").with("code", code);
    assert_eq!(answer.changes, [logs, own]);
    assert_eq!(answer.output["index"]["arn"], "arn:aws:lambda:us-east-1:123456789012:function:demo-index");
}

#[tokio::test]
async fn a_function_that_matches_is_left_alone_and_planned_as_nothing() {
    let clients = standing(&[&told(function()), &all(), &no_policy()]);
    let answer = ensure(&clients, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(answer.output["index"]["arn"], "arn:aws:lambda:us-east-1:123456789012:function:demo-index");
    let planned = plan(&clients, &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
}

#[tokio::test]
async fn each_field_that_drifted_is_planned_as_exactly_that_field() {
    let environment = |name| EnvironmentResponse::builder().variables(name, "us-east-1").build();
    let vpc = VpcConfigResponse::builder().subnet_ids("subnet-a").security_group_ids("sg-2").build();
    let drifts: Vec<(FunctionConfigurationBuilder, &[&str])> = vec![
        (function().role("arn:other"), &["role"]),
        (function().memory_size(128), &["memory"]),
        (function().timeout(3), &["timeout"]),
        (function().runtime(Runtime::from("provided.al2")), &["runtime"]),
        (function().handler("other"), &["handler"]),
        (function().set_environment(Some(environment("OTHER"))), &["environment.WHERE", "environment.OTHER"]),
        (function().vpc_config(vpc), &["vpc.subnets", "vpc.groups"]),
        (function().set_architectures(Some(vec![Architecture::Arm64])), &["architecture"]),
        (function().code_sha256("other"), &["code"]),
        (function().package_type(PackageType::Image), &["packageType"]),
        (function().last_update_status(LastUpdateStatus::Failed), &["lastUpdateStatus"]),
        (function().state(State::Failed), &["state"]),
    ];
    for (drifted, fields) in drifts {
        let clients = standing(&[&told(drifted), &all(), &no_policy()]);
        let planned = plan(&clients, &context(Operation::Plan)).await.expect("an answer");
        assert_eq!(planned.changes.len(), 1);
        assert_eq!(names(&planned.changes[0]), fields);
    }
}

#[tokio::test]
async fn a_variable_that_the_spec_lacks_is_planned_without_what_it_says() {
    let other = EnvironmentResponse::builder().variables("WHERE", "us-east-1").variables("KEY", "hidden");
    let clients = standing(&[&told(function().environment(other.build())), &all(), &no_policy()]);
    let planned = plan(&clients, &context(Operation::Plan)).await.expect("an answer");
    assert!(!format!("{planned:?}").contains("hidden"));
    assert_eq!(names(&planned.changes[0]), ["environment.KEY"]);
}

fn configure(status: LastUpdateStatus) -> Rule {
    mock!(Lambda::update_function_configuration)
        .match_requests(|request| request.memory_size() == Some(256) && request.timeout() == Some(60))
        .then_output(move || {
            UpdateFunctionConfigurationOutput::builder().last_update_status(status.clone()).build()
        })
}

fn put_code() -> Rule {
    mock!(Lambda::update_function_code)
        .match_requests(|request| {
            request.zip_file().map(AsRef::as_ref) == Some(ZIP)
                && request.architectures() == [Architecture::X8664]
        })
        .then_output(|| UpdateFunctionCodeOutput::builder().build())
}

#[tokio::test]
async fn tags_settings_and_code_that_drifted_are_put_right_in_an_order_lambda_takes() {
    let mut tags = demo(&context(Operation::Plan)).tags;
    tags.insert("plinth:address".into(), "functions.other".into());
    let drifted = || function().memory_size(128).code_sha256("other");
    let told = told_with(drifted(), FunctionCodeLocation::builder().build(), tags);
    let tag = mock!(Lambda::tag_resource)
        .match_requests(|request| {
            request.tags().is_some_and(|tags| tags["plinth:address"] == "functions.index")
        })
        .then_output(|| TagResourceOutput::builder().build());
    let (busy, idle, put) =
        (configure(LastUpdateStatus::InProgress), configure(LastUpdateStatus::Successful), put_code());
    let error =
        ensure(&standing(&[&told, &tag, &busy, &put]), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error, Error::soon("Lambda function (demo-index) is being changed"));
    assert_eq!([&tag, &busy, &put].map(Rule::num_calls), [1, 1, 0]);
    let policy = no_policy();
    let clients = standing(&[&told, &tag, &idle, &put, &policy]);
    ensure(&clients, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!([&idle, &put].map(Rule::num_calls), [1, 1]);
}

#[tokio::test]
async fn a_function_that_lambda_is_at_work_on_is_waited_for_and_not_touched() {
    for busy in [
        function().memory_size(1).state(State::Pending),
        function().memory_size(1).last_update_status(LastUpdateStatus::InProgress),
        function().memory_size(1).state(State::Deleting),
    ] {
        let error = ensure(&standing(&[&told(busy)]), &context(Operation::Ensure)).await.unwrap_err();
        assert_eq!(error.kind(), "NotReadySoon");
    }
}

#[tokio::test]
async fn a_conflict_and_a_role_that_is_not_known_yet_are_waited_for() {
    let conflict = mock!(Lambda::update_function_configuration).then_error(|| {
        UpdateFunctionConfigurationError::generic(coded("ResourceConflictException", "in progress"))
    });
    let told = told(function().memory_size(1));
    let error = ensure(&standing(&[&told, &conflict]), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    let refused = |code: &'static str, message: &'static str| {
        mock!(Lambda::create_function).then_error(move || CreateFunctionError::generic(coded(code, message)))
    };
    let invalid = "InvalidParameterValueException";
    for (code, message, kind) in [
        (invalid, "The role defined for the function cannot be assumed by Lambda.", "NotReadySoon"),
        (invalid, "The provided execution role does not have permissions to call", "NotReadySoon"),
        ("ResourceConflictException", "Function already exist: demo-index", "NotReadySoon"),
        (invalid, "Unzipped size must be smaller", "Failed"),
    ] {
        let create = refused(code, message);
        let clients = standing(&[&absent(), &create]);
        let mut context = context(Operation::Ensure);
        assert_eq!(ensure(&clients, &context).await.unwrap_err().kind(), kind, "{message}");
        // A role that is never known ends the wait.
        context.since = Timestamp::now() - 20.minutes();
        let late = ensure(&clients, &context).await.unwrap_err().kind();
        assert_eq!(late == "Failed", code == invalid, "{message}");
    }
}

#[tokio::test]
async fn what_lambda_failed_at_in_this_run_is_told_and_in_an_earlier_one_is_tried_again() {
    let failed = |when: &str| {
        function()
            .last_update_status(LastUpdateStatus::Failed)
            .last_update_status_reason("no such subnet")
            .last_modified(when)
    };
    let configure = configure(LastUpdateStatus::InProgress);
    let now = Timestamp::now() + 1.minutes();
    let now = now.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string();
    let told_now = told(failed(&now));
    let error = ensure(&standing(&[&told_now, &configure]), &context(Operation::Ensure)).await.unwrap_err();
    assert!(matches!(&error, Error::Failed(message) if message.contains("no such subnet")), "{error}");
    assert_eq!(configure.num_calls(), 0);
    let told_before = told(failed("2026-01-01T00:00:00.000+0000"));
    let error =
        ensure(&standing(&[&told_before, &configure]), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!((error.kind(), configure.num_calls()), ("NotReadySoon", 1));
}

#[tokio::test]
async fn a_function_that_could_not_be_made_or_becomes_an_image_gives_way() {
    let broken = function().state(State::Failed).state_reason_code(StateReasonCode::InvalidSubnet);
    for given_up in [broken, function().package_type(PackageType::Image)] {
        let delete = mock!(Lambda::delete_function)
            .match_requests(|request| request.function_name() == Some("demo-index"))
            .then_output(|| DeleteFunctionOutput::builder().build());
        let clients = standing(&[&told(given_up), &delete]);
        let error = ensure(&clients, &context(Operation::Ensure)).await.unwrap_err();
        assert_eq!((error.kind(), delete.num_calls()), ("NotReadySoon", 1));
    }
}

#[tokio::test]
async fn a_function_or_a_log_group_of_somebody_else_is_refused() {
    let theirs = told_with(function(), FunctionCodeLocation::builder().build(), BTreeMap::new());
    let error = ensure(&standing(&[&theirs]), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    let mut logs = group("/aws/lambda/demo-index");
    logs[1] =
        mock!(Logs::list_tags_for_resource).then_output(|| ListTagsForResourceOutput::builder().build());
    let clients = clients(&[], &logs.iter().collect::<Vec<_>>(), &[], &[]);
    let error = ensure(&clients, &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn tags_that_may_not_be_read_are_no_sign_that_a_function_is_not_ours() {
    let told = mock!(Lambda::get_function).then_output(|| {
        let error = TagsError::builder().error_code("AccessDeniedException").message("no").build();
        let told = GetFunctionOutput::builder().configuration(function().build());
        told.tags_error(error.expect("an error")).build()
    });
    let error = prune(&standing(&[&all(), &told]), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
}

#[tokio::test]
async fn a_package_or_a_zip_file_that_is_absent_or_elsewhere_is_refused_by_the_plan() {
    let zip = r#"{ "zip": "s3://other/a.zip" }"#;
    let package = r#"{ "package": "none" }"#;
    for (function, code, told) in [
        (package, "NoSuchKey", "there is no such package"),
        (zip, "NoSuchKey", "s3://other/a.zip isn't there"),
        (zip, "NoSuchBucket", "s3://other/a.zip isn't there"),
        (zip, "PermanentRedirect", "is in another region"),
    ] {
        let (none, object) = (no_groups(), no_object(code));
        let lambda = [
            &mock!(Lambda::list_functions).then_output(|| ListFunctionsOutput::builder().build()),
            &absent(),
        ];
        let clients = clients(&lambda, &[&none], &[&object], &[]);
        let error = plan(&clients, &context_for(Operation::Plan, function)).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidSpec(message) if message.contains(told)), "{error}");
    }
    for bad in ["https://a/b", "s3://a", "s3:///b", "s3://a/"] {
        let bad = context_for(Operation::Plan, &format!(r#"{{ "zip": "{bad}" }}"#));
        assert!(matches!(wanted(&bad), Err(Error::InvalidSpec(_))));
    }
}

#[tokio::test]
async fn a_zip_file_is_read_by_lambda_itself_and_told_by_its_hash() {
    let create = mock!(Lambda::create_function)
        .match_requests(|request| {
            let code = request.code().expect("code");
            (code.s3_bucket(), code.s3_key()) == (Some("other"), Some("a/b.zip")) && code.zip_file().is_none()
        })
        .then_output(|| created(State::Active));
    let zip = context_for(Operation::Ensure, r#"{ "zip": "s3://other/a/b.zip" }"#);
    ensure(&standing(&[&absent(), &create, &no_policy()]), &zip).await.expect("an answer");
    assert_eq!(create.num_calls(), 1);
    let same = function().memory_size(128).timeout(3).set_environment(None).set_vpc_config(None);
    ensure(&standing(&[&told(same), &no_policy()]), &zip).await.expect("an answer");
}

#[tokio::test]
async fn a_zip_file_in_a_bucket_of_the_environment_may_come_later() {
    let mut later = context_for(Operation::Plan, r#"{ "zip": "s3://${buckets.code}/a.zip" }"#);
    let bucket = step::BucketOutput { name: "demo-code".into(), arn: "arn:code".into() };
    later.outputs.buckets.insert("code".into(), bucket);
    let (none, object) = (group("/aws/lambda/demo-index"), no_object("NoSuchBucket"));
    let list = mock!(Lambda::list_functions).then_output(|| ListFunctionsOutput::builder().build());
    let absent = absent();
    let clients = clients(&[&list, &absent], &none.iter().collect::<Vec<_>>(), &[&object], &[]);
    let planned = plan(&clients, &later).await.expect("an answer");
    assert_eq!(planned.changes[0].fields[1].wanted, "s3://demo-code/a.zip");
    later.operation = Operation::Ensure;
    let error = ensure(&clients, &later).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
    assert!(error.to_string().contains("aws s3 cp <file> s3://demo-code/a.zip"), "{error}");
}

const IMAGE: &str = r#"{ "image": "${repositories.index}:1" }"#;

#[tokio::test]
async fn an_image_that_is_not_there_is_waited_for_and_one_whose_tag_moved_is_put() {
    let group = group("/aws/lambda/demo-index");
    let group: Vec<_> = group.iter().collect();
    let none = mock!(Ecr::describe_images)
        .then_error(|| DescribeImagesError::generic(coded("ImageNotFoundException", "none")));
    let waiting = context_for(Operation::Ensure, IMAGE);
    let error = ensure(&clients(&[&absent()], &group, &[], &[&none]), &waiting).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
    assert!(error.to_string().contains(&format!("docker push {URI}:1")), "{error}");

    let put = mock!(Lambda::update_function_code)
        .match_requests(|request| request.image_uri() == Some(&format!("{URI}:1")))
        .then_output(|| UpdateFunctionCodeOutput::builder().build());
    let tags = demo(&context(Operation::Plan)).tags;
    let told = told_with(imaged(), location(DIGEST), tags);
    let (same, moved, policy) = (image(DIGEST), image("sha256:2222"), no_policy());
    let lambda = [&told, &put, &policy, &all()];
    ensure(&clients(&lambda, &group, &[], &[&same]), &waiting).await.expect("an answer");
    assert_eq!(put.num_calls(), 0);
    let clients = clients(&lambda, &group, &[], &[&moved]);
    let planned = plan(&clients, &context_for(Operation::Plan, IMAGE)).await.expect("an answer");
    assert_eq!(names(&planned.changes[0]), ["code"]);
    ensure(&clients, &waiting).await.expect("an answer");
    assert_eq!(put.num_calls(), 1);
}

#[tokio::test]
async fn an_image_elsewhere_is_not_looked_up_and_told_by_its_name() {
    let group = group("/aws/lambda/demo-index");
    let told = told_with(imaged(), location(DIGEST), demo(&context(Operation::Plan)).tags);
    let elsewhere = context_for(Operation::Plan, r#"{ "image": "other/index:1" }"#);
    let (all, policy) = (all(), no_policy());
    let clients = clients(&[&all, &told, &policy], &group.iter().collect::<Vec<_>>(), &[], &[]);
    let planned = plan(&clients, &elsewhere).await.expect("an answer");
    assert_eq!(names(&planned.changes[0]), ["image"]);
}

#[tokio::test]
async fn the_balancers_whose_target_it_is_may_call_it_and_no_others_of_ours() {
    let mut context = context(Operation::Plan);
    for (name, key) in [("front", "function.index"), ("other", "app"), ("moved", "function.index")] {
        let targets = [(key.to_owned(), format!("arn:{name}"))].into();
        let balancer = LoadBalancerOutput { targets, ..LoadBalancerOutput::default() };
        context.outputs.load_balancers.insert(name.into(), balancer);
    }
    let statements = [
        statement("plinth-moved", "arn:before"),
        statement("plinth-gone", "arn:gone"),
        statement("theirs", "arn:theirs"),
    ];
    let policy = with_policy(&statements.join(","));
    let removed = |id: &'static str| {
        mock!(Lambda::remove_permission)
            .match_requests(move |request| request.statement_id() == Some(id))
            .then_output(|| RemovePermissionOutput::builder().build())
    };
    let added = |id: &'static str, target: &'static str| {
        mock!(Lambda::add_permission)
            .match_requests(move |request| {
                request.statement_id() == Some(id)
                    && request.source_arn() == Some(target)
                    && request.principal() == Some("elasticloadbalancing.amazonaws.com")
                    && request.action() == Some("lambda:InvokeFunction")
            })
            .then_output(|| AddPermissionOutput::builder().build())
    };
    let writes = [
        removed("plinth-moved"),
        removed("plinth-gone"),
        added("plinth-moved", "arn:moved"),
        added("plinth-front", "arn:front"),
    ];
    let (told, all) = (told(function()), all());
    let mut rules = vec![&told, &all, &policy];
    rules.extend(&writes);
    let planned = plan(&standing(&rules), &context).await.expect("an answer");
    let fields = ["permissions.plinth-front", "permissions.plinth-moved", "permissions.plinth-gone"];
    assert_eq!(names(&planned.changes[0]), fields);
    context.operation = Operation::Ensure;
    ensure(&standing(&rules), &context).await.expect("an answer");
    assert_eq!(writes.each_ref().map(Rule::num_calls), [1; 4]);
}

#[tokio::test]
async fn a_statement_that_lets_anybody_call_is_put_right() {
    let open = statement("plinth-front", "arn:front").replace(r#""Condition":{"ArnLike""#, r#""No":{"A""#);
    let found = with_policy(&open);
    let lambda = mock_client!(aws_sdk_lambda, RuleMode::MatchAny, &[&found]);
    let found = permission::find(&lambda, "demo-index").await.expect("statements");
    let wanted = BTreeMap::from([("plinth-front".to_owned(), "arn:front".to_owned())]);
    assert_eq!(permission::difference(&found, &wanted).len(), 1);
}

#[tokio::test]
async fn a_dropped_function_is_planned_and_deleted_and_its_log_group_stays_for_its_retention() {
    let group = group("/aws/lambda/demo-index");
    let drop_group = noted();
    let delete = mock!(Lambda::delete_function).then_output(|| DeleteFunctionOutput::builder().build());
    let (all, told) = (all(), told(function()));
    let logs = [&group[0], &group[1], &drop_group];
    let clients = clients(&[&all, &told, &delete], &logs, &[], &[]);
    let planned = plan(&clients, &dropped(Operation::Plan)).await.expect("an answer");
    let own = Change::delete("functions.index").with("name", "demo-index");
    assert_eq!(planned.changes, [own]);
    let left: Vec<_> = planned.left.iter().map(|left| (left.name.as_str(), left.days)).collect();
    assert_eq!(left, [("/aws/lambda/demo-index", Some(30))]);
    assert_eq!((delete.num_calls(), drop_group.num_calls()), (0, 0));
    prune(&clients, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((delete.num_calls(), drop_group.num_calls()), (1, 1));
}

#[tokio::test]
async fn while_a_function_can_not_be_deleted_its_log_group_stays() {
    let busy = mock!(Lambda::delete_function).then_error(|| {
        aws_sdk_lambda::operation::delete_function::DeleteFunctionError::generic(coded(
            "ResourceConflictException",
            "in progress",
        ))
    });
    let (all, told) = (all(), told(function()));
    let error = prune(&clients(&[&all, &told, &busy], &[], &[], &[]), &dropped(Operation::Prune)).await;
    assert_eq!(error.unwrap_err().kind(), "NotReadySoon");
}

#[tokio::test]
async fn a_log_group_whose_function_was_never_made_is_dropped_and_others_are_left() {
    let drop_group = noted();
    let none = mock!(Lambda::list_functions).then_output(|| ListFunctionsOutput::builder().build());
    let orphan = group("/aws/lambda/demo-index");
    let logs = [&orphan[0], &orphan[1], &drop_group];
    prune(&clients(&[&none], &logs, &[], &[]), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(drop_group.num_calls(), 1);
    // Of functions that are somebody else's, and of those that are kept, not even the tags are read.
    let theirs = told_with(function(), FunctionCodeLocation::builder().build(), BTreeMap::new());
    let clients = clients(&[&all(), &theirs], &[&orphan[0]], &[], &[]);
    let answer = prune(&clients, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(answer.changes, []);
    let answer = prune(&clients, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(answer.changes, []);
}

#[tokio::test]
async fn of_an_accounts_many_functions_only_those_that_may_be_ours_are_read() {
    let theirs =
        FunctionConfiguration::builder().function_name("billing").role("arn:aws:iam::1:role/billing");
    let named = FunctionConfiguration::builder().function_name("company-index");
    let named = named.role("arn:aws:iam::123456789012:role/plinth/demo/demo-index-function").build();
    let listed = [theirs.build(), named];
    let all = mock!(Lambda::list_functions)
        .then_output(move || ListFunctionsOutput::builder().set_functions(Some(listed.to_vec())).build());
    let read = mock!(Lambda::get_function)
        .match_requests(|request| request.function_name() == Some("company-index"))
        .then_error(|| GetFunctionError::generic(coded("ResourceNotFoundException", "it is gone")));
    let groups = no_groups();
    prune(&clients(&[&all, &read], &[&groups], &[], &[]), &dropped(Operation::Prune))
        .await
        .expect("an answer");
    assert_eq!(read.num_calls(), 1);
}

#[tokio::test]
async fn a_log_group_that_drifted_is_planned_and_put_right() {
    let forever = LogGroup::builder().log_group_name("/aws/lambda/demo-index").arn("arn:group:*").build();
    let described = mock!(Logs::describe_log_groups)
        .then_output(move || DescribeLogGroupsOutput::builder().log_groups(forever.clone()).build());
    let tags = &group("/aws/lambda/demo-index")[1];
    let retention = mock!(Logs::put_retention_policy)
        .match_requests(|request| request.retention_in_days() == Some(30))
        .then_output(|| PutRetentionPolicyOutput::builder().build());
    let (object, told, all, policy) = (object(), told(function()), all(), no_policy());
    let clients = clients(&[&told, &all, &policy], &[&described, tags, &retention], &[&object], &[]);
    let planned = plan(&clients, &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes[0].address, "functions.index.logs");
    assert_eq!((planned.changes.len(), names(&planned.changes[0])), (1, vec!["retention"]));
    assert_eq!(retention.num_calls(), 0);
    ensure(&clients, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(retention.num_calls(), 1);
}

#[tokio::test]
async fn a_function_is_registered_with_the_target_group_that_lacks_it() {
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:demo-index";
    let groups = [("plinth-public".to_owned(), "arn:group".to_owned())].into();
    let empty =
        mock!(Elb::describe_target_health).then_output(|| DescribeTargetHealthOutput::builder().build());
    let register = mock!(Elb::register_targets)
        .match_requests(move |request| {
            request.target_group_arn() == Some("arn:group") && request.targets()[0].id() == Some(arn)
        })
        .then_output(|| RegisterTargetsOutput::builder().build());
    let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, [&empty, &register]);
    assert_eq!(target::plan(&elb, arn, &groups).await.expect("fields").len(), 1);
    target::ensure(&elb, arn, &groups).await.expect("a target");
    assert_eq!(register.num_calls(), 1);

    let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, [&registered()]);
    assert_eq!(target::plan(&elb, arn, &groups).await.expect("fields"), []);
    target::ensure(&elb, arn, &groups).await.expect("a target");
}

/// The call that notes since when nothing writes to a log group.
fn noted() -> Rule {
    mock!(Logs::tag_resource)
        .match_requests(|request| request.tags().is_some_and(|tags| tags.contains_key(step::DROPPED)))
        .then_output(|| aws_sdk_cloudwatchlogs::operation::tag_resource::TagResourceOutput::builder().build())
}
