//! The `role` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let boundary = std::env::var("PLINTH_BOUNDARY")?;
    step::run(move |context| role::handle(context, boundary.clone())).await
}
