//! The edge of a step's Lambda: configuration, one pass, progress.

use std::time::{Duration, SystemTime};

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::{Client, primitives::ByteStream};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use spec::Spec;

use crate::{
    Answer, Asks, Context, Doing, Error, Operation, Progress, Request, Result, Run, State, asks_key, assume,
    spec_version,
};

/// What is left of a function's time when a pass is ended, to write down how far it came.
const RESERVE: Duration = Duration::from_secs(5);

/// The SDK's configuration, from the environment; read once, in `main`.
pub async fn config() -> SdkConfig {
    Box::pin(aws_config::load_defaults(BehaviorVersion::latest())).await
}

/// The same configuration for another region, with the environment as the app's name: that's how
/// its calls are told apart in CloudTrail.
pub fn in_region(config: &SdkConfig, region: &str, environment: &str) -> SdkConfig {
    let mut builder = config.to_builder();
    builder.set_region(Some(Region::new(region.to_owned())));
    builder.set_app_name(AppName::new(environment.to_owned()).ok());
    builder.build()
}

/// Serves a step's requests until the Lambda ends.
pub async fn run<F, Fut>(handle: F) -> std::result::Result<(), lambda_runtime::Error>
where
    F: Fn(Context) -> Fut,
    Fut: Future<Output = Result<Answer>>,
{
    lambda_runtime::tracing::init_default_subscriber();
    let config = config().await;
    let s3 = Client::new(&config);
    let external_id = std::env::var("PLINTH_EXTERNAL_ID")?;
    let pass = service_fn(async |event: LambdaEvent<Request>| {
        let deadline = event.context.deadline();
        Box::pin(pass(&config, &external_id, &s3, &handle, event.payload, deadline)).await
    });
    lambda_runtime::run(pass).await
}

async fn pass<F, Fut>(
    config: &SdkConfig,
    external_id: &str,
    s3: &Client,
    handle: &F,
    request: Request,
    deadline: SystemTime,
) -> Result<Value>
where
    F: Fn(Context) -> Fut,
    Fut: Future<Output = Result<Answer>>,
{
    let run = request.run.clone();
    let home = config.region().map(ToString::to_string).unwrap_or_default();
    let home = in_region(config, &home, &run.environment);
    let progress = begin(s3, &request).await?;
    let context = Context {
        operation: request.operation,
        state: request.state,
        spec: read::<Spec>(s3, &run.spec.bucket, &run.spec.key).await?,
        aws: in_region(config, &run.region, &run.environment),
        home,
        run: request.run,
        outputs: request.outputs,
        batch: request.batch,
        kept: request.kept,
        since: progress.since,
    };
    let left = deadline.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(RESERVE);
    let work = async { handle(in_account(context, external_id).await?).await };
    let result = tokio::time::timeout(left, work).await.unwrap_or_else(|_| {
        Err(Error::soon(format!(
            "one pass took more than {} s; the next goes on where it stopped",
            left.as_secs()
        )))
    });
    let result = match result {
        Err(wait @ Error::NotReady { .. }) if request.operation != Operation::Plan => {
            Err(superseded(s3, &run).await?.unwrap_or(wait))
        }
        result => result,
    };
    let asked = progress.asks.clone();
    let progress = progress.after(result.as_ref());
    if progress.asks != asked {
        let asks = Asks { run: run.id.clone(), asks: progress.asks.clone() };
        write(s3, &run.spec.bucket, &asks_key(&run.environment, &progress.state), &asks).await?;
    }
    write(s3, &run.spec.bucket, &format!("{}{}", run.prefix(), progress.key()), &progress).await?;
    result.map(|answer| json!({ "output": answer.output, "changes": answer.count(), "kept": answer.kept }))
}

/// The same with the credentials of the run's role, if it has one.
async fn in_account(context: Context, external_id: &str) -> Result<Context> {
    let Some(role) = &context.run.role else { return Ok(context) };
    let sts = aws_sdk_sts::Client::new(&context.home);
    let aws = assume(&context.aws, &sts, role, external_id, &context.run.environment).await?;
    Ok(Context { aws, ..context })
}

/// The progress that an earlier pass left, or a new one. What is done begins anew: a rebuild prunes twice, and
/// the second time's waits are counted from its own beginning.
async fn begin(s3: &Client, request: &Request) -> Result<Progress> {
    let progress = Progress::begin(request.operation, &request.state);
    let (bucket, key) = (&request.run.spec.bucket, format!("{}{}", request.run.prefix(), progress.key()));
    let earlier = read_if_there::<Progress>(s3, bucket, &key).await?;
    if let Some(earlier) = earlier.filter(|earlier| earlier.status != State::Done) {
        return Ok(Progress { since: earlier.since, asks: earlier.asks, ..progress });
    }
    write(s3, bucket, &key, &progress).await?;
    Ok(progress)
}

/// The error for a run that waits while a newer spec, or none, is there.
async fn superseded(s3: &Client, run: &Run) -> Result<Option<Error>> {
    let current = spec_version(s3, &run.spec.bucket, &spec_keys(&run.environment)).await?;
    Ok((current != run.version).then(|| {
        Error::Superseded(match current {
            Some(version) => format!("a newer spec was uploaded (version {version}); it is carried out next"),
            None => "the spec was deleted; the environment is taken away next".to_owned(),
        })
    }))
}

/// The objects that may hold an environment's spec.
pub fn spec_keys(environment: &str) -> [String; 3] {
    ["yaml", "yml", "json"].map(|ending| format!("environments/{environment}.{ending}"))
}

/// Reads a JSON object.
pub async fn read<T: DeserializeOwned>(s3: &Client, bucket: &str, key: &str) -> Result<T> {
    let object = s3.get_object().bucket(bucket).key(key).send().await;
    parse(object.doing(|| format!("reading s3://{bucket}/{key}"))?.body, key).await
}

/// The same; none if there is no such object.
pub async fn read_if_there<T: DeserializeOwned>(s3: &Client, bucket: &str, key: &str) -> Result<Option<T>> {
    let object = s3.get_object().bucket(bucket).key(key).send().await;
    match object.unless_absent(&["NoSuchKey"], || format!("reading s3://{bucket}/{key}"))? {
        None => Ok(None),
        Some(object) => parse(object.body, key).await.map(Some),
    }
}

async fn parse<T: DeserializeOwned>(body: ByteStream, key: &str) -> Result<T> {
    let bytes = body.collect().await.map_err(|error| Error::Throttled(format!("reading {key}: {error}")))?;
    serde_json::from_slice(&bytes.into_bytes())
        .map_err(|error| Error::Failed(format!("reading {key} as JSON: {error}")))
}

/// Writes a JSON object.
pub async fn write(s3: &Client, bucket: &str, key: &str, value: &impl Serialize) -> Result<()> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Error::Failed(format!("writing {key} as JSON: {error}")))?;
    let put = s3.put_object().bucket(bucket).key(key).content_type("application/json").body(body.into());
    put.send().await.doing(|| format!("writing s3://{bucket}/{key}"))?;
    Ok(())
}
