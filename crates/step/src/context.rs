//! What a pass knows: the request, the spec, and how to call AWS.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use jiff::Timestamp;
use spec::{INSTANCES, Job, Logs, Reference, Section, Service, Spec, Text, role_word};

use crate::{Error, Operation, Outputs, Owner, Result, Run, cut, name};

/// What a pass knows.
#[derive(Debug, Clone)]
pub struct Context {
    /// What is asked for.
    pub operation: Operation,
    /// The name of the state that asks.
    pub state: String,
    /// The run it is asked in.
    pub run: Run,
    /// The spec the run carries out; it describes nothing when the environment goes.
    pub spec: Spec,
    /// What earlier steps learned.
    pub outputs: Outputs,
    /// The services, or jobs, to do; all where absent.
    pub batch: Option<Vec<String>>,
    /// The addresses that must stay though the spec doesn't mention them: something protected needs them.
    pub kept: BTreeSet<String>,
    /// When the step's first pass in this run began.
    pub since: Timestamp,
    /// To make clients from: the run's region and role, the environment as the app's name.
    pub aws: SdkConfig,
    /// The same for the control plane's own region and account.
    pub home: SdkConfig,
}

/// The longest name of an IAM role.
const ROLE_LIMIT: usize = 64;

impl Context {
    /// Whose resources these are.
    pub fn owner(&self) -> Owner {
        Owner { environment: self.run.environment.clone(), control_plane: self.run.spec.bucket.clone() }
    }

    /// The tags a new resource is made with: the owner's three and the spec's own.
    pub fn tags(&self, address: &str) -> BTreeMap<String, String> {
        let mut tags = self.spec.tags.clone();
        tags.extend(self.owner().tags(address));
        tags
    }

    /// The name of a resource, where the spec gives none: that of [`crate::name`].
    pub fn name(&self, explicit: Option<&String>, word: &str, limit: usize) -> String {
        explicit.cloned().unwrap_or_else(|| name(&self.run.environment, word, limit))
    }

    /// The tag `Name` of what AWS knows by an id: `<environment>-<word>`. It need not be unique.
    pub fn label(&self, word: &str) -> String {
        format!("{}-{}", self.run.environment, word.replace('.', "-"))
    }

    /// The client token of a create call: the same for all passes of a run, so that a lost answer makes
    /// nothing twice, and another in the next, since AWS answers a token it knows for a day, also after
    /// the resource was deleted.
    pub fn token(&self, address: &str) -> String {
        cut(&format!("{}-{address}", self.run.id), 64)
    }

