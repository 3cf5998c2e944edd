//! The step `function`: Lambda functions of the environment, their log groups, and who may call them.
//!
//! Ours is a function that carries the owner's tags; it has them from `CreateFunction` on, and so has its
//! log group. What load balancers may call is owned through the function: statements of its policy whose
//! ids begin with `plinth-`. The function's role is made by the step `role`.
//!
//! Lambda tells what it runs by a hash: that of a ZIP file's bytes, or the digest of an image. What the
//! spec names is looked at in every pass, so that code that was changed by hand is seen too.

mod code;
mod log_group;
mod permission;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatchlogs::Client as Logs;
use aws_sdk_ecr::Client as Ecr;
use aws_sdk_elasticloadbalancingv2::Client as Elb;
use aws_sdk_lambda::{
    Client as Lambda,
    error::ProvideErrorMetadata,
    operation::get_function::GetFunctionOutput,
    types::{
        Architecture, Environment, FunctionCodeLocation, FunctionConfiguration, LastUpdateStatus,
        LastUpdateStatusReasonCode, PackageType, Runtime, State, StateReasonCode, VpcConfig,
    },
};
use aws_sdk_s3::Client as S3;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use code::Code;
use jiff::Timestamp;
use log_group::Unused;
use spec::{Duration, Function};
use step::{
    Answer, Change, Context, Doing, Error, Field, FunctionOutput, Latency, Operation, Result, compare,
    missing_tags, side_by_side,
};

/// What addresses of this step begin with.
const SECTION: &str = "functions.";

/// The longest name of a function.
const LIMIT: usize = 64;

/// What runs a ZIP file where the spec doesn't say.
const RUNTIME: &str = "provided.al2023";

/// What is called in a ZIP file where the spec doesn't say.
const HANDLER: &str = "bootstrap";

/// How long a call may take where the spec doesn't say: what Lambda takes too.
const TIMEOUT: Duration = Duration::from_seconds(3);

/// What Lambda answers for what isn't there.
const ABSENT: [&str; 1] = ["ResourceNotFoundException"];

/// What Lambda answers while it is still at work on a function, or somebody else is.
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html>
const BUSY: [&str; 1] = ["ResourceConflictException"];

/// What Lambda says of a role that was made a moment ago, in an `InvalidParameterValueException`.
/// Source: <https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function.go>
const YOUNG_ROLE: [&str; 3] = [
    "cannot be assumed by Lambda",
    "execution role does not have permissions",
    "does not refer to a valid principal",
];

/// How Lambda writes times.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.f%z";

