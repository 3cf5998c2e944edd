//! The end of an environment's time.

use jiff::{SignedDuration, Timestamp};
use spec::{Spec, Then};

use crate::source::Source;

/// When the environment expires: so long after its spec was uploaded.
pub(crate) fn moment(spec: &Spec, source: &Source) -> Option<Timestamp> {
    let seconds = i64::try_from(spec.expires?.after.seconds()).ok()?;
    source.uploaded?.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// What is to be done, if the time is really over: whoever asks gives but a hint. What is paused isn't paused
/// again.
pub(crate) fn end(spec: &Spec, moment: Option<Timestamp>, there: bool, paused: bool) -> Option<Then> {
    let over = there && moment.is_some_and(|moment| moment <= Timestamp::now());
    let then = spec.expires.filter(|_| over)?.then;
    (then == Then::Destroy || !paused).then_some(then)
}
