//! The function `finish`: every run ends here, in a written status and a free lock.
//!
//! It runs as the last state of the machine, on a caught fault, and from a rule on executions that
//! `FAILED`, `TIMED_OUT` or were `ABORTED`, since no Catch sees those. Doing it twice is doing it once.

mod address;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_sdk_eventbridge::{Client as Events, types::PutEventsRequestEntry};
use aws_sdk_s3::{Client as S3, error::ProvideErrorMetadata};
use aws_sdk_sfn::Client as StepFunctions;
use jiff::Timestamp;
use lock::Locks;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use spec::Faults;
use step::{
    Action, Asked, Asks, Doing, EnvironmentState, Error, LastReady, Left, Operation, Outputs, Progress,
    Pushed, Rebuild, Result, Run, RunFault, Status, Trigger, asks_prefix, is_applied, is_environment, list,
    pushed_key, read_if_there, spec_keys, spec_version, status_key, write,
};

/// How often writing what people are asked for is tried, where others write the status too.
const ATTEMPTS: usize = 5;

/// How many characters of a spec's faults an execution answers: its output has a limit.
const TOLD: usize = 20_000;

/// How many of the latest rebuilds a status tells of.
const REBUILDS: usize = 20;

/// What S3 answers a conditional put that came second.
const LOST: [&str; 3] = ["PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"];

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

/// What the machine is answered: its execution's output. An execution whose environment is `failed` or `leaked` fails,
/// since a person must look at it; every other ends well, also one that was refused or gave way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// How the environment stands; none after a plan.
    pub state: Option<EnvironmentState>,
    /// Why the run, or the plan, didn't do what it was asked for.
    pub fault: Option<RunFault>,
}

