//! The `api` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    step::run(api::handle).await
}
