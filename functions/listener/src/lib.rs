//! The step `listener`. It builds nothing yet: a spec with the section `loadBalancers` is refused.

use step::{Answer, Context, Error, Result};

/// One pass.
#[allow(clippy::unused_async, reason = "every step is asked the same way")]
pub async fn handle(context: Context) -> Result<Answer> {
    if context.spec.load_balancers.is_empty() {
        return Ok(Answer::default());
    }
    Err(Error::InvalidSpec(
        "loadBalancers: this version of Plinth can't build it yet; leave the section out".to_owned(),
    ))
}