impl Finished {
    fn new(state: Option<EnvironmentState>) -> Self {
        Self { state, fault: None }
    }
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
        if let Some(key) = input.pointer("/detail/object/key").and_then(Value::as_str) {
            return self.asked(key).await;
        }
        if input.get("detail-type").is_some() {
            let event: EventBridgeEvent<Detail> = serde_json::from_value(input)
                .map_err(|error| Error::Failed(format!("reading an execution's event: {error}")))?;
            return self.ended_by_itself(event.detail).await;
        }
        let ended = serde_json::from_value(input)
            .map_err(|error| Error::Failed(format!("reading the machine's input: {error}")))?;
        Box::pin(self.ended(ended)).await
    }

    /// A step that asks people to do something, or whose wish was fulfilled: the status of a run that is
    /// under way tells all that its steps ask for. Whatever the event said, the bucket is looked at; another
    /// writer of the status has the bucket looked at again.
    async fn asked(&self, key: &str) -> Result<Finished> {
        let environment = key.split('/').nth(1).unwrap_or_default();
        if !is_environment(environment) {
            return Ok(Finished::new(None));
        }
        for _ in 0..ATTEMPTS {
            let Some((earlier, tag)) = self.status(environment).await? else {
                return Ok(Finished::new(None));
            };
            let asks = self.asks(environment, &earlier.run).await?;
            let is_waiting =
                matches!(earlier.state, EnvironmentState::Provisioning | EnvironmentState::Waiting);
            if !is_waiting || asks == earlier.asks {
                return Ok(Finished::new(Some(earlier.state)));
            }
            let state =
                if asks.is_empty() { EnvironmentState::Provisioning } else { EnvironmentState::Waiting };
            let status = Status { state, at: Timestamp::now(), asks, ..earlier };
            if self.replace(&status, tag).await? {
                self.tell(&status).await?;
                return Ok(Finished::new(Some(state)));
            }
        }
        Err(Error::Throttled(format!("writing the status of {environment}: others keep writing it")))
    }

    /// Writes a status in place of the one that has this tag; false if that was replaced meanwhile.
    async fn replace(&self, status: &Status, tag: String) -> Result<bool> {
        let what = || format!("writing the status of environment {}", status.environment);
        let body =
            serde_json::to_vec(status).map_err(|error| Error::Failed(format!("{}: {error}", what())))?;
        let put =
            self.s3.put_object().bucket(&self.bucket).key(status_key(&status.environment)).if_match(tag);
        let put = put.content_type("application/json").body(body.into()).send().await;
        if put.as_ref().is_err_and(|error| LOST.contains(&error.code().unwrap_or_default())) {
            return Ok(false);
        }
        put.doing(what).map(|_| true)
    }

    /// An environment's status, with the object's tag.
    async fn status(&self, environment: &str) -> Result<Option<(Status, String)>> {
        let key = status_key(environment);
        let what = || format!("reading s3://{}/{key}", self.bucket);
        let object = self.s3.get_object().bucket(&self.bucket).key(&key).send().await;
        let Some(object) = object.unless_absent(&["NoSuchKey"], what)? else { return Ok(None) };
        let tag = object.e_tag().unwrap_or_default().to_owned();
        let bytes =
            object.body.collect().await.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
        let status = serde_json::from_slice(&bytes.into_bytes());
        status
            .map(|status| Some((status, tag)))
            .map_err(|error| Error::Failed(format!("{}: {error}", what())))
    }

    /// What the steps of a run ask for, step by step.
    async fn asks(&self, environment: &str, run: &str) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for key in list(&self.s3, &self.bucket, &asks_prefix(environment)).await? {
            let asks: Option<Asks> = self.json(&key).await?;
            let asks = asks.filter(|asks| asks.run == run).map(|asks| asks.asks).unwrap_or_default();
            // Steps that run side by side may ask for the same.
            all.extend(asks.into_iter().filter(|ask| !all.contains(ask)).collect::<Vec<_>>());
        }
        Ok(all)
    }

    /// An execution that ended without passing through `finish`: only the lock's holder has anything
    /// to clear up.
    async fn ended_by_itself(&self, execution: Detail) -> Result<Finished> {
        let input: Value = serde_json::from_str(&execution.input).unwrap_or_default();
        let Ok(trigger) = Trigger::read(&input) else { return Ok(Finished::new(None)) };
        let environment = trigger.environment;
        let held = self.locks().find(&environment).await?;
        if held.is_none_or(|held| held.execution != execution.execution_arn) {
            return Ok(Finished::new(None));
        }
        let earlier: Option<Status> = self.json(&status_key(&environment)).await?;
        let message = execution.cause.unwrap_or_else(|| {
            format!(
                "the run was {}; start it again, or upload the spec once more, and it carries on",
                execution.status.to_lowercase().replace('_', " ")
            )
        });
        let fault = RunFault::new(execution.error.unwrap_or(execution.status), message);
        if let Some(earlier) = earlier {
            let steps = self.steps(&format!("runs/{environment}/{}/", earlier.run)).await?;
            let status = Status {
                state: EnvironmentState::Failed,
                at: Timestamp::now(),
                fault: Some(fault),
                asks: Vec::new(),
                last_ready: last_ready(&earlier, &steps),
                steps,
                ..earlier
            };
            self.settle(&status).await?;
            self.free(&execution.execution_arn, &environment, status.version.as_ref(), Some(&status)).await?;
        } else {
            self.free(&execution.execution_arn, &environment, None, None).await?;
        }
        Ok(Finished::new(Some(EnvironmentState::Failed)))
    }

    /// A run that the machine brought to its end.
    async fn ended(&self, ended: Ended) -> Result<Finished> {
        let fault = ended.fault.as_ref().map(RunFault::caught);
        let trigger = Trigger::read(&ended.input);
        let asked = trigger.as_ref().map(|trigger| trigger.action).ok();
        if matches!(asked, Some(Asked::Plan | Asked::Look)) {
            // Who asks for a plan reads the execution: the environment stands as it stood.
            let fault = match (fault, &ended.run) {
                (Some(fault), Some(run)) => {
                    Some(self.explained(fault, run, &self.steps(&run.prefix()).await?).await?)
                }
                (fault, _) => fault,
            };
            return Ok(Finished { state: None, fault });
        }
        let Some(run) = ended.run else { return self.not_begun(&ended.input, &ended.execution, fault).await };
        let rejected = ended.verdict.as_deref() == Some("rejected");
        let faults: Option<Faults> =
            if rejected { self.json(&format!("{}faults.json", run.prefix())).await? } else { None };
        if rejected && trigger.is_ok_and(|trigger| trigger.spec.is_some()) {
            // It was stored nowhere: who sent it reads the execution, and the environment stands as it stood.
            let told = faults.map(|faults| faults.to_string()).unwrap_or_default();
            let fault = Some(RunFault::new("InvalidSpec", told.chars().take(TOLD).collect::<String>()));
            return Ok(Finished { state: Some(EnvironmentState::Rejected), fault });
        }
        if rejected && self.version(&run.environment).await? != run.version {
            // A rejected run works without the lock: how a newer spec fares isn't its to overwrite.
            self.free(&ended.execution, &run.environment, run.version.as_ref(), None).await?;
            return Ok(Finished::new(Some(EnvironmentState::Superseded)));
        }
        let steps = self.steps(&run.prefix()).await?;
        let remains = named(&steps, Operation::Plan, Action::Delete);
        let state = match (&fault, ended.verdict.as_deref()) {
            (Some(fault), _) if fault.error == "Superseded" => EnvironmentState::Superseded,
            (Some(fault), _) if fault.error == "InvalidSpec" && !wrote(&steps) => EnvironmentState::Rejected,
            (Some(_), _) => EnvironmentState::Failed,
            (None, Some("rejected")) => EnvironmentState::Rejected,
            (None, Some("teardown")) if !remains.is_empty() => EnvironmentState::Leaked,
            (None, Some("teardown")) if asked == Some(Asked::Expire) => EnvironmentState::Expired,
            (None, Some("teardown")) => EnvironmentState::Destroyed,
            (None, _) if run.paused => EnvironmentState::Paused,
            (None, _) => EnvironmentState::Ready,
        };
        let earlier: Option<Status> = self.json(&status_key(&run.environment)).await?;
        // What a failed run knows is its plan's: the outputs of the last that succeeded stay.
        let outputs = match ended.outputs.filter(|_| fault.is_none()) {
            Some(outputs) => outputs,
            None if state.is_gone() || state == EnvironmentState::Leaked => Outputs::default(),
            None => earlier.as_ref().map(|status| status.outputs.clone()).unwrap_or_default(),
        };
        let mut rebuilds = earlier.as_ref().map(|status| status.rebuilds.clone()).unwrap_or_default();
        let begun = earlier.as_ref().filter(|status| status.run == run.id).map(|status| status.begun);
        if let (Some(begun), Some("rebuild"), EnvironmentState::Ready) =
            (begun, ended.verdict.as_deref(), state)
        {
            rebuilds.push(rebuild(&run, begun));
            rebuilds.drain(..rebuilds.len().saturating_sub(REBUILDS));
        }
        // A rejected spec has no place of its own: the environment stays where it was accepted.
        let (region, role) =
            if rejected { place(earlier.as_ref()) } else { (Some(run.region.clone()), run.role.clone()) };
        let left = left(&steps, earlier.as_ref().filter(|_| fault.is_some()));
        let new = Status::new(&run.environment, state, &run.id);
        let last_ready = match (state, &run.version) {
            (EnvironmentState::Ready | EnvironmentState::Paused, Some(version)) => {
                Some(LastReady { version: version.clone(), at: new.at, changed: false })
            }
            _ if state.is_gone() => None,
            _ => earlier.as_ref().and_then(|earlier| last_ready(earlier, &steps)),
        };
        let fault = match (state, fault) {
            (EnvironmentState::Leaked, _) => Some(leaked(&remains)),
            (_, Some(fault)) => Some(self.explained(fault, &run, &steps).await?),
            (_, None) => None,
        };
        let status = Status {
            version: run.version.clone(),
            region,
            role,
            expires: run.expires,
            begun: begun.unwrap_or(new.begun),
            fault,
            kept: named(&steps, Operation::Prune, Action::Keep),
            left,
            remains: if state == EnvironmentState::Leaked { remains } else { Vec::new() },
            last_ready,
            rebuilds,
            faults: faults.map(|faults| faults.0).unwrap_or_default(),
            steps,
            outputs,
            ..new
        };
        self.settle(&status).await?;
        self.free(&ended.execution, &run.environment, status.version.as_ref(), Some(&status)).await?;
        Ok(Finished { state: Some(state), fault: status.fault })
    }

    /// A run that `accept` refused or could not begin.
    async fn not_begun(&self, input: &Value, execution: &str, fault: Option<RunFault>) -> Result<Finished> {
        let state = match &fault {
            Some(fault) if fault.error == "InvalidSpec" => EnvironmentState::Rejected,
            _ => EnvironmentState::Failed,
        };
        let Ok(trigger) = Trigger::read(input) else { return Ok(Finished { state: Some(state), fault }) };
        let (environment, by_hand) = (trigger.environment, trigger.by_hand);
        let earlier: Option<Status> = self.json(&status_key(&environment)).await?;
        let id = execution.rsplit(':').next().unwrap_or_default();
        // Where `accept` came to begin the run, it wrote down the version.
        let begun = earlier.as_ref().filter(|status| status.run == id);
        let version = match begun {
            Some(begun) => begun.version.clone(),
            None => self.version(&environment).await?,
        };
        if !by_hand && is_applied(earlier.as_ref(), version.as_ref()) {
            // It came to nothing, and nothing was owed.
            self.free(execution, &environment, version.as_ref(), earlier.as_ref()).await?;
            return Ok(Finished { state: earlier.map(|status| status.state), fault });
        }
        if begun.is_none() && trigger.spec.is_some() && earlier.is_some() {
            // The spec that came with the question wasn't carried out: the environment stands as it stood.
            self.free(execution, &environment, version.as_ref(), earlier.as_ref()).await?;
            return Ok(Finished { state: Some(state), fault });
        }
        let (region, role) = place(earlier.as_ref());
        let new = Status::new(&environment, state, id);
        let earlier = earlier.unwrap_or_else(|| new.clone());
        let status = Status {
            version,
            region,
            role,
            expires: earlier.expires,
            fault,
            kept: earlier.kept,
            left: earlier.left,
            remains: earlier.remains,
            last_ready: earlier.last_ready,
            rebuilds: earlier.rebuilds,
            outputs: earlier.outputs,
            ..new
        };
        self.settle(&status).await?;
        self.free(execution, &environment, status.version.as_ref(), Some(&status)).await?;
        Ok(Finished { state: Some(state), fault: status.fault })
    }

    /// The fault with the state it came from, and the address it is about with its line, where they are known.
    async fn explained(&self, fault: RunFault, run: &Run, steps: &[Progress]) -> Result<RunFault> {
        let fault = with_state(fault, steps);
        let spec: Option<Value> = self.json(&run.spec.key).await?;
        let address = spec.and_then(|spec| address::find(&fault.message, fault.state.as_deref(), &spec));
        let line = match &address {
            Some(address) => {
                self.text(run).await?.map(|text| spec::fault_at(&text, address, String::new()).line)
            }
            None => None,
        };
        Ok(RunFault { address, line, ..fault })
    }

    /// The text of the spec that a run carries out; none if another lies there by now.
    async fn text(&self, run: &Run) -> Result<Option<String>> {
        for key in spec_keys(&run.environment) {
            let object = self.s3.get_object().bucket(&self.bucket).key(&key).send().await;
            let what = || format!("reading s3://{}/{key}", self.bucket);
            let Some(object) = object.unless_absent(&["NoSuchKey"], what)? else { continue };
            if object.version_id() == run.version.as_deref() {
                let read = object.body.collect().await;
                let bytes = read.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
                return Ok(String::from_utf8(bytes.to_vec()).ok());
            }
        }
        Ok(None)
    }

    /// Writes the status of a run that is over, and tells the world.
    async fn settle(&self, status: &Status) -> Result<()> {
        write(&self.s3, &self.bucket, &status_key(&status.environment), status).await?;
        self.tell(status).await
    }

    /// Puts an event on the bus.
    async fn tell(&self, status: &Status) -> Result<()> {
        let (kind, detail) = status.event();
        let entry =
            PutEventsRequestEntry::builder().source("plinth").detail_type(kind).detail(detail).build();
        let put = self.events.put_events().entries(entry).send().await;
        let put =
            put.doing(|| format!("putting the event of environment {} on the bus", status.environment))?;
        match put.failed_entry_count {
            0 => Ok(()),
            _ => Err(Error::Throttled("putting an event on the bus: it was not taken".to_owned())),
        }
    }

    /// Frees the lock if this execution holds it, and starts the next run: if the bucket meanwhile holds another
    /// version than the one carried out, if an image was pushed that services follow, or if the environment's time
    /// has come while the lock was held. Where nobody holds it, an earlier try may have freed it and come no further.
    async fn free(
        &self,
        execution: &str,
        environment: &str,
        version: Option<&String>,
        status: Option<&Status>,
    ) -> Result<()> {
        let held = self.locks().find(environment).await?;
        let since = held.as_ref().map(|held| held.since);
        if let Some(held) = held
            && (held.execution != execution || !self.locks().free(environment, &held).await?)
        {
            return Ok(());
        }
        let current = self.version(environment).await?;
        let pushed: Option<Pushed> = self.json(&pushed_key(environment)).await?;
        let is_paused = status.is_some_and(|status| status.state == EnvironmentState::Paused);
        let meanwhile = |moment: Timestamp| since.is_some_and(|since| since < moment);
        let pushed = current.is_some() && !is_paused && pushed.is_some_and(|pushed| meanwhile(pushed.at));
        let over = |moment: Timestamp| meanwhile(moment) && moment <= Timestamp::now();
        let input = if pushed {
            json!({ "environment": environment })
        } else if current.as_ref() != version {
            json!({ "environment": environment, "action": "sweep" })
        } else if status.and_then(|status| status.expires).is_some_and(over) {
            json!({ "environment": environment, "action": "expire" })
        } else {
            return Ok(());
        };
        // arn:…:execution:<machine>:<name> runs arn:…:stateMachine:<machine>
        let machine = execution.rsplit_once(':').map_or(execution, |(machine, _)| machine);
        let machine = machine.replace(":execution:", ":stateMachine:");
        let started =
            self.sfn.start_execution().state_machine_arn(machine).input(input.to_string()).send().await;
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
        let mut steps = Vec::new();
        for key in list(&self.s3, &self.bucket, &format!("{prefix}steps/")).await? {
            steps.extend(self.json::<Progress>(&key).await?);
        }
        steps.sort_by_key(|progress| progress.since);
        Ok(steps)
    }

    async fn json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        read_if_there(&self.s3, &self.bucket, key).await
    }
}

