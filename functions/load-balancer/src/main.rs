//! The `load-balancer` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    step::run(load_balancer::handle).await
}
