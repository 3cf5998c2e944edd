//! Fixtures for the tests of steps.

use std::collections::BTreeSet;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use jiff::Timestamp;
use spec::Spec;

use crate::{Context, Location, Operation, Outputs, Run};

/// A context for this spec in us-east-1, account 123456789012, without a way to reach AWS: clients
/// are mocked.
pub fn context(operation: Operation, spec: Spec, outputs: Outputs) -> Context {
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .build();
    Context {
        operation,
        state: "Test".to_owned(),
        run: Run {
            environment: spec.name.clone(),
            id: "run".to_owned(),
            region: "us-east-1".to_owned(),
            account: "123456789012".to_owned(),
            role: None,
            spec: Location {
                bucket: "plinth-bucket".to_owned(),
                key: format!("runs/{}/run/spec.json", spec.name),
            },
            version: Some("1".to_owned()),
            expires: None,
            paused: false,
            teardown: false,
        },
        spec,
        outputs,
        batch: None,
        kept: BTreeSet::new(),
        since: Timestamp::now(),
        home: aws.clone(),
        aws,
    }
}
