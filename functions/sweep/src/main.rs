//! The `sweep` Lambda.

use lambda_runtime::{LambdaEvent, service_fn};
use serde::de::IgnoredAny;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let bucket = std::env::var("PLINTH_BUCKET")?;
    let machine = std::env::var("PLINTH_ENVIRONMENT_MACHINE")?;
    let config = step::config().await;
    let (s3, sfn) = (aws_sdk_s3::Client::new(&config), aws_sdk_sfn::Client::new(&config));
    let sweep = sweep::Sweep { s3, sfn, bucket, machine };
    let pass = service_fn(async |_: LambdaEvent<IgnoredAny>| Box::pin(sweep.handle()).await);
    lambda_runtime::run(pass).await
}
