//! The function `accept`: the first state of every run.
//!
//! Events are hints. Whatever started the run, `accept` looks at the bucket: a current spec means
//! provision, none means teardown. It validates the spec, takes the environment's lock and writes
//! down what the run carries out. A bad spec gets no further than this.
//!
//! A pushed image names no environment: `accept` looks whose repository it is, and starts a run of that one
//! if a service follows such images.

mod expiry;
mod misnamed;
mod push;
mod source;

use aws_config::SdkConfig;
use aws_sdk_ecr::Client as Ecr;
use aws_sdk_eventbridge::{Client as Events, types::PutEventsRequestEntry};
use aws_sdk_s3::Client as S3;
use aws_sdk_sfn::Client as StepFunctions;
use aws_sdk_sts::Client as Sts;
use lock::Locks;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{Faults, Spec, Then};
use step::{
    Asked, Doing, EnvironmentState, Error, Held, Location, Push, Result, Run, Status, Trigger, assume,
    is_applied, is_settled, object_key, read_if_there, status_key, write,
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
    /// Why there is nothing to do.
    pub told: Option<String>,
}

impl Verdict {
    /// Nothing is to be done, for this reason.
    fn nothing(run: Run, told: String) -> Self {
        Self { verdict: Way::Nothing, run, waves: Vec::new(), told: Some(told) }
    }
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
    /// Only say what a teardown would delete.
    Look,
    /// This version is applied already, there is nothing to rebuild or to pause, its time isn't over, or a pushed image
    /// asks for a run of its own or for none.
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
    /// To see whether a lock's holder still runs, and to start the run that a pushed image asks for.
    pub sfn: StepFunctions,
    /// To see whose repository an image was pushed to.
    pub ecr: Ecr,
    /// The same in the accounts of these roles.
    pub elsewhere: Elsewhere,
    /// To tell the world.
    pub events: Events,
    /// The control plane's bucket.
    pub bucket: String,
    /// The control plane's region.
    pub region: String,
}

/// The other accounts that environments may be built in.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// The roles to build there with.
    pub roles: Vec<String>,
    /// What is said when one of them is assumed.
    pub external_id: String,
    /// To assume them with.
    pub sts: Sts,
    /// To make clients from, once one is assumed.
    pub aws: SdkConfig,
}

impl Elsewhere {
    /// The configuration with a role's credentials.
    async fn assume(&self, role: &str, environment: &str) -> Result<SdkConfig> {
        assume(&self.aws, &self.sts, role, &self.external_id, environment).await
    }

    /// The configuration with the first role of an account that lets itself be assumed; none if none does: all
    /// images that are pushed there are told, also those that are no concern of ours.
    async fn look_into(&self, account: &str) -> Result<Option<SdkConfig>> {
        // arn:aws:iam::<account>:role/<name>
        for role in self.roles.iter().filter(|role| role.split(':').nth(4) == Some(account)) {
            match self.assume(role, "images").await {
                Err(Error::Failed(_)) => {}
                assumed => return assumed.map(Some),
            }
        }
        Ok(None)
    }
}

impl Accept {
    /// One pass.
    pub async fn handle(&self, question: Question, account: &str) -> Result<Verdict> {
        if let Some(push) = Push::read(&question.input) {
            let environment = push::start(self, &push, &question.execution).await?;
            let told = match &environment {
                Some(environment) => {
                    format!("a service of {environment} follows the image: a run of it was started")
                }
                None => "no service follows the image".to_owned(),
            };
            let run = self.run(&question.execution, &environment.unwrap_or_default(), account);
            return Ok(Verdict::nothing(run, told));
        }
        match object_key(&question.input).map(|key| (key, Held::by(key))) {
            Some((key, Held::Other)) => {
                let run = self.run(&question.execution, "", account);
                return Ok(Verdict::nothing(run, format!("{key:?} holds no spec")));
            }
            Some((key, Held::Misnamed(name))) => {
                let run = self.run(&question.execution, name, account);
                let told = misnamed::tell(self, key, &run).await?;
                return Ok(Verdict::nothing(run, told));
            }
            Some((_, Held::Spec(_))) | None => {}
        }
        let trigger = Trigger::read(&question.input).map_err(Error::InvalidSpec)?;
        self.begin(&trigger, &question.execution, account).await
    }

