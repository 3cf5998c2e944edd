//! The function `finish`: every run ends here, in a written status and a free lock.
//!
//! It runs as the last state of the machine, on a caught fault, and from a rule on executions that
//! `FAILED`, `TIMED_OUT` or were `ABORTED`, since no Catch sees those. Doing it twice is doing it once.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_sdk_eventbridge::{Client as Events, types::PutEventsRequestEntry};
use aws_sdk_s3::{Client as S3, operation::list_objects_v2::ListObjectsV2Output};
use aws_sdk_sfn::Client as StepFunctions;
use jiff::Timestamp;
use lock::Locks;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use spec::Faults;
use step::{
    Asked, Doing, EnvironmentState, Error, Outputs, Progress, Result, Run, RunFault, Status, Trigger,
    is_applied, read_if_there, spec_keys, spec_version, status_key, write,
};

/// What the machine sends at a run's end.
#[derive(Debug, Clone, Deserialize)]
struct Ended {
    /// The outermost execution's ARN.
    execution: String,
    /// The way `accept` chose; none if it failed itself.
    verdict: Option<String>,
    /// The run; none if `accept` failed.
    run: Option<Run>,
    /// The execution's input.
    input: Value,
    /// What the steps learned.
    #[serde(default)]
    outputs: Option<Outputs>,
    /// A caught error.
    fault: Option<Value>,
}

/// What EventBridge says of an execution that ended without the machine's doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    execution_arn: String,
    status: String,
    #[serde(default)]
    input: String,
    error: Option<String>,
    cause: Option<String>,
}

/// What the machine is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// How the environment stands.
    pub state: Option<EnvironmentState>,
}

/// What `finish` needs of its surroundings.
#[derive(Debug, Clone)]
pub struct Finish {
    /// To read and write the control plane's bucket.
    pub s3: S3,
    /// To start the next run.
    pub sfn: StepFunctions,
    /// To tell the world.
    pub events: Events,
    /// The control plane's bucket.
    pub bucket: String,
}

impl Finish {
    /// One pass, for either kind of input.
    pub async fn handle(&self, input: Value) -> Result<Finished> {
        if input.get("detail-type").is_some() {
            let event: EventBridgeEvent<Detail> = serde_json::from_value(input)
                .map_err(|error| Error::Failed(format!("reading an execution's event: {error}")))?;
            return self.ended_by_itself(event.detail).await;
        }
        let ended = serde_json::from_value(input)
            .map_err(|error| Error::Failed(format!("reading the machine's input: {error}")))?;
        self.ended(ended).await
    }

    /// An execution that ended without passing through `finish`: only the lock's holder has anything
    /// to clear up.
    async fn ended_by_itself(&self, execution: Detail) -> Result<Finished> {
        let input: Value = serde_json::from_str(&execution.input).unwrap_or_default();
        let Ok(trigger) = Trigger::read(&input) else { return Ok(Finished { state: None }) };
        let environment = trigger.environment;
        let held = self.locks().find(&environment).await?;
        if held.is_none_or(|held| held.execution != execution.execution_arn) {
            return Ok(Finished { state: None });
        }
        let earlier: Option<Status> = self.json(&status_key(&environment)).await?;
        let message = execution.cause.unwrap_or_else(|| {
            format!(
                "the run was {}; start it again, or upload the spec once more, and it carries on",
                execution.status.to_lowercase().replace('_', " ")
            )
        });
        let fault = RunFault { error: execution.error.unwrap_or(execution.status), state: None, message };
        if let Some(earlier) = earlier {
            let steps = self.steps(&format!("runs/{environment}/{}/", earlier.run)).await?;
            let status = Status {
                state: EnvironmentState::Failed,
                at: Timestamp::now(),
                fault: Some(fault),
                steps,
                ..earlier
            };
            self.tell(&status).await?;
            self.free(&environment, &execution.execution_arn, status.version.as_ref()).await?;
        } else {
            self.free(&environment, &execution.execution_arn, None).await?;
        }
        Ok(Finished { state: Some(EnvironmentState::Failed) })
    }