/// The clients of a pass.
struct Clients {
    lambda: Lambda,
    elb: Elb,
    logs: Logs,
    ecr: Ecr,
    /// In the run's region.
    s3: S3,
    /// In the control plane's region and account.
    packages: S3,
}

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let clients = Clients {
        lambda: Lambda::new(&context.aws),
        elb: Elb::new(&context.aws),
        logs: Logs::new(&context.aws),
        ecr: Ecr::new(&context.aws),
        s3: S3::new(&context.aws),
        packages: S3::new(&context.home),
    };
    match context.operation {
        Operation::Plan => plan(&clients, &context).await,
        Operation::Ensure => ensure(&clients, &context).await,
        Operation::Prune => prune(&clients, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    name: String,
    role: String,
    code: code::Wanted,
    /// What runs a ZIP file, and what is called in it; none for an image.
    runtime: Option<(String, String)>,
    architecture: &'static str,
    memory: i32,
    /// In seconds.
    timeout: i32,
    environment: BTreeMap<String, String>,
    /// Where it runs; empty outside of the network.
    subnets: BTreeSet<String>,
    groups: BTreeSet<String>,
    /// The target groups that may call it, by statement id.
    callers: BTreeMap<String, String>,
    logs: log_group::Wanted,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    context.spec.functions.iter().map(|(key, function)| wanted_one(context, key, function)).collect()
}

fn wanted_one(context: &Context, key: &str, function: &Function) -> Result<Wanted> {
    let address = format!("{SECTION}{key}");
    let name = name(context, key, function);
    let or = |said: &Option<String>, default: &str| said.clone().unwrap_or_else(|| default.to_owned());
    let runtime = (or(&function.runtime, RUNTIME), or(&function.handler, HANDLER));
    let variable = |(key, text)| Ok((String::clone(key), context.render(text)?));
    let (subnets, groups) = network(context, function)?;
    let timeout = function.timeout.unwrap_or(TIMEOUT).seconds();
    Ok(Wanted {
        key: key.to_owned(),
        role: context.role_arn(&context.function_role_name(key)),
        code: code::wanted(context, &address, function)?,
        runtime: function.image.is_none().then_some(runtime),
        architecture: code::architecture(function),
        memory: function.memory,
        timeout: i32::try_from(timeout).unwrap_or(i32::MAX),
        environment: function.environment.iter().map(variable).collect::<Result<_>>()?,
        subnets,
        groups,
        callers: permission::wanted(context, key),
        logs: log_group::wanted(context, &address, &name)?,
        tags: context.tags(&address),
        name,
        address,
    })
}

fn name(context: &Context, key: &str, function: &Function) -> String {
    context.name(function.name.as_ref(), key, LIMIT)
}

/// The subnets and security groups of a function that runs in the environment's network.
fn network(context: &Context, function: &Function) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    if !function.vpc {
        return Ok((BTreeSet::new(), BTreeSet::new()));
    }
    let network = context.known(context.outputs.network.as_ref(), "network")?;
    let subnets = if network.private.is_empty() { &network.public } else { &network.private };
    Ok((subnets.iter().cloned().collect(), [network.group.clone()].into()))
}

/// A function as Lambda tells of it.
struct Found {
    aws: FunctionConfiguration,
    code: FunctionCodeLocation,
    tags: BTreeMap<String, String>,
}

async fn ensure(clients: &Clients, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let outputs = side_by_side(wanted.iter().map(|wanted| ensure_one(clients, context, wanted))).await?;
    Answer::new(BTreeMap::from_iter(outputs), Vec::new())
}

async fn ensure_one(
    clients: &Clients,
    context: &Context,
    wanted: &Wanted,
) -> Result<(String, FunctionOutput)> {
    log_group::ensure(&clients.logs, context, &wanted.logs).await?;
    let (lambda, name) = (&clients.lambda, &wanted.name);
    match find(lambda, context, name).await? {
        None => {
            let code = code::ready(clients, context, &wanted.code).await?;
            settled(&create(lambda, context, wanted, &code).await?, name)?;
        }
        Some(found) => update(clients, context, &found, wanted).await?,
    }
    permission::ensure(lambda, name, &wanted.callers).await?;
    let (key, output) = output(context, wanted);
    target::ensure(&clients.elb, &output.arn, &wanted.callers).await?;
    Ok((key, output))
}

/// Puts a function that stands right.
async fn update(clients: &Clients, context: &Context, found: &Found, wanted: &Wanted) -> Result<()> {
    let (lambda, name) = (&clients.lambda, &wanted.name);
    settled(&found.aws, name)?;
    refuse_failed(context, &found.aws, name)?;
    if !replaced(&found.aws, wanted).is_empty() {
        delete(lambda, name).await?;
        return Err(Error::soon(format!("Lambda function ({name}) gives way to another")));
    }
    let code = code::ready(clients, context, &wanted.code).await?;
    // While Lambda is at work on a change, it takes neither another one nor tags.
    if !missing_tags(&found.tags, &wanted.tags).is_empty() {
        retag(lambda, &found.aws, wanted).await?;
    }
    if !settings(&found.aws, wanted).is_empty() {
        settled(&configure(lambda, context, wanted).await?, name)?;
    }
    if !code_fields(found, wanted, Some(&code)).is_empty() {
        settled(&put_code(lambda, wanted, &code).await?, name)?;
    }
    Ok(())
}

