//! The `finish` Lambda.

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let bucket = std::env::var("PLINTH_BUCKET")?;
    let config = step::config().await;
    let finish = finish::Finish {
        s3: aws_sdk_s3::Client::new(&config),
        sfn: aws_sdk_sfn::Client::new(&config),
        events: aws_sdk_eventbridge::Client::new(&config),
        bucket,
    };
    let pass = service_fn(async |event: LambdaEvent<Value>| Box::pin(finish.handle(event.payload)).await);
    lambda_runtime::run(pass).await
}
