//! Data that would be lost: what keeps data goes only when the spec says so in so many words, and log groups outlive
//! what wrote to them.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};

use crate::Context;

/// The tag of what keeps data while no run of the environment has ended well with it: until then an older spec
/// may drop it, so that it is a way back from a run that failed.
pub const NEW: &str = "plinth:new";

/// Whether these tags say that no run has ended well with a resource.
pub fn is_new(tags: &BTreeMap<String, String>) -> bool {
    tags.get(NEW).is_some_and(|new| new == "true")
}

/// The tag of a log group that nothing of the spec writes to: since when, or `false` once something does again.
pub const DROPPED: &str = "plinth:dropped";

/// The tag of a log group that nothing writes to from now on.
pub fn dropped_now() -> BTreeMap<String, String> {
    BTreeMap::from([(DROPPED.to_owned(), Timestamp::now().strftime("%FT%TZ").to_string())])
}

/// Since when nothing of the spec writes to a log group; none if something does.
pub fn dropped_at(tags: &BTreeMap<String, String>) -> Option<Timestamp> {
    tags.get(DROPPED)?.parse().ok()
}

/// Whether all lines of a log group that was dropped are past its retention, so many days; none is for ever.
pub fn is_over(tags: &BTreeMap<String, String>, retention: Option<i32>) -> bool {
    let end = |(at, days): (Timestamp, i32)| at.checked_add((i64::from(days) * 24).hours()).ok();
    dropped_at(tags).zip(retention).and_then(end).is_some_and(|end| end <= Timestamp::now())
}

/// Why a spec that drops what keeps data is refused, with the remedies. `what` is "RDS instance (demo-main)", and
/// `then` says what would become of its data.
pub fn loss(address: &str, what: &str, then: &str) -> String {
    let key = address.rsplit('.').next().unwrap_or_default();
    format!(
        "{address}: the spec no longer mentions {what}, {then}: to keep it, put {address} back, or write `formerly: \
         {key}` at the key that takes its place; to delete it, write `allowDataLoss: [{address}]` at the top of the \
         spec"
    )
}

impl Context {
    /// Whether what keeps data at this address may go with it: the spec says so, or the environment is taken away.
    pub fn may_lose(&self, address: &str) -> bool {
        self.run.teardown || self.spec.allow_data_loss.iter().any(|allowed| allowed == address)
    }
}

#[cfg(test)]
mod tests {
    use spec::Spec;

    use super::*;
    use crate::{Operation, Outputs, test::context};

    #[test]
    fn what_keeps_data_goes_if_the_spec_says_so_or_the_environment_goes() {
        let mut context = context(Operation::Plan, Spec::empty("demo"), Outputs::default());
        assert!(!context.may_lose("databases.main"));
        context.spec.allow_data_loss = vec!["databases.main".to_owned()];
        assert!(context.may_lose("databases.main") && !context.may_lose("databases.other"));
        context.run.teardown = true;
        assert!(context.may_lose("databases.other"));
    }

    #[test]
    fn a_log_group_is_over_when_its_retention_has_passed_since_it_was_dropped() {
        let tags = |value: &str| BTreeMap::from([(DROPPED.to_owned(), value.to_owned())]);
        assert!(is_over(&tags("2026-01-01T00:00:00Z"), Some(7)));
        assert!(!is_over(&tags("2026-01-01T00:00:00Z"), None));
        assert!(!is_over(&tags(&Timestamp::now().to_string()), Some(1)));
        assert!(!is_over(&tags("false"), Some(1)) && !is_over(&BTreeMap::new(), Some(1)));
    }

    #[test]
    fn a_refusal_names_both_remedies() {
        let told = loss("databases.main", "RDS instance (demo-main)", "and its data would go");
        assert!(
            told.contains("`formerly: main`") && told.contains("`allowDataLoss: [databases.main]`"),
            "{told}"
        );
    }
}
