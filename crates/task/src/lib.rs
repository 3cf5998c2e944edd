//! What services and jobs share: a task definition and a log group, where tasks run, and what must be there
//! before one is started.
//!
//! Both are told by a [`Task`]: its own container, named by its key, and a service's sidecars. A family of
//! task definitions is always called `<environment>-<word>`, the word being a service's key or a job's with
//! `-job`, so that whatever a run left can be found by that beginning; whether it belonged to a service or a
//! job, its address tag tells. A revision names its log group, which is therefore made after it and goes
//! before it.

pub mod ask;
mod container;
pub mod follow;
pub mod image;
pub mod log_group;
mod place;
mod role;
pub mod secret;
pub mod task_definition;
#[cfg(test)]
mod tests;
mod version;

use std::collections::BTreeMap;

use spec::{
    Architecture, Capacity, Check, Condition, Duration, ImageFrom, Job, Logs, NetworkMode, Service, Sidecar,
    Spec, Text,
};
use step::Context;

pub use place::{Network, Place};
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
    /// Its key in its section; also its own container's name.
    pub key: &'a str,
    /// The processor the images are built for.
    pub architecture: Architecture,
    /// How its containers are connected.
    pub network_mode: NetworkMode,
    /// Whether the containers have a role of their own.
    pub has_role: bool,
    /// Where their output goes.
    pub logs: Option<&'a Logs>,
    /// The container that the task is there for.
    own: Container<'a>,
    /// Those beside it.
    sidecars: &'a BTreeMap<String, Sidecar>,
}

/// What the spec says of a container.
#[derive(Debug, Clone, Copy)]
struct Container<'a> {
    name: &'a str,
    image: Image<'a>,
    /// CPU units.
    cpu: Option<u32>,
    /// Memory in MiB that it is ended at.
    memory: Option<u32>,
    /// Memory in MiB that is kept free for it.
    memory_reservation: Option<u32>,
    entry_point: &'a [Text],
    command: &'a [Text],
    user: Option<&'a str>,
    environment: &'a BTreeMap<String, Text>,
    labels: &'a BTreeMap<String, Text>,
    mounts: &'a BTreeMap<String, Text>,
    open_files: Option<i32>,
    check: Option<&'a Check>,
    stop_timeout: Option<Duration>,
    ports: &'a [u16],
    host_ports: &'a BTreeMap<String, u16>,
    /// Whether the task ends when it ends.
    essential: bool,
    /// What of it the task's own container waits for.
    before: Option<Condition>,
}

/// What a container is started from.
#[derive(Debug, Clone, Copy)]
enum Image<'a> {
    /// What the spec writes.
    Written(&'a Text),
    /// The newest of a repository; none where it isn't known.
    Followed(Option<&'a str>),
    /// What CI deployed, or as long as it has deployed nothing what the spec writes.
    Deployed { first: &'a Text, now: Option<&'a str> },
}

/// What a job, or a sidecar, doesn't have.
static NO_TEXTS: BTreeMap<String, Text> = BTreeMap::new();
static NO_PORTS: BTreeMap<String, u16> = BTreeMap::new();
static NO_SIDECARS: BTreeMap<String, Sidecar> = BTreeMap::new();

impl<'a> Task<'a> {
    /// A service's task.
    pub fn of_service(key: &'a str, service: &'a Service) -> Self {
        Self {
            kind: Kind::Service,
            key,
            architecture: service.architecture,
            network_mode: service.network_mode.unwrap_or(NetworkMode::Awsvpc),
            has_role: service.role.is_some(),
            logs: service.logs.as_ref(),
            own: Container {
                name: key,
                image: match &service.image {
                    spec::Image::Written(first) if service.image_from == ImageFrom::Ci => {
                        Image::Deployed { first, now: None }
                    }
                    spec::Image::Written(text) => Image::Written(text),
                    spec::Image::Followed(_) => Image::Followed(None),
                },
                cpu: service.cpu,
                memory: service.memory,
                memory_reservation: service.memory_reservation,
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
                host_ports: &service.host_ports,
                essential: true,
                before: None,
            },
            sidecars: &service.sidecars,
        }
    }

    /// A job's task.
    pub fn of_job(key: &'a str, job: &'a Job) -> Self {
        Self {
            kind: Kind::Job,
            key,
            architecture: job.architecture,
            network_mode: job.network_mode.unwrap_or(NetworkMode::Awsvpc),
            has_role: job.role.is_some(),
            logs: job.logs.as_ref(),
            own: Container {
                name: key,
                image: Image::Written(&job.image),
                cpu: job.cpu,
                memory: job.memory,
                memory_reservation: job.memory_reservation,
                entry_point: &job.entry_point,
                command: &job.command,
                user: job.user.as_deref(),
                environment: &job.environment,
                labels: &NO_TEXTS,
                mounts: &job.mounts,
                open_files: None,
                check: None,
                stop_timeout: None,
                ports: &[],
                host_ports: &NO_PORTS,
                essential: true,
                before: None,
            },
            sidecars: &NO_SIDECARS,
        }
    }

    /// The same with this image, if it follows a repository or CI deploys its image.
    #[must_use]
    pub fn with_image(mut self, image: Option<&'a str>) -> Self {
        match &mut self.own.image {
            Image::Written(_) => {}
            Image::Followed(newest) => *newest = image,
            Image::Deployed { now, .. } => *now = image,
        }
        self
    }

    /// Whether its image is the one that CI deployed last.
    pub fn is_deployed_by_ci(&self) -> bool {
        matches!(self.own.image, Image::Deployed { .. })
    }

    /// Its containers, its own first.
    fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let beside = self.sidecars.iter().map(|(name, sidecar)| Container {
            name,
            image: Image::Written(&sidecar.image),
            cpu: sidecar.cpu,
            memory: sidecar.memory,
            memory_reservation: sidecar.memory_reservation,
            entry_point: &sidecar.entry_point,
            command: &sidecar.command,
            user: sidecar.user.as_deref(),
            environment: &sidecar.environment,
            labels: &NO_TEXTS,
            mounts: &sidecar.mounts,
            open_files: None,
            check: sidecar.check.as_ref(),
            stop_timeout: None,
            ports: &[],
            host_ports: &NO_PORTS,
            essential: sidecar.essential,
            before: sidecar.before,
        });
        std::iter::once(self.own).chain(beside)
    }

    /// Its address: `services.api`, `jobs.migrations`.
    pub fn address(&self) -> String {
        format!("{}.{}", self.kind.section(), self.key)
    }

    /// The name of its family of task definitions. It does not follow `name:`: what is ours is found by the
    /// environment's name.
    pub fn family(&self, context: &Context) -> String {
        context.family(&self.word())
    }

    /// The name of its log group.
    pub fn log_group(&self, context: &Context) -> String {
        context.log_group(&self.word(), self.logs)
    }

    /// What names of its family and its roles say beside the environment.
    fn word(&self) -> String {
        match self.kind {
            Kind::Service => spec::service_word(self.key),
            Kind::Job => spec::job_word(self.key),
        }
    }
}

/// What tasks run on.
fn capacity(context: &Context) -> Capacity {
    context.spec.cluster.as_ref().map(|cluster| cluster.capacity).unwrap_or_default()
}
