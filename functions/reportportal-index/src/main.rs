//! The `reportportal-index` Lambda.

use aws_lambda_events::alb::AlbTargetGroupRequest;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use reportportal_index::Index;

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let address = std::env::var("TRAEFIK_SERVICES_URL")
        .map_err(|error| format!("reading TRAEFIK_SERVICES_URL: {error}"))?;
    let index = Index::new(&address)?;
    let answer = service_fn(async |event: LambdaEvent<AlbTargetGroupRequest>| {
        Ok::<_, Error>(index.handle(event.payload).await)
    });
    lambda_runtime::run(answer).await
}
