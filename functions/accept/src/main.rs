//! The `accept` Lambda.

use aws_sdk_s3::Client;
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let bucket = std::env::var("PLINTH_BUCKET")?;
    let config = step::config().await;
    let (s3, sfn) = (Client::new(&config), aws_sdk_sfn::Client::new(&config));
    let ecr = aws_sdk_ecr::Client::new(&config);
    let events = aws_sdk_eventbridge::Client::new(&config);
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let elsewhere = accept::Elsewhere {
        roles: std::env::var("PLINTH_BUILD_ROLES")?.split_terminator(',').map(str::to_owned).collect(),
        external_id: std::env::var("PLINTH_EXTERNAL_ID")?,
        sts: aws_sdk_sts::Client::new(&config),
        aws: config,
    };
    let accept = accept::Accept { s3, sfn, ecr, elsewhere, events, bucket, region };
    let pass = service_fn(async |event: LambdaEvent<accept::Question>| {
        // arn:aws:lambda:<region>:<account>:function:<name>
        let account = event.context.invoked_function_arn.split(':').nth(4).unwrap_or_default().to_owned();
        Box::pin(accept.handle(event.payload, &account)).await
    });
    lambda_runtime::run(pass).await
}
