//! The `cluster` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    step::run(cluster::handle).await
}