    /// Begins what an environment is asked for.
    async fn begin(&self, trigger: &Trigger, execution: &str, account: &str) -> Result<Verdict> {
        let environment = trigger.environment.as_str();
        // What an environment would leave is asked of AWS, whatever its spec says.
        let mut source = match trigger.action {
            Asked::Look => Source::default(),
            _ => source::find(self, trigger).await?,
        };
        let status = self.status(environment).await?;
        let recorded = status.as_ref().filter(|status| status.stands());
        let mut run = self.run(execution, environment, account);
        run.version.clone_from(&source.version);
        run.region = recorded.and_then(|status| status.region.clone()).unwrap_or(run.region);
        if let Some(role) = recorded.and_then(|status| status.role.as_ref()) {
            build_with(&mut run, role);
        }
        let paused = recorded.is_some_and(|status| status.state == EnvironmentState::Paused);
        if let Some(told) = idle(trigger, &source, status.as_ref(), paused) {
            return Ok(Verdict::nothing(run, told));
        }
        let mut spec = match self.read(&source, trigger, recorded) {
            Ok(spec) => spec,
            Err(faults) => return self.refuse(trigger, run, &faults).await,
        };
        if let Some(region) = &spec.region {
            run.region.clone_from(region);
        }
        if let Some(role) = &spec.role {
            build_with(&mut run, role);
        }
        if let Some(role) = &run.role {
            // Where it can't be assumed nothing can be built, nor taken away: the environment isn't bound to it.
            self.elsewhere.assume(role, environment).await?;
        }
        if let (Some(_), Some(Ok(text))) = (&trigger.spec, &source.text)
            && !matches!(trigger.action, Asked::Plan | Asked::Look)
        {
            source = source::store(self, environment, text).await?;
            run.version.clone_from(&source.version);
        }
        run.expires = expiry::moment(&spec, &source);
        let Some(way) = self.way(trigger, &source, &spec, &mut run, execution, paused).await? else {
            return Ok(Verdict::nothing(run, "its time isn't over".to_owned()));
        };
        run.teardown = matches!(way, Way::Teardown | Way::Look);
        if !matches!(way, Way::Plan | Way::Look) {
            if let Some(holder) = self.locks().take(environment, execution).await? {
                let told = format!(
                    "another run works on {environment}: {holder}. When that ends, it begins the next run if a \
                     newer spec is there"
                );
                return Ok(Verdict { verdict: Way::Held, ..Verdict::nothing(run, told) });
            }
            if way == Way::Teardown && source.text.is_some() {
                source::delete(self, environment, source.version.as_ref()).await?;
                spec = Spec::empty(environment);
                (run.version, run.expires) = (None, None);
            }
            self.record(&run, way, status).await?;
        }
        write(&self.s3, &self.bucket, &run.spec.key, &spec).await?;
        if way == Way::Rebuild {
            let key = format!("{}empty.json", run.prefix());
            write(&self.s3, &self.bucket, &key, &emptied(&spec)).await?;
        }
        Ok(Verdict { verdict: way, waves: waves(&spec), run, told: None })
    }

    /// What becomes of a question about a spec that is wrong.
    async fn refuse(&self, trigger: &Trigger, run: Run, faults: &Faults) -> Result<Verdict> {
        match trigger.action {
            Asked::Plan | Asked::Look => Err(Error::InvalidSpec(faults.to_string())),
            Asked::Expire => {
                Ok(Verdict::nothing(run, "a spec that is wrong says nothing of its time".to_owned()))
            }
            Asked::Apply | Asked::Rebuild | Asked::Pause => {
                write(&self.s3, &self.bucket, &format!("{}faults.json", run.prefix()), faults).await?;
                Ok(Verdict { verdict: Way::Rejected, run, waves: Vec::new(), told: None })
            }
        }
    }

    /// Which way the machine goes with a spec that is right; none if the environment's time isn't over.
    async fn way(
        &self,
        trigger: &Trigger,
        source: &Source,
        spec: &Spec,
        run: &mut Run,
        execution: &str,
        paused: bool,
    ) -> Result<Option<Way>> {
        let there = source.text.is_some();
        Ok(Some(match trigger.action {
            Asked::Plan => Way::Plan,
            Asked::Look => Way::Look,
            Asked::Apply if there => Way::Provision,
            Asked::Apply => Way::Teardown,
            Asked::Rebuild => Way::Rebuild,
            Asked::Pause => {
                run.paused = true;
                Way::Provision
            }
            Asked::Expire => {
                let held = self.locks().find(&trigger.environment).await?;
                let again = held.is_some_and(|held| held.execution == execution);
                let end = expiry::end(spec, run.expires, there, paused);
                run.paused = end == Some(Then::Pause);
                match end {
                    Some(Then::Destroy) => Way::Teardown,
                    Some(Then::Pause) => Way::Provision,
                    // An earlier pass took the lock: it isn't left without a run.
                    None if again && there => Way::Provision,
                    None if again => Way::Teardown,
                    None => return Ok(None),
                }
            }
        }))
    }