    /// A run that the machine brought to its end.
    async fn ended(&self, ended: Ended) -> Result<Finished> {
        let fault = ended.fault.as_ref().map(RunFault::caught);
        let asked = Trigger::read(&ended.input).map(|trigger| trigger.action);
        if asked == Ok(Asked::Plan) {
            // Who asks for a plan reads the execution: the environment stands as it stood.
            return Ok(Finished { state: None });
        }
        let Some(run) = ended.run else { return self.not_begun(&ended.input, &ended.execution, fault).await };
        let rejected = ended.verdict.as_deref() == Some("rejected");
        if rejected && self.version(&run.environment).await? != run.version {
            // A rejected run works without the lock: how a newer spec fares isn't its to overwrite.
            self.free(&run.environment, &ended.execution, run.version.as_ref()).await?;
            return Ok(Finished { state: Some(EnvironmentState::Superseded) });
        }
        let steps = self.steps(&run.prefix()).await?;
        let faults: Option<Faults> =
            if rejected { self.json(&format!("{}faults.json", run.prefix())).await? } else { None };
        let state = match (&fault, ended.verdict.as_deref()) {
            (Some(fault), _) if fault.error == "Superseded" => EnvironmentState::Superseded,
            (Some(fault), _) if fault.error == "InvalidSpec" => EnvironmentState::Rejected,
            (Some(_), _) => EnvironmentState::Failed,
            (None, Some("rejected")) => EnvironmentState::Rejected,
            (None, Some("teardown")) => EnvironmentState::Destroyed,
            (None, _) => EnvironmentState::Ready,
        };
        let earlier: Option<Status> = self.json(&status_key(&run.environment)).await?;
        // What a failed run knows is its plan's: the outputs of the last that succeeded stay.
        let outputs = match ended.outputs.filter(|_| fault.is_none()) {
            Some(outputs) => outputs,
            None if state == EnvironmentState::Destroyed => Outputs::default(),
            None => earlier.as_ref().map(|status| status.outputs.clone()).unwrap_or_default(),
        };
        // A rejected spec has no region of its own: the environment stays where it was accepted.
        let region =
            if rejected { earlier.and_then(|status| status.region) } else { Some(run.region.clone()) };
        let status = Status {
            environment: run.environment.clone(),
            state,
            at: Timestamp::now(),
            run: run.id.clone(),
            version: run.version.clone(),
            region,
            fault: fault.map(|fault| with_state(fault, &steps)),
            faults: faults.map(|faults| faults.0).unwrap_or_default(),
            steps,
            outputs,
        };
        self.tell(&status).await?;
        self.free(&run.environment, &ended.execution, run.version.as_ref()).await?;
        Ok(Finished { state: Some(state) })
    }

    /// A run that `accept` refused or could not begin.
    async fn not_begun(&self, input: &Value, execution: &str, fault: Option<RunFault>) -> Result<Finished> {
        let Ok(trigger) = Trigger::read(input) else { return Ok(Finished { state: None }) };
        let (environment, by_hand) = (trigger.environment, trigger.by_hand);
        let state = match &fault {
            Some(fault) if fault.error == "InvalidSpec" => EnvironmentState::Rejected,
            _ => EnvironmentState::Failed,
        };
        let earlier: Option<Status> = self.json(&status_key(&environment)).await?;
        let id = execution.rsplit(':').next().unwrap_or_default();
        // Where `accept` came to begin the run, it wrote down the version.
        let version = match earlier.as_ref().filter(|status| status.run == id) {
            Some(begun) => begun.version.clone(),
            None => self.version(&environment).await?,
        };
        if !by_hand && is_applied(earlier.as_ref(), version.as_ref()) {
            // It came to nothing, and nothing was owed.
            self.free(&environment, execution, version.as_ref()).await?;
            return Ok(Finished { state: earlier.map(|status| status.state) });
        }
        let status = Status {
            environment: environment.clone(),
            state,
            at: Timestamp::now(),
            run: id.to_owned(),
            version,
            region: earlier.as_ref().and_then(|status| status.region.clone()),
            fault,
            faults: Vec::new(),
            steps: Vec::new(),
            outputs: earlier.map(|status| status.outputs).unwrap_or_default(),
        };
        self.tell(&status).await?;
        self.free(&environment, execution, status.version.as_ref()).await?;
        Ok(Finished { state: Some(state) })
    }