    /// The part of an ARN that says which AWS this is.
    pub fn partition(&self) -> &'static str {
        spec::partition(&self.run.region).unwrap_or("aws")
    }

    /// The path of the environment's IAM roles.
    pub fn role_path(&self) -> String {
        format!("/plinth/{}/", self.run.environment)
    }

    /// The name of a role of the section `roles`.
    pub fn role_name(&self, role: &str) -> String {
        let explicit = self.spec.roles.get(role).and_then(|role| role.name.as_ref());
        self.name(explicit, &role_word(role), ROLE_LIMIT)
    }

    /// The name of the role a task's containers act with. `word` is a service's [`spec::service_word`], or a
    /// job's [`spec::job_word`].
    pub fn task_role_name(&self, word: &str) -> String {
        self.name(None, &format!("{word}-task"), ROLE_LIMIT)
    }

    /// The name of the role ECS starts a task with; `word` as for [`Context::task_role_name`].
    pub fn execution_role_name(&self, word: &str) -> String {
        self.name(None, &format!("{word}-execution"), ROLE_LIMIT)
    }

    /// The family of task definitions; `word` as for [`Context::task_role_name`].
    pub fn family(&self, word: &str) -> String {
        self.name(None, word, 255)
    }

    /// The name of the role a function of the environment acts with.
    pub fn function_role_name(&self, function: &str) -> String {
        self.name(None, &format!("{function}-function"), ROLE_LIMIT)
    }

    /// The ARN of an environment's role: it follows from the name.
    pub fn role_arn(&self, name: &str) -> String {
        format!("arn:{}:iam::{}:role{}{name}", self.partition(), self.run.account, self.role_path())
    }

    /// The services to do in this pass, with what only belongs to them.
    pub fn services(&self) -> impl Iterator<Item = (&String, &Service)> {
        let asked = |key: &String| self.batch.as_ref().is_none_or(|batch| batch.contains(key));
        self.spec.services.iter().filter(move |(key, _)| asked(key))
    }

    /// Whether this pass also does what is done once for all services, such as planning what was dropped.
    pub fn is_first_batch(&self) -> bool {
        let first = self.spec.services.keys().next();
        self.batch.as_ref().is_none_or(|batch| batch.first() == first)
    }

    /// The jobs to do in this pass.
    pub fn jobs(&self) -> impl Iterator<Item = (&String, &Job)> {
        let asked = |key: &String| self.batch.as_ref().is_none_or(|batch| batch.contains(key));
        self.spec.jobs.iter().filter(move |(key, _)| asked(key))
    }

    /// Whether this pass also does what is done once for all jobs.
    pub fn is_first_batch_of_jobs(&self) -> bool {
        let first = self.spec.jobs.keys().next();
        self.batch.as_ref().is_none_or(|batch| batch.first() == first)
    }

    /// The name of a service. Its limit in ECS is 255 characters.
    pub fn service_name(&self, address: &str, service: &Service) -> String {
        self.name(service.name.as_ref(), address, 255)
    }

    /// The name of the ECS cluster.
    pub fn cluster_name(&self) -> String {
        let explicit = self.spec.cluster.as_ref().and_then(|cluster| cluster.name.clone());
        explicit.unwrap_or_else(|| self.run.environment.clone())
    }

    /// The name of the capacity provider of the environment's instances, which may not begin with a word that
    /// AWS keeps for itself, as an environment's name may.
    /// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCapacityProvider.html>
    pub fn capacity_provider(&self) -> String {
        format!("plinth-{}", self.run.environment)
    }

    /// The name of the instances' role, and of their instance profile.
    pub fn instance_role_name(&self) -> String {
        self.name(None, INSTANCES, ROLE_LIMIT)
    }

    /// The name of the Cloud Map namespace in which services have names.
    pub fn namespace(&self) -> String {
        format!("{}.internal", self.run.environment)
    }

    /// The name of a service in the VPC.
    pub fn service_host(&self, service: &str) -> String {
        format!("{service}.{}", self.namespace())
    }

    /// The name of the log group of a service or a job; `word` is what names say of it, `logs` what the spec says of
    /// its own.
    pub fn log_group(&self, word: &str, logs: Option<&Logs>) -> String {
        let explicit = logs.and_then(|logs| logs.group.as_ref()).or(self.spec.logs.group.as_ref());
        explicit.cloned().unwrap_or_else(|| format!("/plinth/{}/{word}", self.run.environment))
    }

    /// An output that an earlier step has answered; `what` is its section.
    pub fn known<'a, T>(&self, output: Option<&'a T>, what: &str) -> Result<&'a T> {
        output.ok_or_else(|| {
            Error::Failed(format!("{what} has no output yet: a step ran before the one it needs"))
        })
    }

    /// The ARN of the environment's KMS key, if its spec has one.
    pub fn key_arn(&self) -> Result<Option<&String>> {
        let Some(_) = &self.spec.key else { return Ok(None) };
        let key = self.known(self.outputs.key.as_ref(), "key")?;
        Ok(Some(&key.arn))
    }

    /// The text with its references replaced by what they stand for.
    pub fn render(&self, text: &Text) -> Result<String> {
        text.render(|reference| self.resolve(reference))
    }

    /// What a task definition's `valueFrom` says for a text that is a secret and nothing else: the
    /// secret's ARN, and the key of its JSON value where one is named.
    /// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html>
    pub fn value_from(&self, text: &Text) -> Option<Result<String>> {
        let reference = text.whole().filter(|reference| reference.section == Section::Secrets)?;
        let arn = self.resolve(reference);
        Some(match reference.attribute.first() {
            Some(key) => arn.map(|arn| format!("{arn}:{key}::")),
            None => arn,
        })
    }

    fn resolve(&self, reference: &Reference) -> Result<String> {
        let name = reference.name.as_deref().unwrap_or_default();
        let attribute = reference.attribute.first().map(String::as_str);
        let outputs = &self.outputs;
        let value = match (reference.section, attribute) {
            (Section::Environment, None) => Some(self.run.environment.clone()),
            (Section::Region, None) => Some(self.run.region.clone()),
            (Section::Account, None) => Some(self.run.account.clone()),
            (Section::Network, Some("vpc")) => outputs.network.as_ref().map(|network| network.vpc.clone()),
            (Section::Network, Some("cidr")) => outputs.network.as_ref().map(|network| network.cidr.clone()),
            (Section::Key, Some("id")) => outputs.key.as_ref().map(|key| key.id.clone()),
            (Section::Key, Some("arn")) => outputs.key.as_ref().map(|key| key.arn.clone()),
            (Section::Secrets, _) => outputs.secrets.get(name).map(|secret| secret.arn.clone()),
            (Section::Roles, None) => Some(self.role_arn(&self.role_name(name))),
            (Section::Repositories, None) => outputs.repositories.get(name).map(|found| found.uri.clone()),
            (Section::Repositories, Some("arn")) => {
                outputs.repositories.get(name).map(|found| found.arn.clone())
            }
            (Section::Repositories, Some("name")) => {
                outputs.repositories.get(name).map(|found| found.name.clone())
            }
            (Section::Buckets, None) => outputs.buckets.get(name).map(|found| found.name.clone()),
            (Section::Buckets, Some("arn")) => outputs.buckets.get(name).map(|found| found.arn.clone()),
            (Section::Databases, Some("name")) => {
                self.spec.databases.get(name).map(|database| database.database.clone().unwrap_or_default())
            }
            (Section::Databases, Some("host")) => outputs.databases.get(name).map(|found| found.host.clone()),
            (Section::Databases, Some("port")) => {
                outputs.databases.get(name).map(|found| found.port.to_string())
            }
            (Section::LoadBalancers, Some("host")) => {
                outputs.load_balancers.get(name).map(|found| found.host.clone())
            }
            (Section::LoadBalancers, Some("arn")) => {
                outputs.load_balancers.get(name).map(|found| found.arn.clone())
            }
            (Section::Cluster, Some("name")) => Some(self.cluster_name()),
            (Section::Cluster, Some("arn")) => outputs.cluster.as_ref().map(|cluster| cluster.arn.clone()),
            (Section::Services, Some("host")) => Some(self.service_host(name)),
            (Section::Apis, Some("url")) => outputs.apis.get(name).map(|found| found.url.clone()),
            _ => {
                return Err(Error::InvalidSpec(format!(
                    "${{{reference}}} stands for nothing that can be written here"
                )));
            }
        };
        self.known(value.as_ref(), &format!("${{{reference}}}")).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use spec::{job_word, service_word};

    use super::*;
    use crate::test::context;

    /// Keys that say what Plinth calls its own.
    const KEYS: [&str; 9] = [
        "a",
        "a-job",
        "a-service",
        "a-job-service",
        "a-role",
        "a-task",
        "a-job-task",
        "a-execution",
        "instances",
    ];

    #[test]
    fn no_two_addresses_of_an_environment_get_one_role_or_family() {
        let context = context(Operation::Plan, Spec::empty("demo"), Outputs::default());
        let mut roles = vec![("cluster".to_owned(), context.instance_role_name())];
        let mut families = Vec::new();
        for key in KEYS {
            roles.push((format!("roles.{key}"), context.role_name(key)));
            roles.push((format!("functions.{key}"), context.function_role_name(key)));
            for (section, word) in [("services", service_word(key)), ("jobs", job_word(key))] {
                roles.push((format!("{section}.{key}.task"), context.task_role_name(&word)));
                roles.push((format!("{section}.{key}.execution"), context.execution_role_name(&word)));
                families.push((format!("{section}.{key}"), context.family(&word)));
            }
        }
        for all in [roles, families] {
            let mut taken: BTreeMap<String, String> = BTreeMap::new();
            for (address, name) in all {
                let other = taken.insert(name.clone(), address.clone());
                assert_eq!(other, None, "{address} is called {name} too");
            }
        }
    }
}