async fn plan(clients: &Clients, context: &Context) -> Result<Answer> {
    let Answer { mut changes, left, .. } = delete_dropped(clients, context).await?;
    let wanted = wanted(context)?;
    let planned = side_by_side(wanted.iter().map(|wanted| plan_one(clients, context, wanted))).await?;
    changes.extend(planned.into_iter().flatten());
    let outputs: BTreeMap<_, _> = wanted.iter().map(|wanted| output(context, wanted)).collect();
    Ok(Answer::new(outputs, changes)?.leaving(left))
}

async fn plan_one(clients: &Clients, context: &Context, wanted: &Wanted) -> Result<Vec<Change>> {
    let logs = log_group::plan(&clients.logs, context, &wanted.logs).await?;
    let found = find(&clients.lambda, context, &wanted.name).await?;
    let code = code::find(clients, context, &wanted.code).await?;
    let own = match found {
        None => {
            let create = Change::create(&wanted.address).with("name", &wanted.name);
            Some(create.with("code", wanted.code.told()))
        }
        Some(found) => {
            let mut fields = difference(&found, wanted, code.as_ref());
            let callers = permission::find(&clients.lambda, &wanted.name).await?;
            fields.extend(permission::difference(&callers, &wanted.callers));
            let (_, output) = output(context, wanted);
            fields.extend(target::plan(&clients.elb, &output.arn, &wanted.callers).await?);
            Change::update(&wanted.address, fields)
        }
    };
    Ok(logs.into_iter().chain(own).collect())
}

async fn prune(clients: &Clients, context: &Context) -> Result<Answer> {
    delete_dropped(clients, context).await
}

/// Deletes our functions that the spec doesn't mention, then drops their log groups; in a plan only names them.
async fn delete_dropped(clients: &Clients, context: &Context) -> Result<Answer> {
    let functions = context.spec.functions.iter();
    let kept: BTreeSet<String> = functions.map(|(key, function)| name(context, key, function)).collect();
    let mut others = listed(&clients.lambda).await?;
    others.retain(|found| !kept.contains(found.function_name().unwrap_or_default()));
    let passes = others.iter().map(|found| delete_if_ours(&clients.lambda, context, found));
    let dropped = side_by_side(passes).await?;
    // A log group of a function that is somebody else's isn't ours.
    let foreign = others.into_iter().zip(&dropped).filter(|(_, change)| change.is_none());
    let foreign = foreign.filter_map(|(found, _)| found.function_name);
    let skipped = kept.into_iter().chain(foreign).collect();
    let mut answer = Answer::changed(dropped.into_iter().flatten().collect());
    for unused in log_group::drop_unused(&clients.logs, context, &skipped).await? {
        match unused {
            Unused::Deleted(change) => answer.changes.push(change),
            Unused::Left(left) => answer.left.push(left),
        }
    }
    Ok(answer)
}

async fn delete_if_ours(
    lambda: &Lambda,
    context: &Context,
    listed: &FunctionConfiguration,
) -> Result<Option<Change>> {
    let name = listed.function_name().unwrap_or_default();
    if !may_be_ours(context, listed) {
        return Ok(None);
    }
    let Some(found) = describe(lambda, name).await? else { return Ok(None) };
    let owner = context.owner();
    let Some(address) = owner.address(&found.tags).filter(|address| address.starts_with(SECTION)) else {
        return Ok(None);
    };
    if context.operation == Operation::Prune {
        delete(lambda, name).await?;
    }
    Ok(Some(Change::delete(address).with("name", name)))
}

/// The account's functions in the run's region. Their tags aren't listed.
async fn listed(lambda: &Lambda) -> Result<Vec<FunctionConfiguration>> {
    let pages = lambda.list_functions().into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    all.doing(|| "listing Lambda functions")
}

/// Whether a function's tags are worth a call of its own: an account may have hundreds. Ours has a name that begins
/// with the environment's, or if the spec names it then a role of the environment.
fn may_be_ours(context: &Context, listed: &FunctionConfiguration) -> bool {
    let is_called_so = |name: &str| name.starts_with(&format!("{}-", context.run.environment));
    let is_of_role = |role: &str| role.contains(&format!(":role{}", context.role_path()));
    listed.function_name().is_some_and(is_called_so) || listed.role().is_some_and(is_of_role)
}

