//! The function `sweep`: every hour it looks for what no event told.
//!
//! Events are hints, and a hint can be lost. What the bucket holds is not: a lock whose execution is dead is
//! freed, and for an environment whose status isn't settled on its spec's current version a run is started.
//! `accept` decides what that run does. What a living run holds is left to it, and what failed to a person.

use std::collections::BTreeMap;

use aws_sdk_s3::Client as S3;
use aws_sdk_sfn::Client as StepFunctions;
use jiff::{Timestamp, ToSpan};
use lock::{Holder, Locks};
use serde::Serialize;
use serde_json::json;
use step::{
    Doing, EnvironmentState, Result, Status, environment_of, is_environment, is_settled, list, read_if_there,
    side_by_side, spec_version, status_key,
};

/// What `sweep` needs of its surroundings.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// To look at the control plane's bucket.
    pub s3: S3,
    /// To see whether a lock's holder still runs, and to start runs.
    pub sfn: StepFunctions,
    /// The control plane's bucket.
    pub bucket: String,
    /// The ARN of the machine that runs are executions of.
    pub machine: String,
}

/// What a sweep found to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// The environments whose lock it freed.
    pub freed: Vec<String>,
    /// Those it started a run of.
    pub started: Vec<String>,
}

/// What the bucket holds of an environment.
#[derive(Debug, Default)]
struct Found {
    /// The keys of its specs.
    specs: Vec<String>,
    locked: bool,
}

/// What was done for an environment.
struct Mended {
    environment: String,
    freed: bool,
    started: bool,
}

impl Sweep {
    /// One pass over all environments. A fault of one is told after all had their turn.
    pub async fn handle(&self) -> Result<Swept> {
        let found = self.find().await?;
        let passes = found.into_iter().map(|(environment, found)| self.mend(environment, found));
        let mut swept = Swept::default();
        for mended in side_by_side(passes).await? {
            swept.freed.extend(mended.freed.then(|| mended.environment.clone()));
            swept.started.extend(mended.started.then_some(mended.environment));
        }
        Ok(swept)
    }

    /// Every environment that has a spec, a status or a lock.
    async fn find(&self) -> Result<BTreeMap<String, Found>> {
        let mut environments: BTreeMap<String, Found> = BTreeMap::new();
        for key in list(&self.s3, &self.bucket, "environments/").await? {
            if let Some(environment) = environment_of(&key).map(str::to_owned) {
                environments.entry(environment).or_default().specs.push(key);
            }
        }
        for prefix in ["status/", "locks/"] {
            for key in list(&self.s3, &self.bucket, prefix).await? {
                let name = key.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".json"));
                let Some(environment) = name.filter(|name| is_environment(name)) else { continue };
                environments.entry(environment.to_owned()).or_default().locked |= prefix == "locks/";
            }
        }
        Ok(environments)
    }

    async fn mend(&self, environment: String, found: Found) -> Result<Mended> {
        let mut mended = Mended { environment, freed: false, started: false };
        let environment = mended.environment.as_str();
        let locks = Locks { s3: &self.s3, sfn: &self.sfn, bucket: &self.bucket };
        if found.locked
            && let Some(held) = locks.find(environment).await?
        {
            // One that has just ended may be about to be cleared up; if not, the next sweep frees its lock.
            if locks.holder(&held).await? != Holder::Dead || !locks.free(environment, &held).await? {
                return Ok(mended);
            }
            mended.freed = true;
        }
        let status: Option<Status> = read_if_there(&self.s3, &self.bucket, &status_key(environment)).await?;
        let version = spec_version(&self.s3, &self.bucket, &found.specs).await?;
        if let Some(action) = owed(status.as_ref(), version.as_ref(), Timestamp::now()) {
            self.start(environment, action).await?;
            mended.started = true;
        }
        Ok(mended)
    }

    async fn start(&self, environment: &str, action: &str) -> Result<()> {
        let input = json!({ "environment": environment, "action": action }).to_string();
        let started = self.sfn.start_execution().state_machine_arn(&self.machine).input(input).send().await;
        started.doing(|| format!("starting a run of environment {environment}"))?;
        Ok(())
    }
}

/// What an environment is owed: a run of its current spec; the end of its time, if that came and nothing was done
/// since; or, once a day, to be paused again, since RDS starts what was stopped after seven days.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html>
fn owed(status: Option<&Status>, version: Option<&String>, now: Timestamp) -> Option<&'static str> {
    if !is_settled(status, version) {
        return Some("sweep");
    }
    let status = status?;
    if status.state.is_gone() {
        return None;
    }
    if status.expires.is_some_and(|moment| status.at < moment && moment <= now) {
        return Some("expire");
    }
    let is_paused = status.state == EnvironmentState::Paused;
    (is_paused && status.at + 24.hours() <= now).then_some("pause")
}

#[cfg(test)]
mod tests;