    /// Writes the status and puts an event on the bus.
    async fn tell(&self, status: &Status) -> Result<()> {
        let key = status_key(&status.environment);
        write(&self.s3, &self.bucket, &key, status).await?;
        let detail = json!({
            "environment": status.environment, "state": status.state, "run": status.run,
            "version": status.version, "fault": status.fault, "faults": status.faults.len(),
        });
        let entry = PutEventsRequestEntry::builder()
            .source("plinth")
            .detail_type(format!("Environment {}", status.state.word()))
            .detail(detail.to_string())
            .build();
        let put = self.events.put_events().entries(entry).send().await;
        let put =
            put.doing(|| format!("putting the event of environment {} on the bus", status.environment))?;
        match put.failed_entry_count {
            0 => Ok(()),
            _ => Err(Error::Throttled("putting an event on the bus: it was not taken".to_owned())),
        }
    }

    /// Frees the lock if this execution holds it, and starts the next run if the bucket meanwhile
    /// holds another version than the one carried out. Where nobody holds it, an earlier try may have freed it
    /// and come no further.
    async fn free(&self, environment: &str, execution: &str, version: Option<&String>) -> Result<()> {
        if let Some(held) = self.locks().find(environment).await?
            && (held.execution != execution || !self.locks().free(environment, &held).await?)
        {
            return Ok(());
        }
        if self.version(environment).await?.as_ref() == version {
            return Ok(());
        }
        // arn:…:execution:<machine>:<name> runs arn:…:stateMachine:<machine>
        let machine = execution.rsplit_once(':').map_or(execution, |(machine, _)| machine);
        let machine = machine.replace(":execution:", ":stateMachine:");
        let input = json!({ "environment": environment, "action": "sweep" }).to_string();
        let started = self.sfn.start_execution().state_machine_arn(machine).input(input).send().await;
        started.doing(|| format!("starting the next run of environment {environment}"))?;
        Ok(())
    }

    fn locks(&self) -> Locks<'_> {
        Locks { s3: &self.s3, sfn: &self.sfn, bucket: &self.bucket }
    }

    /// The version of the current spec; none if there is none.
    async fn version(&self, environment: &str) -> Result<Option<String>> {
        spec_version(&self.s3, &self.bucket, &spec_keys(environment)).await
    }

    /// How far each step of a run came, in the order they began.
    async fn steps(&self, prefix: &str) -> Result<Vec<Progress>> {
        let listed: Vec<_> = self
            .s3
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{prefix}steps/"))
            .into_paginator()
            .send()
            .collect::<std::result::Result<_, _>>()
            .await
            .doing(|| format!("listing s3://{}/{prefix}steps/", self.bucket))?;
        let mut steps = Vec::new();
        for key in listed.iter().flat_map(ListObjectsV2Output::contents).filter_map(|object| object.key()) {
            steps.extend(self.json::<Progress>(key).await?);
        }
        steps.sort_by_key(|progress| progress.since);
        Ok(steps)
    }

    async fn json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        read_if_there(&self.s3, &self.bucket, key).await
    }
}

/// The fault with the state it came from: the step that failed with it.
fn with_state(fault: RunFault, steps: &[Progress]) -> RunFault {
    let failed = steps.iter().find(|progress| progress.error.as_ref() == Some(&fault.error));
    RunFault { state: failed.map(|progress| progress.state.clone()), ..fault }
}

#[cfg(test)]
mod tests;
