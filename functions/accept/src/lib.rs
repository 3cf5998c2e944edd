//! The function `accept`: the first state of every run.
//!
//! Events are hints. Whatever started the run, `accept` looks at the bucket: a current spec means
//! provision, none means teardown. It validates the spec, takes the environment's lock and writes
//! down what the run carries out. A bad spec gets no further than this.

mod source;

use aws_sdk_s3::Client as S3;
use aws_sdk_sfn::Client as StepFunctions;
use jiff::Timestamp;
use lock::Locks;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{Fault, Faults, Spec};
use step::{
    Asked, EnvironmentState, Error, Location, Result, Run, Status, Trigger, is_applied, is_settled,
    read_if_there, status_key, write,
};

use source::Source;

/// How many services, or jobs, one Task takes: what `DescribeServices` takes.
const BATCH: usize = 10;

/// What the machine asks.
#[derive(Debug, Clone, Deserialize)]
pub struct Question {
    /// The outermost execution's ARN.
    pub execution: String,
    /// Its input.
    pub input: Value,
}

/// What the machine does next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Which way the machine goes.
    pub verdict: Way,
    /// The run, as every request of it will carry it.
    pub run: Run,
    /// The services and jobs in their order.
    pub waves: Vec<Wave>,
}

/// The ways out of `accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Make the environment what its spec says.
    Provision,
    /// Take it away.
    Teardown,
    /// Take it away, and make it anew.
    Rebuild,
    /// Only say what would change.
    Plan,
    /// This version is applied already, or there is nothing to rebuild.
    Nothing,
    /// Another run works on the environment; it looks for newer specs itself.
    Held,
    /// The spec is wrong.
    Rejected,
}

/// Services and jobs that don't wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wave {
    /// All of them.
    pub batches: Vec<Batch>,
}

/// What one Task does together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// Its number in the run.
    pub index: usize,
    /// Which step does it.
    pub kind: Kind,
    /// The names in the spec.
    pub names: Vec<String>,
}

/// The steps that go by batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `service`, and `role` before it.
    Service,
    /// `job`.
    Job,
}

/// What `accept` needs of its surroundings.
#[derive(Debug, Clone)]
pub struct Accept {
    /// To read and write the control plane's bucket.
    pub s3: S3,
    /// To see whether a lock's holder still runs.
    pub sfn: StepFunctions,
    /// The control plane's bucket.
    pub bucket: String,
    /// The control plane's region.
    pub region: String,
}

impl Accept {
    /// One pass.
    pub async fn handle(&self, question: Question, account: &str) -> Result<Verdict> {
        let trigger = Trigger::read(&question.input).map_err(Error::InvalidSpec)?;
        let environment = trigger.environment.as_str();
        let source = source::find(self, &trigger).await?;
        let status = self.status(environment).await?;
        let recorded = status.as_ref().filter(|status| status.state != EnvironmentState::Destroyed);
        let mut run = self.run(&question.execution, environment, account);
        run.version.clone_from(&source.version);
        run.region = recorded.and_then(|status| status.region.clone()).unwrap_or(run.region);

        let done = if trigger.swept { is_settled } else { is_applied };
        let settled = trigger.action == Asked::Apply
            && !trigger.by_hand
            && done(status.as_ref(), source.version.as_ref());
        // An environment that is gone isn't built anew because its time has come.
        let gone = trigger.action == Asked::Rebuild && source.text.is_none();
        if settled || gone {
            return Ok(Verdict { verdict: Way::Nothing, run, waves: Vec::new() });
        }
        let spec = match self.read(&source, environment, recorded) {
            Ok(spec) => spec,
            Err(faults) if trigger.action == Asked::Plan => {
                return Err(Error::InvalidSpec(faults.to_string()));
            }
            Err(faults) => {
                write(&self.s3, &self.bucket, &format!("{}faults.json", run.prefix()), &faults).await?;
                return Ok(Verdict { verdict: Way::Rejected, run, waves: Vec::new() });
            }
        };
        if let Some(region) = &spec.region {
            run.region.clone_from(region);
        }
        let way = match (trigger.action, &source.text) {
            (Asked::Plan, _) => Way::Plan,
            (Asked::Apply, Some(_)) => Way::Provision,
            (Asked::Apply, None) => Way::Teardown,
            (Asked::Rebuild, _) => Way::Rebuild,
        };
        if way != Way::Plan {
            let locks = Locks { s3: &self.s3, sfn: &self.sfn, bucket: &self.bucket };
            if !locks.take(environment, &question.execution).await? {
                return Ok(Verdict { verdict: Way::Held, run, waves: Vec::new() });
            }
            self.begin(&run, way, status).await?;
        }
        write(&self.s3, &self.bucket, &run.spec.key, &spec).await?;
        if way == Way::Rebuild {
            let key = format!("{}empty.json", run.prefix());
            write(&self.s3, &self.bucket, &key, &emptied(&spec)).await?;
        }
        Ok(Verdict { verdict: way, waves: waves(&spec), run })
    }