/// The addresses of what steps did this to in this operation, sorted.
fn named(steps: &[Progress], operation: Operation, action: Action) -> Vec<String> {
    let steps = steps.iter().filter(|progress| progress.operation == operation);
    let changes = steps.flat_map(|progress| &progress.changes).filter(|change| change.action == action);
    let mut named: Vec<String> = changes.map(|change| change.address.clone()).collect();
    named.sort();
    named
}

/// What outlives what was deleted, as the steps have found it; of a run that failed also what was known before.
fn left(steps: &[Progress], earlier: Option<&Status>) -> Vec<Left> {
    let before = earlier.into_iter().flat_map(|status| &status.left);
    let mut left: Vec<Left> =
        steps.iter().flat_map(|progress| &progress.left).chain(before).cloned().collect();
    left.sort();
    left.dedup();
    left
}

fn rebuild(run: &Run, begun: Timestamp) -> Rebuild {
    let at = Timestamp::now();
    let seconds = u64::try_from((at - begun).get_seconds()).unwrap_or_default();
    Rebuild { run: run.id.clone(), at, seconds }
}

/// What is wrong with an environment of which something is left.
fn leaked(remains: &[String]) -> RunFault {
    let message = format!(
        "still there after all was deleted: {}; start the run again, which deletes what it finds",
        remains.join(", ")
    );
    RunFault::new("Leaked", message)
}

/// The fault with the state it came from: the step that failed with it.
fn with_state(fault: RunFault, steps: &[Progress]) -> RunFault {
    let failed = steps.iter().find(|progress| progress.error.as_ref() == Some(&fault.error));
    RunFault { state: failed.map(|progress| progress.state.clone()), ..fault }
}

/// Whether a run came as far as to change anything.
fn wrote(steps: &[Progress]) -> bool {
    steps.iter().any(|progress| progress.operation != Operation::Plan)
}

/// What an environment was last ready with, after a run with these steps that didn't end well.
fn last_ready(earlier: &Status, steps: &[Progress]) -> Option<LastReady> {
    let last = earlier.last_ready.clone()?;
    Some(LastReady { changed: last.changed || wrote(steps), ..last })
}

/// The region and the role that an environment is bound to; one of which nothing stands is bound to none.
fn place(earlier: Option<&Status>) -> (Option<String>, Option<String>) {
    let standing = earlier.filter(|status| status.stands());
    standing.map(|status| (status.region.clone(), status.role.clone())).unwrap_or_default()
}

#[cfg(test)]
mod tests;