async fn find(lambda: &Lambda, context: &Context, name: &str) -> Result<Option<Found>> {
    let found = describe(lambda, name).await?;
    if let Some(found) = &found {
        context.owner().check(&format!("Lambda function ({name})"), &found.tags)?;
    }
    Ok(found)
}

/// `GetFunction` tells the tags too, and may be called a hundred times a second, where `ListTags` shares
/// fifteen with all that changes functions.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
async fn describe(lambda: &Lambda, name: &str) -> Result<Option<Found>> {
    let doing = || format!("reading Lambda function ({name})");
    let found = lambda.get_function().function_name(name).send().await.unless_absent(&ABSENT, doing)?;
    let Some(GetFunctionOutput { configuration, code, tags, tags_error, .. }) = found else {
        return Ok(None);
    };
    // Whoever may not list tags gets an answer without them.
    if let Some(error) = tags_error {
        return Err(Error::Failed(format!("{}: its tags: {}: {}", doing(), error.error_code, error.message)));
    }
    let aws = configuration.unwrap_or_else(|| FunctionConfiguration::builder().build());
    let code = code.unwrap_or_else(|| FunctionCodeLocation::builder().build());
    Ok(Some(Found { aws, code, tags: tags.unwrap_or_default().into_iter().collect() }))
}

/// Waits for what Lambda itself does to a function; it gives up by itself.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html>
fn settled(function: &FunctionConfiguration, name: &str) -> Result<()> {
    let doing = match (function.state(), function.last_update_status()) {
        (Some(State::Pending), _) => "is pending",
        (Some(State::Deleting), _) => "is being deleted",
        (_, Some(LastUpdateStatus::InProgress)) => "is being changed",
        _ => return Ok(()),
    };
    Err(Error::soon(format!("Lambda function ({name}) {doing}")))
}

/// Why Lambda couldn't make or change a function.
fn failure(function: &FunctionConfiguration) -> Option<String> {
    let told = |done: &str, code: Option<&str>, reason: Option<&str>| {
        Some(format!("{done}: {}: {}", code.unwrap_or("Failed"), reason.unwrap_or("no reason given")))
    };
    if function.state() == Some(&State::Failed) {
        let code = function.state_reason_code().map(StateReasonCode::as_str);
        return told("couldn't be made", code, function.state_reason());
    }
    if function.last_update_status() == Some(&LastUpdateStatus::Failed) {
        let code = function.last_update_status_reason_code().map(LastUpdateStatusReasonCode::as_str);
        return told("couldn't be changed", code, function.last_update_status_reason());
    }
    None
}

/// Refuses a function that Lambda failed at in this run. What failed in an earlier one is tried again.
fn refuse_failed(context: &Context, function: &FunctionConfiguration, name: &str) -> Result<()> {
    let modified = function.last_modified().and_then(|time| Timestamp::strptime(TIME, time).ok());
    match failure(function) {
        Some(failure) if modified.is_none_or(|modified| modified >= context.since) => Err(Error::Failed(
            format!("Lambda function ({name}) {failure}; mend that, then start the run again"),
        )),
        _ => Ok(()),
    }
}

fn difference(found: &Found, wanted: &Wanted, code: Option<&Code>) -> Vec<Field> {
    let replaced = replaced(&found.aws, wanted);
    let code = if replaced.is_empty() { code_fields(found, wanted, code) } else { Vec::new() };
    let settings = settings(&found.aws, wanted).into_iter();
    replaced.into_iter().chain(settings).chain(code).chain(missing_tags(&found.tags, &wanted.tags)).collect()
}

/// What makes another function necessary: whether it is a ZIP file or an image is for good, and so is a
/// failure to make it.
fn replaced(found: &FunctionConfiguration, wanted: &Wanted) -> Vec<Field> {
    let kind = found.package_type().unwrap_or(&PackageType::Zip);
    let state = found.state().unwrap_or(&State::Active);
    let failed = compare("state", state.as_str(), State::Active.as_str());
    compare("packageType", kind.as_str(), wanted.code.kind().as_str())
        .into_iter()
        .chain(failed.filter(|_| *state == State::Failed))
        .collect()
}

