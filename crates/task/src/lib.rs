//! What services and jobs share: a task definition and a log group, where tasks run, and what must be there
//! before one is started.
//!
//! Both are told by a [`Task`]. A family of task definitions is always called `<environment>-<word>`, the
//! word being a service's key or a job's with `-job`, so that whatever a run left can be found by that
//! beginning; whether it belonged to a service or a job, its address tag tells. A revision names its log
//! group, which is therefore made after it and goes before it.

pub mod image;
pub mod log_group;
mod place;
mod role;
pub mod secret;
pub mod task_definition;

use std::collections::BTreeMap;

use spec::{Architecture, Check, Duration, Job, Logs, Service, Spec, Text};
use step::Context;

pub use place::Place;
pub use role::with_new_role;

/// Whether tasks are a service's or a job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A service's.
    Service,
    /// A job's.
    Job,
}

impl Kind {
    /// The section of the spec it stands in.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Job => "jobs",
        }
    }

    /// Whether a resource at this address is of this kind.
    pub fn owns(self, address: &str) -> bool {
        address.split('.').next() == Some(self.section())
    }

    /// The tasks of this kind that the spec describes.
    fn tasks(self, spec: &Spec) -> Vec<Task<'_>> {
        match self {
            Self::Service => {
                spec.services.iter().map(|(key, service)| Task::of_service(key, service)).collect()
            }
            Self::Job => spec.jobs.iter().map(|(key, job)| Task::of_job(key, job)).collect(),
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Service => Self::Job,
            Self::Job => Self::Service,
        }
    }
}

/// What the spec says of a task, be it a service's or a job's.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Whose it is.
    pub kind: Kind,
    /// Its key in its section; also its container's name.
    pub key: &'a str,
    /// The container image.
    pub image: &'a Text,
    /// CPU units.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The processor the image is built for.
    pub architecture: Architecture,
    /// What is started in the container.
    pub entry_point: &'a [Text],
    /// What it is started with.
    pub command: &'a [Text],
    /// The user that it runs as.
    pub user: Option<&'a str>,
    /// Environment variables.
    pub environment: &'a BTreeMap<String, Text>,
    /// The container's Docker labels.
    pub labels: &'a BTreeMap<String, Text>,
    /// What is mounted, by path.
    pub mounts: &'a BTreeMap<String, Text>,
    /// The most open files.
    pub open_files: Option<i32>,
    /// How ECS tells whether the container is well.
    pub check: Option<&'a Check>,
    /// How long it has to end by itself.
    pub stop_timeout: Option<Duration>,
    /// The ports the container listens on.
    pub ports: &'a [u16],
    /// Whether the container has a role of its own.
    pub has_role: bool,
    /// Where its output goes.
    pub logs: Option<&'a Logs>,
}

/// The labels of a job.
static NO_LABELS: BTreeMap<String, Text> = BTreeMap::new();

impl<'a> Task<'a> {
    /// A service's task.
    pub fn of_service(key: &'a str, service: &'a Service) -> Self {
        Self {
            kind: Kind::Service,
            key,
            image: &service.image,
            cpu: service.cpu,
            memory: service.memory,
            architecture: service.architecture,
            entry_point: &service.entry_point,
            command: &service.command,
            user: service.user.as_deref(),
            environment: &service.environment,
            labels: &service.labels,
            mounts: &service.mounts,
            open_files: service.open_files,
            check: service.check.as_ref(),
            stop_timeout: service.stop_timeout,
            ports: &service.ports,
            has_role: service.role.is_some(),
            logs: service.logs.as_ref(),
        }
    }

    /// A job's task.
    pub fn of_job(key: &'a str, job: &'a Job) -> Self {
        Self {
            kind: Kind::Job,
            key,
            image: &job.image,
            cpu: job.cpu,
            memory: job.memory,
            architecture: job.architecture,
            entry_point: &job.entry_point,
            command: &job.command,
            user: job.user.as_deref(),
            environment: &job.environment,
            labels: &NO_LABELS,
            mounts: &job.mounts,
            open_files: None,
            check: None,
            stop_timeout: None,
            ports: &[],
            has_role: job.role.is_some(),
            logs: job.logs.as_ref(),
        }
    }

    /// Its address: `services.api`, `jobs.migrations`.
    pub fn address(&self) -> String {
        format!("{}.{}", self.kind.section(), self.key)
    }

    /// The name of its family of task definitions. It does not follow `name:`: what is ours is found by the
    /// environment's name.
    pub fn family(&self, context: &Context) -> String {
        context.name(None, &self.word(), 255)
    }

    /// The name of its log group.
    pub fn log_group(&self, context: &Context) -> String {
        context.log_group(self.key, self.logs)
    }

    /// What names of its family and its roles say beside the environment.
    fn word(&self) -> String {
        match self.kind {
            Kind::Service => self.key.to_owned(),
            Kind::Job => Context::job_word(self.key),
        }
    }
}
