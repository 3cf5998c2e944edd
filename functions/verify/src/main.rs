//! The `verify` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    step::run(verify::handle).await
}
