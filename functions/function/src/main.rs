//! The `function` Lambda.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let home = std::env::var("AWS_REGION")?;
    step::run(move |context| function::handle(context, home.clone())).await
}
