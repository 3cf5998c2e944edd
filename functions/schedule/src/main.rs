//! The `schedule` Lambda.

use schedule::Starts;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let starts = Starts {
        machine: std::env::var("PLINTH_ENVIRONMENT_MACHINE")?,
        role: std::env::var("PLINTH_SCHEDULE_ROLE")?,
        dead_letters: std::env::var("PLINTH_DEAD_LETTERS").ok().filter(|queue| !queue.is_empty()),
    };
    step::run(move |context| schedule::handle(context, starts.clone())).await
}