    fn run(&self, execution: &str, environment: &str, account: &str) -> Run {
        let id = execution.rsplit(':').next().unwrap_or_default().to_owned();
        let key = format!("runs/{environment}/{id}/spec.json");
        Run {
            environment: environment.to_owned(),
            id,
            region: self.region.clone(),
            account: account.to_owned(),
            spec: Location { bucket: self.bucket.clone(), key },
            version: None,
        }
    }

    /// The spec, or all that is wrong with it. Without an object it is the empty one.
    fn read(
        &self,
        source: &Source,
        environment: &str,
        recorded: Option<&Status>,
    ) -> std::result::Result<Spec, Faults> {
        let Some(text) = &source.text else { return Ok(Spec::empty(environment)) };
        let spec = spec::parse(text, Some(environment))?;
        let region = spec.region.as_ref().unwrap_or(&self.region);
        match recorded.and_then(|status| status.region.as_ref()) {
            Some(built) if built != region => Err(Faults(vec![Fault {
                path: "region".to_owned(),
                line: 1,
                column: 1,
                message: format!(
                    "the environment stands in {built} and can't move to {region}: destroy it first"
                ),
            }])),
            _ => Ok(spec),
        }
    }

    async fn status(&self, environment: &str) -> Result<Option<Status>> {
        read_if_there(&self.s3, &self.bucket, &status_key(environment)).await
    }

    /// Says that a run is under way, and in which region: later specs may not move it.
    async fn begin(&self, run: &Run, way: Way, earlier: Option<Status>) -> Result<()> {
        let status = Status {
            environment: run.environment.clone(),
            state: if way == Way::Teardown {
                EnvironmentState::Destroying
            } else {
                EnvironmentState::Provisioning
            },
            at: Timestamp::now(),
            run: run.id.clone(),
            version: run.version.clone(),
            region: Some(run.region.clone()),
            fault: None,
            faults: Vec::new(),
            steps: Vec::new(),
            outputs: earlier.map(|status| status.outputs).unwrap_or_default(),
        };
        write(&self.s3, &self.bucket, &status_key(&run.environment), &status).await
    }
}

/// What a rebuild takes the environment back to: nothing but its schedule, so that one which fails half-way is
/// tried again at its next time.
fn emptied(spec: &Spec) -> Spec {
    Spec { schedule: spec.schedule.clone(), ..Spec::empty(&spec.name) }
}

/// The services and jobs in waves of batches, and one empty batch of what there is none of: the steps that
/// go by batches then still do what is done once.
fn waves(spec: &Spec) -> Vec<Wave> {
    // A spec whose services wait for each other was rejected before.
    let mut waves = spec::waves(spec).unwrap_or_default();
    if waves.is_empty() {
        waves.push(spec::Wave::default());
    }
    let mut number = 0;
    let mut batch = |kind: Kind, names: &[String]| {
        number += 1;
        Batch { index: number - 1, kind, names: names.to_vec() }
    };
    let mut wave = |(at, wave): (usize, &spec::Wave)| {
        let mut batches = Vec::new();
        for (kind, names, all) in
            [(Kind::Service, &wave.services, spec.services.len()), (Kind::Job, &wave.jobs, spec.jobs.len())]
        {
            batches.extend(names.chunks(BATCH).map(|names| batch(kind, names)));
            if at == 0 && all == 0 {
                batches.push(batch(kind, &[]));
            }
        }
        Wave { batches }
    };
    waves.iter().enumerate().map(&mut wave).collect()
}

#[cfg(test)]
mod tests;