/// What `UpdateFunctionConfiguration` changes; also a change that failed, which is made once more.
fn settings(found: &FunctionConfiguration, wanted: &Wanted) -> Vec<Field> {
    let vpc = found.vpc_config();
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let subnets = vpc.map(|vpc| vpc.subnet_ids().iter().cloned().collect()).unwrap_or_default();
    let groups = vpc.map(|vpc| vpc.security_group_ids().iter().cloned().collect()).unwrap_or_default();
    let failed = found.last_update_status() == Some(&LastUpdateStatus::Failed);
    let change = |failed: bool| if failed { "Failed" } else { "Successful" };
    let zipped = wanted.runtime.iter().flat_map(|(runtime, handler)| {
        let found_runtime = found.runtime().map(Runtime::as_str).unwrap_or_default();
        [
            compare("runtime", found_runtime, runtime),
            compare("handler", found.handler().unwrap_or_default(), handler),
        ]
    });
    [
        compare("lastUpdateStatus", change(failed), change(false)),
        compare("role", found.role().unwrap_or_default(), wanted.role.as_str()),
        compare("memory", found.memory_size().unwrap_or_default(), wanted.memory),
        compare("timeout", found.timeout().unwrap_or_default(), wanted.timeout),
        compare("vpc.subnets", list(&subnets), list(&wanted.subnets)),
        compare("vpc.groups", list(&groups), list(&wanted.groups)),
    ]
    .into_iter()
    .chain(zipped)
    .flatten()
    .chain(environment(found, &wanted.environment))
    .collect()
}

/// A variable that the spec doesn't have may hold a secret: what it says isn't told.
fn environment(found: &FunctionConfiguration, wanted: &BTreeMap<String, String>) -> Vec<Field> {
    let found: BTreeMap<_, _> = found
        .environment()
        .and_then(|environment| environment.variables())
        .map(|variables| variables.iter().collect())
        .unwrap_or_default();
    let differs = |(key, value): &(&String, &String)| found.get(key) != Some(value);
    let set = wanted.iter().filter(differs).map(|(key, value)| Field {
        name: format!("environment.{key}"),
        found: found.get(key).map(ToString::to_string),
        wanted: value.clone(),
    });
    let unset = found.keys().filter(|key| !wanted.contains_key(**key)).map(|key| Field {
        name: format!("environment.{key}"),
        found: Some("set".to_owned()),
        wanted: "not set".to_owned(),
    });
    set.chain(unset).collect()
}

/// What `UpdateFunctionCode` changes. The processor goes with the code that is built for it.
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html>
fn code_fields(found: &Found, wanted: &Wanted, code: Option<&Code>) -> Vec<Field> {
    let architecture = found.aws.architectures().first().map(Architecture::as_str).unwrap_or_default();
    compare("architecture", architecture, wanted.architecture)
        .into_iter()
        .chain(code::difference(&found.aws, &found.code, &wanted.code, code))
        .collect()
}

/// The name lets this call make one function at most; when its answer was lost, the next pass finds it.
async fn create(
    lambda: &Lambda,
    context: &Context,
    wanted: &Wanted,
    code: &Code,
) -> Result<FunctionConfiguration> {
    let (runtime, handler) = wanted.runtime.clone().unzip();
    let created = lambda
        .create_function()
        .function_name(&wanted.name)
        .role(&wanted.role)
        .package_type(wanted.code.kind())
        .code(code.for_create())
        .set_runtime(runtime.map(|runtime| Runtime::from(runtime.as_str())))
        .set_handler(handler)
        .architectures(Architecture::from(wanted.architecture))
        .memory_size(wanted.memory)
        .timeout(wanted.timeout)
        .environment(variables(wanted))
        .set_vpc_config((!wanted.subnets.is_empty()).then(|| vpc_config(wanted)))
        .set_tags(Some(wanted.tags.clone().into_iter().collect()))
        .send()
        .await;
    let created = or_later(created, context, || format!("creating Lambda function ({})", wanted.name))?;
    Ok(FunctionConfiguration::builder()
        .set_state(created.state)
        .set_last_update_status(created.last_update_status)
        .build())
}

