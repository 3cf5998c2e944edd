//! The `service` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    step::run(service::handle).await
}
