//! The `network` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    step::run(network::handle).await
}