    fn locks(&self) -> Locks<'_> {
        Locks { s3: &self.s3, sfn: &self.sfn, bucket: &self.bucket }
    }

    fn run(&self, execution: &str, environment: &str, account: &str) -> Run {
        let id = execution.rsplit(':').next().unwrap_or_default().to_owned();
        let key = format!("runs/{environment}/{id}/spec.json");
        Run {
            environment: environment.to_owned(),
            id,
            region: self.region.clone(),
            account: account.to_owned(),
            role: None,
            spec: Location { bucket: self.bucket.clone(), key },
            version: None,
            expires: None,
            paused: false,
            teardown: false,
        }
    }

    /// The spec, or all that is wrong with it. Without an object it is the empty one.
    fn read(
        &self,
        source: &Source,
        trigger: &Trigger,
        recorded: Option<&Status>,
    ) -> std::result::Result<Spec, Faults> {
        let environment = trigger.environment.as_str();
        let Some(text) = &source.text else { return Ok(Spec::empty(environment)) };
        let text = text.as_ref().map_err(Clone::clone)?;
        let spec = match &trigger.spec {
            Some(given) => spec::parse_given(given, Some(environment))?,
            None => spec::parse(text, Some(environment))?,
        };
        let mut faults = Vec::new();
        // One that was never accepted stands nowhere.
        if let Some(status) = recorded.filter(|status| status.region.is_some()) {
            let asked = [
                (
                    "region",
                    status.region.as_deref(),
                    Some(spec.region.as_ref().unwrap_or(&self.region).as_str()),
                ),
                ("role", status.role.as_deref(), spec.role.as_deref()),
            ];
            let told = |value: Option<&str>| value.map_or_else(|| "none".to_owned(), str::to_owned);
            let moved = |(path, built, asked): (&str, Option<&str>, Option<&str>)| {
                let message = format!(
                    "the environment stands with the {path} {}, and that can't become {}: destroy it first, \
                     and what is protected too",
                    told(built),
                    told(asked),
                );
                (built != asked).then(|| spec::fault_at(text, path, message))
            };
            faults.extend(asked.into_iter().filter_map(moved));
        }
        let partitions =
            spec.region.as_deref().map(|region| (spec::partition(region), spec::partition(&self.region)));
        if let Some((Some(asked), Some(own))) = partitions
            && asked != own
        {
            let message = format!(
                "this region is of the partition {asked}, and the control plane stands in {}, of {own}: write a region \
                 of {own}, or deploy Plinth there",
                self.region,
            );
            faults.push(spec::fault_at(text, "region", message));
        }
        if let Some(role) = &spec.role
            && !self.elsewhere.roles.contains(role)
        {
            let message = format!(
                "the control plane may not build with {role}: allow it with the parameter BuildRoles of its \
                 template, or write one of those allowed ({})",
                self.elsewhere.roles.join(", "),
            );
            faults.push(spec::fault_at(text, "role", message));
        }
        if faults.is_empty() { Ok(spec) } else { Err(Faults(faults)) }
    }

    async fn status(&self, environment: &str) -> Result<Option<Status>> {
        read_if_there(&self.s3, &self.bucket, &status_key(environment)).await
    }

    /// Says that a run is under way, and in which region: later specs may not move it.
    async fn record(&self, run: &Run, way: Way, earlier: Option<Status>) -> Result<()> {
        let state = match way {
            Way::Teardown => EnvironmentState::Destroying,
            _ => EnvironmentState::Provisioning,
        };
        let begun = Status::new(&run.environment, state, &run.id);
        let earlier = earlier.unwrap_or_else(|| begun.clone());
        let status = Status {
            version: run.version.clone(),
            region: Some(run.region.clone()),
            role: run.role.clone(),
            expires: run.expires,
            kept: earlier.kept,
            left: earlier.left,
            last_ready: earlier.last_ready,
            rebuilds: earlier.rebuilds,
            outputs: earlier.outputs,
            ..begun
        };
        write(&self.s3, &self.bucket, &status_key(&run.environment), &status).await?;
        self.tell(&status).await
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
}

/// Why there is nothing to do for an environment that stands as it is asked to; none if there is.
fn idle(trigger: &Trigger, source: &Source, status: Option<&Status>, paused: bool) -> Option<String> {
    let done = if trigger.swept { is_settled } else { is_applied };
    let (name, there) = (&trigger.environment, source.text.is_some());
    match trigger.action {
        Asked::Apply if !trigger.by_hand && done(status, source.version.as_ref()) => {
            Some(match &source.version {
                Some(version) => format!("{name} has had its run of version {version}"),
                None => format!("{name} is gone, or never was"),
            })
        }
        // An environment that is gone, or paused, isn't built anew because its time has come.
        Asked::Rebuild | Asked::Pause if !there => Some(format!("there is no spec of {name}")),
        Asked::Rebuild if paused => Some(format!("{name} is paused, and isn't rebuilt before it is resumed")),
        _ => None,
    }
}

/// Has the run build with this role, in its account.
fn build_with(run: &mut Run, role: &str) {
    // arn:aws:iam::<account>:role/<name>
    role.split(':').nth(4).unwrap_or_default().clone_into(&mut run.account);
    run.role = Some(role.to_owned());
}

/// What a rebuild takes the environment back to: nothing but its schedules, so that one which fails half-way is
/// tried again at its next time.
fn emptied(spec: &Spec) -> Spec {
    Spec { schedule: spec.schedule.clone(), expires: spec.expires, ..Spec::empty(&spec.name) }
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