async fn configure(lambda: &Lambda, context: &Context, wanted: &Wanted) -> Result<FunctionConfiguration> {
    let (runtime, handler) = wanted.runtime.clone().unzip();
    let updated = lambda
        .update_function_configuration()
        .function_name(&wanted.name)
        .role(&wanted.role)
        .set_runtime(runtime.map(|runtime| Runtime::from(runtime.as_str())))
        .set_handler(handler)
        .memory_size(wanted.memory)
        .timeout(wanted.timeout)
        .environment(variables(wanted))
        // Without subnets it leaves the network.
        .vpc_config(vpc_config(wanted))
        .send()
        .await;
    let updated = or_later(updated, context, || format!("changing Lambda function ({})", wanted.name))?;
    Ok(FunctionConfiguration::builder()
        .set_state(updated.state)
        .set_last_update_status(updated.last_update_status)
        .build())
}

async fn put_code(lambda: &Lambda, wanted: &Wanted, code: &Code) -> Result<FunctionConfiguration> {
    let update = lambda.update_function_code().function_name(&wanted.name);
    let update = code.for_update(update).architectures(Architecture::from(wanted.architecture));
    let doing = || format!("putting the code of Lambda function ({})", wanted.name);
    let updated = idle(update.send().await, doing)?;
    Ok(FunctionConfiguration::builder()
        .set_state(updated.state)
        .set_last_update_status(updated.last_update_status)
        .build())
}

async fn retag(lambda: &Lambda, found: &FunctionConfiguration, wanted: &Wanted) -> Result<()> {
    let arn = found.function_arn().unwrap_or_default();
    let tags = wanted.tags.clone().into_iter().collect();
    let tagged = lambda.tag_resource().resource(arn).set_tags(Some(tags)).send().await;
    idle(tagged, || format!("tagging Lambda function ({})", wanted.name))?;
    Ok(())
}

fn variables(wanted: &Wanted) -> Environment {
    let variables = wanted.environment.clone().into_iter().collect();
    Environment::builder().set_variables(Some(variables)).build()
}

fn vpc_config(wanted: &Wanted) -> VpcConfig {
    let list = |names: &BTreeSet<String>| Some(names.iter().cloned().collect());
    VpcConfig::builder()
        .set_subnet_ids(list(&wanted.subnets))
        .set_security_group_ids(list(&wanted.groups))
        .build()
}

/// A call's answer; a role that isn't known everywhere yet is waited for.
fn or_later<T, E>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    context: &Context,
    doing: impl FnOnce() -> String,
) -> Result<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let young = answer
        .as_ref()
        .err()
        .and_then(|error| error.message())
        .filter(|message| YOUNG_ROLE.iter().any(|part| message.contains(part)));
    match young {
        Some(message) => Err(Latency::of("iam-role").wait(&format!("{}: {message}", doing()), context.since)),
        None => idle(answer, doing),
    }
}

/// A call's answer; Lambda, being at work on the function, is waited for.
fn idle<T, E>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    doing: impl FnOnce() -> String,
) -> Result<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Err(error) if error.code().is_some_and(|code| BUSY.contains(&code)) => {
            let message = error.message().unwrap_or("another change is under way");
            Err(Error::soon(format!("{}: {message}", doing())))
        }
        answer => answer.doing(doing),
    }
}

/// Its interfaces in a network stay for a while; the network's own prune waits for them.
async fn delete(lambda: &Lambda, name: &str) -> Result<()> {
    let deleted = lambda.delete_function().function_name(name).send().await;
    deleted.gone(&ABSENT, &BUSY, || format!("deleting Lambda function ({name})"))
}

fn output(context: &Context, wanted: &Wanted) -> (String, FunctionOutput) {
    let (partition, region, account) = (context.partition(), &context.run.region, &context.run.account);
    let arn = format!("arn:{partition}:lambda:{region}:{account}:function:{}", wanted.name);
    (wanted.key.clone(), FunctionOutput { arn })
}
