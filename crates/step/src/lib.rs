//! The contract every step keeps: what it is asked ([`Request`]), what it answers ([`Answer`]), how it
//! fails ([`Error`]), and what steps share: names, tags, outputs, references, progress.
//!
//! A step is a crate under `functions/`. Its `main` is `step::run(handle)`, and `handle` makes one
//! pass: find, compare, make only the calls still needed. It never sleeps; what isn't ready yet is
//! [`Error::NotReady`], and Step Functions does the waiting.

mod answer;
mod asks;
mod assume;
mod context;
mod error;
mod latency;
mod list;
mod lock;
mod loss;
mod outputs;
mod progress;
mod push;
mod replace;
mod request;
mod runtime;
mod side_by_side;
mod status;
mod tags;
mod trigger;
mod version;

pub mod test;

pub use answer::{Action, Answer, Change, Field, Left, LeftKind, UNKNOWN, compare, compare_key};
pub use asks::{Asks, asks_key, asks_prefix};
pub use assume::assume;
pub use context::Context;
pub use error::{Doing, Error, Pace, Result};
pub use latency::Latency;
pub use list::{as_it_is, list};
pub use lock::{Lock, lock_key};
pub use loss::{DROPPED, NEW, dropped_at, dropped_now, is_new, is_over, loss};
pub use outputs::{
    ApiOutput, BucketOutput, CertificateOutput, ClusterOutput, DatabaseOutput, FileSystemOutput,
    FunctionOutput, KeyOutput, LoadBalancerOutput, NetworkOutput, Outputs, RecordOutput, RepositoryOutput,
    SecretOutput,
};
pub use progress::{Progress, State};
pub use push::{Push, Pushed, pushed_key};
pub use replace::{Candidate, Choice, REPLACED, choose, instead_of};
pub use request::{Location, Operation, Request, Run};
pub use runtime::{config, in_region, read, read_if_there, run, spec_keys, write};
pub use side_by_side::side_by_side;
pub use spec::{cut, digits, name, name_of};
pub use status::{
    EnvironmentState, LastReady, Rebuild, RunFault, Status, is_applied, is_settled, status_key,
};
pub use tags::{ADDRESS, CONTROL_PLANE, ENVIRONMENT, Owner, PROTECT, VALUE, is_protected, missing_tags};
pub use trigger::{Action as Asked, Held, NAMES, Trigger, environment_of, is_environment, object_key};
pub use version::spec_version;
